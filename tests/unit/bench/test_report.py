"""Goals of figures: which are met, and which were not looked at."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from bench import report


@pytest.mark.parametrize(
    ("value", "goal", "reached"),
    [
        (49.9, "< 50", True),
        (50, "< 50", False),
        (2000, ">= 2,000", True),
        (1999.9, ">= 2,000", False),
        (0.0, "< 1", True),
    ],
)
def test_a_figure_is_held_against_its_goal(value: float, goal: str, reached: bool) -> None:
    assert report.met(value, goal) is reached


def test_one_suite_renews_its_own_figures_and_names_what_was_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "build" / "figures.json"
    suites = {"one": lambda: {"fast_s": 1.0}, "two": lambda: {"slow_s": 9.0}}
    goals = {"fast_s": "< 2", "slow_s": "< 3", "lost": ">= 4"}
    report.run(suites, [], goals, path)
    report.run({"one": lambda: {"fast_s": 1.5}}, ["one"], goals, path)
    assert json.loads(path.read_text()) == {"fast_s": 1.5, "slow_s": 9.0}
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: line for line in lines if "│" in line}
    assert "met" in shown["fast_s"]
    assert "MISSED" in shown["slow_s"]
    assert "not measured" in shown["lost"]


@pytest.mark.parametrize("name", ["bench.mesh", "bench.__main__"])
def test_every_goal_has_a_suite_whose_parts_can_be_loaded(name: str) -> None:
    module = importlib.import_module(name)
    assert module.SUITES
    assert module.GOALS
