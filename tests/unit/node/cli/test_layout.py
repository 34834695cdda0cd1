"""Tables on narrow terminals lose no number and no name."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from node.cli import layout, output, summary

MESH = ["SITE", "STATE", "SEEN", ">LAG", ">CLOCK", "VERSION", "BATCH", ">RUN", ">READY",
        ">PILOTS", "NOTE"]  # fmt: skip
SITES = [
    ["madison*", "alive", "-", "-", "-", "1.4.0", "htcondor", "4,812", "61,000", "310", ""],
    ["pbs-ulb", "unreachable", "41 m", "1,402", "-0.3 s", "1.4.0", "pbs", "1,233?", "8,190", "33?",
     "its units go to others in 19 m, unless somebody brings it back before"],
]  # fmt: skip


def shown(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    file = io.StringIO()
    out = Console(file=file, width=width, force_terminal=True, color_system=None)
    output.table(columns, rows, out)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_nothing_is_cut_and_no_line_is_too_long(width: int) -> None:
    lines = shown(MESH, SITES, width)
    assert all(len(line) <= width for line in lines)
    told = " ".join(" ".join(lines).split())
    assert "…" not in told
    cells = [cell for row in SITES for cell in row[:-1] if cell]
    assert [cell for cell in cells if cell not in told] == []


def test_what_has_no_place_stands_below_its_row_with_its_name() -> None:
    lines = shown(MESH, SITES, 80)
    (at,) = (at for at, line in enumerate(lines) if line.startswith("pbs-ulb"))
    assert lines[at + 1].startswith("    note its units go to others in 19 m")
    assert not any(line.startswith("    note") for line in lines[:at])


def test_a_wide_terminal_shows_one_line_a_row() -> None:
    assert len(shown(MESH, SITES, 200)) == 3


def test_the_longest_text_is_folded_first_and_never_a_number() -> None:
    found = layout.fit([8, 40, 60, 9], [False, True, True, False], 80)
    assert found.widths[0] == 8
    assert found.widths[-1] == 9
    assert sum(found.widths) + 3 * found.gap == 80


@given(
    st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=12),
    st.integers(20, 200),
)
def test_a_layout_fits_or_has_the_first_column_alone(
    columns: list[tuple[int, bool]], room: int
) -> None:
    widths, folds = [width for width, _ in columns], [fold for _, fold in columns]
    found = layout.fit(widths, folds, room)
    taken = sum(found.widths) + found.gap * (len(found.widths) - 1)
    assert taken <= room or len(found.widths) == 1
    for got, width, fold in zip(found.widths, widths, folds, strict=False):
        assert got == width or (fold and got >= min(width, layout.FOLDED_MIN))


def test_the_picture_of_a_dataset_loses_no_count_on_a_narrow_terminal() -> None:
    counts = {"units": 9_000_001, "settled": 1_000_002, "running": 10_003,
              "ready": 1_000_004, "waiting": 1_000_005, "failed": 1_006, "blocked": 1_007,
              "cancelled": 1_008}  # fmt: skip
    task = {"name": "simulation", "counts": counts, "cpu_s": 7860.0, "memory_max": 1_710_000_000}
    file = io.StringIO()
    out = Console(file=file, width=80, force_terminal=True, color_system=None)
    out.print(summary.view({"dataset": {"name": "a"}, "counts": counts, "tasks": [task]}))
    told = file.getvalue()
    assert all(len(line.rstrip()) <= 80 for line in told.splitlines())
    assert all(f"{count:,}" in told for count in counts.values())
    assert "simulation" in told
    assert "1.71 GB" in told
