"""Write the corpus: `python -m tests.fuzz.seeds`. Inputs that were found by fuzzing stay."""

from __future__ import annotations

from tests.fuzz.corpus import write_seeds
from tests.fuzz.targets import TARGETS


def main() -> None:
    for target in TARGETS:
        write_seeds(target)


if __name__ == "__main__":
    main()
