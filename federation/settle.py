"""Acks, and what is settled. Pure.

A record is settled when, under one and the same term whose log contains it, a majority of the
whole council has countable acks at or beyond it. An ack counts for term t only if it stands, in
its voter's own feed, before that voter's first vote for a later term. Positions within a term are
sequence numbers of its leader's control feed.

The leader acks an entry of its log by writing it. As others' acks it stands behind the whole entry:
an entry in which the leader votes for a later term is not acked by it.

From a seat.close on, the acks of that seat settle nothing: they count below it only. (An act of
that seat from before `through` cannot lie beyond the close, which names it.)

Source: docs/protocol.md, "Acks and settled", "Closed seats".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from federation.ids import EntryRef, FeedID, Place
from federation.quorum import majority
from federation.segments import closed, segments
from federation.shard import Shard, Term

WAITING_ACKS_MAX: Final = 16  # of one seat; of more the oldest are forgotten, which only delays

Log = tuple[int, FeedID]  # a term and its leader's control feed
Position = tuple[Term, int]  # a place in a log: the term of the record, seq in its leader's feed


@dataclass(frozen=True, slots=True)
class Acked:
    """An ack that counts: of the log of a term through an entry, standing in another entry.

    For the leader's own log the two are the same.
    """

    term: int
    entry: EntryRef
    at: EntryRef

    @property
    def log(self) -> Log:
        return self.term, self.entry.feed


@dataclass(frozen=True, slots=True)
class Seat:
    """What one voter's feed says about one shard, as far as it was read.

    acked: the furthest ack of each log, of entries that are here under the id that was acked.
    waiting: acks that count once their entries are here. voted: the highest term voted for.
    """

    acked: Mapping[Log, Acked] = field(default_factory=dict)
    waiting: Sequence[Acked] = ()
    voted: int = 0
    read: Place = (0, 0)


Seats = Mapping[FeedID, Seat]


class OutOfOrder(ValueError):
    """A voter's acts were given in another order than that of its own feed."""


def with_ack(seat: Seat, index: int, ack: Acked, *, here: bool = True) -> Seat:
    """The seat after an ack, which is record `index` of its entry; after a later vote it is void.

    here: whether the acked entry is held; if not it waits for `with_arrived`.
    Raises OutOfOrder unless it stands beyond all that was read.
    """
    seat = _advanced(seat, (ack.at.seq, index))
    if seat.voted > ack.term:
        return seat
    if here:
        return _acked(seat, ack)
    return replace(seat, waiting=(*seat.waiting, ack)[-WAITING_ACKS_MAX:])


def with_log_entry(seat: Seat, entry: EntryRef, records: int, term: int) -> Seat:
    """The leader's seat after an entry of its feed that holds records of its log, of this term.

    Call it after the acks and votes of the same entry, which has so many records.
    """
    return with_ack(seat, records, Acked(term, entry, entry))


def with_vote(seat: Seat, place: Place, term: int) -> Seat:
    """The seat after a vote for `term`: acks of lower terms count no longer from here on.

    Raises OutOfOrder unless `place` lies beyond all that was read.
    """
    seat = _advanced(seat, place)
    return replace(seat, voted=max(seat.voted, term))


def with_arrived(seat: Seat, holds: Callable[[EntryRef], bool]) -> Seat:
    """The seat after entries came: acks that waited for them count now.

    holds: whether this very entry is here.
    """
    arrived = [ack for ack in seat.waiting if holds(ack.entry)]
    if not arrived:
        return seat
    seat = replace(seat, waiting=tuple(ack for ack in seat.waiting if ack not in arrived))
    for ack in arrived:
        seat = _acked(seat, ack)
    return seat


def acked_through(shard: Shard, seats: Seats, term: Term) -> dict[FeedID, int]:
    """How far each voter's acks under `term` count; voters without any are left out."""
    log = term.number, term.feed
    found = {
        voter: seats[voter].acked[log].entry.seq
        for voter in shard.voters(term)
        if voter in seats and log in seats[voter].acked
    }
    return {voter: seq for voter, seq in below_closes(shard, term, found).items() if seq}


def below_closes(shard: Shard, term: Term, acked: Mapping[FeedID, int]) -> dict[FeedID, int]:
    """How much of acks under `term` (voter to seq) counts; 0 if nothing of the term's own log.

    What it needs of the log is held by whoever holds the acked entries.
    """
    path = segments(shard, term)
    ended = path[-1].until
    found = {voter: min(seq, ended[0]) if ended else seq for voter, seq in acked.items()}
    for segment, close in closed(shard, path):
        if close.seat in found:
            below = close.at.seq - 1 if segment.term == term else 0
            found[close.seat] = min(found[close.seat], below)
    return {voter: seq if seq >= term.began.seq else 0 for voter, seq in found.items()}


def settled_through(shard: Shard, seats: Seats, term: Term) -> int:
    """The furthest seq of the term's own feed that is settled under it; 0 if its `open` is not."""
    acked = sorted(acked_through(shard, seats, term).values(), reverse=True)
    needed = majority(len(shard.voters(term)))
    return acked[needed - 1] if len(acked) >= needed else 0


def settled(shard: Shard, seats: Seats) -> Position | None:
    """How far the log of the newest term is settled: that record and all before it.

    None when nothing is yet, or while two opens hold for one term.
    """
    if shard.stopped:
        return None
    through = None
    for term in shard.lineage(shard.newest):
        seq = settled_through(shard, seats, term)
        if seq:
            return term, seq if through is None else min(seq, through.seq)
        through = term.cut
    return None


def final_term(shard: Shard, seats: Seats) -> Term | None:
    """The newest term whose beginning is settled: what its log lacks never comes back."""
    position = settled(shard, seats)
    return position[0] if position else None


def _acked(seat: Seat, ack: Acked) -> Seat:
    before = seat.acked.get(ack.log)
    if before is not None and before.entry.seq >= ack.entry.seq:
        return seat
    return replace(seat, acked={**seat.acked, ack.log: ack})


def _advanced(seat: Seat, place: Place) -> Seat:
    if place <= seat.read:
        raise OutOfOrder(f"an act at {place} after one at {seat.read}")
    return replace(seat, read=place)
