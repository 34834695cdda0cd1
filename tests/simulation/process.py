"""The reactor as one life of a node sees it: once that is over, nothing of it happens any more."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.clock import VirtualClock

THREAD_S = 0.001  # a hop to a thread and back
ANSWER_S = 0.0005
AtWork = Callable[[], AbstractContextManager[None]]


class Unreachable(Exception):
    """No answer: the node is down, or the network lost the request or its answer."""


@implementer(IReactorTime)
class Process:
    """Timers, threads and requests of one life."""

    def __init__(
        self,
        clock: VirtualClock,
        failed: Callable[[str], None],
        at_work: AtWork = nullcontext,
    ) -> None:
        """failed: told of what must not happen. at_work: around all that happens here."""
        self.alive = True
        self._at_work = at_work
        self._late: list[tuple[Callable[..., object], Any, Any]] | None = None  # while paused
        self._clock = clock
        self._failed = failed
        self._waiting: dict[int, Deferred[Any]] = {}
        self._asked = 0

    # IReactorTime

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        return self._clock.callLater(delay, self._run, callable, args, kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return ()

    def call(self, fn: Callable[..., object], *args: object) -> None:
        """Something comes in from outside."""
        self._run(fn, args, {})

    def _run(self, fn: Callable[..., object], args: Any, kw: Any) -> None:
        if not self.alive:
            return
        if self._late is not None:
            self._late.append((fn, args, kw))
            return
        try:
            with self._at_work():
                fn(*args, **kw)
        except Exception:
            self._failed(f"an exception reached the reactor: {Failure().getTraceback()}")

    def sleep(self, seconds: float) -> Deferred[None]:
        """Fires after a while, unless the process ends before."""
        done: Deferred[None] = Deferred()
        self.callLater(seconds, done.callback, None)
        return done

    # What blocks takes time, and may never come back

    def in_thread(self, fn: Callable[[], Any], takes_s: float = THREAD_S) -> Deferred[Any]:
        """What `fn` returns, once it has run; the process may end before that is heard."""
        done: Deferred[Any] = Deferred()

        def run() -> None:
            try:
                result = fn()
            except BaseException:
                self.callLater(0, done.errback, Failure())
            else:
                self.callLater(ANSWER_S, done.callback, result)

        self.callLater(takes_s, run)
        return done

    # Requests

    def answer(self, request: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
        """What the request comes to; Unreachable if the process ends before it answers."""
        self._asked += 1
        number, answer = self._asked, Deferred[Any]()
        self._waiting[number] = answer

        def settle(result: Any) -> None:
            if self._waiting.pop(number, None) is not None:
                answer.callback(result)  # a Failure fails it

        with self._at_work():
            Deferred.fromCoroutine(request).addBoth(settle)
        return answer

    def pause(self) -> None:
        """SIGSTOP: nothing happens here, while time goes on."""
        if self._late is None:
            self._late = []

    def resume(self) -> None:
        """Everything that came late comes now, in its order."""
        late, self._late = self._late or [], None
        for call in late:
            self._run(*call)

    def end(self) -> None:
        """Here and now; who waits for an answer hears that nobody is there."""
        self.alive = False
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.errback(Unreachable("the node died"))
