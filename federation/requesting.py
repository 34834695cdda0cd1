"""Requests between sites: asked here, answered here. Implements `federation.ports.Requests`.

Which way a request takes is the business of ways: over the link, over a bulk link, or through a
relay. What is asked of this site is answered alike, whichever way it came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation.calls import Calls
from federation.driver import Driver
from federation.errors import LocalError, RemoteRefused, Unreachable
from federation.events import Answered, Asked, Outcome
from federation.ids import SiteID
from federation.ports import Handler
from federation.session import Session

_log = Logger()

JOIN: Final = "join"  # the one request that a stranger may make
FindWay = Callable[[SiteID, str], Awaitable[tuple["Asker", Session]]]
"""The link over which a site is asked for something. Raises Unreachable."""


class Asker:
    """One hub's calls, with a Deferred for each."""

    def __init__(self, reactor: IReactorTime, calls: Calls, driver: Driver) -> None:
        self.calls = calls
        self._reactor = reactor
        self._driver = driver
        self._waiting: dict[tuple[Session, int], Deferred[bytes]] = {}

    def ask(self, session: Session, what: str, body: bytes) -> Deferred[bytes]:
        """The answer's body. Fails with Unreachable or RemoteRefused; raises as `Calls.ask`."""
        number = self.calls.ask(session, what, body, self._reactor.seconds())

        def cancel(_: Deferred[bytes]) -> None:
            self._waiting.pop((session, number), None)
            self.calls.cancel(session, number, self._reactor.seconds())
            self._driver.run()

        waiting: Deferred[bytes] = Deferred(cancel)
        self._waiting[session, number] = waiting
        self._driver.run()
        return waiting

    def answered(self, event: Answered) -> None:
        """A question of ours has ended."""
        waiting = self._waiting.pop((event.session, event.number), None)
        if waiting is None:
            return
        if event.outcome is Outcome.ANSWERED:
            waiting.callback(event.body)
            return
        words = event.body.decode("utf-8", "replace")
        refused = event.outcome is Outcome.REFUSED
        waiting.errback(RemoteRefused(words) if refused else Unreachable(words))

    def reply(self, event: Asked, answer: Callable[[], Awaitable[bytes]]) -> None:
        """Answer a question of theirs with what a coroutine returns or raises."""

        async def attempt() -> None:
            try:
                body = await answer()
                self.calls.answer(event, body, self._reactor.seconds())
            except RemoteRefused as error:
                self.calls.refuse(event, error.reason, self._reactor.seconds())
            except Exception:
                _log.failure("a request of another site failed: {what}", what=event.what)
                words = "the site failed at this request; its log says why"
                self.calls.refuse(event, words, self._reactor.seconds())
            self._driver.run()

        Deferred.fromCoroutine(attempt())


class Requesting:
    """See the module."""

    def __init__(self, me: SiteID, find_way: FindWay) -> None:
        self._me = me
        self._find_way = find_way
        self._handlers: dict[str, Handler] = {}

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        """Ask a site; this one too. Fails with Unreachable or RemoteRefused."""
        return Deferred.fromCoroutine(self._request(site, kind, body))

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer requests of a kind from now on. Raises LocalError if somebody does already."""
        if kind in self._handlers:
            raise LocalError(f"requests of kind {kind} are served already")
        self._handlers[kind] = handler

    async def answer(self, site: SiteID, kind: str, body: bytes) -> bytes:
        """Answer a site. Raises RemoteRefused, or whatever the handler raises."""
        handler = self._handlers.get(kind)
        if handler is None:
            raise RemoteRefused(f"no such request here: {kind}")
        return await handler(site, body)

    async def _request(self, site: SiteID, kind: str, body: bytes) -> bytes:
        if site == self._me:
            return await self.answer(site, kind, body)
        asker, session = await self._find_way(site, kind)
        return await asker.ask(session, kind, body)


def swallow(failure: Failure, *expected: type[Exception]) -> Any:
    """An errback for failures that are somebody else's business."""
    return None if isinstance(failure.value, expected) else failure
