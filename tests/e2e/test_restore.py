"""Yesterday's database, put back: noticed, nothing forked, and what was under way is completed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from bench.site import Site

UNITS = 40


def held(site: Site, name: str, jobs: int) -> Path:
    """Submit units that each wait until a file allows them, in order of their jobs."""
    gate = site.home.parent / f"{name}-gate"
    gate.write_text("0")
    script = site.home.parent / f"{name}.sh"
    script.write_text(
        "#!/bin/sh\n"
        f'while [ "$(cat {gate})" -le "$FLOE_JOB" ]; do sleep 0.05; done\n'
        'echo "job $FLOE_JOB" > out.txt\n'
    )
    script.chmod(0o755)
    site.run(
        "submit", "--name", name, "--jobs", str(jobs), "--output", "out.txt", "--",
        f"./{script.name}",
    )  # fmt: skip
    return gate


def counts(site: Site, name: str) -> dict[str, int]:
    found: dict[str, int] = site.json("show", name)["counts"]
    return found


def poll_until(true: Callable[[], object], seconds: float = 90) -> None:
    """Wait for a condition of the real world, checked ten times a second."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.1)


def allow(gate: Path, jobs: int) -> None:
    beside = gate.with_suffix(".new")
    beside.write_text(str(jobs))
    beside.replace(gate)


def entries(database: Path) -> dict[tuple[bytes, int, int, int], bytes]:
    """(site, generation, lane, seq) -> entry id, of everything that a database holds."""
    conn = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    rows = conn.execute(
        "SELECT f.site, f.generation, f.lane, e.seq, e.id FROM entry e JOIN feed f ON f.no = e.feed"
    ).fetchall()
    conn.close()
    return {(site, generation, lane, seq): id_ for site, generation, lane, seq, id_ in rows}


def assert_nothing_forked(*databases: Path) -> None:
    seen: dict[tuple[bytes, int, int, int], bytes] = {}
    for database in databases:
        for place, id_ in entries(database).items():
            assert seen.setdefault(place, id_) == id_, f"two entries at {place[1:]}"


def put_back(site: Site, copy: Path) -> Path:
    """Put a copy in place of the database; the one that was there, kept aside."""
    lost = site.home.parent / "lost.sqlite"
    shutil.copy(site.home / "floe.sqlite", lost)
    for beside in site.home.glob("floe.sqlite-*"):
        assert beside.stat().st_size == 0 or beside.name.endswith("-shm"), "not closed cleanly"
        beside.unlink()
    shutil.copy(copy, site.home / "floe.sqlite")
    return lost


def attempts(site: Site, unit: str) -> list[str]:
    return [each["outcome"] for each in site.json("show", unit)["attempts"]]


def assert_complete(site: Site, name: str, units: int) -> None:
    seen = counts(site, name)
    assert (seen["units"], seen["settled"], seen["failed"]) == (units, units, 0), seen
    to = site.home.parent / f"fetched-{name}"
    site.run("fetch", name, "--to", str(to))
    texts = {path.read_text() for path in to.glob("*/*/out.txt")}
    assert texts == {f"job {job}\n" for job in range(units)}


def test_yesterdays_database_is_noticed_recovered_and_completed(own_site: Site) -> None:
    site = own_site
    gate = held(site, "long", UNITS)
    allow(gate, 10)
    poll_until(lambda: counts(site, "long")["settled"] == 10)
    poll_until(lambda: counts(site, "long")["running"] >= 2)
    copy = site.home.parent / "yesterday"
    site.run("backup", "--to", str(copy))
    # It goes on: units settle, a dataset is taken that the copy lacks.
    allow(gate, 20)
    site.run("submit", "--name", "unlucky", "--jobs", "2", "--", "/bin/true")
    poll_until(lambda: counts(site, "long")["settled"] == 20)
    poll_until(lambda: counts(site, "long")["running"] >= 2)
    site.run("down")
    pilots = set(site.pilots())
    assert pilots, "pilots outlive their node"
    lost = put_back(site, copy / "floe.sqlite")

    site.up()
    log = (site.home / "log" / "node.log").read_text()
    assert "older copy" in log
    assert "floe mesh recover" in log
    assert "floe mesh recover" in site.run("status")
    assert "floe mesh recover" in site.run("why", "long")
    assert "floe mesh recover" in site.run("doctor", check=False)
    generations = {feed["generation"] for feed in site.json("store", "show")["feeds"]}
    assert generations == {1, 2}
    listed = site.run("mesh", "recover", "--dry-run")
    assert "long" in listed
    assert "lost: entries" in listed
    assert "generation 1" in listed
    assert counts(site, "long")["settled"] == 10
    # Units that ran under the old generation end while nobody leads: kept, not counted yet.
    allow(gate, 22)
    poll_until(lambda: results_of_generation(site, 2) > 0)
    assert counts(site, "long")["settled"] == 10

    said = site.json("mesh", "recover")
    assert [taken["term"] for taken in said["taken"]] == [2]
    # Late results of granted units count.
    poll_until(lambda: counts(site, "long")["settled"] > 10)
    poll_until(lambda: attempts(site, "long/20/main") == ["success"])
    allow(gate, UNITS)
    site.wait("long", 120)
    assert_complete(site, "long", UNITS)
    assert "forced on by" in site.run("show", "long")
    assert "still" not in site.run("status")
    assert "nothing stands still" in site.run("mesh", "recover")
    assert pilots & set(site.pilots()), "the pilots of before still work"
    site.run("submit", "--name", "next", "--jobs", "2", "--", "/bin/true")
    site.wait("next", 60)
    site.run("down", "--pilots")
    assert site.json("verify")["ok"] is True
    assert_nothing_forked(lost, site.home / "floe.sqlite")
    generations = {place[1] for place in entries(lost)}
    assert generations == {1}


def results_of_generation(site: Site, generation: int) -> int:
    feeds = site.json("store", "show")["feeds"]
    wanted = [f for f in feeds if (f["generation"], f["lane"]) == (generation, "results")]
    return sum(feed["entries"] for feed in wanted)


def test_a_backup_in_an_empty_home_is_recovered_and_completed(own_site: Site) -> None:
    site = own_site
    gate = held(site, "long", UNITS)
    allow(gate, 10)
    poll_until(lambda: counts(site, "long")["settled"] == 10)
    copy = site.home.parent / "yesterday"
    site.run("backup", "--to", str(copy), "--keys")
    allow(gate, 20)
    poll_until(lambda: counts(site, "long")["settled"] == 20)
    site.run("down", "--pilots")
    lost = site.home / "floe.sqlite"

    key = site.home.parent / "id"
    again = Site(
        site.home.parent / "again",
        dict(site.environment, FLOE_HOME=str(site.home.parent / "again"), FLOE_KEY=str(key)),
    )
    said = again.run("restore", str(copy))
    assert "floe mesh recover" in said
    again.up()
    try:
        assert "floe mesh recover" in again.run("status")
        assert "and is at no other site, is lost" in again.run("mesh", "recover")
        allow(gate, UNITS)
        again.wait("long", 120)
        assert_complete(again, "long", UNITS)
        assert "still" not in again.run("status")
    finally:
        again.run("down", "--pilots", check=False)
    assert again.json("verify")["ok"] is True
    assert_nothing_forked(lost, again.home / "floe.sqlite")
