"""Random lives of a site: a few whose seeds come from the commit, and those that once failed."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from tests.simulation.storm import STEPS, Storm

SEEDS = 12
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


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.disable(logging.CRITICAL)


@pytest.mark.parametrize("number", range(SEEDS))
def test_nothing_acknowledged_is_lost_whatever_the_disk_does(tmp_path: Path, number: int) -> None:
    seed = commit_seed() * 100 + number
    storm = Storm(seed, tmp_path / "site")
    try:
        storm.run()
    except Exception as error:
        raise AssertionError(
            f"python -m tests.simulation --seed {seed} --steps {STEPS}: {error}"
        ) from error
