"""When to try again after failures: each wait longer, none like the one of others. Pure.

What may pass by itself is counted apart from what lasts: a connection that broke before its key was
refused does not make the first wait for a new key longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

PASSING_S = (2.0, 300.0)  # first and longest wait after what may pass by itself
# After what somebody has to do something about. Submit hosts lock out who knocks too often.
LASTING_S = (300.0, 3600.0)
JITTER = 0.25  # a wait is so much shorter or longer, by chance


class Backoff:
    """Counts failures in a row, and says how long to wait. Times are of one monotonic clock."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = {False: 0, True: 0}  # by whether they last
        self._until_s = float("-inf")

    def failed(self, now_s: float, *, lasting: bool = False) -> None:
        """Once more."""
        first_s, longest_s = LASTING_S if lasting else PASSING_S
        wait_s = min(longest_s, first_s * 2.0 ** min(self._failures[lasting], 20))
        self._until_s = now_s + wait_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._failures[lasting] += 1

    def worked(self) -> None:
        """The next failure is the first one again."""
        self._failures = {False: 0, True: 0}

    def at_once(self) -> None:
        """Somebody asked for it: the next try need not wait, later ones do as before."""
        self._until_s = float("-inf")

    def left_s(self, now_s: float) -> float:
        """Seconds until the next try; 0 when it may be now."""
        return max(0.0, self._until_s - now_s)
