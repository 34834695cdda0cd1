"""Waiting for a dataset to change."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from node.changes import DatasetChanged, UnitsSettled, UserChanged
from node.services.watch import TELL_S, Watch


class Waiter:
    def __init__(self, watch, dataset, timeout_s=30.0):
        self.leave = lambda: None
        self.done = False
        waiting = Deferred.fromCoroutine(watch.change(dataset, timeout_s, self.hold))
        waiting.addCallback(lambda _: setattr(self, "done", True))

    def hold(self, tell):
        self.leave = tell


def test_a_change_wakes_those_who_wait_for_that_dataset():
    clock = Clock()
    watch = Watch(clock)
    one, two = Waiter(watch, 1), Waiter(watch, 2)
    watch.changed([UnitsSettled(1 * 64 + 3, [5])])
    clock.advance(TELL_S)
    assert (one.done, two.done) == (True, False)
    watch.changed([DatasetChanged(2, "pause")])
    clock.advance(TELL_S)
    assert two.done
    assert len(watch) == 0


def test_many_changes_wake_once_a_while():
    clock = Clock()
    watch = Watch(clock)
    waiter = Waiter(watch, 1)
    for _ in range(1000):
        watch.changed([UnitsSettled(64, [5]), UserChanged(b"")])
    assert not waiter.done
    assert len(clock.getDelayedCalls()) == 2  # one to tell, one time limit


def test_time_over_wakes_too_and_leaves_nothing_behind():
    clock = Clock()
    watch = Watch(clock)
    waiter = Waiter(watch, 1, timeout_s=5.0)
    clock.advance(5.0)
    assert waiter.done
    assert (len(watch), clock.getDelayedCalls()) == (0, [])


def test_those_who_leave_are_forgotten():
    clock = Clock()
    watch = Watch(clock)
    waiter = Waiter(watch, 1)
    waiter.leave()
    assert (len(watch), clock.getDelayedCalls()) == (0, [])
    assert waiter.done


def test_stopping_lets_everybody_go():
    clock = Clock()
    watch = Watch(clock)
    waiters = [Waiter(watch, no) for no in range(3)]
    watch.changed([DatasetChanged(1, "pause")])
    watch.stop()
    assert all(waiter.done for waiter in waiters)
    assert clock.getDelayedCalls() == []
