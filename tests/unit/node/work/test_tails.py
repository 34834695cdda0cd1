"""Logs of running units: asked of the pilot while somebody reads, and only then."""

import base64
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from node.work.sessions import TAILS_MAX
from node.work.tails import ANSWER_S_MAX
from tests.unit.node.work.house import Described, House, PilotSide, result_of

TASK = 64


def running(house: House) -> PilotSide:
    """A pilot that has said that it runs its units, since millisecond 7."""
    pilot = house.pilot()
    pilot.poll()
    told = pilot.results()
    told["running"] = [[lease, job, 7] for lease, job in pilot.units()]
    pilot.report(told)
    return pilot


def read(house: House, job: int = 0, offset: int = 0) -> Deferred[Any]:
    return Deferred.fromCoroutine(house.work.tail(TASK, job, offset))


def heartbeat(pilot: PilotSide, *logs: Any) -> dict[str, Any]:
    body = {**pilot.results(), "logs": list(logs)}
    body["running"] = [[lease, job, 7] for lease, job in pilot.units()]
    return pilot.report(body)


def log(lease: int, job: int, offset: int, text: bytes) -> list[Any]:
    return [lease, job, offset, base64.b64encode(text).decode()]


def test_a_reader_gets_what_the_pilot_says() -> None:
    house = House(Described(1, 2))
    pilot = running(house)
    (lease, _), _ = pilot.units()
    readers = [read(house, 1, 5), read(house, 1, 5)]
    asked = heartbeat(pilot)["orders"]
    assert asked == [{"order": "tail", "lease": lease, "job": 1, "offset": 5}]
    assert heartbeat(pilot, log(lease, 1, 5, b"more"))["orders"] == []
    assert [result_of(reader) for reader in readers] == [(7, b"more")] * 2


def test_a_waiting_poll_carries_the_question_at_once() -> None:
    house = House(Described(1, 2))
    pilot = running(house)
    waiting = pilot.poll_later()
    read(house)
    assert [order["order"] for order in result_of(waiting)["orders"]] == ["tail"]


def test_a_pilot_that_does_not_answer_is_not_waited_for() -> None:
    house = House(Described(1, 2))
    running(house)
    reader = read(house)
    house.clock.advance(ANSWER_S_MAX)
    assert result_of(reader) is None
    assert not house.work.sessions.by_pilot[1].tails


def test_units_that_do_not_run_have_no_log_to_read() -> None:
    house = House(Described(1, 5))
    assert result_of(read(house)) is None
    pilot = running(house)
    assert result_of(read(house, 4)) is None
    pilot.finish(pilot.units()[0])
    assert result_of(read(house, 0)) is None


def test_readers_of_one_pilot_are_bounded() -> None:
    house = House(Described(1, 2))
    running(house)
    for offset in range(TAILS_MAX):
        read(house, 0, offset)
    assert result_of(read(house, 0, TAILS_MAX)) is None


@pytest.mark.parametrize("logs", [7, [7], [[1, 0, 0]], [[1, 0, 0, "%"]], [[[], 0, 0, ""]]])
def test_nonsense_is_dropped(logs: Any) -> None:
    house = House(Described(1, 2))
    pilot = running(house)
    reader = read(house)
    pilot.report({**pilot.results(), "logs": logs})
    house.clock.advance(ANSWER_S_MAX)
    assert result_of(reader) is None
