"""`python -m tests.fuzz`: see the package."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.fuzzing import Fuzzer
from tests.fuzz.target import Fault, Target, check
from tests.fuzz.targets import TARGETS

BY_NAME = {target.name: target for target in TARGETS}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--target", action="append", choices=sorted(BY_NAME))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read one input again")
    chosen = parser.parse_args()
    if chosen.replay is not None:
        return replay(chosen.replay)
    targets = [BY_NAME[name] for name in chosen.target or BY_NAME]
    seed = time.time_ns() if chosen.seed is None else chosen.seed
    return fuzz(targets, seed, chosen.seconds)


def fuzz(targets: list[Target], seed: int, seconds: float) -> int:
    fuzzer = Fuzzer(targets, seed)
    found = fuzzer.run(seconds)
    tried, taken = sum(fuzzer.tried.values()), sum(fuzzer.taken.values())
    print(
        f"fuzzed {len(targets)} decoders with {tried:,} inputs, seed {seed}; {taken:,} were taken"
    )
    for each in found:
        print(each.words(), file=sys.stderr)
    return 1 if found else 0


def replay(path: Path) -> int:
    """Read one file of the corpus again, with the traceback of what it raises."""
    target, data = BY_NAME[path.parent.name], path.read_bytes()
    try:
        taken = check(target, data)
        check(target, data, measure=True)
    except Fault as fault:
        if fault.__cause__ is not None:
            raise
        print(f"{target.name}: {fault}", file=sys.stderr)
        return 1
    print(f"{target.name}: {'taken' if taken else 'refused'}, as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
