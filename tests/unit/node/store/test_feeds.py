"""Feeds in SQL: tips, order, branches, bodies."""

from __future__ import annotations

import apsw
import pytest

from federation.entry import seal
from federation.feed import FeedTip
from federation.ids import EntryID, EntryRef, FeedID, Lane
from node.store.database import migrate, schema_files
from node.store.feeds import Bodies, EntryMissing, Feeds, NotNext
from node.store.highwater import NO_HEADS, Head, Heads
from tests.fakes.store import KEY, a_site, some_results

CONTROL = FeedID(KEY.site, 1, Lane.CONTROL)
RESULTS = FeedID(KEY.site, 1, Lane.RESULTS)


@pytest.fixture
def feeds():
    connection = apsw.Connection(":memory:")
    migrate(connection, schema_files()[:1])
    yield Feeds(connection)
    connection.close()


def grow(feeds, feed, n):
    """Append n entries; all of them."""
    grown = []
    for _ in range(n):
        tip = feeds.tip(feed)
        record = a_site(f"s{tip.seq}") if feed.lane is Lane.CONTROL else some_results([tip.seq])
        entry = seal(KEY, feed, tip.seq + 1, tip.id, tip.hlc + 1, [record])
        feeds.append([entry])
        grown.append(entry)
    return grown


def test_an_unknown_feed_has_an_empty_tip(feeds):
    assert feeds.tip(CONTROL) == FeedTip(CONTROL)
    assert feeds.tips() == []
    assert feeds.entries(CONTROL) == []


def test_entries_come_back_as_they_were_stored(feeds):
    grown = grow(feeds, CONTROL, 5)
    assert feeds.entries(CONTROL) == grown
    assert feeds.entries(CONTROL, after=2, limit=2) == grown[2:4]
    assert feeds.tip(CONTROL) == FeedTip(CONTROL, 5, grown[-1].id, grown[-1].header.hlc)


def test_an_entry_that_does_not_follow_is_refused_and_changes_nothing(feeds):
    first, second = grow(feeds, CONTROL, 2)
    wrong = [
        first,  # again
        second,
        seal(KEY, CONTROL, 4, second.id, 9, [a_site()]),  # a gap
        seal(KEY, CONTROL, 3, first.id, 9, [a_site()]),  # after another than the tip
        seal(KEY, CONTROL, 2, first.id, 9, [a_site("fork")]),
        seal(KEY, CONTROL, 1, b"", 9, [a_site("fork")]),
        seal(KEY, RESULTS, 2, first.id, 9, [a_site()]),  # a feed that begins in its middle
    ]
    for entry in wrong:
        with pytest.raises(NotNext):
            feeds.append([entry])
    assert feeds.entries(CONTROL) == [first, second]
    assert feeds.tips() == [FeedTip(CONTROL, 2, second.id, second.header.hlc)]


def test_a_reference_means_one_branch_only(feeds):
    (entry,) = grow(feeds, CONTROL, 1)
    assert feeds.entry(entry.ref) == entry
    assert feeds.number(entry.ref) == 1
    other = EntryRef(entry.ref.feed, 1, EntryID(b"x" * 32))
    assert feeds.entry(other) is None


def test_local_numbers_follow_the_order_of_arrival(feeds):
    one, two, three = [*grow(feeds, CONTROL, 1), *grow(feeds, RESULTS, 1), *grow(feeds, CONTROL, 1)]
    assert list(feeds.in_order()) == [(1, one), (2, two), (3, three)]
    assert list(feeds.in_order(after=2)) == [(3, three)]
    with pytest.raises(EntryMissing):
        feeds.by_number(4)


def test_in_order_pages_through_everything(feeds):
    grow(feeds, CONTROL, 600)
    assert [no for no, _ in feeds.in_order()] == list(range(1, 601))


def test_own_heads_are_those_of_the_newest_generation(feeds):
    assert feeds.own_heads(KEY.site) == NO_HEADS
    first, second = grow(feeds, CONTROL, 2)
    (results,) = grow(feeds, RESULTS, 1)
    assert feeds.own_heads(KEY.site) == Heads(1, Head(2, second.id), Head(1, results.id))
    assert feeds.own_heads_before(KEY.site) == Heads(1, Head(1, first.id), Head(0, b""))
    (newer,) = grow(feeds, FeedID(KEY.site, 2, Lane.CONTROL), 1)
    assert feeds.own_heads(KEY.site) == Heads(2, Head(1, newer.id), Head())


def test_bodies_are_decoded_once_while_kept(feeds):
    grow(feeds, CONTROL, 3)
    bodies = Bodies(kept_max=2)
    conn = feeds._db
    first = bodies.records(conn, 1)
    assert first == [a_site("s0")]
    assert bodies.records(conn, 1) is first
    bodies.records(conn, 2)
    bodies.records(conn, 3)
    assert bodies.records(conn, 1) is not first
