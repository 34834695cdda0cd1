"""Journal and real fold together: what is acknowledged is settled, whatever the disk does."""

from __future__ import annotations

import zlib

import apsw
import pytest

from federation.ids import EntryRef, ShardID, SiteID
from federation.records import Accept, Dataset, Found, Grant
from keys.signing import Purpose, digest
from node.store.database import DATABASE_NAME
from node.store.verify import finish, rebuild, verify
from tests.fakes.disk import FakeDisk, PowerLost
from tests.fakes.store import KEY, Store, outcome
from tests.unit.node.fold import world

SITE = SiteID(KEY.site)
SHARD = ShardID(digest(Purpose.SHARD, SITE + bytes(16)))
JOBS = 40
TEXT = world.document("nugen", [("sim", ()), ("reco", (0,))], jobs=JOBS)
DATASET = digest(Purpose.DATASET, TEXT)


def accept(refs: list[EntryRef]):
    return [Accept(SHARD, ref.feed.site, ref.feed.generation, ref.seq, ref.id) for ref in refs]


def open_store(home, disk=None):
    store = Store(home, fold=world.fold(), disk=disk)
    store.journal.leader = accept
    return store


def submission(text=TEXT):
    return Dataset(SHARD, zlib.compress(text), world.ANA, world.ANA)


def begin(store):
    """A shard, a dataset, all of it granted to this site."""
    store.journal.control(Found(SHARD, bytes(16), [SITE]))
    store.journal.control(submission())
    store.journal.control(Grant(SHARD, DATASET, [0, 1], [0, JOBS], SITE))
    store.turn(0.3)


def settled(connection):
    rows = connection.execute("SELECT task, job FROM settled").fetchall()
    counts = connection.execute("SELECT no, settled FROM task WHERE settled > 0").fetchall()
    for task, count in counts:
        assert count == len([row for row in rows if row[0] == task])
    return {(task % 64, job) for task, job in rows}


def check(home):
    return finish(verify(home / DATABASE_NAME, world.fold()))


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_results_are_settled_with_the_commit_that_holds_them(home):
    store = open_store(home)
    begin(store)
    done = outcome(store.journal.results(world.results(DATASET, 0, range(10))))
    store.turn(0.3)
    assert done == [None]
    assert settled(store.database.writer) == {(0, job) for job in range(10)}
    store.close()
    assert check(home).problems == []


def test_a_full_disk_in_the_middle_settles_everything_once(home):
    disk = FakeDisk()
    store = open_store(home, disk)
    begin(store)
    done = []
    for n in range(0, JOBS, 4):
        disk.full = n in (8, 12, 28)
        done.append(outcome(store.journal.results(world.results(DATASET, 0, range(n, n + 4)))))
        store.turn(0.3)
    disk.full = False
    store.settle()
    assert done == [[None]] * 10
    assert settled(store.database.writer) == {(0, job) for job in range(JOBS)}
    assert store.database.writer.execute("SELECT sum(duplicates) FROM task").get == 0
    assert store.database.writer.execute("SELECT count(*) FROM quarantine").get == 0
    store.close()
    disk.close()
    assert check(home).problems == []


def test_rebuild_of_a_real_log_gives_the_same_tables(home):
    store = open_store(home)
    begin(store)
    for task in (0, 1):
        store.journal.results(world.results(DATASET, task, range(20)))
        store.journal.results(world.results(DATASET, task, range(15, 25)))
        store.turn(0.3)
    before = world.fold().digest(store.database.writer)
    report = finish(rebuild(store.database.writer, world.fold()))
    assert report.problems == []
    assert not report.renumbered
    assert world.fold().digest(store.database.writer) == before
    store.close()
    assert check(home).ok


def test_a_rebuild_that_takes_in_a_quarantined_dataset_drops_leases_by_old_numbers(home):
    store = open_store(home)
    store.journal.control(Found(SHARD, bytes(16), [SITE]))
    store.turn(0.3)
    sound = store.fold.apply
    store.fold.apply = lambda *_: 1 / 0  # a bug, mended later
    store.journal.control(submission(world.document("broken")))
    store.turn(0.3)
    store.fold.apply = sound
    store.journal.control(submission())
    store.turn(0.3)
    writer = store.database.writer
    old = writer.execute("SELECT no FROM dataset WHERE id = ?", (DATASET,)).get
    writer.execute(
        "INSERT INTO pilot (no, tag, scheduler, token, announcements, submitted_ms)"
        " VALUES (1, '', 'local', x'', 0, 0)"
    )
    writer.execute("INSERT INTO lease VALUES (1, 1, ?, x'')", (old * 64,))
    report = finish(rebuild(writer, world.fold()))
    assert report.quarantined == 0
    assert writer.execute("SELECT no FROM dataset WHERE id = ?", (DATASET,)).get != old
    assert report.renumbered
    assert writer.execute("SELECT count(*) FROM lease").get == 0
    store.close()


def live(home, disk):
    """Run until the power goes; jobs whose results were acknowledged."""
    acknowledged = set()
    store = open_store(home, disk)
    begin(store)
    for n in range(0, JOBS, 8):
        jobs = range(n, n + 8)
        done = outcome(store.journal.results(world.results(DATASET, 0, jobs)))
        store.turn(0.3)
        if done != [None]:
            break
        acknowledged |= {(0, job) for job in jobs}
    return acknowledged, store


def test_power_cuts_lose_no_settled_unit(tmp_path):
    disk = FakeDisk()
    _, store = live(tmp_path / "whole", disk)
    store.close()
    disk.close()
    for operation in range(100, disk.operations, 9):
        disk = FakeDisk(lose_after=operation)
        try:
            acknowledged, store = live(tmp_path / f"cut{operation}", disk)
        except (PowerLost, apsw.Error):
            disk.close()
            continue
        left = tmp_path / f"left{operation}"
        disk.survivors(left, operation)
        store.abandon()
        calm = FakeDisk()  # for its file identity
        again = Store(left, fold=world.fold(), files=calm.files)
        assert settled(again.database.writer) >= acknowledged
        again.close()
        assert check(left).problems == []
        calm.close()
        disk.close()
