"""Replay one seed, or try fresh ones: python -m tests.simulation --seed 7 --sites 3 --minutes 5"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

from tests.simulation.schedule import (
    DAY_S,
    FAULTS,
    NETWORK_FAULTS,
    STEPS,
    Schedule,
    draw,
    shown,
    shrink,
)
from tests.simulation.world import Broken, World, quiet

# Of several sites only when asked for: what others keep of a site is not asked of them yet.
ALONE = ("copy", "restore", "recover")
TRIES = 80  # runs to spend on shrinking a schedule


@dataclass(frozen=True, slots=True)
class Run:
    """What makes a run what it is."""

    seed: int
    steps: int = STEPS
    sites: int = 1
    days: float = 0.0
    faults: str = "all"

    @property
    def schedule(self) -> Schedule:
        every = list(FAULTS) if self.sites == 1 else [*FAULTS, *NETWORK_FAULTS]
        usual = [kind for kind in every if self.sites == 1 or kind not in ALONE]
        kinds = {"all": usual, "none": []}.get(self.faults, self.faults.split(","))
        return draw(self.seed, self.steps, kinds, self.days * DAY_S or None)

    @property
    def command(self) -> str:
        """The command line that does it again."""
        command = "python -m tests.simulation"
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                command += f" --{each.name} {value}"
        return command

    def fails(self, schedule: Schedule | None = None, *, trace: bool = False) -> str:
        """The error of the run, or "" when everything held. schedule: events, if not its own."""
        events = self.schedule if schedule is None else schedule
        with tempfile.TemporaryDirectory(prefix="floe-sim-") as folder:
            world = World(self.seed, Path(folder) / "world", events, sites=self.sites)
            try:
                world.run()
            except Broken as broken:
                return str(broken)
            finally:
                if trace:
                    print("\n".join(world.trace))
        return ""


def report(run: Run, error: str, tries: int) -> None:
    """Say what failed, how to see it again, and which events it needs."""
    print(f"\nseed {run.seed} fails: {run.command}\n{error}\n", flush=True)
    needed = shrink(run.schedule, lambda part: bool(run.fails(part)), tries)
    print(f"the {len(needed)} of {len(run.schedule)} events that it needs:\n{shown(needed)}")
    if needed != run.schedule:
        print(f"\nwith these alone:\n{run.fails(needed)}")


def options_of(arguments: list[str]) -> argparse.Namespace:
    known = {**FAULTS, **NETWORK_FAULTS}
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sites", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS, help="events in a schedule")
    parser.add_argument(
        "--days", type=float, default=0.0, help="in which they come; else one every 10 s"
    )
    parser.add_argument("--faults", default="all", help=f"all, none, or some of: {','.join(known)}")
    parser.add_argument("--minutes", type=float, default=0, help="go on with the next seeds")
    parser.add_argument("--tries", type=int, default=TRIES, help="runs to shrink a failure with")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.faults.split(",")) - {"all", "none", *known})
    if unknown:
        parser.error(f"no such faults: {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def main(arguments: list[str]) -> int:
    """0 if everything held, 1 if a seed fails."""
    options = options_of(arguments)
    quiet()
    until, seed = time.monotonic() + options.minutes * 60, options.seed
    while True:
        run = Run(seed, options.steps, options.sites, options.days, options.faults)
        begun = time.monotonic()
        error = run.fails(trace=options.trace)
        if error:
            report(run, error, options.tries)
            return 1
        print(f"seed {seed} holds ({time.monotonic() - begun:.1f} s)", flush=True)
        seed += 1
        if time.monotonic() > until:
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
