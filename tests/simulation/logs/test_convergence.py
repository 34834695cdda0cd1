"""Records reach every site soon, in few bytes, and an idle mesh is quiet."""

from __future__ import annotations

from federation.records import Site
from tests.simulation.logs.measures import convergence, idle_bytes_per_s
from tests.simulation.logs.world import LogWorld


def test_a_record_is_at_every_site_soon_though_links_are_long_and_lossy():
    found = convergence(sites=36)
    assert len(found.late_s) == 36 * 35 * 2
    assert found.percentile_s(99) < 1.5
    assert found.redundancy < 1.5


def test_an_idle_mesh_sends_little_and_writes_nothing():
    with LogWorld(2, 50, dial_only=16) as world:
        world.sites[0].write(lambda: [Site("s0", "1")])
        world.pass_s(120)
        before = [world.held(site) for site in world.sites]
        assert idle_bytes_per_s(world, 300) < 2000
        assert [world.held(site) for site in world.sites] == before
        assert world.equal()


def test_one_seed_runs_in_one_way():
    assert convergence(3, sites=8) == convergence(3, sites=8)
    assert convergence(3, sites=8) != convergence(4, sites=8)
