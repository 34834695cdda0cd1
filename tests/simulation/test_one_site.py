"""Named lives of one site: what goes wrong at which moment, and that nothing is lost by it."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.people import describe
from tests.simulation.world import World

YEAR_MS = 365 * 86_400_000
HOUR_S = 3600.0
JOBS = 6


@pytest.fixture
def world(tmp_path):
    with a_world(tmp_path) as found:
        yield found


def a_world(folder):
    """One site, a dataset of two tasks for it, and units that succeed."""
    world = World(1, folder / "world", ())
    world.farm.fates.healthy = True
    submit(world, "named")
    return world


def submit(world, name):
    world.people.submit_to(world.hosts[0], describe(name, ((), ("t0",)), JOBS), Random(name))


def until_a_report_arrives(world):
    """A pilot's results are at the node, which has done nothing with them yet."""
    arrived = []
    world.hosts[0].arriving = lambda what: arrived.append(what) if what == "report" else None
    world.until(lambda: bool(arrived))
    world.raise_if_broken()


def count(world, what):
    return world.hosts[0].node.conn.execute(f"SELECT {what} FROM task").fetchall()[0][0]


def heal(world):
    world.heal()
    world.raise_if_broken()


@pytest.mark.parametrize("mode", ["kill", "power"])
def test_a_node_that_ends_at_any_step_of_a_report_loses_none_and_records_none_twice(tmp_path, mode):
    for operation in range(100):
        with a_world(tmp_path) as world:
            host = world.hosts[0]
            until_a_report_arrives(world)
            node = host.node
            host.die_within(operation, mode, operation)
            world.until(lambda host=host, node=node: host.node is not node or host.node.idle)
            survived = host.node is node
            world.finish()
        if survived:
            break
    assert 3 < operation < 100


def test_a_report_whose_answer_was_lost_with_the_node_is_recorded_once(world):
    until_a_report_arrives(world)
    node = world.hosts[0].node
    world.until(lambda: node.journal.heads.results.seq > 0)
    assert not world.witness.attempts  # nobody was told
    world.hosts[0].die("kill", 0)
    heal(world)
    assert count(world, "sum(duplicates)") == 0
    world.finish()


def test_a_full_disk_takes_no_submission_and_loses_no_result(world):
    until_a_report_arrives(world)
    world.hosts[0].disk.full = True
    submit(world, "late")
    world.pass_s(60)
    assert [made.name for made in world.witness.datasets.values()] == ["named"]
    told = len(world.witness.attempts)
    heal(world)
    assert [made.name for made in world.witness.datasets.values()] == ["named", "late"]
    assert told < len(world.witness.attempts)
    assert count(world, "sum(jobs - settled)") == 0
    world.finish()


@pytest.mark.parametrize("jump_ms", [YEAR_MS, -YEAR_MS])
def test_a_clock_that_leaps_a_year_while_units_run_changes_nothing(world, jump_ms):
    until_a_report_arrives(world)
    world.hosts[0].wall_jump_ms += jump_ms
    submit(world, "later")
    heal(world)
    assert count(world, "sum(jobs - settled)") == 0
    world.finish()


@pytest.mark.parametrize("variant", ["database", "whole", "without-file"])
def test_an_old_copy_in_the_place_of_the_database_forks_no_feed(world, variant):
    until_a_report_arrives(world)
    world.hosts[0].take_copy("old")
    world.pass_s(HOUR_S)
    generation = world.hosts[0].node.generation
    lost = set(world.witness.attempts)
    world.hosts[0].put_back(variant)
    assert lost > set(world.witness.attempts)
    if variant != "database":  # nobody else can tell: the admin says what it is
        world.people.recover(world.hosts[0])
    submit(world, "after")
    world.finish()  # every entry ever shown is compared with what is authored now
    assert world.witness.shown(world.hosts[0].site).generation > generation


def test_an_admin_who_calls_a_copy_an_older_one_also_forces_on_what_stands_still_then(world):
    until_a_report_arrives(world)
    host = world.hosts[0]
    host.take_copy("old")
    world.pass_s(60)
    host.put_back("without-file")
    world.people.recover(host)  # asked once
    world.pass_s(60)
    assert host.node.parts.inquiry is None
    assert not host.node.parts.recovery.still()
    world.finish()


def test_an_older_copy_on_a_full_disk_is_left_as_soon_as_there_is_room_to_note_it(world):
    until_a_report_arrives(world)
    host = world.hosts[0]
    host.take_copy("old")
    world.pass_s(60)
    host.put_back("without-file")
    world.pass_s(10)
    host.disk.full = True
    world.people.recover(host)
    world.pass_s(60)
    assert host.node.journal.outlived
    host.disk.full = False
    world.pass_s(60)
    assert host.node.generation > 1
    world.finish()
