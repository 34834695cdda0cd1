"""What a driver does when something of our own fails: the clock of its links goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from federation.driver import Driver
from federation.events import LinkDown, Reason
from federation.hub import Agenda, Hub
from federation.ids import SiteID
from federation.session import Session
from federation.wire import Hello


def broken(now_s: float) -> None:
    raise ZeroDivisionError("a bug")


@pytest.fixture
def failures() -> Iterator[Sequence[LogEvent]]:
    """What is logged."""
    with capturedLogs() as events:
        yield events


def test_what_is_due_beside_something_that_fails_is_done_the_next_time() -> None:
    agenda, done = Agenda(), []
    agenda.at(1, broken)
    agenda.at(1, done.append)
    agenda.at(3, done.append)
    with pytest.raises(ZeroDivisionError):
        agenda.run(2)
    assert agenda.due_s == 1
    agenda.run(2)
    assert done == [2]
    assert agenda.due_s == 3


def test_a_failure_does_not_stop_the_clock_of_the_other_links(failures: Sequence[LogEvent]) -> None:
    clock, done = Clock(), []
    hub = Hub(SiteID(b"m" * 32), Hello(1, 1, 1, ""))
    driver = Driver(clock, hub, lambda event: None)
    for due_s in (1, 2, 4):
        hub.agenda.at(due_s, broken)
        hub.agenda.at(due_s, done.append)
    driver.run()
    clock.pump([0.5] * 10)
    assert done == [1, 2, 4]
    assert len(failures) == 3


def test_a_link_whose_clock_fails_is_given_up(
    failures: Sequence[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, events = Clock(), []
    hub = Hub(SiteID(b"m" * 32), Hello(1, 1, 1, ""))
    driver = Driver(clock, hub, events.append)
    hub.open(SiteID(b"o" * 32), 0, dialled=True)
    monkeypatch.setattr(Session, "tick", lambda self, now_s: broken(now_s))
    driver.run()
    clock.pump([1] * 600)
    assert [(type(event), event.reason) for event in events] == [(LinkDown, Reason.TROUBLE)]
    assert len(failures) == 1
