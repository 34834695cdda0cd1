"""A reactor of its own for tests with real sockets: turned by hand, until something is true."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

PATIENCE_S = 60.0  # on a machine that does other things as well
TURN_S = 0.02


class Loop:
    """A reactor for one test."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self._ahead_s = 0.0
        self.reactor.seconds = lambda: time.monotonic() + self._ahead_s
        self.reactor.startRunning(installSignalHandlers=False)

    def until(self, true: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Turn until something is true; fail when it does not become so."""
        end_s = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end_s, "it did not come true in time"
            self.reactor.iterate(TURN_S)

    def turn(self, seconds: float) -> None:
        """Let the reactor do what it does for a while."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.reactor.iterate(TURN_S)

    def skip(self, seconds: float) -> None:
        """All that was to happen within this time is due now."""
        self._ahead_s += seconds

    def result(self, awaitable: Awaitable[Any], patience_s: float = PATIENCE_S) -> Any:
        """What an awaitable comes to; raises what it fails with."""
        results: list[Any] = []
        self.begin(awaitable).addBoth(results.append)
        self.until(lambda: results, patience_s)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def begin(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        """Let it go as far as it goes at once."""

        async def wait() -> Any:
            return await awaitable

        return Deferred.fromCoroutine(wait())

    def close(self) -> None:
        """Let go of all that is left."""
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        self.reactor.stop()
        self.reactor.runUntilCurrent()
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionAbortedError("the test is over")))
        waker = self.reactor.waker
        if waker is not None:
            waker.connectionLost(None)
        self.reactor._poller.close()
