"""The hybrid logical clock: for display and sorting only. Pure.

One int64: milliseconds of the wall clock (epoch) in the high 47 bits, a counter in the low 16.
No rule about ownership or validity reads it.
"""

from __future__ import annotations

from typing import Final

from federation.errors import LocalError
from federation.limits import HLC_AHEAD_MS_MAX, HLC_MAX

_COUNTER_BITS: Final = 16


def tick(last: int, wall_ms: int) -> int:
    """The time of the next entry: the wall clock if it is later than `last`, else one more.

    last: the newest time this site wrote or merged; 0 for none. A clock that jumped back or
    stands still only makes the counter run.
    """
    now = max(last + 1, from_ms(wall_ms))
    if now > HLC_MAX:
        raise LocalError("the clock is past the year 6429")
    return now


def merge(last: int, remote: int, wall_ms: int) -> int:
    """The newest time known after an entry of time `remote` arrived.

    Remote times more than five minutes ahead of the wall clock are not merged: one site's wrong
    clock must not drag the others along.
    """
    if to_ms(remote) - wall_ms > HLC_AHEAD_MS_MAX:
        return last
    return max(last, remote)


def from_ms(wall_ms: int) -> int:
    """The earliest time within a millisecond; clocks set before 1970 count as 1970."""
    return max(wall_ms, 0) << _COUNTER_BITS


def to_ms(hlc: int) -> int:
    """Milliseconds since the epoch, to show to people."""
    return hlc >> _COUNTER_BITS
