"""Going over to the other branch of a forked feed, between two lives of a store."""

from __future__ import annotations

import pytest

from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import UserRemove
from federation.shard import found
from node.store import branches
from tests.fakes.store import KEY, Store, a_site, outcome, some_results
from tests.unit.node.store.test_ingest import OTHER, Author, ids, real_fold, stored

ME = SiteID(KEY.site)


@pytest.fixture
def store(tmp_path):
    made = [Store(tmp_path / "home", fold=real_fold())]
    yield made
    made[0].close()


def again(stores):
    """The next life, in which what was chosen is taken."""
    home = stores[0].home
    stores[0].close()
    stores[0] = Store(home, fold=real_fold())
    store = stores[0]
    left = branches.take(store.database.writer, ME, real_fold())
    store.close()
    stores[0] = Store(home, fold=real_fold())
    return left


def want(store, entry):
    store.journal.local(lambda conn: branches.want(conn, entry.ref))
    store.turn()


def names(store):
    rows = store.database.writer.execute("SELECT name FROM site WHERE key = ?", (OTHER.site,))
    return rows.get


def test_the_entries_of_the_old_branch_go_and_those_of_the_other_come(store):
    author = Author()
    author.write(a_site("first"))
    copy = author.branch()
    author.write(a_site("ours"))
    author.write(a_site("ours, later"))
    theirs = copy.write(a_site("theirs"))
    store[0].journal.ingest(author.entries)
    store[0].turn()
    want(store[0], theirs)
    assert again(store) == [author.feed]
    assert stored(store[0], author) == ids(author)[:1]
    assert names(store[0]) == "first"
    assert branches.chosen(store[0].database.writer) == {author.feed: theirs.ref}
    assert outcome(store[0].journal.ingest([theirs])) == []
    store[0].turn()
    assert names(store[0]) == "theirs"
    assert again(store) == []  # once
    assert stored(store[0], copy) == ids(copy)


def test_a_feed_may_part_at_its_first_entry(store):
    author = Author()
    copy = author.branch()
    author.write(a_site("ours"))
    theirs = copy.write(a_site("theirs"))
    store[0].journal.ingest(author.entries)
    store[0].turn()
    want(store[0], theirs)
    again(store)
    assert [tip.feed for tip in store[0].feeds.tips()] == []
    store[0].journal.ingest([theirs])
    store[0].turn()
    assert stored(store[0], copy) == ids(copy)


def test_what_people_signed_and_pilots_reported_on_an_own_branch_is_kept_to_be_written_again(store):
    said = UserRemove(b"k" * 32, b"{}", b"s", b"k" * 32)
    for record in (a_site(), said, a_site("again")):
        store[0].journal.control(record)
        store[0].turn(1)
    store[0].journal.results(some_results())
    store[0].turn(1)
    control = store[0].feeds.entries(FeedID(ME, 1, Lane.CONTROL))
    other = Author(KEY)
    other.entries = control[:1]
    results = Author(KEY, Lane.RESULTS)
    for author in (other, results):
        want(store[0], author.write(*([some_results()] if author is results else [])))
    again(store)
    kept = branches.salvaged(store[0].database.writer)
    assert [(lane, record) for _, lane, record in kept] == [
        (Lane.CONTROL, said),
        (Lane.RESULTS, some_results()),
    ]
    for no, _, _ in kept:
        branches.forget(store[0].database.writer, no)
    assert branches.salvaged(store[0].database.writer) == []


def test_of_another_sites_branch_nothing_is_written_again(store):
    author = Author(lane=Lane.RESULTS)
    copy = author.branch()
    author.write(some_results())
    store[0].journal.ingest(author.entries)
    store[0].turn()
    want(store[0], copy.write(some_results(), some_results()))
    again(store)
    assert branches.salvaged(store[0].database.writer) == []


def test_the_first_choice_stands(store):
    author = Author()
    one, two = author.branch().write(a_site("one")), author.branch().write(a_site("two"))
    want(store[0], one)
    want(store[0], two)
    assert branches.chosen(store[0].database.writer) == {author.feed: one.ref}


def test_a_shard_that_an_earlier_generation_led_alone_takes_nothing_more(store):
    me = FeedID(ME, 1, Lane.CONTROL)
    record = found(me, b"n" * 16, [me])
    store[0].journal.control(record)
    store[0].turn()
    conn = store[0].database.writer
    assert branches.may_take(conn, record.shard, me)
    assert not branches.may_take(conn, record.shard, FeedID(ME, 2, Lane.CONTROL))
    assert not branches.may_take(conn, ShardID(b"x" * 32), me)
