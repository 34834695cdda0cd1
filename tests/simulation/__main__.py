"""Replay one seed, or try fresh ones: python -m tests.simulation --seed 7 --sites 3 --minutes 5"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import randrange

from tests.simulation.parts import Rhythm
from tests.simulation.replay import TRIES, command_of, replay
from tests.simulation.schedule import (
    DAY_S,
    FAULTS,
    NETWORK_FAULTS,
    SITE_FAULTS,
    STEPS,
    STEPS_A_DAY,
    Schedule,
    draw,
)
from tests.simulation.world import Broken, World, quiet

NEEDED = 2  # of `tends`: what leaders look after is needed, too


@dataclass(frozen=True, slots=True)
class Run:
    """What makes a run what it is."""

    seed: int
    steps: int = 0  # the usual number
    sites: int = 1
    days: float = 0.0
    faults: str = "all"
    tends: int = NEEDED  # of several sites

    @property
    def entangled(self) -> bool:
        """Whether datasets need each other, files are lost, and sites leave."""
        return self.sites > 1 and self.tends == NEEDED

    @property
    def schedule(self) -> Schedule:
        every = {**FAULTS, **NETWORK_FAULTS, **SITE_FAULTS}
        usual = list(FAULTS)
        usual += list(NETWORK_FAULTS) if self.sites > 1 else []
        usual += list(SITE_FAULTS) if self.entangled else []
        kinds = {"all": usual, "none": []}.get(self.faults, self.faults.split(","))
        weights = {kind: every[kind] for kind in every if kind in kinds}
        usual_steps = ceil(self.days * STEPS_A_DAY) or STEPS
        return draw(self.seed, self.steps or usual_steps, weights, self.days * DAY_S or None)

    @property
    def command(self) -> str:
        return command_of("tests.simulation", self)

    def fails(self, schedule: Schedule | None = None, *, trace: bool = False) -> str:
        """The error of the run, or "" when everything held. schedule: events, if not its own."""
        events = self.schedule if schedule is None else schedule
        with tempfile.TemporaryDirectory(prefix="floe-sim-") as folder:
            rhythm = Rhythm(tends=self.sites > 1 and self.tends > 0)
            world = World(
                self.seed, Path(folder) / "world", events, sites=self.sites, rhythm=rhythm,
                entangled=self.entangled,
            )  # fmt: skip
            try:
                world.run()
            except Broken as broken:
                return str(broken)
            finally:
                if trace:
                    print("\n".join(world.trace))
        return ""


def options_of(arguments: list[str]) -> argparse.Namespace:
    known = {**FAULTS, **NETWORK_FAULTS, **SITE_FAULTS}
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="begin at a seed that nobody chose")
    parser.add_argument("--sites", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=0, help=f"events; else {STEPS}, or {STEPS_A_DAY} a day"
    )
    parser.add_argument(
        "--days", type=float, default=0.0, help="in which they come; else one every 10 s"
    )
    parser.add_argument("--faults", default="all", help=f"all, none, or some of: {','.join(known)}")
    parser.add_argument(
        "--tends", type=int, choices=(0, 1, NEEDED), default=NEEDED,
        help="0: leaders only grant and accept; 1: they move datasets, import units, have lost"
        " outputs made again; 2: and datasets need that",
    )  # fmt: skip
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

    def run(seed: int) -> Run:
        return Run(seed, options.steps, options.sites, options.days, options.faults, options.tends)

    seed = randrange(1 << 30) if options.fresh else options.seed
    return replay(run, seed, minutes=options.minutes, tries=options.tries, trace=options.trace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
