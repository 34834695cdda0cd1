"""What ready units and busy pilots are worth, by what the units that run show of themselves."""

from __future__ import annotations

import pytest

from node.dispatch import Dispatch, Offer, Room
from node.model.dataset import Needs
from node.model.share import Shares
from node.provisioning.demand import (
    ASKS_S,
    BINS_MAX,
    SHORT_S,
    ages_s,
    bins_of,
    busy_rooms,
    fresh_rooms,
)
from node.unitstate import DatasetFacts, TaskFacts, TaskState
from node.work.sessions import Lease, Parked, Session

NEEDS = Needs(1, 0, 10**9, 10**9, 36_000)
NOW_MS = 1_000_000_000
ROOM = Room(1, 0, 10**9, 10**9)


def busy(task: TaskState, age_s: float, number: int = 1) -> Session:
    """A pilot whose one unit has been running for so long."""
    session = Session(number, "floe-maui-00000000", b"", 0.0, whole=ROOM)
    session.leases[7] = Lease(7, number, task, {3}, NEEDS, 60.0)
    session.running[7, 3] = NOW_MS - int(age_s * 1000)
    return session


def account(letter: bytes, no: int, tasks: int) -> DatasetFacts:
    """Units of somebody's: tasks that all ask for something else."""
    facts = [
        TaskFacts(no * 64 + at, at, Needs(1, 0, (no * 64 + at) << 20, 0, 60), (), owned=[0, 10])
        for at in range(tasks)
    ]
    return DatasetFacts(no, letter * 32, "physics", 50, no, 10, False, facts)


def task(wall_s: float | None) -> TaskState:
    return TaskState(64, 0, NEEDS, None, wall_s=wall_s)


def test_the_oldest_unit_of_a_task_tells_its_age():
    first = task(None)
    assert ages_s([busy(first, 5), busy(first, 70, 2)], NOW_MS) == {64: 70.0}


def test_a_clock_that_is_ahead_makes_no_unit_younger_than_new():
    assert ages_s([busy(task(None), -500)], NOW_MS) == {64: 0.0}


@pytest.mark.parametrize("wall_s", [None, 1.0, 60.0])
def test_a_pilot_with_a_unit_that_began_lately_soon_has_room(wall_s: float | None):
    assert busy_rooms([busy(task(wall_s), 10)], NOW_MS) == [ROOM]


def test_of_a_task_of_which_none_has_ended_a_unit_lasts_twice_as_long_as_one_has_run():
    unknown = task(None)
    assert busy_rooms([busy(unknown, SHORT_S / 2 - 1)], NOW_MS)
    assert not busy_rooms([busy(unknown, SHORT_S / 2 + 1)], NOW_MS)


def test_a_unit_that_takes_much_longer_than_others_did_keeps_its_pilot_busy():
    known = task(20.0)
    assert busy_rooms([busy(known, SHORT_S - 1)], NOW_MS)
    assert not busy_rooms([busy(known, SHORT_S + 1)], NOW_MS)


def test_a_pilot_with_units_that_are_known_to_be_long_has_no_room_soon():
    assert not busy_rooms([busy(task(SHORT_S + 1), 1)], NOW_MS)


def test_a_pilot_between_its_announcement_and_its_first_question_has_room():
    session = Session(1, "floe-maui-00000000", b"", 100.0, whole=ROOM)
    assert fresh_rooms([session], 100.1) == [ROOM]
    assert not fresh_rooms([session], 100.1 + ASKS_S)
    session.draining = True
    assert not fresh_rooms([session], 100.1)


def test_a_pilot_that_waits_or_works_is_not_counted_once_more():
    waiting = Session(1, "floe-maui-00000000", b"", 100.0, whole=ROOM)
    waiting.parked = Parked(Offer(ROOM, ROOM, 1))
    working = busy(task(None), 1)
    working.seen_s = 100.0
    assert not fresh_rooms([waiting, working], 100.1)


def test_an_account_that_asks_for_hundreds_of_things_leaves_bins_to_the_others():
    """Nothing that it asks for is there, so that it stays the neediest one."""
    dispatch = Dispatch(Shares())
    for no in range(1, 6):
        dispatch.ready.load(account(b"a", no, 64))
    dispatch.ready.load(account(b"b", 6, 1))
    dispatch.shares.start(dispatch.shares.account(b"b" * 32, "physics"), 10_000.0)
    bins = bins_of(dispatch, {})
    assert len(bins) <= BINS_MAX
    assert bins[-1].needs.memory_bytes == 6 * 64 << 20


def test_a_lone_account_has_all_bins():
    dispatch = Dispatch(Shares())
    for no in range(1, 6):
        dispatch.ready.load(account(b"a", no, 64))
    assert len(bins_of(dispatch, {})) == BINS_MAX
