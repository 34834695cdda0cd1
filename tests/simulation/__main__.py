"""Replay one seed, or try fresh ones: python -m tests.simulation --seed 7 [--minutes 5]"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.simulation.storm import STEPS, Storm


def fails(seed: int, steps: int, skip: frozenset[int] = frozenset()) -> str:
    """The error of a run, or "" when everything held."""
    with tempfile.TemporaryDirectory(prefix="floe-sim-") as folder:
        try:
            Storm(seed, Path(folder) / "site", steps=steps, skip=skip).run()
        except Exception:
            return traceback.format_exc()
    return ""


def shrink(seed: int, steps: int) -> list[int]:
    """Steps that the failure needs: every other one can be left out."""
    while steps > 1 and fails(seed, steps // 2):
        steps //= 2
    skip: frozenset[int] = frozenset()
    size = max(1, steps // 2)
    while size:
        for begin in range(0, steps, size):
            tried = skip | frozenset(range(begin, min(steps, begin + size)))
            if tried != skip and fails(seed, steps, tried):
                skip = tried
        size //= 2
    return [number for number in range(steps) if number not in skip]


def report(seed: int, steps: int, error: str) -> None:
    print(f"\nseed {seed} fails: python -m tests.simulation --seed {seed} --steps {steps}\n{error}")
    needed = shrink(seed, steps)
    with tempfile.TemporaryDirectory(prefix="floe-sim-") as folder:
        storm = Storm(seed, Path(folder) / "site", steps=steps)
        try:
            storm.run()
        except Exception:
            print("the steps that it needs:")
        for number in needed:
            if number < len(storm.schedule):
                print(f"  {number:4} {storm.schedule[number]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--minutes", type=float, default=0, help="go on with the next seeds")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    until, seed = time.monotonic() + options.minutes * 60, options.seed
    while True:
        error = fails(seed, options.steps)
        if error:
            report(seed, options.steps, error)
            return 1
        print(f"seed {seed} holds", flush=True)
        seed += 1
        if time.monotonic() > until:
            return 0


if __name__ == "__main__":
    sys.exit(main())
