"""What was found out about the settings of a batch system. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

ALL_S_MAX: Final = 30.0  # that one batch system is asked for


class Verdict(Enum):
    """How one step went; the value is for people."""

    FINE = "ok"
    NOTE = "note"  # it works, but it may not be what was meant
    LATER = "not now"  # no answer, or one that may be another one in a moment
    REFUSED = "refused"  # it will not work before somebody does something


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step told. place: in config.toml. words: the batch system's own, where it said any.

    right: what to do.
    """

    place: str
    step: str
    verdict: Verdict
    words: str
    right: str = ""

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"verdict": self.verdict.value}

    def line(self) -> str:
        """For people."""
        right = f"; {self.right}" if self.right else ""
        return f"{self.place}  {self.step}: {self.words}{right}"


def refused(found: Iterable[Finding]) -> list[Finding]:
    """What keeps a site from being started."""
    return [each for each in found if each.verdict is Verdict.REFUSED]


def asked_later(found: Iterable[Finding]) -> bool:
    """Whether not all could be judged."""
    return any(each.verdict is Verdict.LATER for each in found)
