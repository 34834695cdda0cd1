"""Named schedules: the power goes at each step between a report and its answer."""

from __future__ import annotations

import pytest

from tests.simulation.storm import SHAPES, Storm, description


@pytest.fixture
def storm(tmp_path):
    found = Storm(1, tmp_path / "site")
    found.world.submit(description("named", SHAPES[1], 6), 1)
    found.world.settle()
    found.add_pilot()
    found.calm = True
    yield found
    found.world.close()


def a_report(storm):
    """A pilot holds three units and has sent their results."""
    pilot = storm.pilots[0]
    pilot.take(storm.ask(pilot, lambda: pilot.poll_later(3)))
    units = pilot.units()
    assert units
    storm.unacked[pilot] = pilot.results(*units)
    for lease, job in units:
        storm.finished[pilot.spec[lease], job] += 1
    return pilot


def operations_of_a_report(tmp_path_factory):
    """Disk operations between a report's arrival and the answer."""
    storm = Storm(1, tmp_path_factory.mktemp("probe") / "site")
    storm.world.submit(description("named", SHAPES[1], 6), 1)
    storm.world.settle()
    storm.add_pilot()
    storm.calm = True
    pilot = a_report(storm)
    before = storm.world.disk.operations
    storm.send(pilot)
    count = storm.world.disk.operations - before
    storm.world.close()
    return count


def test_a_power_cut_at_every_step_of_a_report(tmp_path_factory):
    count = operations_of_a_report(tmp_path_factory)
    assert count > 3
    for operation in range(count + 1):
        storm = Storm(1, tmp_path_factory.mktemp("cut") / "site")
        storm.world.submit(description("named", SHAPES[1], 6), 1)
        storm.world.settle()
        storm.add_pilot()
        storm.calm = True
        pilot = a_report(storm)
        storm.world.disk.lose_after = storm.world.disk.operations + operation
        storm.step(lambda storm=storm, pilot=pilot: storm.send(pilot))
        if not storm.world.dark:
            storm.power_cut()
        storm.heal()
        storm.world.close()


def test_the_node_dies_after_the_commit_and_before_the_answer(storm):
    pilot = a_report(storm)
    body = storm.unacked[pilot]
    storm.world.ask(storm.world.work.report(pilot.session, body))  # the answer goes nowhere
    storm.world.kill()
    storm.send(pilot)  # the same batch again
    storm.heal()
    assert max(storm.told.values()) == 1
    assert storm.world.query("SELECT sum(duplicates) FROM task") == [(0,)]


def test_a_full_disk_takes_no_submission_and_loses_no_result(storm):
    pilot = a_report(storm)
    storm.world.disk.full = True
    storm.step(lambda: storm.send(pilot))
    storm.step(lambda: storm.world.submit(description("late", SHAPES[0], 2), 9))
    assert "late" not in storm.world.submitted.values()
    storm.heal()
    assert storm.world.query("SELECT sum(jobs - settled) FROM task") == [(0,)]


def test_the_clock_leaps_a_year_either_way_while_units_run(storm):
    for jump_ms in (-365 * 86_400_000, 365 * 86_400_000):
        pilot = a_report(storm)
        storm.world.wall_jump_ms = jump_ms
        storm.send(pilot)
        assert pilot not in storm.unacked
    storm.heal()
