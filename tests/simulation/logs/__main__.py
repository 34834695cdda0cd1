"""Councils of sites that keep logs: python -m tests.simulation.logs --seed 7 --council 3"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from tests.simulation.logs.storm import FAULTS, SPAN_S, STEPS, Storm
from tests.simulation.replay import TRIES, command_of, replay
from tests.simulation.schedule import Schedule, draw


@dataclass(frozen=True, slots=True)
class Run:
    """What makes a run what it is."""

    seed: int
    sites: int = 5
    council: int = 3
    steps: int = STEPS

    @property
    def schedule(self) -> Schedule:
        return draw(self.seed, self.steps, FAULTS, SPAN_S, {})

    @property
    def command(self) -> str:
        return command_of("tests.simulation.logs", self)

    def fails(self, schedule: Schedule | None = None, *, trace: bool = False) -> str:
        """The error of the run, or "" when everything held. schedule: events, if not its own."""
        events = self.schedule if schedule is None else schedule
        storm = Storm(self.seed, sites=self.sites, council=self.council, schedule=events)
        try:
            storm.run()
        except AssertionError as error:
            return str(error)
        finally:
            if trace:
                print("\n".join(storm.world.trace))
        return ""


def main(arguments: list[str]) -> int:
    """0 if everything held, 1 if a seed fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.logs", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--council", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="events in a schedule")
    parser.add_argument("--minutes", type=float, default=0, help="go on with the next seeds")
    parser.add_argument("--tries", type=int, default=TRIES, help="runs to shrink a failure with")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    options = parser.parse_args(arguments)

    def run(seed: int) -> Run:
        return Run(seed, options.sites, options.council, options.steps)

    return replay(
        run, options.seed, minutes=options.minutes, tries=options.tries, trace=options.trace
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
