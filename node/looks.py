"""When shells look: soon after something happened, and one look at a time.

Nothing here knows what is looked for. All methods run in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


class Soon:
    """Calls `act` once for all that happens until then; never after `stop`."""

    def __init__(self, reactor: IReactorTime, act: Callable[[], None]) -> None:
        self.stopped = False
        self._reactor = reactor
        self._act = act
        self._call: IDelayedCall | None = None

    def within(self, seconds: float) -> None:
        """Something happened: act so much later, or when it was going to be done anyhow."""
        if self._call is None and not self.stopped:
            self._call = self._reactor.callLater(seconds, self._due)

    def stop(self) -> None:
        self.stopped = True
        if self._call is not None:
            self._call.cancel()
        self._call = None

    def _due(self) -> None:
        self._call = None
        self._act()


class OneAtATime:
    """Begins work only when none is under way; what fails is logged, and the next may begin."""

    def __init__(self, what: str, failed: Callable[[], None] = lambda: None) -> None:
        """what: for the log. failed: called when work raised."""
        self.busy = False
        self._what = what
        self._on_failure = failed

    def begin(self, work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        if self.busy:
            return
        self.busy = True
        done = Deferred.fromCoroutine(work())
        done.addErrback(self._failed)
        done.addBoth(lambda _: self._rest())

    def _failed(self, failure: Failure) -> None:
        _log.failure("{what} failed; it is tried again", failure, what=self._what)
        self._on_failure()

    def _rest(self) -> None:
        self.busy = False
