"""Named lives of a site of which two copies run: each comes to write under its own generation, and
what they signed for one place is proved, and counts as far as it is named."""

from __future__ import annotations

import pytest

from node.store import forks
from tests.simulation.scenes import TAKE_OVER_S, fork_shown_to_two_halves, some_settled, submit


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("who", [0, 2])
def test_a_cloned_node_beside_its_original_costs_neither_the_mesh_nor_the_work(three, who, whole):
    submit(three, three.hosts[0], "before")
    some_settled(three, three.hosts[1])
    original = three.hosts[who]
    twin = three.clone(original, whole=whole)
    three.pass_s(100)
    submit(three, three.hosts[1], "beside")
    three.pass_s(TAKE_OVER_S)
    assert twin.node.generation != original.node.generation
    twin.lose()
    three.pass_s(TAKE_OVER_S)  # the original dials again, and its old seats are given away
    three.finish()


def test_a_fork_that_two_halves_were_shown_is_proved_when_they_meet_and_the_rest_goes_on(five):
    """Of a voter's control feed: each half has other acks of it."""
    original = five.hosts[4]
    five.farm.closed.add(original)
    submit(five, five.hosts[0], "before", 60)
    some_settled(five, five.hosts[1])
    twin, others = fork_shown_to_two_halves(five, original)
    five.pass_s(TAKE_OVER_S)
    for host in others:
        assert forks.proofs(host.node.conn), host.name
    twin.lose()
    five.finish()
