"""Records that are made when their entry is sealed."""

from __future__ import annotations

import pytest

from federation import limits
from federation.ids import Lane
from federation.records import Site
from node.store.writer import JournalClosed
from tests.fakes.disk import FakeDisk
from tests.fakes.store import HeldCommits, Store, a_site, outcome


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "home")
    yield store
    store.close()


def names(store):
    """Of the site records in each control entry."""
    feed = store.journal._lanes[Lane.CONTROL].feed
    return [[each.name for each in entry.records()] for entry in store.feeds.entries(feed)]


def test_what_is_composed_stands_behind_all_that_was_put_before_the_entry_was_sealed(store):
    done = outcome(store.journal.compose(lambda: [a_site("late")]))
    store.journal.control(a_site("put after"))
    assert done == []
    store.turn()
    assert done == [None]
    assert names(store) == [["put after", "late"]]


def test_it_is_made_when_every_earlier_entry_is_durable(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits)
    seen = []
    store.journal.control(a_site("before"))
    store.turn()
    store.journal.compose(lambda: seen.append(store.journal.heads.control.seq) or [])
    store.turn(1)
    assert seen == []
    commits.release()
    store.turn(1)
    assert seen == [1]
    commits.release()
    store.close()


def test_nothing_composed_makes_no_entry(store):
    done = outcome(store.journal.compose(list))
    store.turn()
    assert done == [None]
    assert names(store) == []


def test_a_composer_that_fails_harms_no_other_record(store):
    done = outcome(store.journal.compose(lambda: 1 // 0))
    store.journal.control(a_site("other"))
    store.turn()
    assert done == [None]
    assert names(store) == [["other"]]


def test_room_is_kept_for_it_in_a_full_entry(store):
    name = "x" * limits.NAME_BYTES_MAX
    for _ in range(1000):
        store.journal.control(Site(name, ""))
    store.journal.compose(lambda: [a_site("late")])
    store.turn(1)
    first = names(store)[0]
    assert len(first) > 400
    assert first[-1] == "late"


def test_what_does_not_fit_is_dropped(store):
    name = "x" * limits.NAME_BYTES_MAX
    done = outcome(store.journal.compose(lambda: [Site(name, "")] * 1000))
    store.turn(1)
    assert done == [None]
    assert names(store) == []


def test_a_disk_that_fails_lets_it_be_made_once(tmp_path):
    disk = FakeDisk()
    store = Store(tmp_path / "home", disk=disk)
    made = []
    disk.full = True
    intake = outcome(store.journal.control(a_site("new work"), intake=True))
    done = outcome(store.journal.compose(lambda: made.append(1) or [a_site("late")]))
    store.turn(1)
    assert done == []
    disk.full = False
    store.turn(30)
    assert done == [None]
    assert made == [1]
    assert names(store) == [["late"]]
    assert len(intake) == 1
    store.close()
    disk.close()


def test_after_closing_nothing_is_composed(store):
    store.journal.close()
    store.turn()
    [failed] = outcome(store.journal.compose(lambda: [a_site()]))
    assert isinstance(failed, JournalClosed)
