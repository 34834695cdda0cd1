"""Power cuts at every operation of a small life: nothing acknowledged is lost, nothing forks."""

from __future__ import annotations

import shutil

import apsw
import pytest

from federation.feed import FeedTip, follow
from federation.ids import FeedID, Lane
from node.store.highwater import Standing
from tests.fakes.disk import FakeDisk, PowerLost
from tests.fakes.store import HOST, KEY, Store, a_site, outcome, some_results

CYCLES = 5


def live(home, disk, *, pragma=None):
    """Write a few cycles until they are done or the power goes; ids of acknowledged entries."""
    acknowledged = []
    try:
        store = Store(home, disk=disk)
    except (PowerLost, apsw.Error):
        return acknowledged, None
    if pragma:
        store.database.writer.execute(pragma)
    for n in range(CYCLES):
        done = [
            outcome(store.journal.control(a_site(f"site{n}"))),
            outcome(store.journal.results(some_results(range(n * 500, n * 500 + 400)))),
        ]
        store.turn(0.25)
        if store.journal.trouble:
            break
        assert done == [[None]] * 2
        heads = store.journal.heads
        acknowledged += [(Lane.CONTROL, heads.control), (Lane.RESULTS, heads.results)]
    return acknowledged, store


def check_survivors(home, acknowledged):
    """Open what is left and go on; the heads it was opened with."""
    disk = FakeDisk()  # only its file identity is used: a power cut moves no inode
    store = Store(home, files=disk.files)
    try:
        assert store.database.writer.execute("PRAGMA integrity_check").get == "ok"
        assert store.found.standing in (Standing.FRESH, Standing.FINE, Standing.BETWEEN)
        for lane, head in acknowledged:
            ref_feed = FeedID(KEY.site, 1, lane)
            held = store.feeds.entries(ref_feed, head.seq - 1, 1)
            assert [entry.id for entry in held] == [head.id], f"lost {lane.name} {head.seq}"
        done = outcome(store.journal.control(a_site("after")))
        store.turn(1)
        assert done == [None]
        for lane in Lane:
            tip = FeedTip(FeedID(KEY.site, 1, lane))
            for entry in store.feeds.entries(tip.feed):
                tip = follow(tip, entry)
    finally:
        store.close()
        disk.close()


def operations_of_a_whole_life(tmp_path):
    disk = FakeDisk()
    acknowledged, store = live(tmp_path / "whole", disk)
    assert len(acknowledged) == 2 * CYCLES
    store.close()
    disk.close()
    return disk.operations


def cut_at(tmp_path, operation, seed, *, pragma=None):
    disk = FakeDisk(lose_after=operation)
    home = tmp_path / f"cut{operation}"
    acknowledged, store = live(home, disk, pragma=pragma)
    left = tmp_path / f"left{operation}-{seed}"
    disk.survivors(left, seed)
    if store is not None:
        store.abandon()
    disk.close()
    try:
        check_survivors(left, acknowledged)
    finally:
        shutil.rmtree(home)
        shutil.rmtree(left)


@pytest.mark.parametrize("seed", [1, 2])
def test_power_cut_at_any_operation_loses_nothing_acknowledged(tmp_path, seed):
    operations = operations_of_a_whole_life(tmp_path)
    assert operations > 60
    for operation in range(seed, operations, 2):
        cut_at(tmp_path, operation, seed)


def test_power_cut_while_the_log_is_folded_into_the_database_file(tmp_path):
    checkpoints = "PRAGMA wal_autocheckpoint=5"
    operations = operations_of_a_whole_life(tmp_path)
    for operation in range(30, operations + 40, 3):
        cut_at(tmp_path, operation, 7, pragma=checkpoints)


def test_the_harness_catches_a_store_that_does_not_sync(tmp_path):
    operations = operations_of_a_whole_life(tmp_path)
    with pytest.raises((AssertionError, apsw.Error)):
        cut_at(tmp_path, operations - 10, 3, pragma="PRAGMA synchronous=OFF")


def test_a_crash_between_commit_and_high_water_file_is_normal(tmp_path):
    disk = FakeDisk()
    home = tmp_path / "home"
    store = Store(home, files=disk.files)
    disk.files.write_at = lambda path, offset, data: None  # never reaches the file
    store.journal.control(a_site())
    store.turn()
    store.close()
    disk.close()
    calm = FakeDisk()  # for its file identity
    again = Store(home, files=calm.files, host=HOST)
    assert again.found.standing is Standing.BETWEEN
    assert again.found.generation == 1
    again.close()
    calm.close()
