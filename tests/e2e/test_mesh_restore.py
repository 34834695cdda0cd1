"""Real nodes: an old copy found out while it runs, a home run twice, a council that is lost."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.meshes import Mesh, free_port, mesh, sees, wait_until
from bench.site import Site, take_down
from tests.e2e.test_restore import assert_nothing_forked

THREE = ("madison", "desy", "nersc")
HURRY = 'vote_after = "4s"\nlost_after = "6s"\nunreachable_after = "20s"\n'


# One mesh for all, in this order: the last test loses two of its sites.
@pytest.fixture(scope="module")
def three() -> Iterator[Mesh]:
    with mesh(THREE, config=HURRY) as here:
        yield here


def soon(question: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait for something, over the moment in which a node starts itself again."""

    def answer() -> object:
        try:
            return question()
        except SystemExit:
            return False

    wait_until(answer, timeout_s, what)


def settled(site: Site, name: str) -> int:
    known = any(each["name"] == name for each in site.json("sets")["datasets"])
    return int(site.json("show", name)["counts"]["settled"]) if known else 0


def submit(site: Site, name: str, jobs: int) -> None:
    site.run("submit", "--wait-stored", "3", "--name", name, "--jobs", str(jobs), "--", "/bin/true")


def generation(site: Site) -> int:
    return int(site.json("site", "show")["site"]["generation"])


def everywhere(mesh: Mesh, name: str, jobs: int) -> bool:
    return all(settled(site, name) == jobs for site in mesh.sites.values())


def log(site: Site) -> str:
    return (site.home / "log" / "node.log").read_text()


FILES = ("floe.sqlite", "floe.highwater")


def snapshot(site: Site, folder: Path) -> None:
    """What a virtual machine's snapshot keeps of a node that does not run."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(site.home / name, folder / name)


def put_back(site: Site, folder: Path) -> None:
    """The files as they were, in place: nothing about them tells."""
    for beside in site.home.glob("floe.sqlite-*"):
        beside.unlink()
    for name in FILES:
        with open(site.home / name, "r+b") as file:
            file.truncate()
            file.write((folder / name).read_bytes())


def test_a_snapshot_of_a_leader_goes_on_by_itself_and_all_hold_one_branch(
    three: Mesh, tmp_path: Path
) -> None:
    first, second, _ = (three[name] for name in THREE)
    submit(first, "before", 20)
    soon(lambda: everywhere(three, "before", 20), 30, "the first dataset everywhere")
    first.run("down", "--pilots")
    snapshot(first, tmp_path / "old")
    first.up()
    submit(first, "after", 20)
    soon(lambda: everywhere(three, "after", 20), 30, "the second dataset everywhere")
    first.run("down", "--pilots")
    shutil.copy(first.home / "floe.sqlite", tmp_path / "lost.sqlite")

    put_back(first, tmp_path / "old")
    first.up()
    soon(lambda: generation(first) > 1, 30, "a later generation")
    assert "another copy of this site's home" in log(first)
    soon(lambda: everywhere(three, "after", 20), 40, "what the copy lacked, from peers")
    submit(first, "next", 20)
    soon(lambda: everywhere(three, "next", 20), 30, "new work of the restored site")
    # It wrote a few entries before it heard of the others, and goes over to what they hold later.
    soon(lambda: not first.json("mesh", "recover", "--dry-run")["lost"], 30, "all is back")
    assert second.json("mesh", "verify")["equal"] is True
    first.run("down", "--pilots")
    homes = [site.home / "floe.sqlite" for site in three.sites.values()]
    assert_nothing_forked(tmp_path / "lost.sqlite", *homes)
    first.up()


def test_a_home_that_runs_twice_is_noticed_by_all_and_work_counts_once(
    three: Mesh, tmp_path: Path
) -> None:
    first, second, _ = (three[name] for name in THREE)
    submit(first, "alone", 20)
    soon(lambda: everywhere(three, "alone", 20), 30, "a dataset everywhere")
    first.run("down", "--pilots")  # the copy is to know of none of them
    first.run("backup", "--to", str(tmp_path / "copy"), "--keys")
    first.up()
    before, clone = generation(first), _clone(first, tmp_path)
    try:
        clone.up()
        soon(lambda: "kept out" in first.run("status"), 20, "the first notices")
        soon(lambda: "two nodes" in second.run("mesh", "why", "madison"), 20, "others do")
        assert any("two nodes" in each for each in second.json("mesh")["alarms"])
        soon(lambda: "started earlier" in clone.run("status"), 20, "the clone notices")
        submit(clone, "cloned", 20)
        soon(lambda: settled(second, "cloned") == 20, 30, "work that the clone took")
    finally:
        take_down(clone)
    soon(lambda: generation(first) > before, 90, "the first goes on elsewhere, too")
    soon(lambda: sees(first, 3), 30, "all sites alive")
    submit(first, "later", 20)
    soon(lambda: everywhere(three, "later", 20), 30, "new work of the first")
    soon(lambda: everywhere(three, "cloned", 20), 20, "the clone's work, too")
    assert second.json("mesh", "verify")["equal"] is True


def _clone(site: Site, folder: Path) -> Site:
    """A second node on a copy of a site's home."""
    clone = Site(folder / "home", dict(site.environment, FLOE_HOME=str(folder / "home")))
    clone.run("restore", str(folder / "copy"))
    shutil.copy(site.home / "client.toml", clone.home)
    config = clone.home / "config.toml"
    text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{free_port()}", config.read_text())
    config.write_text(text)
    return clone


def test_a_council_that_lost_its_majority_goes_on_by_an_admins_word(three: Mesh) -> None:
    first, _, third = (three[name] for name in THREE)
    first.run("submit", "--wait-stored", "3", "--name", "open", "--jobs", "9", "--", "sleep", "1")
    for name in ("madison", "desy"):
        three.kill(name)
    soon(lambda: "no majority" in third.run("status"), 60, "it says that voters are silent")
    assert "no majority" in third.run("why", "open")
    assert "no majority" in third.run("doctor", check=False)
    assert third.json("mesh", "recover")["taken"] == []
    third.run("mesh", "revoke", "desy", "--yes")
    third.run("mesh", "revoke", "madison", "--yes")
    assert "floe mesh recover" in third.run("why", "open")
    assert third.json("mesh", "recover")["taken"]
    third.wait("open", 60)
    assert settled(third, "open") == 9
    assert "forced on by" in third.run("show", "open")
