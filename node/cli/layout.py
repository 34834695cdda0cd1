"""How a table is fitted into a terminal: what keeps its width, what is folded, what goes below.

Numbers and names are never cut. Where a table is too wide, long texts are folded first, then the
gaps shrink, and then the last columns go below their row, as "last error timed out".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
FOLDED_MIN = 16  # characters: a narrower text column cannot be read
BELOW_INDENT = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """widths: of the columns that stay, in order; all others go below their rows."""

    widths: tuple[int, ...]
    gap: int


def fit(widths: Sequence[int], folds: Sequence[bool], room: int) -> Layout:
    """The layout that shows the most in `room` characters.

    widths: what each column would take. folds: whether it is a text that may be folded.
    The first column always stays, whatever it takes.
    """
    for kept in range(len(widths), 0, -1):
        for gap in (GAP, 1):
            taken = _folded(widths[:kept], folds, room - gap * (kept - 1))
            if sum(taken) + gap * (kept - 1) <= room:
                return Layout(tuple(taken), gap)
    return Layout(tuple(widths[:1]), 1)


def _folded(widths: Sequence[int], folds: Sequence[bool], room: int) -> list[int]:
    """Widths with the longest texts folded as far as need be and can be."""
    taken = list(widths)
    while (over := sum(taken) - room) > 0:
        longest = max(
            (at for at in range(len(taken)) if folds[at] and taken[at] > FOLDED_MIN),
            key=lambda at: taken[at],
            default=None,
        )
        if longest is None:
            break
        taken[longest] = max(FOLDED_MIN, taken[longest] - over)
    return taken


def below(columns: Sequence[str], cells: Sequence[str]) -> str:
    """Cells that found no place beside the others, as words; "" if they say nothing."""
    words = [
        f"{name.lower()} {cell}".strip()
        for name, cell in zip(columns, cells, strict=True)
        if _says(cell)
    ]
    return " · ".join(words)


def _says(cell: str) -> bool:
    return cell not in ("", "-")
