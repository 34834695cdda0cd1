"""The high-water file: which copies of a database it tells apart, and what follows."""

from __future__ import annotations

import os
import shutil
from hashlib import blake2b

import pytest

from federation.ids import FeedID, Lane, SiteID
from federation.records import Site
from node.store.database import DATABASE_NAME, NotAStore
from node.store.highwater import NO_HEADS, Head, Heads, HighWater, Standing
from node.store.waiting import JournalClosed
from tests.fakes.store import KEY, Store, a_site, outcome, some_results
from tests.unit.node.store.test_ingest import Author


def head(seq, mark=b"a"):
    return Head(seq, mark * 32) if seq else Head()


def heads(control, results, generation=1, mark=b"a"):
    return Heads(generation, head(control, mark), head(results, mark))


@pytest.fixture
def file(tmp_path):
    database = tmp_path / DATABASE_NAME
    database.touch()
    return HighWater(tmp_path / "floe.highwater", database, host="here")


def check(file, database, before=None):
    """What a process that starts now would see."""
    fresh = HighWater(file._path, file._database, host="here")
    return fresh.check(database, before=before).standing


def test_a_new_home_is_fresh(file):
    assert file.check(NO_HEADS).standing is Standing.FRESH
    assert file.check(NO_HEADS).generation == 1


def test_equal_heads_are_fine_after_any_number_of_writes(file):
    file.begin(Heads(1))
    for n in range(1, 8):
        file.write(heads(n, n))
        assert check(file, heads(n, n)) is Standing.FINE


def test_database_one_commit_ahead_is_a_crash_between(file):
    file.begin(heads(3, 5))
    assert check(file, heads(4, 5), before=heads(3, 4)) is Standing.BETWEEN
    assert check(file, heads(4, 6), before=heads(3, 5)) is Standing.BETWEEN


def test_database_behind_in_either_lane_was_restored(file):
    file.begin(heads(3, 5))
    assert check(file, heads(2, 5)) is Standing.RESTORED
    assert check(file, heads(3, 4)) is Standing.RESTORED
    assert check(file, heads(4, 4)) is Standing.RESTORED
    assert check(file, NO_HEADS) is Standing.RESTORED


def test_other_ids_at_the_same_place_were_restored(file):
    file.begin(heads(3, 5))
    assert check(file, heads(3, 5, mark=b"b")) is Standing.RESTORED


def test_another_branch_one_ahead_was_restored(file):
    file.begin(heads(3, 5))
    other = heads(4, 5)
    assert check(file, other, before=heads(3, 4, mark=b"b")) is Standing.RESTORED


def test_a_restored_copy_goes_on_in_the_next_generation(file):
    file.begin(heads(3, 5, generation=4))
    assert file.check(heads(2, 5, generation=4)).generation == 5


def test_database_two_commits_ahead_means_that_the_file_is_old(file):
    file.begin(heads(3, 5))
    assert check(file, heads(5, 5), before=heads(4, 5)) is Standing.UNBOUND
    assert check(file, heads(0, 0, generation=2)) is Standing.UNBOUND


def test_missing_file_asks(file):
    assert file.check(heads(1, 0)).standing is Standing.UNBOUND


def test_damaged_file_asks(file):
    file.begin(heads(1, 1))
    file._path.write_bytes(os.urandom(8192))
    assert check(file, heads(1, 1)) is Standing.UNBOUND
    file._path.write_bytes(b"")
    assert check(file, NO_HEADS) is Standing.UNBOUND


@pytest.mark.parametrize("text", [b"{}", b"no json", b'{"turn":1}', b"[" * 3000])
def test_a_file_of_a_form_that_is_not_known_here_asks(file, text):
    file.begin(heads(1, 1))
    check_of = blake2b(text, digest_size=16).hexdigest().encode()
    file._path.write_bytes((check_of + b" " + text + b"\n").ljust(4096, b"\0") * 2)
    assert check(file, heads(1, 1)) is Standing.UNBOUND


@pytest.mark.parametrize("torn_bytes", [0, 10, 100, 250])
def test_torn_write_leaves_the_slot_before(file, torn_bytes):
    file.begin(Heads(1))
    file.write(heads(1, 1))
    before = file._path.read_bytes()
    file.write(heads(2, 2))
    after = file._path.read_bytes()
    slots = [after[:4096] != before[:4096], after[4096:] != before[4096:]]
    assert sorted(slots) == [False, True]
    at = 0 if slots[0] else 4096
    torn = bytearray(before)
    torn[at : at + torn_bytes] = after[at : at + torn_bytes]
    file._path.write_bytes(bytes(torn))
    assert check(file, heads(2, 2), before=heads(1, 1)) is Standing.BETWEEN


def test_every_write_reaches_the_disk_before_it_returns(file, monkeypatch):
    synced = []

    def sync(descriptor):
        synced.append(file._path.read_bytes() if file._path.exists() else b"")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "fdatasync", sync)
    file.begin(Heads(1))
    assert len(synced) == 2  # the new file, before it takes its name; then the folder
    file.write(heads(1, 1))
    assert len(synced) == 3
    assert synced[-1] == file._path.read_bytes()


def test_another_host_asks(file):
    file.begin(heads(3, 5))
    there = HighWater(file._path, file._database, host="there")
    assert there.check(heads(3, 5)).standing is Standing.UNBOUND
    assert there.check(heads(2, 5)).standing is Standing.RESTORED


def test_another_database_file_is_noticed(file, tmp_path):
    file.begin(heads(3, 5))
    copy = tmp_path / "copy"
    shutil.copy(file._database, copy)
    os.replace(copy, file._database)
    assert check(file, heads(3, 5)) is Standing.UNBOUND


# With a real store


def write(store, n):
    for name in range(n):
        done = [
            outcome(store.journal.control(a_site(f"s{name}"))),
            outcome(store.journal.results(some_results())),
        ]
        store.turn(0.3)
        assert done == [[None]] * 2


def ids(store, generation):
    return [
        entry.id
        for lane in Lane
        for entry in store.feeds.entries(FeedID(KEY.site, generation, lane))
    ]


def yesterdays_copy(tmp_path, *, same_inode):
    """A home whose database is put back from a copy made before the last entries."""
    home = tmp_path / "home"
    store = Store(home)
    write(store, 2)
    store.close()
    shutil.copy(home / DATABASE_NAME, tmp_path / "yesterday")
    store = Store(home)
    write(store, 3)
    authored = ids(store, 1)
    store.close()
    if same_inode:
        shutil.copy(tmp_path / "yesterday", home / DATABASE_NAME)
    else:
        os.replace(tmp_path / "yesterday", home / DATABASE_NAME)
    return home, authored


@pytest.mark.parametrize("same_inode", [True, False])
def test_yesterdays_copy_is_noticed_and_nothing_is_forked(tmp_path, same_inode):
    home, authored = yesterdays_copy(tmp_path, same_inode=same_inode)
    store = Store(home)
    assert store.found.standing is Standing.RESTORED
    assert store.found.generation == 2
    write(store, 2)
    assert ids(store, 1) == [id for id in authored if id in set(ids(store, 1))]
    assert len(ids(store, 1)) == 4  # the old generation gets no more entries
    assert len(ids(store, 2)) == 4
    store.close()
    again = Store(home)
    assert again.found.standing is Standing.FINE
    assert again.found.generation == 2
    again.close()


def test_yesterdays_copy_put_back_twice_never_reuses_a_generation(tmp_path):
    home, _ = yesterdays_copy(tmp_path, same_inode=True)
    shutil.copy(home / DATABASE_NAME, tmp_path / "again")
    store = Store(home)
    write(store, 1)
    store.close()
    shutil.copy(tmp_path / "again", home / DATABASE_NAME)
    store = Store(home)
    assert store.found.generation == 3
    store.close()
    shutil.copy(tmp_path / "again", home / DATABASE_NAME)
    store = Store(home)  # generation 3 wrote nothing, so nothing of it can fork
    assert store.found.generation == 3
    store.close()


def test_a_deleted_database_is_noticed(tmp_path):
    store = Store(tmp_path / "home")
    write(store, 1)
    store.close()
    (tmp_path / "home" / DATABASE_NAME).unlink()
    store = Store(tmp_path / "home")
    assert store.found.standing is Standing.RESTORED
    assert store.found.generation == 2
    store.close()


def a_doubted(home):
    """A store whose high-water file is gone."""
    store = Store(home)
    write(store, 1)
    store.close()
    (home / "floe.highwater").unlink()
    return Store(home)


def test_without_the_file_nothing_is_written_before_it_is_known_which_copy_this_is(tmp_path):
    store = a_doubted(tmp_path / "home")
    assert store.found.standing is Standing.UNBOUND
    assert (store.found.generation, store.found.doubt) == (1, True)
    for refused in (
        store.journal.control(Site("desy", "1")),
        store.journal.results(some_results()),
        store.journal.compose(lambda: [Site("desy", "1")]),
    ):
        assert isinstance(outcome(refused)[0], JournalClosed)
    other = Author()
    store.journal.leader = lambda refs: [Site("accepted", "1")]
    assert outcome(store.journal.ingest([other.write(), other.write()])) == []
    kept = outcome(store.journal.local(lambda conn: None))
    store.turn(1)
    assert kept == [None]
    assert len(store.feeds.entries(other.feed)) == 2
    assert store.journal.heads.control.seq == 1
    store.close()


def test_a_doubt_outlives_the_process_and_ends_when_the_file_is_bound(tmp_path):
    a_doubted(tmp_path / "home").close()
    store = Store(tmp_path / "home")
    assert store.found.doubt
    store.highwater.begin(store.journal.heads)
    store.close()
    store = Store(tmp_path / "home")
    assert (store.found.standing, store.found.generation) == (Standing.FINE, 1)
    write(store, 1)
    store.close()


def test_a_doubted_generation_that_is_left_is_not_written_again(tmp_path):
    store = a_doubted(tmp_path / "home")
    heads = store.journal.heads
    store.journal.outlive(FeedID(SiteID(KEY.site), 1, Lane.CONTROL), heads.control.seq, "older")
    store.close()
    store = Store(tmp_path / "home")
    assert store.found.generation > 1
    assert not store.found.doubt
    store.close()


def test_what_was_lost_is_remembered(tmp_path):
    home, _ = yesterdays_copy(tmp_path, same_inode=True)
    store = Store(home)
    (lost,) = store.highwater.lost
    assert store.found.lost == lost
    assert lost.generation == 1
    assert lost.control[0] <= lost.control[1]
    assert lost.words() in store.found.why
    write(store, 2)
    store.close()
    again = Store(home)
    assert again.found.lost is None
    assert again.highwater.lost == (lost,)
    again.close()


def test_a_mixture_of_old_and_new_parts_is_refused(tmp_path):
    store = Store(tmp_path / "home")
    write(store, 2)
    store.database.writer.execute("DELETE FROM entry WHERE no = (SELECT max(no) FROM entry)")
    store.close()
    with pytest.raises(NotAStore, match="mixture"):
        Store(tmp_path / "home")


def test_a_home_that_was_moved_to_another_host_is_doubted(tmp_path):
    store = Store(tmp_path / "home")
    write(store, 1)
    store.close()
    there = Store(tmp_path / "home", host="elsewhere")
    assert there.found.standing is Standing.UNBOUND
    assert (there.found.generation, there.found.doubt) == (1, True)
    there.close()


def test_a_moved_home_that_wrote_nothing_in_its_generation_leaves_it(tmp_path):
    store = Store(tmp_path / "home")
    write(store, 1)
    store.highwater.begin(Heads(5))
    store.close()
    there = Store(tmp_path / "home", host="elsewhere")
    assert there.found.generation > 5
    assert not there.found.doubt
    there.close()
