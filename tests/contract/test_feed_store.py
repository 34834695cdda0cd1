"""The FeedStore port: the store in SQL and the one in memory behave alike."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from federation.entry import Entry, seal
from federation.errors import LocalError
from federation.feed import FeedTip
from federation.ids import EntryID, EntryRef, FeedID, Lane
from federation.ports import FeedStore
from federation.records import Site
from node.store.database import migrate, schema_files
from node.store.feeds import Feeds
from tests.fakes.feeds import MemoryFeeds
from tests.unit.federation.builders import CONTROL, KEY, OTHER_KEY, OTHER_SITE, chain

OTHER = FeedID(OTHER_SITE, 1, Lane.CONTROL)


@pytest.fixture(params=["memory", "sql"])
def store(request: pytest.FixtureRequest) -> Iterator[FeedStore]:
    if request.param == "memory":
        yield MemoryFeeds()
        return
    connection = apsw.Connection(":memory:")
    migrate(connection, schema_files())
    yield Feeds(connection)
    connection.close()


def tip_of(entry: Entry) -> FeedTip:
    return FeedTip(entry.header.feed, entry.header.seq, entry.id, entry.header.hlc)


def test_a_feed_that_is_not_held_has_an_empty_tip(store: FeedStore) -> None:
    assert store.tip(CONTROL) == FeedTip(CONTROL)
    assert list(store.tips()) == []
    assert list(store.entries(CONTROL, 0, 10)) == []


def test_entries_come_back_in_order_as_they_were_stored(store: FeedStore) -> None:
    made = chain(5)
    store.append(made[:2])
    store.append(made[2:])
    assert list(store.entries(CONTROL, 0, 10)) == made
    assert list(store.entries(CONTROL, 2, 2)) == made[2:4]
    assert list(store.entries(CONTROL, 5, 2)) == []
    assert store.tip(CONTROL) == tip_of(made[-1])


def test_every_feed_has_its_tip(store: FeedStore) -> None:
    mine, theirs = chain(2), chain(3, OTHER, OTHER_KEY)
    store.append([*mine, *theirs])
    assert set(store.tips()) == {tip_of(mine[-1]), tip_of(theirs[-1])}


def test_an_entry_that_does_not_follow_is_refused(store: FeedStore) -> None:
    first, second, third = chain(3)
    store.append([first])
    branch = seal(KEY, CONTROL, 3, first.id, 9, [Site("other", "9")])
    for wrong in (first, third, branch):
        with pytest.raises(LocalError):
            store.append([wrong])
    store.append([second])
    assert list(store.entries(CONTROL, 0, 10)) == [first, second]


def test_a_reference_means_one_branch_only(store: FeedStore) -> None:
    [entry] = chain(1)
    store.append([entry])
    assert store.entry(entry.ref) == entry
    assert store.entry(EntryRef(CONTROL, 1, EntryID(b"x" * 32))) is None
    assert store.entry(EntryRef(CONTROL, 2, entry.id)) is None
    assert store.entry(EntryRef(OTHER, 1, entry.id)) is None
