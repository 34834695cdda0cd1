"""The port of the council's facts: the folded tables and those in memory behave alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from federation.entry import Entry, seal
from federation.feed import prove_fork
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Ack, Forked, Found, Site
from federation.settle import Seat, settled
from federation.shard import found
from keys.identity import SiteKey
from node.council.ports import Facts
from node.council.tables import FoldedFacts
from node.fold import Fold
from node.model.commands import read_command
from node.model.validate import read_submission
from tests.fakes.councils import MemoryFacts
from tests.fakes.store import Store
from tests.vectors.council import CONTROL, KEYS, SHARD, Feeds, story

ME = CONTROL["b"]
READER = SiteKey(b"r" * 32)


class Taking(Protocol):
    facts: Facts

    def take(self, entries: Sequence[Entry]) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.facts = MemoryFacts(ME)
        self.take = self.facts.take


class InTables:
    """A site's store into which entries of others come."""

    def __init__(self, home: Path) -> None:
        fold = Fold(SiteID(READER.site), read_submission, read_command)
        self.store = Store(home, key=READER, fold=fold)
        self.conn = self.store.database.reader()
        self.facts = FoldedFacts(self.conn, ME.site, fold.acts())

    def take(self, entries: Sequence[Entry]) -> None:
        self.store.journal.ingest(entries)
        self.store.turn(1)

    def close(self) -> None:
        self.conn.close()
        self.store.close()


@pytest.fixture(params=["memory", "tables"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Taking]:
    if request.param == "memory":
        yield InMemory()
        return
    tables = InTables(tmp_path / "home")
    yield tables
    tables.close()


def test_a_shard_that_was_not_founded_is_not_known(made: Taking) -> None:
    facts = made.facts
    assert facts.councils() == []
    assert facts.shard(SHARD) is None
    assert not facts.seats(SHARD)
    assert not facts.votes(SHARD)
    assert facts.generations() in ({}, {SiteID(READER.site): 1})


def test_after_each_entry_of_a_councils_story_term_and_settled_place_are_known(
    made: Taking,
) -> None:
    feeds, said = story()
    for (_, entry), (newest, place) in zip(feeds.made, said, strict=True):
        made.take([entry])
        shard = made.facts.shard(SHARD)
        assert shard is not None
        assert shard.newest.number == newest
        position = settled(shard, made.facts.seats(SHARD))
        assert (position and [position[0].number, position[1]]) == place


def test_a_site_sits_where_it_was_given_a_seat_beside_others(made: Taking) -> None:
    feeds, _ = story()
    made.take([feeds.made[0][1]])
    assert list(made.facts.councils()) == [SHARD]
    alone = found(ME, bytes(16), [ME])
    assert isinstance(alone, Found)
    others = Feeds()
    others.write("b", alone)
    made.take([others.made[0][1]])
    assert list(made.facts.councils()) == [SHARD]
    assert made.facts.seated() == {feed.site: 1 for feed in CONTROL.values()}


def test_the_votes_that_count_are_known_with_their_entries(made: Taking) -> None:
    feeds, _ = story()
    for _, entry in feeds.made:
        made.take([entry])
    votes = made.facts.votes(SHARD)
    assert {(each.at, each.vote.term) for each in votes} == {
        (feeds.ref("b", 2), 1),
        (feeds.ref("c", 1), 1),
        (feeds.ref("b", 6), 2),
        (feeds.ref("a", 6), 2),
    }


def test_seats_say_what_was_acked_and_voted(made: Taking) -> None:
    feeds, _ = story()
    for _, entry in feeds.made:
        made.take([entry])
    seats = made.facts.seats(SHARD)
    assert {feed: seats[feed].voted for feed in CONTROL.values()} == {
        CONTROL["a"]: 2,
        CONTROL["b"]: 2,
        CONTROL["c"]: 1,
    }
    acked = seats[CONTROL["c"]].acked
    assert acked[1, CONTROL["b"]].entry == feeds.ref("b", 5)
    assert acked[1, CONTROL["b"]].at == feeds.ref("c", 3)


def test_an_ack_of_an_entry_that_is_not_here_counts_when_it_comes(made: Taking) -> None:
    feeds = Feeds()
    feeds.write("a", story()[0].made[0][1].records()[0])  # type: ignore[arg-type]
    ahead = feeds.sealed("a", Ack(SHARD, 0, ME.site, 1, 1, feeds.ref("a", 1).id))
    feeds.made.append(("a", ahead))
    made.take([feeds.made[0][1]])
    feeds.write("b", feeds.ack(0, "a", 2))
    made.take([feeds.made[-1][1]])
    assert not made.facts.seats(SHARD).get(ME, Seat()).acked
    made.take([ahead])
    assert made.facts.seats(SHARD)[ME].acked[0, CONTROL["a"]].entry == ahead.ref


def test_the_newest_generation_of_each_site_is_known(made: Taking) -> None:
    feeds, _ = story()
    for _, entry in feeds.made:
        made.take([entry])
    found = made.facts.generations()
    assert {site: found[site] for site in (feed.site for feed in CONTROL.values())} == {
        feed.site: 1 for feed in CONTROL.values()
    }


def test_entries_are_read_from_the_same_store(made: Taking) -> None:
    feeds, _ = story()
    for _, entry in feeds.made[:4]:
        made.take([entry])
    assert made.facts.feeds.tip(CONTROL["a"]).seq == 3
    ref = feeds.ref("a", 2)
    held = made.facts.feeds.entry(ref)
    assert held is not None
    assert held.body is not None
    results = FeedID(ref.feed.site, 1, Lane.RESULTS)
    assert made.facts.feeds.tip(results).seq == 0
    assert ShardID(SHARD) == SHARD
    assert KEYS["a"].site == ref.feed.site


def test_a_site_goes_on_above_a_generation_that_was_proved_to_be_forked(made: Taking) -> None:
    forker, witness = (SiteKey(letter * 32) for letter in (b"f", b"w"))
    feed = FeedID(SiteID(forker.site), 3, Lane.CONTROL)
    branches = [seal(forker, feed, 1, b"", 1, [Site(name, "1")]) for name in ("a", "b")]
    made.take([branches[0]])
    assert made.facts.generations()[feed.site] == 3
    proof = prove_fork(*branches)
    record = Forked(proof.first, proof.first_signature, proof.second, proof.second_signature)
    made.take([seal(witness, FeedID(SiteID(witness.site), 1, Lane.CONTROL), 1, b"", 2, [record])])
    assert made.facts.generations()[feed.site] == 4
