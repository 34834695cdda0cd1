"""Floods and requests of a site that keeps logs, on its links; requests go to neighbours only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from federation.errors import RemoteRefused, Unreachable
from federation.events import Answered, Asked, Event, FloodHeard, FloodKind, Outcome
from federation.exchange import Exchange
from federation.ids import SiteID
from federation.ports import Handler
from federation.session import Session


class LogVoice:
    """What `federation.mesh.Mesh` is for a node, as far as councils need it."""

    def __init__(
        self, exchange: Exchange, seconds: Callable[[], float], pump: Callable[[], None]
    ) -> None:
        """pump: sends what is ready."""
        self._exchange = exchange
        self._seconds = seconds
        self._pump = pump
        self._handlers: dict[str, Handler] = {}
        self._on_flood: dict[FloodKind, list[Callable[[SiteID, bytes], None]]] = {}
        self._asked: dict[tuple[Session, int], Deferred[bytes]] = {}

    @property
    def boot(self) -> int:
        return self._exchange.gossip.boot

    def flood(self, kind: str, document: bytes) -> None:
        self._exchange.flood(FloodKind[kind.upper()], document, self._seconds())
        self._pump()

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        self._on_flood.setdefault(FloodKind[kind.upper()], []).append(fn)

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        session = self._exchange.hub.sessions.get(site)
        if session is None:
            return fail(Unreachable("there is no link"))
        try:
            number = self._exchange.calls.ask(session, kind, body, self._seconds())
        except Unreachable as error:
            return fail(error)
        answer = self._asked[session, number] = Deferred()
        self._pump()
        return answer

    def serve(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler

    def hear(self, events: Iterable[Event]) -> None:
        """What the exchange says."""
        for event in events:
            if isinstance(event, FloodHeard):
                for fn in self._on_flood.get(event.kind, ()):
                    fn(event.origin, event.document)
            elif isinstance(event, Asked):
                self._answer(event)
            elif isinstance(event, Answered):
                self._answered(event)

    def _answer(self, asked: Asked) -> None:
        handler = self._handlers.get(asked.what)
        if handler is None:
            self._exchange.calls.refuse(asked, "not served here", self._seconds())
            return

        async def answer() -> bytes:
            assert handler is not None
            return await handler(asked.session.peer, asked.body)

        def answered(body: bytes) -> None:
            self._exchange.calls.answer(asked, body, self._seconds())
            self._pump()

        def refused(failure: Failure) -> None:
            self._exchange.calls.refuse(asked, str(failure.value), self._seconds())
            self._pump()

        Deferred.fromCoroutine(answer()).addCallbacks(answered, refused)

    def _answered(self, event: Answered) -> None:
        waiting = self._asked.pop((event.session, event.number), None)
        if waiting is None:
            return
        if event.outcome is Outcome.ANSWERED:
            waiting.callback(event.body)
        elif event.outcome is Outcome.REFUSED:
            waiting.errback(RemoteRefused(event.body.decode()))
        else:
            waiting.errback(Unreachable(event.body.decode()))
