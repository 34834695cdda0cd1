"""When shells look: soon, and one look at a time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from node.looks import OneAtATime, Soon


def test_all_that_happens_until_then_is_acted_on_once() -> None:
    clock, acts = Clock(), list[float]()
    soon = Soon(clock, lambda: acts.append(clock.seconds()))
    soon.within(1)
    clock.advance(0.5)
    soon.within(1)
    clock.advance(5)
    assert acts == [1.0 + 4.5]
    soon.within(1)
    clock.advance(1)
    assert len(acts) == 2


def test_what_happens_while_it_acts_is_acted_on_again() -> None:
    clock, acts = Clock(), list[int]()

    def act() -> None:
        acts.append(1)
        if len(acts) < 3:
            soon.within(1)

    soon = Soon(clock, act)
    soon.within(1)
    clock.pump([1, 1, 1, 1])
    assert len(acts) == 3


def test_nothing_is_done_after_a_stop() -> None:
    clock, acts = Clock(), list[int]()
    soon = Soon(clock, lambda: acts.append(1))
    soon.within(1)
    soon.stop()
    soon.within(1)
    clock.advance(9)
    assert not acts
    assert not clock.getDelayedCalls()
    soon.stop()


def test_work_that_is_under_way_is_not_begun_again() -> None:
    begun: list[Deferred[None]] = []

    async def work() -> None:
        begun.append(Deferred())
        await begun[-1]

    turn = OneAtATime("work")
    turn.begin(work)
    turn.begin(work)
    assert (len(begun), turn.busy) == (1, True)
    begun[0].callback(None)
    assert not turn.busy
    turn.begin(work)
    assert len(begun) == 2


def test_work_that_fails_is_told_of_and_the_next_may_begin() -> None:
    failures, lines = list[int](), list[str]()

    async def work() -> None:
        raise OSError("the disk is full")

    def hear(event: dict[str, object]) -> None:
        lines.append(str(event.get("what")))

    turn = OneAtATime("looking", lambda: failures.append(1))
    globalLogPublisher.addObserver(hear)
    try:
        turn.begin(work)
    finally:
        globalLogPublisher.removeObserver(hear)
    assert (failures, lines, turn.busy) == ([1], ["looking"], False)
