"""Random lives of sites: a few whose seeds come from the commit, and that a seed is enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.__main__ import Run, main
from tests.simulation.schedule import draw
from tests.simulation.world import World

SEEDS = 6
MESHES = 2  # seeds of three sites
ROOT = Path(__file__).parents[2]


def commit_seed() -> int:
    """A number that changes with every commit, so that the tests wander over the schedules."""
    done = subprocess.run(
        ["git", "rev-parse", "--short=6", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout.strip() or "1", 16)


@pytest.mark.parametrize("number", range(SEEDS))
def test_nothing_acknowledged_is_lost_whatever_fails(number: int) -> None:
    run = Run(commit_seed() * 100 + number)
    error = run.fails()
    assert not error, f"{run.command}\n{error}"


@pytest.mark.parametrize("number", range(MESHES))
def test_sites_that_fail_in_all_ways_at_once_come_to_hold_the_same(number: int) -> None:
    run = Run(commit_seed() * 100 + number, sites=3, steps=40)
    error = run.fails()
    assert not error, f"{run.command}\n{error}"


def traced(seed: int, sites: int, hash_seed: str) -> str:
    """What a process of its own tells of a run."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.simulation",
            "--seed",
            str(seed),
            "--trace",
            "--sites",
            str(sites),
            "--steps",
            "20",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rsplit("seed", 1)[0]  # how long it took is real time


@pytest.mark.parametrize("sites", [1, 3])
def test_a_seed_replays_the_same_run_in_any_process(sites: int) -> None:
    first = traced(5, sites, "1")
    assert first.count("state root") == sites
    assert first == traced(5, sites, "2")
    assert first != traced(6, sites, "1")


def test_a_failing_seed_prints_its_command_and_the_events_that_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = 4
    kinds = [event.kind for event in draw(seed, 20)]
    assert kinds.count("power") == 1

    class FearsPowerCuts(World):
        """A world in which a power cut breaks a promise."""

        def _happen(self, event):
            super()._happen(event)
            if event.kind == "power":
                self.failed("the power was cut")

    monkeypatch.setattr("tests.simulation.__main__.World", FearsPowerCuts)
    assert main(["--seed", str(seed), "--steps", "20", "--tries", "12"]) == 1
    out = capsys.readouterr().out
    assert f"python -m tests.simulation --seed {seed} --steps 20\nthe power was cut" in out
    needed = out.split("events that it needs:")[1].split("with these alone")[0]
    assert needed.count("Event(") == 1
    assert "kind='power'" in needed


def test_results_beside_those_of_jobs_that_went_with_an_extension_are_recorded() -> None:
    """A copy was put back that did not have the extension; the pilot reported both in one."""
    assert not Run(659755608).fails()
