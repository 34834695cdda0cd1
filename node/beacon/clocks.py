"""How far the clock of another site is ahead of ours, from the beacons that came. Pure.

A beacon says what the sender's wall clock showed when it was made. What it shows here on arrival is
later by its way, which nobody measures: so of the last beacons the quickest counts. A link that has
just come up brings the sender's newest one first, made up to a minute before.

For display alone: no rule reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEPT: Final = 8  # beacons: ten minutes of an idle site
STALE_S: Final = 90.0  # so old a first beacon may be; a clock put back by more is seen at once


@dataclass(frozen=True, slots=True)
class Leads:
    """Of one process of a site: its wall clock less our monotonic one, as its beacons came.

    The newest is the last. Each is too small by the time that its beacon took.
    """

    boot: int
    seconds: tuple[float, ...]


def heard(leads: Leads | None, boot: int, clock_ms: int, now_s: float) -> Leads:
    """After one more beacon, which came at `now_s` on the monotonic clock."""
    lead_s = clock_ms / 1000 - now_s
    if leads is None or leads.boot != boot or max(leads.seconds) - lead_s > STALE_S:
        return Leads(boot, (lead_s,))
    return Leads(boot, (*leads.seconds, lead_s)[-KEPT:])


def ahead_s(leads: Leads, now_s: float, wall_s: float, way_s: float = 0.0) -> float | None:
    """Seconds by which the site's clock is ahead of ours; None where its one beacon may be stale.

    now_s, wall_s: of our two clocks at one moment. way_s: the least that a beacon takes.
    """
    found_s = max(leads.seconds) + now_s - wall_s + way_s
    if len(leads.seconds) == 1 and -STALE_S < found_s < 0:
        return None
    return found_s
