"""The model's questions, answered by the rules that sites run: `federation`'s own. Pure.

The model numbers the records of a term from 0, its open; the protocol counts places in the leader's
feed from 1, with 0 for none. Answers are kept: there are few different ones.
"""

from __future__ import annotations

from functools import lru_cache

from federation import opening, records, settle
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.opening import Ballot
from federation.settle import Seat
from tests.model.states import Acks

ANSWERS_MAX = 1 << 18

_SHARD = ShardID(bytes(32))
_SOMEBODY = SiteID(bytes(32))
_SOMEWHERE = EntryRef(FeedID(_SOMEBODY, 1, Lane.CONTROL), 1, EntryID(bytes(32)))
_TERM = 0  # settled_through is asked about one term at a time


@lru_cache(ANSWERS_MAX)
def countable(acks: Acks, voted: int, term: int, through: int) -> Acks:
    """A seat's acks after one more; the same if that does not count. voted: its highest vote."""
    before = Seat({at: ack + 1 for at, ack in enumerate(acks)}, voted)
    after = settle.with_ack(before, (1, 0), term, through + 1)
    return tuple(after.acked.get(at, 0) - 1 for at in range(len(acks)))


@lru_cache(ANSWERS_MAX)
def settled_through(acks: tuple[int, ...]) -> int:
    """The furthest settled record of a term, of which each voter acked through acks[voter]."""
    sites = [SiteID(bytes([site]) * 32) for site in range(len(acks))]
    seats = {site: Seat({_TERM: ack + 1}) for site, ack in zip(sites, acks, strict=True)}
    return settle.settled_through(sites, seats, _TERM) - 1


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
