"""No-op units on one, two and four simulated sites: real nodes and stores, on a virtual clock."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from tests.simulation.fates import Fate, Fates
from tests.simulation.people import describe
from tests.simulation.world import World, quiet

SITES = (1, 2, 4)
UNIT_S = 0.05  # of a slot, with all that a pilot does around it
JOBS = 20_000  # for each site
WARM_JOBS = 2_000  # for each site: pilots are up before the clock runs
MEET_S = 60.0  # until sites know each other
FLAT = ((),)


class NoOps(Fates):
    """Every unit succeeds after the same short time."""

    def draw(self, spec: str, job: int, *, broken: bool) -> Fate:
        return Fate(UNIT_S, "", job.to_bytes(32, "big").hex())


def settled(world: World, name: str) -> int:
    """Units of a dataset that count, as the site sees it that leads it."""
    sql = "SELECT sum(settled) FROM task JOIN dataset d ON d.no = task.dataset WHERE d.name = ?"
    node = world.hosts[0].node
    return 0 if node is None else node.conn.execute(sql, (name,)).get or 0


def run_s(world: World, name: str, jobs: int) -> float:
    """Virtual seconds from the submission at one site until the last unit is settled."""
    began_s = world.clock.seconds()
    world.people.submit_to(world.hosts[0], describe(name, FLAT, jobs), Random(name))
    world.until(lambda: settled(world, name) >= jobs)
    world.raise_if_broken()
    return world.clock.seconds() - began_s


def per_slot(sites: int) -> float:
    """Units a second for each slot of all sites together."""
    with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
        world = World(1, Path(folder) / "world", (), sites=sites)
        world.farm.fates = NoOps(1)
        with world:
            world.pass_s(MEET_S)
            run_s(world, "warm", WARM_JOBS * sites)
            slots = sum(len(pilot.resources.cpus) for pilot in world.farm.pilots if not pilot.gone)
            return JOBS * sites / run_s(world, "no-op", JOBS * sites) / slots


def scaling() -> dict[str, float]:
    """What a slot does among the slots of two and of four sites, against those of one alone."""
    quiet()
    alone, *others = (per_slot(sites) for sites in SITES)
    return {
        f"noop_{sites}_sites_vs_sum": rate / alone
        for sites, rate in zip(SITES[1:], others, strict=True)
    }
