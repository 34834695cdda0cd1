"""Whether a member is there: from the beacons that were heard of it, and their age. Pure.

A hint for people and for choosing whom to ask: it removes nobody, and no rule about ownership
reads it but for the leader's judgement of a lost owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

UNREACHABLE_S: Final = 180.0  # three beacons of an idle site (every 60 s) were missed
SUSPECT_S: Final = UNREACHABLE_S / 2  # one is late
BOOTS_KEPT: Final = 8  # of a site, so that late beacons of an earlier process are known as such


class Health(Enum):
    """What `floe mesh` shows; a revoked site is that whatever it sends."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    DRAINED = "drained"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Pulse:
    """The newest beacon heard of a site.

    boot, counter: of its process, and of the beacon within it. ended: earlier boots. heard_s: on
    this site's monotonic clock.
    """

    boot: int
    counter: int
    heard_s: float
    drained: bool = False
    ended: tuple[int, ...] = ()


def beat(pulse: Pulse | None, boot: int, counter: int, drained: bool, now_s: float) -> Pulse | None:
    """The pulse after a beacon; None if the beacon tells nothing new.

    A boot that was not heard before is a new process, whatever its number: clocks may have been
    put back. One that another has followed never comes again.
    """
    if pulse is None:
        return Pulse(boot, counter, now_s, drained)
    if boot == pulse.boot:
        newer = counter > pulse.counter
        return Pulse(boot, counter, now_s, drained, pulse.ended) if newer else None
    if boot in pulse.ended:
        return None
    return Pulse(boot, counter, now_s, drained, (pulse.boot, *pulse.ended)[:BOOTS_KEPT])


def age_s(pulse: Pulse | None, now_s: float) -> float | None:
    """Seconds since a site was last heard; None for never since this process began."""
    return None if pulse is None else max(now_s - pulse.heard_s, 0.0)


def health(
    pulse: Pulse | None,
    started_s: float,
    now_s: float,
    revoked: bool = False,
    unreachable_s: float = UNREACHABLE_S,
) -> Health:
    """How a member stands now.

    started_s: when this process began to listen; until a beacon could have come, a site that was
    not heard is suspect and no more. unreachable_s: of silence; after half of it a site is suspect.
    """
    if revoked:
        return Health.REVOKED
    silent_s = now_s - (started_s if pulse is None else pulse.heard_s)
    if silent_s >= unreachable_s:
        return Health.UNREACHABLE
    if pulse is None or silent_s >= unreachable_s / 2:
        return Health.SUSPECT
    return Health.DRAINED if pulse.drained else Health.ALIVE


def changes_at_s(pulse: Pulse | None, started_s: float, now_s: float) -> float | None:
    """When `health` will say something else if nothing is heard; None if it will not."""
    since_s = started_s if pulse is None else pulse.heard_s
    ahead = [since_s + wait_s for wait_s in (SUSPECT_S, UNREACHABLE_S) if since_s + wait_s > now_s]
    return ahead[0] if ahead else None
