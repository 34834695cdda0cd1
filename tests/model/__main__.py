"""Explore any size, for as long as wanted: python -m tests.model --voters 5 --take-overs 3

Some 500 bytes and a tenth of a millisecond a state. All states of five voters and three take-overs
are out of reach: give --minutes or --states, --candidates, or --walk for random walks.
The exit status is 0 if no fault was found, and 1 with the shortest way to it.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from typing import Any

from tests.model.move_invariants import MoveModel
from tests.model.moves import MoveRules, MoveSize
from tests.model.rules import PROTOCOL, Rules, Size
from tests.model.search import STATES_MAX, Model, Outcome, Search, walk
from tests.model.shard import ShardModel
from tests.model.sizes import LONGER, Sound

PROGRESS_EVERY_S = 10.0


class Watch:
    """Shows how far a search is, and ends it when its time is up."""

    def __init__(self, minutes: float) -> None:
        """minutes: how long it may go on; 0 for as long as it takes."""
        self.began_s = self._shown_s = time.monotonic()
        self._limit_s = minutes * 60 or float("inf")

    def go_on(self, states: int) -> bool:
        now_s = time.monotonic()
        if now_s - self._shown_s >= PROGRESS_EVERY_S:
            self._shown_s = now_s
            print(f"  {states:,} states in {now_s - self.began_s:.0f} s", file=sys.stderr)
        return now_s - self.began_s < self._limit_s


def numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--voters", type=int, default=3, help="of the council")
    parser.add_argument("--take-overs", type=int, default=1, help="of each shard")
    parser.add_argument(
        "--records",
        type=numbers,
        help="most of each term's leader, like 2,1,0; of a branch, like 3",
    )
    parser.add_argument("--candidates", help="who may stand in each take-over, like 1,2/0")
    parser.add_argument("--without", metavar="RULE", help="leave out one rule; any word lists them")
    parser.add_argument("--no-healing", action="store_true", help="do not ask if all can go on")
    parser.add_argument("--moves", action="store_true", help="a dataset that moves between shards")
    parser.add_argument("--longer", action="store_true", help="the larger sizes known to hold")
    parser.add_argument("--walk", action="store_true", help="random walks instead, until stopped")
    parser.add_argument("--seed", type=int, default=1, help="of the walks")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many")
    parser.add_argument("--states", type=int, default=STATES_MAX, help="stop after so many")
    return parser


def model(options: argparse.Namespace) -> Model[Any]:
    """What the options ask for. Raises ValueError."""
    rules: Rules | MoveRules = MoveRules() if options.moves else PROTOCOL
    if options.without:
        if options.without not in rules._fields:
            known = ", ".join(rules._fields)
            raise ValueError(f"{options.without} is no rule here; rules: {known}")
        rules = rules._replace(**{options.without: False})
    if isinstance(rules, MoveRules):
        records = options.records or (3,)
        if len(records) != 1:
            raise ValueError("--moves has one number of records, that of every branch")
        return MoveModel(MoveSize(options.take_overs, records[0]), rules)
    return ShardModel(shard_size(options), rules)


def shard_size(options: argparse.Namespace) -> Size:
    """The size that the options ask for. Raises ValueError."""
    records = options.records or (1,) * options.take_overs + (0,)
    if len(records) != options.take_overs + 1:
        raise ValueError(f"{options.take_overs} take-overs have {options.take_overs + 1} terms")
    terms = options.candidates.split("/") if options.candidates else []
    candidates = tuple(map(numbers, terms)) or None
    return Size(options.voters, records, candidates, healing=not options.no_healing)


def walks(model: Model[Any], seed: int, states_max: int, watch: Watch) -> Outcome:
    """Random walks until a fault is found, the time is up, or so many states were seen."""
    random, seen, steps = Random(seed), set[int](), 0
    while True:
        outcome = walk(model, random, seen)
        steps += outcome.steps
        if outcome.fault or len(seen) >= states_max or not watch.go_on(len(seen)):
            return Outcome(len(seen), steps, False, outcome.fault, outcome.acts)


def report(outcome: Outcome, watch: Watch) -> int:
    """Print what was found; the exit status."""
    seconds = time.monotonic() - watch.began_s
    print(f"{outcome.states:,} states, {outcome.steps:,} steps, {seconds:.1f} s: ", end="")
    if outcome.fault:
        print(f"a fault\n{outcome.story()}", flush=True)
        return 1
    print("all hold" if outcome.exhausted else "no fault; there are more", flush=True)
    return 0


def all_longer(sizes: dict[str, Sound], options: argparse.Namespace) -> int:
    """Search every size; 1 if one of them has a fault or another number of states."""
    status = 0
    for name, sound in sizes.items():
        print(name, end=": ", flush=True)
        watch = Watch(options.minutes)
        outcome = Search(sound.model, options.states).run(watch.go_on)
        status |= report(outcome, watch)
        if outcome.exhausted and outcome.states != sound.states:
            print(f"  there were {sound.states:,} states when this was written")
            status = 1
    return status


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    if options.longer:
        return all_longer(LONGER, options)
    try:
        asked = model(options)
    except ValueError as error:
        parser.error(str(error))
    watch = Watch(options.minutes)
    if options.walk:
        return report(walks(asked, options.seed, options.states, watch), watch)
    return report(Search(asked, options.states).run(watch.go_on), watch)


if __name__ == "__main__":
    sys.exit(main())
