"""Who sits in the council of a new shard, and when a council should be replaced. Pure.

A founder sits in the council of its shard, alone in a mesh of one or two sites. The others are
chosen among those that are heard, rather such as can be dialled and have been up for long: a voter
that nobody reaches is a vote less, whatever else happens.

Source: DESIGN.md, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from federation.ids import FeedID, SiteID
from federation.voting import View, sits

SEATS: Final = (5, 3)  # tried in turn; a council of more settles no safer, and slower
SETTLED_IN_S: Final = 24 * 3600.0  # a site that is up for longer is not preferred for it


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member that might sit in a council.

    seat: its control feed, in the generation in which it writes. up_s: for how long it has been
    heard without a long gap; 0 if it is not heard now. seats: how many it has in other councils.
    """

    seat: FeedID
    dialled: bool
    up_s: float
    seats: int = 0
    drained: bool = False


class Why(Enum):
    """Why the datasets of a shard should go to a new one."""

    GROWN = "the mesh has sites enough for a larger council"
    LOST = "a seat is lost for good"


def choose(founder: FeedID, others: Sequence[Candidate]) -> list[FeedID]:
    """The council of a shard that a site founds now, the founder first."""
    fit = sorted((each for each in others if _fit(each)), key=_order)
    for size in SEATS:
        if len(fit) >= size - 1:
            return [founder, *(each.seat for each in fit[: size - 1])]
    return [founder]


def outgrown(view: View, founder: FeedID, others: Sequence[Candidate]) -> Why | None:
    """Why the leader of a shard should found another and move its datasets there; None if not.

    founder: the leader's control feed. Only what a new council would mend is a reason.
    """
    if not view.leads or view.shard.stopped:
        return None
    newest = view.shard.newest
    voters = view.shard.voters(newest)
    lost = [seat for seat in voters if not sits(view, seat)]
    better = len(choose(founder, others))
    if better > len(voters):
        return Why.GROWN
    return Why.LOST if lost and better > len(voters) - len(lost) else None


def refuge(others: Sequence[Candidate]) -> SiteID | None:
    """Who should lead what a site leads that is drained; None if nobody can."""
    fit = sorted((each for each in others if _fit(each)), key=_order)
    return fit[0].seat.site if fit else None


def _fit(candidate: Candidate) -> bool:
    return candidate.up_s > 0 and not candidate.drained


def _order(candidate: Candidate) -> tuple[bool, float, int, bytes]:
    """Those that can be dialled, are up for long, and sit in few councils come first."""
    up_s = min(candidate.up_s, SETTLED_IN_S)
    return not candidate.dialled, -round(up_s / 3600), candidate.seats, candidate.seat.site
