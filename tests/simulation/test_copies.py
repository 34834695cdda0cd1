"""Named lives of sites whose database is put back from a copy that is a day old, or was moved."""

from __future__ import annotations

import pytest

from tests.simulation.scenes import TAKE_OVER_S, leaders, submit
from tests.simulation.schedule import DAY_S

WORK_S = 1800.0


def restored(world, host, variant):
    """Work goes on for a day after the copy; then it is put back."""
    made = submit(world, host, "before")
    host.take_copy("old")
    world.pass_s(WORK_S)
    world.skip_s(DAY_S)
    submit(world, host, "behind", 4)
    world.pass_s(60)
    host.put_back(variant)
    return made


@pytest.mark.parametrize("variant", ["database", "whole", "without-file"])
def test_an_old_copy_of_a_leaders_database_loses_nothing_that_others_hold(three, variant):
    leader = three.hosts[0]
    made = restored(three, leader, variant)
    three.pass_s(TAKE_OVER_S)
    assert leader.node.generation > 1
    assert "behind" in [each.name for each in three.witness.datasets.values()]
    assert leaders(three, made)[-1] != "desy"
    three.finish()


def test_an_old_copy_of_a_voters_database_gives_its_seat_away_and_nothing_else(three):
    made = submit(three, three.hosts[0], "before")
    voter = three.hosts[1]
    voter.take_copy("old")
    three.pass_s(WORK_S)
    three.skip_s(DAY_S)
    voter.put_back("database")
    submit(three, three.hosts[0], "after", 4)
    three.finish()
    assert leaders(three, made) == ["desy"]


def test_a_copy_that_is_put_back_while_no_peer_is_reached_forks_no_feed(three):
    leader = three.hosts[0]
    submit(three, leader, "before")
    leader.take_copy("old")
    three.pass_s(WORK_S)
    three.skip_s(DAY_S)
    three.network.ways.split(["desy"], ["wisc", "msu"])
    leader.put_back("database")
    three.pass_s(TAKE_OVER_S)
    assert leader.node.generation == 2
    three.finish()


def entries_of(host):
    """How many control entries of its present generation a site holds."""
    return host.node.journal.heads.control.seq


@pytest.mark.parametrize("file", [True, False])
def test_a_home_that_was_moved_keeps_its_generation_and_its_seats(three, file):
    leader = three.hosts[0]
    made = submit(three, leader, "before")
    leader.move_home(file=file)
    three.pass_s(30)
    assert leader.node.parts.inquiry is None
    assert leader.node.generation == 1
    submit(three, leader, "behind", 4)
    three.finish()
    assert leaders(three, made) == ["desy"]


def test_a_moved_home_writes_nothing_while_too_few_other_voters_are_reached(three):
    leader = three.hosts[0]
    submit(three, leader, "before")
    three.network.ways.split(["desy", "wisc"], ["msu"])
    leader.move_home()
    three.pass_s(60)
    held, words = entries_of(leader), leader.node.parts.inquiry.words()
    assert "1 answered, 1 more is needed (of msu)" in words
    three.pass_s(TAKE_OVER_S)
    assert entries_of(leader) == held
    three.network.ways.mend_all()
    three.pass_s(TAKE_OVER_S)
    assert leader.node.generation == 1
    assert entries_of(leader) > held
    three.finish()


@pytest.mark.parametrize("newest", [True, False])
def test_an_admins_word_ends_the_doubt_of_a_moved_home_that_reaches_nobody(three, newest):
    leader = three.hosts[0]
    submit(three, leader, "before")
    three.network.ways.split(["desy"], ["wisc", "msu"])
    leader.move_home()
    three.pass_s(60)
    assert leader.node.parts.inquiry.pending
    three.alarms["journal: {why}"] = 0
    three.spawn(leader.of_node(lambda node: node.decide(newest)), "a word")
    three.pass_s(30)
    assert leader.node.parts.inquiry is None
    assert (leader.node.generation == 1) is newest
    three.finish()
