"""Named lives of several sites with real stores: apart, restarted, one of them gone for long."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.people import describe
from tests.simulation.world import World

JOBS = 6
LONG_S = 4000.0  # longer than every timer of links


def submit(world, host, name):
    world.people.submit_to(host, describe(name, ((), ("t0",)), JOBS), Random(name))


@pytest.fixture
def world(tmp_path):
    """Three sites; the last one only dials out."""
    found = World(1, tmp_path / "world", (), sites=3, dial_only=1)
    found.farm.fates.healthy = True
    with found:
        found.pass_s(30)
        yield found


def held(world):
    return [host.node.held() for host in world.hosts]


def settled_everywhere(world):
    return [
        host.node.conn.execute("SELECT sum(settled) FROM task").fetchall()[0][0]
        for host in world.hosts
    ]


def test_what_one_site_writes_is_folded_at_all_within_seconds(world):
    submit(world, world.hosts[0], "one")
    world.until(lambda: bool(world.witness.datasets))
    world.pass_s(2)
    names = [
        host.node.conn.execute("SELECT count(*) FROM dataset").fetchall() for host in world.hosts
    ]
    assert names == [[(1,)]] * 3
    world.finish()


def test_sites_that_were_apart_for_long_hold_the_same_after_it(world):
    one, *others = world.hosts
    world.network.ways.split([one.name], [host.name for host in others])
    for host in world.hosts:
        submit(world, host, f"at-{host.name}")
    world.pass_s(LONG_S)
    assert held(world)[0] != held(world)[1] == held(world)[2]
    world.finish()
    assert len(world.witness.datasets) == 3


@pytest.mark.parametrize("mode", ["kill", "power"])
def test_all_sites_that_end_at_once_come_back_to_the_same_mesh(world, mode):
    for host in world.hosts:
        submit(world, host, f"at-{host.name}")
    world.pass_s(5)
    for host in world.hosts:
        host.die(mode, 7)
    world.finish()


def test_a_site_that_was_away_for_long_takes_in_what_it_missed(world):
    gone = world.hosts[1]
    gone.die("power", 1, LONG_S)
    for number in range(5):
        submit(world, world.hosts[0], f"set-{number}")
        world.pass_s(100)
    assert gone.node is None
    world.pass_s(LONG_S)
    world.heal()
    world.raise_if_broken()
    assert settled_everywhere(world) == [5 * 2 * JOBS] * 3
    world.finish()
