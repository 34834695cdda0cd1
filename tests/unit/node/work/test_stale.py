"""Successes count only if their units read what their dependencies are known to have made."""

from typing import Any

import pytest

from federation.records import Outcome
from node.work.stale import STALE
from tests.unit.node.work.house import Described, House, PilotSide, read_of

CHILD = 65
MADE = [["in0", "0a" * 32, 5, 0o644]]
OTHER = [["in0", "0b" * 32, 5, 0o644]]


def put_back(house: House, pilot: PilotSide, jobs: int = 2) -> None:
    """Children run when an older copy is put back, which knows nothing of their leases."""
    house.files.inputs = dict.fromkeys(range(jobs), MADE)
    pilot.poll()
    pilot.finish()
    pilot.poll()
    assert {spec.split("/")[1] for spec in pilot.spec.values()} == {"0", "1"}
    house.kill()
    house.disk.conn.execute("DELETE FROM lease")
    house.start(copied=True)
    pilot.announce()


def report(pilot: PilotSide, *read: Any) -> None:
    body = pilot.results(*pilot.units())
    body["results"][0]["inputs"] = [read_of(each) for each in read]
    pilot.report(body)


def attempts(house: House) -> dict[int, tuple[int, str]]:
    return {job: (outcome, error) for no, job, outcome, error in house.disk.attempts if no == CHILD}


def test_a_success_that_read_other_files_is_a_loss() -> None:
    house = House(Described(1, 2, after=[[], [0]], reads=True))
    pilot = house.pilot()
    put_back(house, pilot)
    report(pilot, MADE, OTHER)
    assert attempts(house) == {0: (0, ""), 1: (Outcome.INFRASTRUCTURE, STALE)}
    assert house.state(CHILD).ready == 1


def test_a_success_before_its_parents_is_a_loss() -> None:
    house = House(Described(1, 2, after=[[], [0]], reads=True))
    pilot = house.pilot()
    put_back(house, pilot)
    house.files.inputs.clear()
    report(pilot, MADE, MADE)
    assert attempts(house) == dict.fromkeys((0, 1), (Outcome.INFRASTRUCTURE, STALE))


def test_what_this_node_gave_out_is_not_looked_up_again() -> None:
    house = House(Described(1, 2, after=[[], [0]], reads=True))
    pilot = house.pilot()
    house.files.inputs = dict.fromkeys(range(2), MADE)
    pilot.poll()
    pilot.finish()
    pilot.poll()
    house.files.inputs.clear()
    report(pilot, MADE, MADE)
    assert attempts(house) == dict.fromkeys((0, 1), (0, ""))


@pytest.mark.parametrize("column", ["outcome", "inputs", "errors", "tails"])
def test_columns_that_are_none_are_refused_as_ever(column: str) -> None:
    house = House(Described(1, 2, after=[[], [0]], reads=True))
    pilot = house.pilot()
    put_back(house, pilot)
    body = pilot.results(*pilot.units())
    body["results"][0][column] = 1.5
    pilot.report(body)
    assert attempts(house) == {}
