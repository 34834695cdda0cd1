"""How much life of meshes with real stores is simulated in a minute of one core."""

from __future__ import annotations

import time

from tests.simulation.__main__ import Run

DAYS = 8.0
SITES = 5
SEED = 1


def site_days_per_minute(seed: int = SEED, *, days: float = DAYS, sites: int = SITES) -> float:
    """Site-days in a minute of CPU time, with the usual faults and people, and all checks.

    Raises AssertionError if a promise does not hold.
    """
    run = Run(seed, sites=sites, days=days)
    begun_s = time.process_time()
    error = run.fails()
    assert not error, f"{run.command}\n{error}"
    return sites * days * 60 / (time.process_time() - begun_s)


if __name__ == "__main__":
    print(f"{site_days_per_minute():.0f} site-days a minute")
