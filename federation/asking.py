"""Which questions a site may ask now: one outstanding to each leader and shape, back-off. Pure.

A claim is outstanding until its answer came, and, if that names grants, until those are held here:
what is on its way must not be asked for twice. A leader that has nothing is asked again after a
while, or as soon as its beacon says that there is something new; one that does not answer after
ever longer waits.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from random import Random
from typing import Final

ANSWER_S_MAX: Final = 90.0  # a question without an answer is given up
GRANT_S_MAX: Final = 60.0  # a grant that does not arrive is not waited for any longer
RETRY_S_MIN: Final = 2.0
RETRY_S_MAX: Final = 300.0
KEYS_MAX: Final = 10_000  # remembered; those that may be asked anyway are dropped first


@dataclass(slots=True)
class _Line:
    """What is known about asking one thing. times are monotonic seconds."""

    until_s: float = float("-inf")  # not before
    waits: bool = False  # for an answer or a grant
    refusals: int = 0  # in a row
    told: bool = True  # the last answer came from the other side


@dataclass(slots=True)
class Asking:
    """Questions by key, such as (leader, shape)."""

    random: Random
    _lines: dict[Hashable, _Line] = field(default_factory=dict)

    def may(self, key: Hashable, now_s: float) -> bool:
        """Whether this may be asked now."""
        line = self._lines.get(key)
        return line is None or now_s >= line.until_s

    def due_s(self, now_s: float) -> float | None:
        """When the next of those that wait may be asked; None: none waits."""
        later = [line.until_s for line in self._lines.values() if line.until_s > now_s]
        return min(later, default=None)

    def sent(self, key: Hashable, now_s: float) -> None:
        """Asked: not again before the answer, or for ANSWER_S_MAX."""
        line = self._line(key, now_s)
        line.waits, line.until_s = True, now_s + ANSWER_S_MAX

    def waits(self, key: Hashable, now_s: float) -> bool:
        """Whether an answer or a grant is on its way."""
        line = self._lines.get(key)
        return line is not None and line.waits and now_s < line.until_s

    def granted(self, key: Hashable, now_s: float) -> None:
        """Answered with a grant that is not here yet."""
        line = self._line(key, now_s)
        line.waits, line.refusals, line.told = True, 0, True
        line.until_s = now_s + GRANT_S_MAX

    def arrived(self, key: Hashable) -> None:
        """The grant is here: the next question may come at once."""
        line = self._lines.get(key)
        if line is not None:
            self._lines.pop(key)

    def refused(self, key: Hashable, now_s: float, retry_s: float = 0.0) -> None:
        """Answered with nothing; retry_s: what the other side says."""
        self._back_off(key, now_s, retry_s, told=True)

    def failed(self, key: Hashable, now_s: float) -> None:
        """No answer came."""
        self._back_off(key, now_s, 0.0, told=False)

    def woke(self, key: Hashable) -> None:
        """There is news of the other side: what it refused may be asked again at once."""
        line = self._lines.get(key)
        if line is not None and not line.waits and line.told:
            self._lines.pop(key)

    def _back_off(self, key: Hashable, now_s: float, retry_s: float, *, told: bool) -> None:
        line = self._line(key, now_s)
        line.refusals = min(line.refusals + 1, 30)
        line.waits, line.told = False, told
        most = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** (line.refusals - 1))
        # Jitter, so that sites which lost the same leader do not come back together.
        line.until_s = now_s + max(retry_s, most * self.random.uniform(0.5, 1.0))

    def _line(self, key: Hashable, now_s: float) -> _Line:
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= KEYS_MAX:
                free = [k for k, each in self._lines.items() if each.until_s <= now_s]
                for old in free or list(self._lines)[:1]:
                    del self._lines[old]
            line = self._lines[key] = _Line()
        return line
