"""Lives of a node above a real batch system: written once, lived on each of them.

A module of a batch system has a fixture `camp` and a class that inherits `Lives`. Some lives take
minutes, as the batch system does: they begin before the first test, and are looked at in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from node.provisioning.book import DOUBT_S_MIN
from node.work.hosts import FAILS_MIN
from schedulers.base import JobName
from tests.clusters.gate import Gate
from tests.clusters.ground import RUNS_S, Camp, Ground, Kind
from tests.clusters.place import ClusterError, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "atmospheric"
JOBS, EVENTS = 2, 60  # of the example
LEFT_S = 90  # until pilots that have nothing to do are gone, and all know what there is to know
DONE_S = 90  # until a dataset of short units is done
LOST_S = 90  # until a pilot that is silent, and whose job is said to have failed, is given up
LONG_THE_FIRST_TIME = 'test "$FLOE_ATTEMPT" -gt 1 || exec sleep 900'


def kinds(ground: Ground) -> list[Kind]:
    """Of pilots, one for each life, in the order of the tests: none is left of the kinds behind."""
    return [
        Kind("crashed", ground.elsewhere),
        Kind("overdue", ground.overdue),
        Kind("example", {}),
        Kind("cancelled", {}),
        Kind("outage", {}),
        Kind("after", {}),
        Kind("black", {**(ground.apart or {}), "running_max": 2}),
        # As large as those before: of all that fit the smallest are taken, and the first of these.
        Kind("held", {**(ground.apart or {}), **ground.held}),
    ]


@contextmanager
def camp_above(ground: Ground) -> Iterator[Camp]:
    """A node above a batch system, with what takes long under way."""
    made: Camp | None = None
    try:
        made = Camp(ground, kinds(ground))
        made.submit("crashed", "crashed", LONG_THE_FIRST_TIME)
        made.wait_running("crashed")
        job = made.only_job("crashed")
        ground.crash(job, made.listed()[job].host)
        made.submit("overdue", "overdue", LONG_THE_FIRST_TIME)
        made.wait_running("overdue")  # before there are larger pilots, which it fits, too
        yield made
    except SystemExit as error:  # of a command; it would confuse what owns the fixture
        raise ClusterError(str(error)) from None
    finally:
        if made is not None:
            made.close()
        ground.close()


class Lives:
    """What has to hold on every batch system."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def intending(cls, camp: Camp) -> Iterator[tuple[Camp, Gate]]:
        """A node that was killed after it wrote a submission down, and before it made it."""
        with gated_camp(camp.ground, "before") as (killed, gate):
            killed.submit("intended", "only", "true")
            gate.wait()
            killed.kill()
            gate.kill()
            gate.open()
            killed.site.up()
            yield killed, gate

    def test_the_example_comes_out_as_from_a_plain_shell_loop(
        self, camp: Camp, tmp_path: Path
    ) -> None:
        desk = camp.folder("example")
        for path in EXAMPLE.iterdir():
            text = _small(path, camp.disk_mb("example"), camp.python)
            (desk / path.name).write_text(text)
        plain = _plain(tmp_path)
        camp.site.run("submit", str(desk / "atmospheric.toml"))
        camp.site.run("submit", str(desk / "spectra.toml"))
        camp.site.wait("spectra", 240)
        for name in ("atmospheric", "spectra"):
            camp.site.run("fetch", name, "--to", str(desk / name))
        assert plain.wait(120) == 0
        for job in range(JOBS):
            ours = desk / "atmospheric" / str(job) / "weight" / "weighted.npz"
            assert _arrays(ours) == _arrays(tmp_path / f"in/{job}/weighted.npz")
        merged = desk / "spectra" / "0" / "merge" / "spectra.npz"
        assert _arrays(merged) == _arrays(tmp_path / "spectra.npz")

    def test_a_unit_whose_pilot_is_cancelled_runs_again_and_costs_no_retry(
        self, camp: Camp
    ) -> None:
        camp.submit("cancelled", "cancelled", LONG_THE_FIRST_TIME)
        camp.wait_running("cancelled")
        job = camp.only_job("cancelled")
        camp.ground.cancel(job)
        camp.site.wait("cancelled", DONE_S)
        assert ends(camp, "cancelled") == ["infrastructure", "success"]
        wait_until("the end of the pilot", lambda: job not in camp.jobs("cancelled"), LEFT_S)
        assert job not in camp.listed()

    def test_while_the_batch_system_is_down_pilots_go_on_and_none_is_lost_or_submitted_again(
        self, camp: Camp
    ) -> None:
        live_through_an_outage([camp], lambda: None)

    def test_a_worker_on_which_all_units_fail_is_banned_and_the_others_run_them(
        self, camp: Camp
    ) -> None:
        if camp.ground.apart is None:
            pytest.skip("all workers of this cluster are one")
        bad, read = camp.ground.bad
        wait = f"until test -e {camp.base}/black; do sleep 0.2; done"
        camp.submit(
            "black", "black", f"if {bad}; then exit 1; fi; {wait}", jobs=30, retry=10,
            env={"keep": [read]},
        )  # fmt: skip
        wait_until("failed units", lambda: errors(camp, "black") >= FAILS_MIN, RUNS_S)
        (camp.base / "black").touch()  # until now nobody could tell whether the units are to blame
        camp.site.wait("black", DONE_S)
        assert FAILS_MIN <= errors(camp, "black") < 10
        (host,) = camp.site.json("site", "show")["site"]["hosts"]
        assert host["banned_s"] > 0
        assert "units in a row failed at once" in host["why"]
        assert host["host"] in camp.site.run("site", "show")
        (ban,) = camp.site.json("mesh")["sites"][0]["bans"]
        assert (ban["host"], ban["why"][:10]) == (host["host"], host["why"][:10])
        assert any(host["host"] in alarm for alarm in camp.site.json("mesh")["alarms"])

    def test_a_node_that_is_killed_before_it_knows_its_jobs_finds_them_again(
        self, camp: Camp
    ) -> None:
        with gated_camp(camp.ground, "after") as (killed, gate):
            killed.submit("killed", "only", "true")
            gate.wait()
            killed.kill()
            gate.open()
            killed.site.up()
            killed.site.wait("killed", DONE_S)
            assert ends(killed, "killed") == ["success"]
            assert len(gate.calls) == len(killed.submissions("only")) == 1
            wait_until("the end of its pilot", lambda: not killed.mine("only"), LEFT_S)

    def test_a_held_pilot_is_explained(self, camp: Camp) -> None:
        camp.submit("held", "held", "true")
        wait_until("a held pilot", lambda: "held" in camp.jobs("held").values(), LEFT_S)
        job, words = camp.only_job("held"), camp.ground.held_words
        wait_until("why", lambda: words in camp.site.run("why", "held/0/main").lower(), LEFT_S)
        assert job in camp.site.run("why", "held/0/main")
        camp.site.run("set", "cancel", "held", "--yes")
        camp.ground.cancel(job)

    def test_a_unit_whose_pilot_is_over_its_time_runs_again(self, camp: Camp) -> None:
        camp.site.wait("overdue", int(camp.ground.overdue_s))
        assert ends(camp, "overdue") == ["infrastructure", "success"]

    def test_a_unit_on_a_worker_that_fails_runs_again(self, camp: Camp) -> None:
        camp.site.wait("crashed", LOST_S + DONE_S)
        assert ends(camp, "crashed") == ["infrastructure", "success"]

    def test_a_submission_that_was_intended_and_never_made_is_made_once_that_is_certain(
        self, intending: tuple[Camp, Gate]
    ) -> None:
        killed, gate = intending
        killed.site.wait("intended", int(DOUBT_S_MIN) + DONE_S)
        assert ends(killed, "intended") == ["success"]
        intended, made = killed.submissions("only")
        assert len(gate.calls) == 2
        ended = dict(killed.rows("SELECT tag, words FROM submission"))
        assert "knows nothing of it" in ended[intended]
        assert {report.tag for report in killed.mine("only").values()} <= {made}


def ends(camp: Camp, name: str, job: int = 0) -> list[str]:
    """How the attempts at a unit ended."""
    return [str(attempt["outcome"]) for attempt in camp.attempts(name, job)]


def errors(camp: Camp, name: str) -> int:
    """How many attempts of a dataset failed."""
    return sum(group["count"] for group in camp.site.json("errors", name)["errors"])


def _small(path: Path, disk_mb: int, python: str) -> str:
    """A file of the example: fewer jobs and events, and the Python that has its packages."""
    text = path.read_text() if path.is_file() else ""
    for old, new in (
        ("jobs = 40", f"jobs = {JOBS}"),
        ("events = 1500", f"events = {EVENTS}"),
        ('disk = "500MB"', f'disk = "{disk_mb}MB"'),
        ('run = ["python3"', f'run = ["{python}"'),
    ):
        text = text.replace(old, new)
    return text


def _plain(folder: Path) -> subprocess.Popen[bytes]:
    """The same by a shell loop."""
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return subprocess.Popen(
        ["sh", str(EXAMPLE / "plain.sh"), str(JOBS), str(folder), str(EVENTS)],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _arrays(path: Path) -> dict[str, bytes]:
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


@contextmanager
def gated_camp(
    ground: Ground, place: str, settings: Mapping[str, object] | None = None
) -> Iterator[tuple[Camp, Gate]]:
    """A node whose submissions stand still before or after they are made."""
    with ground.account.folder("gate") as folder:
        submit = ground.commands[0]
        gate = Gate(folder / "gate", place, ground.command(submit))
        ground.account.give(folder / "gate")
        made = Camp(ground, [Kind("only", {})], {submit: str(gate.path)}, settings)
        try:
            yield made, gate
        except BaseException as error:
            error.add_note(made.told())
            raise
        finally:
            gate.kill()
            made.close()


def live_through_an_outage(camps: Sequence[Camp], meanwhile: Callable[[], None]) -> None:
    """Of each, two pilots run a unit; one unit ends while the daemons are down, one after."""
    names = ("outage", "after")
    for camp in camps:
        for name in names:
            camp.submit(name, name, f"until test -e {camp.base}/{name}; do sleep 0.2; done")
    jobs = {}
    for camp in camps:
        for name in names:
            camp.wait_running(name)
        jobs[camp] = {camp.only_job(name) for name in names}
    with ExitStack() as outages:
        for camp in camps:
            outages.enter_context(camp.ground.rig.outage())
        for camp in camps:
            camp.wait_said("no answer about jobs")
            (camp.base / "outage").touch()
            camp.site.wait("outage", LEFT_S)
        meanwhile()
    for camp in camps:
        (camp.base / "after").touch()
    for camp in camps:
        camp.site.wait("after", DONE_S)
        assert [ends(camp, name) for name in names] == [["success"], ["success"]]
        assert [len(camp.submissions(name)) for name in names] == [1, 1]
        _wait_gone(camp, names, jobs[camp])


def _wait_gone(camp: Camp, names: Sequence[str], jobs: set[JobName]) -> None:
    wait_until("the end of these pilots", lambda: not jobs & set(camp.listed()), LEFT_S)
    wait_until("the node to know it", lambda: not any(map(camp.jobs, names)), LEFT_S)
