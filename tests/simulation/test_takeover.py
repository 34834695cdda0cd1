"""A leader is lost for good under the default timers: nobody else notices at their workers."""

from __future__ import annotations

from collections import Counter
from random import Random

from node.config import MeshConfig
from tests.simulation.farm import PILOTS
from tests.simulation.parts import Rhythm
from tests.simulation.people import describe
from tests.simulation.scenes import leaders, some_settled
from tests.simulation.world import World

UNIT_S = 600.0
JOBS = 400  # of which more than four hours are left to two sites
LOOK_S = 5.0
BETWEEN_UNITS_S = 60.0  # two polls of a pilot: a slot without a unit for longer is idle
END_S = 3 * 3600.0  # behind the vote, and behind the grants of what the lost site owned
DEFAULT = MeshConfig()


def idle_slots(world, host):
    """Slots of a site without a unit, its pilots that are not there included."""
    pilots = [pilot for pilot in world.farm.pilots if pilot.host is host and not pilot.gone]
    return PILOTS - len(pilots) + sum(pilot.loop.idle_slots() for pilot in pilots)


def test_with_hours_of_work_left_no_other_site_has_an_idle_slot_while_a_leader_is_replaced(
    tmp_path,
):
    rhythm = Rhythm(
        vote_after_s=DEFAULT.vote_after_s,
        lost_after_s=DEFAULT.lost_after_s,
        hold_s=DEFAULT.hold_s,
    )
    world = World(1, tmp_path / "world", (), sites=3, rhythm=rhythm)
    world.farm.fates.healthy = True
    world.farm.fates.unit_s = UNIT_S
    with world:
        world.pass_s(200)
        leader, *others = world.hosts
        world.people.submit_to(leader, describe("long", ((),), JOBS), Random(1))
        world.until(lambda: bool(world.witness.datasets))
        (made,) = world.witness.datasets.values()
        some_settled(world, others[0], 60)
        leader.lose()
        idle_s: Counter[str] = Counter()  # without a pause, so far
        longest_s = 0.0
        while world.clock.seconds() < END_S:
            world.pass_s(LOOK_S)
            for host in others:
                idle_s[host.name] = (idle_s[host.name] + LOOK_S) * bool(idle_slots(world, host))
                longest_s = max(longest_s, idle_s[host.name])
        assert len(leaders(world, made)) == 2
        assert longest_s <= BETWEEN_UNITS_S
