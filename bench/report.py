"""Measured figures: run suites, keep what they found in a JSON file, print a table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

Suites = Mapping[str, Callable[[], dict[str, float]]]


def run(suites: Suites, wanted: Sequence[str], goals: Mapping[str, str], path: Path) -> None:
    """Run the suites, all of them or those wanted, which are then renewed in the file."""
    path.parent.mkdir(exist_ok=True)
    figures = json.loads(path.read_text()) if path.exists() and wanted else {}
    for name in wanted or suites:
        began = time.monotonic()
        figures.update(suites[name]())
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    show(figures, goals)


def met(value: float, goal: str) -> bool:
    """Whether a figure reaches its goal: `< 50`, `>= 2,000`."""
    sign, _, number = goal.partition(" ")
    bound = float(number.replace(",", ""))
    return value < bound if sign == "<" else value >= bound


def show(figures: Mapping[str, float], goals: Mapping[str, str]) -> None:
    table = Table("figure", "measured", "promised", "")
    for name, value in figures.items():
        goal = goals.get(name, "")
        reached = ("met" if met(value, goal) else "MISSED") if goal else ""
        table.add_row(name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", goal, reached)
    for name in goals.keys() - figures.keys():
        table.add_row(name, "-", goals[name], "not measured")
    Console().print(table)
