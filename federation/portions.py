"""How much to ask for, to grant, to take from another: guided self-scheduling. Pure arithmetic.

Every claim gets a share of what is left, so that early grants are large (few claims, work for an
outage) and late ones small (all sites end together). Of the units that nobody owns, a site gets the
half of what it would do until the end: `remaining / (2 x able sites)`, where sites are counted by
their throughput: to a site that does a fifth of the work of all, the others are four like it.

When nothing is left to grant, owners give back what they have not begun, until all of them would
end at about the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

from federation.claims import Claim
from federation.shapes import idle_slots

GRANT_S_MIN: Final = 300.0  # of the site's own throughput
ASKED_S: Final = 7200.0  # what a site wants to hold, to outlive an outage of its links
LOW_S: Final = 120.0  # a site that holds less asks for more; some claims take a minute
IDLE_S: Final = 20.0  # a site that holds less asks even for what others would have to give back
PROBE_UNITS: Final = 4  # per slot, of work of which nobody has finished a unit yet
GAIN_S_MIN: Final = 10.0  # units move to another site only if that ends them so much earlier
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a site does units of one kind. slots: how many side by side.

    unit_s: wall time of one; None when nobody has done any.
    """

    slots: int
    unit_s: float | None

    @property
    def per_s(self) -> float:
        """Units a second; when that is not known, as if a unit took GRANT_S_MIN."""
        return self.slots / (GRANT_S_MIN if self.unit_s is None else max(self.unit_s, 1e-4))


def pace(slots: int, per_day: int, unit_s: float | None) -> Pace:
    """The pace of a site that says it does so many a day, 0 for not known.

    unit_s: what the units take elsewhere. A site whose word is far from that has measured other
    work; it is taken at most for four times as quick.
    """
    if not slots:
        return Pace(0, unit_s)
    if not per_day:
        return Pace(slots, unit_s)
    own_s = slots * DAY_S / per_day
    return Pace(slots, own_s if unit_s is None else max(own_s, unit_s / 4))


def portion(remaining: int, own: Pace, others: Iterable[Pace], room: int, *, known: bool) -> int:
    """How many units to grant to a site that claims.

    remaining: units that nobody owns. others: of the sites that could run them as well.
    room: how many more the site wants. known: whether any such unit has been done.
    """
    if own.slots <= 0 or remaining <= 0 or room <= 0:
        return 0
    able = 1.0 + sum(each.per_s for each in others) / own.per_s
    least = max(own.slots, ceil(own.per_s * GRANT_S_MIN))
    fair = ceil(remaining / (2 * able))
    if not known:
        return min(remaining, room, own.slots * PROBE_UNITS, max(own.slots, fair))
    return min(remaining, room, max(least, fair))


def asked(own: Pace, lines: int, asked_s: float = ASKED_S) -> int:
    """How many units of one person and shape a site wants to hold.

    lines: persons and shapes that compete for the site.
    """
    return max(own.slots, ceil(own.per_s * asked_s / max(1, lines)))


def runs_low(held: int, own: Pace, most: int, wanted: int) -> bool:
    """Whether a site should ask for more. most: what it held since the last claim.

    A site that wants little, as where many compete for it, would ask without a pause if LOW_S
    of work were too little whatever it wants.
    """
    least = min(own.per_s * LOW_S, wanted / 2)
    return held < max(own.slots, least, min(most, wanted) / 2)


def runs_dry(held: int, own: Pace, idle: int) -> bool:
    """Whether a site is about to be idle. idle: how many slots have nothing to do."""
    return held < max(int(own.per_s * IDLE_S), min(idle, 1))


def is_dry(claim: Claim) -> bool:
    """`runs_dry` of the claiming site: only for such a site do others give units back."""
    held = sum(each.units for each in claim.held)
    own = pace(claim.slots, claim.per_day, None)
    return runs_dry(held, own, idle_slots(claim.workers, claim.shape))


def recalled(queue: int, owner: Pace, held: int, own: Pace, room: int) -> int:
    """How many units an owner should give back for another, so that both end together.

    queue: units that the owner has and has not begun. held: those of the other. Nothing when the
    last of them would not end GAIN_S_MIN earlier there.
    """
    if own.slots <= 0 or room <= 0 or queue <= 0:
        return 0
    if owner.slots <= 0:
        return min(queue, room)
    gain_s = queue / owner.per_s + _unit_s(owner) - held / own.per_s - _unit_s(own)
    if gain_s < GAIN_S_MIN:
        return 0
    both = owner.per_s + own.per_s
    return min(queue, room, ceil(gain_s * owner.per_s * own.per_s / both))


def _unit_s(pace: Pace) -> float:
    return GRANT_S_MIN if pace.unit_s is None else pace.unit_s
