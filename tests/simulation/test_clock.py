"""Virtual time goes from one call to the next, in the order in which they are due."""

from __future__ import annotations

import pytest

from tests.simulation.clock import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def seen():
    return []


def turn_all(clock):
    while clock.turn():
        pass


def test_calls_come_in_order_of_time_and_of_equal_times_the_older_first(clock, seen):
    for name, delay_s in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0)):
        clock.callLater(delay_s, seen.append, name)
    turn_all(clock)
    assert seen == ["a", "b", "c", "d"]
    assert clock.seconds() == 2.0


def test_a_turn_does_one_call(clock, seen):
    clock.callLater(1.0, seen.append, "a")
    clock.callLater(1.0, seen.append, "b")
    assert clock.turn()
    assert seen == ["a"]


def test_a_cancelled_call_never_comes_and_takes_no_time(clock, seen):
    clock.callLater(3.0, seen.append, "a").cancel()
    assert clock.getDelayedCalls() == []
    assert not clock.turn()
    assert (seen, clock.seconds()) == ([], 0.0)


def test_a_call_that_is_put_off_comes_once_and_at_its_new_time(clock, seen):
    call = clock.callLater(1.0, lambda: seen.append(clock.seconds()))
    call.delay(4.0)
    turn_all(clock)
    assert seen == [5.0]


def test_a_call_that_is_brought_forward_comes_once_and_at_its_new_time(clock, seen):
    call = clock.callLater(5.0, lambda: seen.append(clock.seconds()))
    call.reset(1.0)
    turn_all(clock)
    assert seen == [1.0]


def test_a_call_that_is_moved_to_and_fro_comes_once(clock, seen):
    call = clock.callLater(5.0, lambda: seen.append(clock.seconds()))
    call.reset(1.0)
    call.reset(5.0)
    turn_all(clock)
    assert seen == [5.0]


def test_nothing_can_be_asked_for_in_the_past(clock):
    with pytest.raises(ValueError, match="ago"):
        clock.callLater(-1.0, print)
