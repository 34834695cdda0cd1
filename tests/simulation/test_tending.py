"""Named lives of meshes whose leaders move datasets and import units: all end with every check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from federation.records import Import, Move
from node.model.rules import Foreign
from tests.simulation.eyes import Eyes
from tests.simulation.parts import Rhythm
from tests.simulation.people import describe
from tests.simulation.persons import ANA
from tests.simulation.scenes import TAKE_OVER_S, leaders, some_settled, submit, task_counts, written
from tests.simulation.world import World

JOBS = 60


def tended(folder: Path, sites: int, known_s: float = 200) -> Iterator[World]:
    """known_s: so long the sites have known each other."""
    world = World(1, folder / "world", (), sites=sites, rhythm=Rhythm(tends=True))
    world.farm.fates.healthy = True
    with world:
        world.pass_s(known_s)
        yield world


@pytest.fixture
def young(tmp_path):
    """Three sites that have not heard each other yet: whoever submits leads alone."""
    yield from tended(tmp_path, 3, 0)


@pytest.fixture
def three(tmp_path):
    yield from tended(tmp_path, 3)


@pytest.fixture
def four(tmp_path):
    yield from tended(tmp_path, 4)


def shard_of(host, made):
    """The shard in whose log a dataset stands, as a site sees it."""
    sql = "SELECT s.id FROM dataset d JOIN shard s ON s.no = d.shard WHERE d.id = ?"
    return host.node.conn.execute(sql, (made.id,)).fetchall()[0][0]


def until_moved(world, host, made, shard):
    world.until(lambda: shard_of(host, made) != shard)
    world.raise_if_broken()


def voters(world, made):
    """The names of the sites in the council of a dataset's shard."""
    names = {host.site: host.name for host in world.hosts}
    facts = world.hosts[1].node.parts.facts
    shard = facts.shard(shard_of(world.hosts[1], made))
    return {names[seat.site] for seat in shard.voters(shard.newest)}


def grown(young):
    """A dataset that its only leader has moved to a council while units of it run."""
    young.network.ways.split(["desy"], ["wisc", "msu"])
    made = submit(young, young.hosts[0], jobs=JOBS)
    alone = shard_of(young.hosts[0], made)
    young.network.ways.mend_all()
    until_moved(young, young.hosts[0], made, alone)
    until_moved(young, young.hosts[1], made, alone)
    assert task_counts(young.hosts[1], "settled") < 2 * JOBS
    return made


def test_a_shard_that_grew_from_one_site_to_three_as_it_worked_outlives_its_founder(young):
    made = grown(young)
    eyes = Eyes(young, young.hosts[1])
    assert "3 alive" in eyes.mesh().text
    (shown,) = (each for each in eyes.shards().json["shards"] if each["datasets"])
    assert (set(shown["council"]), shown["still_brief"]) == ({"desy", "wisc", "msu"}, "")
    assert eyes.verify().json["equal"]
    young.pass_s(20)
    young.hosts[0].lose()
    young.finish()
    assert leaders(young, made)[0] == "desy"
    assert len(leaders(young, made)) == 2


@pytest.mark.parametrize("mode", ["kill", "power"])
def test_a_leader_that_ends_at_any_step_of_a_move_moves_each_dataset_once(young, mode):
    young.network.ways.split(["desy"], ["wisc", "msu"])
    made = submit(young, young.hosts[0], jobs=JOBS)
    alone = shard_of(young.hosts[0], made)
    young.network.ways.mend_all()
    for operation in range(0, 24, 3):
        young.hosts[0].die_within(operation, mode, operation)
        young.pass_s(45)
    until_moved(young, young.hosts[1], made, alone)
    young.finish()
    assert len(written(young, Move)) == 1


def test_what_a_drained_site_leads_goes_to_another_one_and_outlives_it(three):
    made = submit(three, three.hosts[0], jobs=JOBS)
    before = shard_of(three.hosts[0], made)
    some_settled(three, three.hosts[1])
    three.hosts[0].node.parts.work.drain()
    until_moved(three, three.hosts[1], made, before)
    eyes = Eyes(three, three.hosts[1])
    assert "2 alive, 1 drained" in eyes.mesh().text
    assert "desy is drained: it takes no new units" in eyes.why("desy").text
    (shown,) = (each for each in eyes.shards().json["shards"] if each["datasets"])
    assert shown["leader"] != "desy"
    assert eyes.metrics()["floe_mesh_sites", "drained"] == 1
    three.pass_s(20)
    three.hosts[0].lose()
    three.finish()
    assert leaders(three, made)[0] != "desy"


def test_a_seat_that_was_revoked_is_replaced_by_the_site_that_had_none(four):
    made = submit(four, four.hosts[0], jobs=JOBS)
    before, seated = shard_of(four.hosts[0], made), voters(four, made)
    some_settled(four, four.hosts[0])
    gone = next(host for host in four.hosts[2:] if host.name in seated)
    four.people.revoke(four.hosts[0], gone, b"n" * 16)
    four.pass_s(1)
    gone.lose()
    until_moved(four, four.hosts[1], made, before)
    assert voters(four, made) == {host.name for host in four.hosts} - {gone.name}
    four.hosts[0].lose()
    four.finish()


def test_units_of_anothers_log_serve_though_both_leaders_are_taken_over_between(three):
    parent = submit(three, three.hosts[0], "parent", JOBS)
    foreign = {"parent": Foreign(parent.id, parent.jobs, parent.tasks)}
    child = describe("child", [["parent/t1"], ["t0"]], JOBS)
    three.people.submit_to(three.hosts[1], child, Random("child"), ANA, foreign)
    three.until(lambda: len(three.witness.datasets) == 2)
    made = next(each for each in three.witness.datasets.values() if each.name == "child")
    assert leaders(three, made) == ["wisc"]
    three.until(lambda: len(written(three, Import)) > 0)
    three.raise_if_broken()
    three.hosts[1].pause()
    three.pass_s(TAKE_OVER_S)
    three.hosts[1].resume()
    three.hosts[0].lose()
    three.finish()
    assert len(leaders(three, made)) > 1
    assert len(leaders(three, parent)) > 1
