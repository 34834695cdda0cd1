"""The model's questions, answered by the rules that sites run: `federation`'s own. Pure.

The model numbers the records of a term from 0, its open; the protocol counts places in the leader's
feed from 1, with 0 for none. Answers are kept: there are few different ones.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from federation import opening, records, settle
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.opening import Ballot
from federation.settle import Acked, Seat
from federation.shard import Shard, Term
from tests.model.states import Acks

ANSWERS_MAX = 1 << 18

_SHARD = ShardID(bytes(32))
_SOMEBODY = SiteID(bytes(32))
_LEADER = FeedID(_SOMEBODY, 1, Lane.CONTROL)
_SOMEWHERE = EntryRef(_LEADER, 1, EntryID(bytes(32)))


@lru_cache(ANSWERS_MAX)
def countable(acks: Acks, voted: int, term: int, through: int) -> Acks:
    """A seat's acks after one more; the same if that does not count. voted: its highest vote."""
    before = [_acked(at, ack) for at, ack in enumerate(acks) if ack >= 0]
    seat = Seat({ack.log: ack for ack in before}, voted=voted)
    after = settle.with_ack(seat, 0, _acked(term, through)).acked
    found = [after.get((at, _LEADER)) for at in range(len(acks))]
    return tuple(ack.entry.seq - 1 if ack else -1 for ack in found)


@lru_cache(ANSWERS_MAX)
def settled_through(acks: tuple[int, ...]) -> int:
    """The furthest settled record of a term, of which each voter acked through acks[voter]."""
    seats = [replace(_LEADER, generation=number + 1) for number in range(len(acks))]
    term = Term(0, _LEADER, _SOMEWHERE)
    shard = Shard(_SHARD, seats, [term])
    acked = zip(seats, acks, strict=True)
    voters = {seat: Seat({(0, _LEADER): _acked(0, ack)}) for seat, ack in acked if ack >= 0}
    return settle.settled_through(shard, voters, term) - 1


def _acked(term: int, through: int) -> Acked:
    """An ack of a term, which one leader leads like all others, through a record."""
    entry = EntryRef(_LEADER, through + 1, EntryID(bytes(32)))
    return Acked(term, entry, _SOMEWHERE)


@lru_cache(ANSWERS_MAX)
def base_and_cut(votes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Base and cut of an open that names votes with these bases and heads."""
    ballots = []
    for base, head in votes:
        seq, entry = head + 1, EntryID(bytes([base, head + 1]).ljust(32, b"\0"))
        vote = records.Vote(_SHARD, len(votes), _SOMEBODY, base, seq, entry)
        ballots.append(Ballot(vote, _SOMEWHERE))
    base, (seq, _) = opening.base_and_cut(ballots)
    return base, seq - 1
