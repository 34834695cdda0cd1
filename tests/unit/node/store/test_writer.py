"""The journal: what one cycle holds, when it starts, who hears of it, what a bad disk does."""

from __future__ import annotations

import errno
import itertools

import apsw
import pytest

from federation import limits
from federation.errors import LocalError
from federation.ids import Lane
from federation.records import Accept, Site, encode
from node.store.database import DiskFull
from node.store.writer import JournalClosed, JournalFull, JournalLimits
from tests.fakes.disk import FakeDisk
from tests.fakes.store import HeldCommits, NotingFold, Store, a_site, outcome, some_results

MB = 1_000_000


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "home")
    yield store
    store.close()


def entries(store, lane):
    feed = store.journal._lanes[lane].feed
    return store.feeds.entries(feed)


def quarantined(store):
    return store.database.writer.execute("SELECT count(*) FROM quarantine").get


def test_waiter_fires_at_the_end_of_the_turn_when_idle(store):
    done = outcome(store.journal.control(a_site()))
    assert done == []
    store.turn()
    assert done == [None]
    assert store.journal.heads.control.seq == 1


def test_records_of_one_turn_share_one_entry(store):
    seen = [outcome(store.journal.control(a_site(name))) for name in ("desy", "lbnl", "kit")]
    store.turn()
    assert seen == [[None]] * 3
    (entry,) = entries(store, Lane.CONTROL)
    assert [record.name for record in entry.records()] == ["desy", "lbnl", "kit"]


def test_one_cycle_makes_at_most_one_entry_a_lane(store):
    store.journal.control(a_site())
    store.journal.results(some_results())
    store.journal.results(some_results())
    store.turn()
    assert len(entries(store, Lane.CONTROL)) == len(entries(store, Lane.RESULTS)) == 1


def test_entries_chain(store):
    for _ in range(3):
        store.journal.control(a_site())
        store.turn(1)
    first, second, third = entries(store, Lane.CONTROL)
    assert (first.header.prev, second.header.prev, third.header.prev) == (b"", first.id, second.id)
    assert first.header.hlc < second.header.hlc < third.header.hlc  # though the clock stood still


def test_what_comes_during_a_commit_waits_for_the_next_and_shares_it(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits)
    first = outcome(store.journal.control(a_site("first")))
    store.turn()
    later = [outcome(store.journal.control(a_site(f"later{n}"))) for n in range(5)]
    store.turn(1)
    assert first == []
    assert len(commits.waiting) == 1
    commits.release()
    assert first == [None]
    assert later == [[]] * 5
    store.turn(0.1)
    commits.release()
    assert later == [[None]] * 5
    assert [entry.header.count for entry in entries(store, Lane.CONTROL)] == [1, 5]
    store.close()


def test_results_are_written_at_once_when_none_were_lately(store):
    done = outcome(store.journal.results(some_results()))
    store.turn()
    assert done == [None]


def test_results_gather_when_busy_for_at_most_the_wait(store):
    store.journal.results(some_results())
    store.turn()
    early = outcome(store.journal.results(some_results([5])))
    store.turn(0.1)
    late = outcome(store.journal.results(some_results([6])))
    store.turn(0.05)
    assert early == late == []
    store.turn(0.06)
    assert early == late == [None]
    assert len(entries(store, Lane.RESULTS)) == 2


def test_control_does_not_wait_for_gathering_results(store):
    store.journal.results(some_results())
    store.turn()
    gathering = outcome(store.journal.results(some_results([5])))
    control = outcome(store.journal.control(a_site()))
    store.turn(0.01)
    assert control == [None]
    assert gathering == []


def test_what_must_stay_in_order_takes_gathering_results_along(store):
    store.journal.results(some_results())
    store.turn()
    gathering = outcome(store.journal.results(some_results([5])))
    other = outcome(store.journal.local(lambda conn: None))
    store.turn(0.01)
    assert (gathering, other) == ([], [None])
    behind = outcome(store.journal.local(lambda conn: None, in_order=True))
    store.turn(0.01)
    assert gathering == behind == [None]


def test_nothing_in_order_overtakes_results_of_several_entries(store):
    size = len(encode(some_results(range(900))))
    assert size > 2000
    waiting = [
        outcome(store.journal.results(some_results(range(0, 9000, 10))))
        for _ in range(2 * limits.RECORD_BYTES_MAX // size)
    ]
    seen = []
    behind = outcome(
        store.journal.local(
            lambda conn: seen.append(conn.execute("SELECT count(*) FROM entry").get), in_order=True
        )
    )
    store.settle()
    assert behind == [None]
    assert all(done == [None] for done in waiting)
    assert seen == [len(entries(store, Lane.RESULTS))]
    assert seen[0] > 1


def test_enough_results_for_an_entry_do_not_wait(store):
    store.journal.results(some_results())
    store.turn()
    for _ in range(5):
        store.journal.results(some_results(range(100_000, 108_000)))
    store.turn(0.01)
    assert len(entries(store, Lane.RESULTS)) >= 2


def test_a_body_never_exceeds_the_bound_and_nothing_is_lost(store):
    done = [outcome(store.journal.results(some_results(range(n, n + 4000)))) for n in range(30)]
    store.settle()
    assert done == [[None]] * 30
    held = entries(store, Lane.RESULTS)
    assert max(entry.header.body_len for entry in held) <= 64 * 1024
    assert sum(entry.header.count for entry in held) == 30


def test_a_clock_that_jumps_back_delays_nothing(store):
    store.clock.rightNow = 1e9
    store.journal.results(some_results())
    store.turn()
    store.clock.rightNow -= 365 * 86400
    done = [
        outcome(store.journal.results(some_results())),
        outcome(store.journal.control(a_site())),
    ]
    store.turn(0.21)
    assert done == [[None], [None]]


def test_a_record_that_others_would_refuse_is_refused_here(store):
    done = outcome(store.journal.control(Site("x" * 10_000, "1")))
    assert isinstance(done[0], LocalError)
    assert store.journal.backlog == 0


def test_the_leader_accepts_new_results_in_the_same_transaction(store):
    asked = []

    def leader(refs):
        asked.extend(refs)
        (ref,) = refs
        feed = ref.feed
        return [Accept(b"s" * 32, feed.site, feed.generation, ref.seq, ref.id)]

    store.journal.leader = leader
    done = outcome(store.journal.results(some_results()))
    store.turn()
    assert done == [None]
    (results,) = entries(store, Lane.RESULTS)
    (control,) = entries(store, Lane.CONTROL)
    assert asked == [results.ref]
    assert control.records()[0].entry == results.id


def test_a_broken_leader_loses_no_results(store, caplog):
    store.journal.leader = lambda refs: 1 / 0
    done = outcome(store.journal.results(some_results()))
    store.turn()
    assert done == [None]


def test_subscribers_hear_after_the_commit_and_before_the_waiters(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits)
    order = []
    store.journal.subscribe(lambda changes: order.append(("told", len(changes))))
    store.journal.control(a_site()).addCallback(lambda _: order.append("fired"))
    store.turn()
    assert order == []
    commits.release()
    assert order == [("told", 1), "fired"]
    store.close()


def test_a_broken_subscriber_stops_nobody(store):
    told = []
    store.journal.subscribe(lambda changes: 1 / 0)
    store.journal.subscribe(told.append)
    done = outcome(store.journal.control(a_site()))
    store.turn()
    assert done == [None]
    assert len(told) == 1


def test_a_fold_that_breaks_keeps_the_entry_and_undoes_only_its_own_changes(tmp_path):
    fold = NotingFold()
    fold.break_on = lambda records: records[0] == a_site("bad")
    store = Store(tmp_path / "home", fold=fold)
    done = []
    for name in ("good", "bad", "better"):
        done.append(outcome(store.journal.control(a_site(name))))
        store.turn(0.1)
    assert done == [[None]] * 3
    assert len(entries(store, Lane.CONTROL)) == 3
    noted = store.database.writer.execute("SELECT entry FROM noted").fetchall()
    assert noted == [(1,), (3,)]
    assert quarantined(store) == 1
    store.close()


def test_local_statements_share_the_transaction(store):
    def make(conn):
        conn.execute("CREATE TABLE mine (x)")

    done = [outcome(store.journal.local(make)), outcome(store.journal.control(a_site()))]
    store.turn()
    assert done == [[None], [None]]
    assert store.database.writer.execute("SELECT count(*) FROM mine").get == 0


def test_local_statements_that_fail_undo_only_themselves(store):
    def broken(conn):
        conn.execute("CREATE TABLE half (x)")
        raise KeyError("oops")

    bad = outcome(store.journal.local(broken))
    good = outcome(store.journal.control(a_site()))
    store.turn()
    assert isinstance(bad[0], KeyError)
    assert good == [None]
    names = store.database.writer.execute("SELECT name FROM sqlite_schema").fetchall()
    assert ("half",) not in names


def test_local_statements_alone_write_no_entry(store):
    store.journal.local(lambda conn: None)
    store.turn()
    assert store.journal.heads.control.seq == store.journal.heads.results.seq == 0


def test_statements_beside_results_share_their_transaction(store):
    def beside(conn):
        conn.execute("CREATE TABLE IF NOT EXISTS batch (n); INSERT INTO batch VALUES (7)")

    store.journal.results(some_results())
    store.turn()
    done = outcome(store.journal.results(some_results(), beside))
    store.turn(0.1)
    assert done == []  # gathering, the statements too
    assert (
        store.database.writer.execute("SELECT 1 FROM sqlite_schema WHERE name='batch'").get is None
    )
    store.turn(0.2)
    assert done == [None]
    assert store.database.writer.execute("SELECT n FROM batch").get == 7


def test_broken_statements_beside_results_lose_no_results(store):
    done = outcome(store.journal.results(some_results(), lambda conn: 1 / 0))
    store.turn()
    assert done == [None]
    assert len(entries(store, Lane.RESULTS)) == 1


# A disk that refuses


@pytest.fixture
def disk():
    disk = FakeDisk()
    yield disk
    disk.close()


@pytest.fixture
def disk_store(tmp_path, disk):
    store = Store(tmp_path / "home", disk=disk)
    yield store
    disk.full = False
    store.close()


def test_full_disk_refuses_intake_and_keeps_work(disk_store, disk):
    store = disk_store
    disk.full = True
    work = [
        outcome(store.journal.control(a_site())),
        outcome(store.journal.results(some_results())),
    ]
    intake = outcome(store.journal.control(a_site("new"), intake=True))
    store.turn(0.3)
    assert isinstance(intake[0], DiskFull)
    assert work == [[], []]
    assert "disk is full" in store.journal.trouble
    refused = outcome(store.journal.control(a_site("newer"), intake=True))
    assert isinstance(refused[0], DiskFull)
    more = outcome(store.journal.results(some_results([9])))
    store.turn(5)
    assert more == []

    disk.full = False
    store.settle()
    assert [*work, more] == [[None]] * 3
    assert store.journal.trouble == ""
    names = [r.name for entry in entries(store, Lane.CONTROL) for r in entry.records()]
    assert names == ["desy"]
    assert quarantined(store) == 0


def test_a_results_entry_keeps_its_id_over_retries(tmp_path, disk):
    wall_ms = itertools.count(1_700_000_000_000).__next__
    store = Store(tmp_path / "home", disk=disk, wall_ms=wall_ms)
    named = []

    def leader(refs):
        named.extend(ref.id for ref in refs)
        return []

    store.journal.leader = leader
    disk.full = True
    store.journal.results(some_results())
    store.turn(0.3)
    disk.full = False
    store.settle()
    assert named == [entry.id for entry in entries(store, Lane.RESULTS)]
    store.close()


def test_low_free_space_refuses_intake_only(tmp_path):
    free = [99 * MB]
    store = Store(tmp_path / "home", free_bytes=lambda: free[0])
    intake = outcome(store.journal.control(a_site(), intake=True))
    work = outcome(store.journal.control(a_site()))
    store.turn()
    assert isinstance(intake[0], DiskFull)
    assert "100 MB" in str(intake[0])
    assert work == [None]
    free[0] = 200 * MB
    again = outcome(store.journal.control(a_site(), intake=True))
    store.turn(0.1)
    assert again == [None]
    store.close()


def test_a_broken_high_water_file_tells_nobody_until_it_is_written(tmp_path, disk):
    store = Store(tmp_path / "home", files=disk.files)
    real, broken = disk.files.write_at, [True]

    def write_at(path, offset, data):
        if broken[0]:
            raise OSError(errno.EIO, "input/output error")
        real(path, offset, data)

    disk.files.write_at = write_at
    told = []
    store.journal.subscribe(told.append)
    done = outcome(store.journal.control(a_site()))
    store.turn(0.4)
    assert (done, told) == ([], [])
    broken[0] = False
    store.settle()
    assert done == [None]
    assert len(told) == 1
    assert len(entries(store, Lane.CONTROL)) == 1
    store.close()


def test_full_journal_says_so_and_refuses_only_intake(tmp_path):
    store = Store(
        tmp_path / "home", commit=HeldCommits(), bounds=JournalLimits(waiting_bytes_max=2000)
    )
    while not store.journal.full:
        store.journal.results(some_results(range(100)))
    assert outcome(store.journal.results(some_results())) == []
    assert isinstance(outcome(store.journal.control(a_site(), intake=True))[0], JournalFull)
    assert outcome(store.journal.control(a_site())) == []  # our own acts are always kept
    store.abandon()


def test_close_writes_what_waits(tmp_path):
    store = Store(tmp_path / "home")
    store.journal.results(some_results())
    store.turn()
    gathering = outcome(store.journal.results(some_results()))
    closed = outcome(store.journal.close())
    store.turn()
    assert gathering == [None]
    assert closed == [None]
    assert isinstance(outcome(store.journal.control(a_site()))[0], JournalClosed)
    assert isinstance(outcome(store.journal.local(lambda conn: None))[0], JournalClosed)
    store.database.close()


def test_close_with_a_full_disk_ends_and_fails_what_waits(disk_store, disk):
    store = disk_store
    disk.full = True
    waits = outcome(store.journal.results(some_results()))
    store.turn(0.3)
    closed = outcome(store.journal.close())
    store.turn()
    assert closed == [None]
    assert isinstance(waits[0], JournalClosed)


def test_a_statement_hit_by_a_full_disk_is_run_again(disk_store, disk):
    store = disk_store
    runs = []

    def local(conn):
        runs.append(1)
        if len(runs) == 1:
            raise apsw.FullError("disk full")

    done = outcome(store.journal.local(local))
    store.settle()
    assert done == [None]
    assert len(runs) == 2
