"""Random lives of sites: a minute of those whose seeds come from the commit; a seed is enough."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.__main__ import Run, main
from tests.simulation.logs.__main__ import Run as CouncilRun
from tests.simulation.schedule import draw
from tests.simulation.world import World

SEEDS_S = 60.0  # of this process, for all kinds of seeds together
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


def seeds_hold(run_of: Callable[[int], Any], share: float) -> None:
    """Runs of this commit's seeds, for a part of the time that all of them have."""
    until_s = time.process_time() + share * SEEDS_S
    for seed in itertools.count(commit_seed() * 100):
        run = run_of(seed)
        error = run.fails()
        assert not error, f"{run.command}\n{error}"
        if time.process_time() > until_s:
            break


def test_nothing_acknowledged_is_lost_whatever_fails() -> None:
    seeds_hold(Run, 0.2)


def test_sites_that_fail_in_all_ways_at_once_come_to_hold_the_same() -> None:
    seeds_hold(lambda seed: Run(seed, sites=3, steps=40), 0.4)


def test_meshes_that_live_for_days_lose_nothing_either() -> None:
    seeds_hold(lambda seed: Run(seed, sites=5, days=3.0), 0.2)


@pytest.mark.parametrize("council", [3, 5])
def test_councils_settle_and_keep_what_they_settled_whatever_sites_and_links_do(council) -> None:
    seeds_hold(lambda seed: CouncilRun(seed, council=council), 0.1)


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
            "12",
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


def test_datasets_that_move_to_better_councils_while_all_fails_come_to_their_end() -> None:
    """Units of an extension were granted, and reported, before its turn in the log had come."""
    assert not Run(38, steps=60, sites=5, tends=1).fails()


def test_what_an_ack_settled_that_went_with_its_voter_is_settled_by_others() -> None:
    """A voter whose words no longer reached anybody wrote an ack, and its machine was lost."""
    assert not Run(107694219, steps=40, sites=3).fails()
