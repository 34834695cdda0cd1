"""What control entries say about a shard, in whatever order the feeds arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.ids import EntryRef, FeedID, Lane
from federation.ledger import CutOf, Ledger, no_force
from federation.records import Ack, Dataset, Force, Grant, Record, SeatClose, Vote
from federation.settle import settled
from federation.shard import found
from tests.unit.federation.builders import DATASET, PERSON
from tests.unit.federation.seats import NONCE, at, council, opened, seat, vote
from tests.unit.federation.test_schedules import ACTS, RARE, run

ROOT, ONE, TWO = seat(0), seat(1), seat(2)
SHARD = council().id
FOUNDING = found(ROOT, NONCE, [ROOT, ONE, TWO])
LOG = Grant(SHARD, DATASET, [0], [0, 1], ROOT.site)


class Reader:
    """A ledger, and the entries that were given to it."""

    def __init__(self, cut_of: CutOf = no_force) -> None:
        self.tips: dict[FeedID, int] = {}
        self.ledger = Ledger(SHARD, lambda ref: self.tips.get(ref.feed, 0) >= ref.seq, cut_of)

    def take(self, feed: FeedID, *records: Record) -> EntryRef:
        here = at(feed, self.tips.get(feed, 0) + 1)
        self.tips[feed] = here.seq
        self.ledger.take(here, records)
        return here

    def terms(self) -> list[int]:
        assert self.ledger.shard is not None
        return [term.number for term in self.ledger.shard.terms]


def ack(term: int, entry: EntryRef) -> Ack:
    return Ack(SHARD, term, entry.feed.site, entry.feed.generation, entry.seq, entry.id)


def elected(reader: Reader, term: int = 1, cut: int = 1) -> list[EntryRef]:
    """Votes of two for candidate 1."""
    head = at(ROOT, cut)
    return [reader.take(voter, vote(SHARD, term, ONE, 0, head)) for voter in (ONE, TWO)]


def test_a_term_begins_with_an_open_that_holds() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING)
    reader.take(ONE, opened(SHARD, 1, elected(reader), 0, at(ROOT, 1)), LOG)
    assert reader.terms() == [0, 1]
    assert reader.ledger.shard is not None
    assert reader.ledger.shard.newest.place == (2, 0)
    assert not reader.ledger.pending


def test_an_open_waits_for_the_votes_that_it_names() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING)
    votes = [at(ONE, 1), at(TWO, 1)]
    reader.take(ONE, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    reader.take(ONE, opened(SHARD, 1, votes, 0, at(ROOT, 1)))
    assert reader.terms() == [0]
    assert len(reader.ledger.pending) == 1
    reader.take(TWO, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    assert reader.terms() == [0, 1]


def test_terms_that_wait_for_their_base_follow_it() -> None:
    reader = Reader()
    first = [at(ONE, 1), at(TWO, 1)]
    second = [at(TWO, 2), at(ROOT, 2)]
    reader.take(TWO, vote(SHARD, 1, ONE, 0, at(ROOT, 1)), Dataset(SHARD, b"{}", b"s", PERSON))
    reader.take(TWO, Vote(SHARD, 2, TWO.site, 1, 2, at(ONE, 2).id))
    reader.take(TWO, opened(SHARD, 2, second, 1, at(ONE, 2)))
    reader.take(ONE, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    reader.take(ONE, opened(SHARD, 1, first, 0, at(ROOT, 1)))
    assert reader.ledger.shard is None
    reader.take(ROOT, FOUNDING)
    assert reader.terms() == [0, 1]
    reader.take(ROOT, vote(SHARD, 2, TWO, 0, at(ROOT, 1)))
    assert reader.terms() == [0, 1, 2]


def test_an_open_that_does_not_hold_ends_its_authors_term_and_begins_none() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING, LOG)
    reader.take(ROOT, opened(SHARD, 1, [at(ROOT, 1), at(ROOT, 2)], 0, at(ROOT, 1)), LOG)
    reader.take(ROOT, LOG)
    assert reader.terms() == [0]
    [(begun, why)] = reader.ledger.void
    assert begun[1] == at(ROOT, 2)
    assert "seat" in why
    acked = reader.ledger.seats[ROOT].acked
    assert {log: own.entry.seq for log, own in acked.items()} == {(0, ROOT): 1, (1, ROOT): 3}


def test_only_a_voters_first_vote_of_a_term_counts_and_none_below_it() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING)
    first = reader.take(TWO, vote(SHARD, 2, ONE, 0, at(ROOT, 1)))
    again = reader.take(TWO, vote(SHARD, 2, TWO, 0, at(ROOT, 1)))
    lower = reader.take(TWO, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    assert [len(reader.ledger.votes_in(ref) or ()) for ref in (first, again, lower)] == [1, 0, 0]
    assert reader.ledger.votes_in(at(TWO, 9)) is None
    [ballot] = reader.ledger.votes_above(1)
    assert (ballot.at, ballot.voter) == (first, TWO)


def test_acks_count_before_a_vote_for_a_later_term_and_once_their_entry_is_here() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING)
    early = reader.take(TWO, ack(0, at(ROOT, 2)))
    assert settled(council(), reader.ledger.seats) is None
    late = reader.take(ONE, vote(SHARD, 1, ONE, 0, at(ROOT, 1)), ack(0, at(ROOT, 2)))
    reader.take(ROOT, LOG)
    shard = reader.ledger.shard
    assert shard is not None
    assert settled(shard, reader.ledger.seats) == (shard.newest, 2)
    assert len(reader.ledger.acks_in(early) or ()) == 1
    assert reader.ledger.acks_in(late) == ()
    assert len(reader.ledger.acks_in(at(ROOT, 2)) or ()) == 1


def test_records_of_other_shards_say_nothing_here() -> None:
    reader = Reader()
    reader.take(ROOT, FOUNDING)
    other = replace(ack(0, at(ROOT, 1)), shard=b"o" * 32)  # type: ignore[arg-type]
    assert reader.ledger.acks_in(reader.take(TWO, other)) == ()


def test_a_force_begins_a_term_where_its_document_is_good() -> None:
    cut = at(ROOT, 1)
    record = Force(SHARD, 5, cut.seq, cut.id, b"{}", b"signature", PERSON)
    for cut_of, terms in ((no_force, [0]), (lambda *_: cut, [0, 5])):
        reader = Reader(cut_of)
        reader.take(TWO, record)
        reader.take(ROOT, FOUNDING)
        assert reader.terms() == terms
        assert len(reader.ledger.void) == 2 - len(terms)


def test_a_force_waits_while_the_term_of_its_cut_cannot_be_judged() -> None:
    cut = at(ONE, 2)
    reader = Reader(lambda *_: cut)
    reader.take(ROOT, FOUNDING)
    reader.take(ONE, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    reader.take(ONE, opened(SHARD, 1, [at(ONE, 1), at(TWO, 2)], 0, at(ROOT, 1)))
    reader.take(TWO, Force(SHARD, 5, cut.seq, cut.id, b"{}", b"signature", PERSON))
    assert reader.terms() == [0]
    reader.take(TWO, vote(SHARD, 1, ONE, 0, at(ROOT, 1)))
    assert reader.terms() == [0, 1, 5]
    assert reader.ledger.shard is not None
    assert reader.ledger.shard.newest.base == 1


def test_closes_of_foreign_seats_are_passed_over() -> None:
    reader = Reader()
    reader.take(ROOT, SeatClose(SHARD, seat(7).site, 1, 0, b""), FOUNDING)  # type: ignore[arg-type]
    reader.take(ROOT, SeatClose(SHARD, TWO.site, 1, 0, b""))  # type: ignore[arg-type]
    assert reader.ledger.shard is not None
    assert [close.seat for close in reader.ledger.shard.closes] == [TWO]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 5]))
def test_any_order_of_arrival_gives_the_same_terms_seats_and_settled_place(
    seed: int, count: int
) -> None:
    world = run(seed, count, acts=ACTS | RARE)
    control = {feed: all_ for feed, all_ in world.feeds.items() if feed.lane is Lane.CONTROL}
    straight, mixed = read(control, None), read(control, Random(seed))
    assert mixed.shard is not None
    assert straight.shard is not None
    assert mixed.shard.terms == straight.shard.terms
    assert mixed.shard.marks == straight.shard.marks
    assert mixed.seats == straight.seats
    assert settled(mixed.shard, mixed.seats) == settled(straight.shard, straight.seats)


def read(
    feeds: dict[FeedID, list[tuple[EntryRef, Sequence[Record]]]], random: Random | None
) -> Ledger:
    """A ledger that was given all entries, feed by feed or mixed."""
    tips: dict[FeedID, int] = {}
    ledger = Ledger(
        SHARD,
        lambda ref: tips.get(ref.feed, 0) >= ref.seq and feeds[ref.feed][ref.seq - 1][0] == ref,
    )
    todo = [feed for feed, entries in feeds.items() for _ in entries]
    if random is not None:
        random.shuffle(todo)
    for feed in todo:
        here, records = feeds[feed][tips.get(feed, 0)]
        tips[feed] = here.seq
        ledger.take(here, records)
    return ledger
