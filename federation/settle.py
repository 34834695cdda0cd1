"""Acks, and what is settled. Pure.

A record is settled when, under one and the same term whose log contains it, a majority of the
whole council has countable acks at or beyond it. An ack counts for term t only if it stands, in
its voter's own feed, before that voter's first vote for a later term. Positions within a term are
sequence numbers of the leader's control feed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from federation.ids import Place, SiteID
from federation.quorum import majority


@dataclass(frozen=True, slots=True)
class Seat:
    """What one voter's feed says about one shard, as far as it was read.

    acked: term to the furthest position acked. voted: the highest term voted for; 0 for none.
    """

    acked: Mapping[int, int] = field(default_factory=dict)
    voted: int = 0
    read: Place = (0, 0)


class OutOfOrder(ValueError):
    """A voter's acts were given in another order than that of its own feed."""


def with_ack(seat: Seat, place: Place, term: int, through: int) -> Seat:
    """The seat after an ack; one that follows a vote for a later term changes nothing.

    Raises OutOfOrder unless `place` lies beyond all that was read.
    """
    seat = _advanced(seat, place)
    if seat.voted > term or seat.acked.get(term, 0) >= through:
        return seat
    return replace(seat, acked={**seat.acked, term: through})


def with_vote(seat: Seat, place: Place, term: int) -> Seat:
    """The seat after a vote for `term`: acks of lower terms count no longer from here on.

    Raises OutOfOrder unless `place` lies beyond all that was read.
    """
    seat = _advanced(seat, place)
    return replace(seat, voted=max(seat.voted, term))


def settled_through(council: Sequence[SiteID], seats: Mapping[SiteID, Seat], term: int) -> int:
    """The furthest position of the term's log that a majority acked under this term; 0 for none.

    Seats of sites that are not in the council do not count.
    """
    acked = sorted(
        (seats[site].acked.get(term, 0) for site in council if site in seats), reverse=True
    )
    needed = majority(len(council))
    return acked[needed - 1] if len(acked) >= needed else 0


def _advanced(seat: Seat, place: Place) -> Seat:
    if place <= seat.read:
        raise OutOfOrder(f"an act at {place} after one at {seat.read}")
    return replace(seat, read=place)
