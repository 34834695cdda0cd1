"""Meshes of real nodes on an internet of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.meshes import wait_until
from bench.site import Site, make_site
from node.cli.failures import UNREACHABLE
from node.client import Client, ClientError, Signer, Unreachable, find_endpoint
from node.home import Home
from tests.netns.internet import Internet, internet

PORT = 7421
# All sites wait for seconds where they would wait for minutes.
HASTE = """
vote_after = "5s"
lost_after = "20s"
unreachable_after = "9s"
hold = "20s"
"""
ENDS_S_MAX = 90.0
NO_ANSWER = f": exit {UNREACHABLE}\n"
ALL_S_MAX = 60.0  # to see each other, also after a cut
SCRIPT = """#!/bin/sh
sleep ${1:-0.2}
echo "ran $FLOE_JOB"
echo "result $FLOE_JOB" > result.txt
"""


class NetSite(Site):
    """A site in its namespace: commands run there, and so does what asks its API."""

    def __init__(self, home: Path, environment: dict[str, str], net: Internet, name: str) -> None:
        super().__init__(home, environment)
        self.net = net
        self.name = name
        where = Home(home)
        self._client = Client(
            lambda: find_endpoint(where), Signer(home.parent / "id"), home.parent / "asker"
        )

    def run(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        with self.net.inside(self.name):
            return super().run(*arguments, check=check, text=text)

    def ask(self, path: str) -> Any:
        """What the API answers: cheaper than a command, for asking again and again."""
        with self.net.inside(self.name):
            return self._client.get(path)

    # What people see of the mesh

    def states(self) -> dict[str, str]:
        """Each member's state, as this site sees it."""
        return {each["name"]: each["state"] for each in self.ask("/v1/mesh")["sites"]}

    def sees_as(self, states: dict[str, str]) -> bool:
        return self.states() == states

    def linked(self) -> set[str]:
        """The sites with which a link for records is up."""
        links = self.ask("/v1/mesh/links")["links"]
        return {each["peer"] for each in links if each["up"] and each["kind"] == "records"}

    def shard(self, dataset: str) -> dict[str, Any]:
        """The shard in which a dataset is, as this site sees it."""
        wanted = self.ask(f"/v1/datasets/{dataset}")["dataset"]["shard"]  # it may move meanwhile
        shards: list[dict[str, Any]] = self.ask("/v1/mesh/shards")["shards"]
        return next(each for each in shards if each["shard"] == wanted)

    def mesh(self) -> tuple[dict[str, Any], str]:
        """`floe mesh`, for programs and for people."""
        return self.json("mesh"), self.run("mesh")

    def why(self, site: str) -> tuple[str, str]:
        """`floe mesh why SITE`: the state, and what people read."""
        return self.json("mesh", "why", site)["why"]["state"], self.run("mesh", "why", site)

    def explains(self, site: str, state: str, *words: str) -> bool:
        """Whether `floe mesh why SITE` says that state, and all of that."""
        found, text = self.why(site)
        return found == state and all(each in text for each in words)

    def tells_of_leader(self, dataset: str) -> bool:
        """Whether `floe mesh` names who leads a dataset's shard; false if that has just changed.

        Fails the test if it names another one while the shard stays as it was.
        """
        before, (_, shown), after = self.shard(dataset), self.mesh(), self.shard(dataset)
        leads = f"Its shard is led by {before['leader']}, term {before['term']}."
        same = (before["leader"], before["term"]) == (after["leader"], after["term"])
        assert leads in shown or not same, f"{self.name}: floe mesh does not say: {leads}"
        return same

    def links(self) -> dict[str, Any]:
        """`floe mesh links`: those for records, by peer."""
        links: list[dict[str, Any]] = self.json("mesh", "links")["links"]
        return {each["peer"]: each for each in links if each["kind"] == "records"}

    def compared(self) -> tuple[bool, set[str], set[str]]:
        """`floe mesh verify`: whether all is equal, who was compared, who was silent."""
        found = self.json("mesh", "verify")
        return found["equal"], {each["site"] for each in found["compared"]}, set(found["silent"])

    def agrees_with(self, others: Set[str], silent: Set[str] = frozenset()) -> bool:
        """Whether these, and only these, could be compared, all are equal, and those are silent.

        Ask until it is so: a site that starts itself again is silent for a moment. A table that
        differs fails the command, and with it the test, at once.
        """
        return self.compared() == (True, others, silent)

    # Datasets

    def submit(self, name: str, jobs: int, seconds: float = 0.2, *words: str) -> None:
        """Submit jobs that take so long and write a file each."""
        path = self.home.parent / "unit.sh"
        path.write_text(SCRIPT)
        path.chmod(0o755)
        self.run("submit", "--name", name, "--jobs", str(jobs), "--output", "result.txt",
                 *words, "--", "./unit.sh", str(seconds))  # fmt: skip

    def counts(self, dataset: str) -> dict[str, int]:
        """Units of a dataset by state; all zero while it is not known here."""
        try:
            found: dict[str, int] = self.ask(f"/v1/datasets/{dataset}")["counts"]
        except ClientError as error:
            if error.code != "not-found":
                raise
            return dict.fromkeys(("settled", "running", "waiting"), 0)
        return found

    def settled(self, dataset: str, units: int) -> bool:
        """Whether so many units are settled."""
        return self.counts(dataset)["settled"] >= units

    def accepted(self, dataset: str) -> dict[int, int]:
        """How many attempts of each job's unit count, by job."""
        jobs = self.ask(f"/v1/datasets/{dataset}")["dataset"]["jobs"]
        shown = {job: self.ask(f"/v1/units/{dataset}/{job}/main") for job in range(jobs)}
        return {
            job: sum(each["accepted"] for each in unit["attempts"]) for job, unit in shown.items()
        }

    # Life

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on, if it is paused."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def save(self, copy: Path) -> None:
        """Copy the home, as a snapshot of a disk would have it; the node is down."""
        shutil.copytree(self.home, copy)

    def roll_back(self, copy: Path) -> None:
        """Let the disk be as it was at a copy: the files, the high-water file too, are the same."""
        for path in sorted(self.home.rglob("*"), reverse=True):
            if not (copy / path.relative_to(self.home)).exists():
                path.rmdir() if path.is_dir() else path.unlink()
        for path in sorted(copy.rglob("*")):
            here = self.home / path.relative_to(copy)
            if path.is_dir():
                here.mkdir(exist_ok=True)
            else:
                here.write_bytes(path.read_bytes())  # in place: it stays the file that it was
                here.chmod(path.stat().st_mode)

    def generations(self, site: str) -> set[int]:
        """Under which a site has written, as far as is known here."""
        key = next(each["key"] for each in self.ask("/v1/mesh")["sites"] if each["name"] == site)
        feeds = self.ask("/v1/store")["feeds"]
        return {each["generation"] for each in feeds if each["site"] == key[:8]}


class NetMesh:
    """Its sites by name."""

    def __init__(self, net: Internet, base: Path) -> None:
        self.net = net
        self.base = base
        self.sites: dict[str, NetSite] = {}

    def __getitem__(self, name: str) -> NetSite:
        return self.sites[name]

    def start(self, names: Sequence[str], *, slots: int = 1, dial_only: Sequence[str] = ()) -> None:
        """Make sites and let all but the first join that one."""
        for name in names:
            self.net.connect(name, firewall=name in dial_only)
        with ThreadPoolExecutor(2) as pool:
            made = pool.map(lambda name: self._make(name, slots, name in dial_only), names)
        first, *others = made
        for other in others:
            other.run("mesh", "join", first.run("mesh", "invite").strip())

    def _make(self, name: str, slots: int, dial_only: bool) -> NetSite:
        folder = self.base / name
        folder.mkdir()
        address = ["--dial-only"] if dial_only else ["--address", self.net.address(name)]
        ports = ["--mesh-listen", "0.0.0.0", "--mesh-port", str(PORT)]
        here = make_site(
            folder, name, *([] if dial_only else ports), *address, slots=slots, config=HASTE,
            kind=lambda home, environment: NetSite(home, environment, self.net, name),
        )  # fmt: skip
        assert isinstance(here, NetSite)
        self.sites[name] = here
        here.up()
        return here

    def together(self, names: Sequence[str] = ()) -> None:
        """Wait until those sites see each other alive, over links of their own."""
        wanted = set(names or self.sites)
        for name in wanted:
            until(partial(_sees, self[name], wanted), f"{name} sees the others", ALL_S_MAX)

    def ended(self, dataset: str, jobs: int, names: Sequence[str] = ()) -> None:
        """Wait until a dataset is at its end everywhere: each unit accepted once, tables equal."""
        here = [self[name] for name in names or self.sites]
        for site in here:
            until(
                partial(site.settled, dataset, jobs), f"{dataset} ends at {site.name}", ENDS_S_MAX
            )
        assert set(here[0].accepted(dataset).values()) == {1}
        others = {site.name for site in here[1:]}
        until(
            partial(here[0].agrees_with, others),
            f"all sites can be compared after {dataset}",
            ENDS_S_MAX,
        )

    def kill(self, name: str, *, disk: bool = False) -> None:
        """End a site at once with all that runs there; disk: and its disk is lost."""
        for pid in self.net.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.net.processes(name), f"{name} is gone", 10)
        if disk:
            shutil.rmtree(self.sites.pop(name).home, ignore_errors=True)


def until(question: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """The first true answer; fails the test when the time is over.

    A node that does not answer, as it starts itself again, is asked once more. A command that fails
    for any other reason fails the test at once.
    """
    failed = [""]

    def asked() -> Any:
        try:
            return question()
        except (Unreachable, SystemExit) as error:
            if isinstance(error, SystemExit) and NO_ANSWER not in str(error):
                raise
            failed[0] = f"\n{error}"
            return None

    try:
        return wait_until(asked, timeout_s, what)
    except SystemExit as error:
        raise AssertionError(f"{error}{failed[0]}") from None


@contextlib.contextmanager
def net_mesh(
    names: Sequence[str], *, slots: int = 1, dial_only: Sequence[str] = ()
) -> Iterator[NetMesh]:
    """A mesh whose sites see each other; all of it is gone at the end, whatever happens."""
    base = Path(tempfile.mkdtemp(prefix="floe-netns-"))
    with internet() as net:
        here = NetMesh(net, base)
        try:
            here.start(names, slots=slots, dial_only=dial_only)
            here.together()
            yield here
        finally:
            net.close()  # ends all nodes, pilots and payloads, stopped ones too
            shutil.rmtree(base, ignore_errors=True)


def _sees(here: NetSite, wanted: set[str]) -> bool:
    alive = {name for name, state in here.states().items() if state == "alive"}
    return wanted <= alive and wanted - {here.name} <= here.linked()
