"""How much life of meshes with real stores is simulated in a minute of one core."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.simulation.__main__ import Run

DAYS = 10.0
SITES = 5
SEEDS = (1, 2, 3)


def site_days_per_minute(
    seeds: Iterable[int] = SEEDS, *, days: float = DAYS, sites: int = SITES
) -> float:
    """Site-days in a minute of CPU time, with the usual faults and people, and all checks.

    Raises AssertionError if a promise does not hold.
    """
    begun_s, lived = time.process_time(), 0.0
    for seed in seeds:
        run = Run(seed, sites=sites, days=days)
        error = run.fails()
        assert not error, f"{run.command}\n{error}"
        lived += sites * days
    return lived * 60 / (time.process_time() - begun_s)


if __name__ == "__main__":
    print(f"{site_days_per_minute():.0f} site-days a minute")
