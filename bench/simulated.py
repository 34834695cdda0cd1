"""What the simulator reaches: python -m bench.simulated"""

from __future__ import annotations

from tests.simulation.speed import site_days_per_minute


def simulator() -> dict[str, float]:
    """Site-days that one core simulates in a minute: five sites with real stores."""
    return {"sim_site_days_per_minute": site_days_per_minute()}


if __name__ == "__main__":
    print(simulator())
