"""Stops submissions of pilots that are of no use, and tries again ever more rarely. Pure.

One for each batch system and shape. Closed: pilots are submitted. Open: none is, for a while. After
that a single one is tried; what becomes of it closes the breaker or opens it for twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STRIKES_MAX: Final = 3  # pilots in a row that ended, or went silent, before they announced
OPEN_S_MIN: Final = 60.0
OPEN_S_MAX: Final = 3600.0
WHY_CHARS_MAX: Final = 500
KEPT_S: Final = 7200.0  # after a pilot could have been tried, and nobody wanted one


@dataclass(slots=True, eq=False)
class Breaker:
    strikes: int = 0
    opened: int = 0  # times in a row
    until_s: float = float("-inf")
    why: str = ""
    news_s: float = float("-inf")  # when it last struck

    def failed(self, now_s: float, why: str) -> None:
        """A pilot ended before it announced. Those of one bunch open it once, with one reason."""
        self.strikes += 1
        self.news_s = now_s
        if now_s < self.until_s:
            return
        self.why = why[:WHY_CHARS_MAX]
        if self.opened or self.strikes >= STRIKES_MAX:
            self._open(now_s)

    def refused(self, now_s: float, why: str) -> None:
        """The batch system did not take a submission: it is not asked at once again."""
        self.why, self.news_s = why[:WHY_CHARS_MAX], now_s
        if now_s >= self.until_s:
            self._open(now_s)

    def taken(self) -> None:
        """The batch system took a submission: if it was refused before, that is over."""
        if not self.strikes:
            self.worked()

    def _open(self, now_s: float) -> None:
        self.until_s = now_s + min(OPEN_S_MAX, OPEN_S_MIN * 2.0 ** min(self.opened, 20))
        self.opened += 1

    def worked(self) -> None:
        """A pilot announced itself."""
        self.strikes, self.opened, self.until_s, self.why = 0, 0, float("-inf"), ""

    def allows(self, now_s: float, coming: int) -> int | None:
        """How many more pilots may be submitted; None: as many as other limits allow.

        coming: of this shape, submitted and not announced. They tell as much as a new one would.
        """
        if not self.opened:
            return None
        if now_s < self.until_s:
            return 0
        return 0 if coming else 1

    def past(self, now_s: float) -> bool:
        """Whether it says nothing of what would become of a pilot now."""
        if not (self.strikes or self.opened):
            return True
        return now_s - max(self.until_s, self.news_s) >= KEPT_S

    def words(self, now_s: float) -> str:
        """For people; "" while it is closed."""
        if not self.opened:
            return ""
        left_s = self.until_s - now_s
        after = f"in {left_s:.0f} s" if left_s > 0 else "now"
        counted = f"{self.strikes} pilots in a row ended before they spoke to this node; "
        told = counted if self.strikes else "submissions are refused; "
        return f"{told}one is tried {after}. {self.why}"
