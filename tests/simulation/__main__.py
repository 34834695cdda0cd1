"""Replay one seed, or try fresh ones: python -m tests.simulation --seed 7 [--minutes 5]"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.simulation.schedule import FAULTS, STEPS, Schedule, draw, shown, shrink
from tests.simulation.world import Broken, World, quiet

TRIES = 80  # runs to spend on shrinking a schedule


def fails(seed: int, schedule: Schedule, *, trace: bool = False) -> str:
    """The error of a run, or "" when everything held."""
    with tempfile.TemporaryDirectory(prefix="floe-sim-") as folder:
        world = World(seed, Path(folder) / "world", schedule)
        try:
            world.run()
        except Broken as broken:
            return str(broken)
        finally:
            if trace:
                print("\n".join(world.trace))
    return ""


def report(seed: int, command: str, schedule: Schedule, error: str, tries: int) -> None:
    """Say what failed, how to see it again, and which events it needs."""
    print(f"\nseed {seed} fails: {command}\n{error}\n", flush=True)
    needed = shrink(schedule, lambda part: bool(fails(seed, part)), tries)
    print(f"the {len(needed)} of {len(schedule)} events that it needs:\n{shown(needed)}")
    if needed != schedule:
        print(f"\nwith these alone:\n{fails(seed, needed)}")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS, help="events in a schedule")
    parser.add_argument(
        "--faults", default="all", help=f"all, none, or some of: {','.join(FAULTS)}"
    )
    parser.add_argument("--minutes", type=float, default=0, help="go on with the next seeds")
    parser.add_argument("--tries", type=int, default=TRIES, help="runs to shrink a failure with")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    options = parser.parse_args(arguments)
    options.kinds = {"all": list(FAULTS), "none": []}.get(options.faults)
    if options.kinds is None:
        options.kinds = options.faults.split(",")
    unknown = sorted(set(options.kinds) - set(FAULTS))
    if unknown:
        parser.error(f"no such faults: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return options


def command_of(seed: int, options: argparse.Namespace) -> str:
    """The command line that does this run again."""
    command = f"python -m tests.simulation --seed {seed}"
    if options.steps != STEPS:
        command += f" --steps {options.steps}"
    if options.faults != "all":
        command += f" --faults {options.faults}"
    return command


def main(arguments: list[str]) -> int:
    """0 if everything held, 1 if a seed fails."""
    options = options_of(arguments)
    quiet()
    until, seed = time.monotonic() + options.minutes * 60, options.seed
    while True:
        schedule = draw(seed, options.steps, options.kinds)
        begun = time.monotonic()
        error = fails(seed, schedule, trace=options.trace)
        if error:
            report(seed, command_of(seed, options), schedule, error, options.tries)
            return 1
        print(f"seed {seed} holds ({time.monotonic() - begun:.1f} s)", flush=True)
        seed += 1
        if time.monotonic() > until:
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
