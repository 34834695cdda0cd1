"""Virtual time: what is due comes next, and nothing takes any time by itself."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class VirtualClock:
    """Twisted's `Clock` for many thousand calls, done one by one; of equal times, older first."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._numbers = itertools.count()
        self._calls: list[tuple[float, int, DelayedCall]] = []

    def seconds(self) -> float:
        return self._now_s

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        if delay < 0:
            raise ValueError(f"a call {-delay} seconds ago")
        call = DelayedCall(
            self._now_s + delay, callable, args, kw, self._forget, self._push, self.seconds
        )
        self._push(call)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return [call for _, _, call in self._calls if call.active()]

    def turn(self) -> bool:
        """Do what comes next; False if nothing will. What it raises is raised."""
        while self._calls:
            time_s, _, call = heapq.heappop(self._calls)
            if not call.active():
                continue
            if call.getTime() > time_s:  # it was put off meanwhile
                self._push(call)
                continue
            self._now_s = time_s
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        return False

    def _push(self, call: DelayedCall) -> None:
        heapq.heappush(self._calls, (call.getTime(), next(self._numbers), call))

    @staticmethod
    def _forget(call: Any) -> None:
        """It stays where it is until its time comes: then it is not active."""
