"""Stops submissions of pilots that are of no use, and tries again ever more rarely. Pure.

One for each batch system and shape. Closed: pilots are submitted. Open: none is, for a while. After
that a single one is tried; what becomes of it closes the breaker or opens it for twice as long.

A limit to the number of jobs is no reason to open it: that passes by itself, as jobs end. Fewer are
submitted at once then, half as many each time, and more again as they are taken; when not even one
is, the next one is tried after some minutes at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STRIKES_MAX: Final = 3  # pilots in a row that ended, or went silent, before they announced
OPEN_S_MIN: Final = 60.0
OPEN_S_MAX: Final = 3600.0
WHY_CHARS_MAX: Final = 500
LIMIT_S_MIN: Final = 30.0  # until another one is tried, when not even one was taken
LIMIT_S_MAX: Final = 240.0
KEPT_S: Final = 7200.0  # after a pilot could have been tried, and nobody wanted one


@dataclass(slots=True, eq=False)
class Breaker:
    strikes: int = 0
    opened: int = 0  # times in a row
    until_s: float = float("-inf")
    why: str = ""
    news_s: float = float("-inf")  # when it last struck
    limit: str = ""  # why fewer or none are submitted, in the words of the batch system
    most: int = 0  # in one submission; 0: as many as are wanted
    full: int = 0  # times in a row that not even one was taken
    full_s: float = float("-inf")  # none until then

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

    def limited(self, now_s: float, why: str, count: int, *, fewer: bool) -> None:
        """A submission of so many would have been more than a limit allows.

        fewer: fewer of them may be taken.
        """
        self.limit, self.news_s = why[:WHY_CHARS_MAX], now_s
        if fewer:
            self.most = max(1, count // 2)
        if fewer and count > 1:
            return
        self.full_s = now_s + min(LIMIT_S_MAX, LIMIT_S_MIN * 2.0 ** min(self.full, 20))
        self.full += 1

    def taken(self, wanted_max: int) -> None:
        """The batch system took a submission: if it was refused before, that is over.

        wanted_max: in one submission, whatever the batch system says.
        """
        if not self.strikes:
            self.worked()
        self.full, self.full_s = 0, float("-inf")
        self.most = 2 * self.most if 2 * self.most < wanted_max else 0
        if not self.most:
            self.limit = ""

    def retry(self) -> None:
        """Somebody has done something about it: the next one is tried at once."""
        self.until_s = self.full_s = float("-inf")

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
        if now_s < self.full_s:
            return 0
        most = self._trusted(now_s, coming)
        return min(self.most if most is None else most, self.most) if self.most else most

    def _trusted(self, now_s: float, coming: int) -> int | None:
        """As `allows`, by what became of pilots."""
        if not self.opened:
            return None
        if now_s < self.until_s:
            return 0
        return 0 if coming else 1

    def past(self, now_s: float) -> bool:
        """Whether it says nothing of what would become of a pilot now."""
        if not (self.strikes or self.opened or self.limit):
            return True
        return now_s - max(self.until_s, self.full_s, self.news_s) >= KEPT_S

    def words(self, now_s: float) -> str:
        """For people; "" while it is closed."""
        if not self.opened:
            return ""
        left_s = self.until_s - now_s
        after = f"in {left_s:.0f} s" if left_s > 0 else "now"
        counted = f"{self.strikes} pilots in a row ended before they spoke to this node; "
        told = counted if self.strikes else "submissions are refused; "
        return f"{told}one is tried {after}. {self.why}"

    def limit_words(self, now_s: float) -> str:
        """What a limit to the number of jobs means for the next submission; "" if none was met."""
        if not self.limit:
            return ""
        if not self.full:
            return f"so many at once are not taken, {self.most} are tried next. {self.limit}"
        left_s = self.full_s - now_s
        after = f"in {left_s:.0f} s" if left_s > 0 else "now"
        return f"no more are taken for the moment, the next try is {after}. {self.limit}"
