"""kill -9 of a writing process: what it said was stored is there, and the next one goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from node.store.highwater import Standing
from tests.fakes.store import HOST, KEY, NotingFold, Store

ROOT = Path(__file__).parents[4]
KILL_AFTER_LINES = [1, 7, 30]


def writer_process(home):
    """Writes records without end, and says so for each once it is durable."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.node.store.test_crash", str(home)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )


def test_kill_loses_nothing_that_was_acknowledged(tmp_path):
    home = tmp_path / "home"
    for lines in KILL_AFTER_LINES:
        writer = writer_process(home)
        said = [writer.stdout.readline().split() for _ in range(lines)]
        writer.kill()
        said += [line.split() for line in writer.stdout.read().splitlines(keepends=True)]
        writer.wait()
        store = Store(home)
        assert store.found.standing in (Standing.FINE, Standing.BETWEEN)
        assert store.found.generation == 1
        heads = store.journal.heads
        for lane, seq in (line for line in said if len(line) == 2):
            head = heads.control if lane == "control" else heads.results
            assert head.seq >= int(seq)
        assert store.database.writer.execute("PRAGMA integrity_check").get == "ok"
        assert store.database.writer.execute("SELECT count(*) FROM noted").get == (
            heads.control.seq + heads.results.seq
        )
        store.close()


def main(home: Path) -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from federation.ids import SiteID
    from node.store.database import Database
    from node.store.generation import begin_generation
    from node.store.highwater import HighWater
    from node.store.writer import Journal
    from tests.fakes.store import a_site, some_results

    home.mkdir(exist_ok=True)
    database = Database.open(home)
    highwater = HighWater(home / "floe.highwater", database.path, host=HOST)
    found = begin_generation(database, SiteID(KEY.site), highwater)
    journal = Journal(reactor, database, KEY, found.generation, NotingFold(), highwater)

    async def write(lane: str) -> None:
        while True:
            if lane == "control":
                await journal.control(a_site())
                print(lane, journal.heads.control.seq, flush=True)
            else:
                await journal.results(some_results(range(300)))
                print(lane, journal.heads.results.seq, flush=True)

    for lane in ("control", "results"):
        reactor.callWhenRunning(lambda lane=lane: Deferred.fromCoroutine(write(lane)))
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
