"""Runs one hub of links by a reactor: its events, its bytes, its clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.events import Event, LinkDown
from federation.hub import Hub
from federation.link import Transport
from federation.session import Session

_log = Logger()


class Driver:
    """See the module. act: what the owner does about an event; may call `run` again."""

    def __init__(self, reactor: IReactorTime, hub: Hub, act: Callable[[Event], None]) -> None:
        self.hub = hub
        self._reactor = reactor
        self._act = act
        self._transports: dict[Session, Transport] = {}
        self._events: deque[Event] = deque()
        self._running = False
        self._call: IDelayedCall | None = None
        self._stopped = False

    def attach(self, session: Session, transport: Transport) -> None:
        """What carries a session's bytes; until its LinkDown, and its last bytes after that."""
        self._transports[session] = transport

    def run(self, events: Iterable[Event] = ()) -> None:
        """Act on events, then send what there is to send, and look at the clock."""
        self._events.extend(events)
        if self._running:
            return
        self._running = True
        try:
            self._settle()
        finally:
            self._running = False
        self._schedule()

    def stop(self) -> None:
        """Do nothing more by the clock."""
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _settle(self) -> None:
        while True:
            self._events.extend(self.hub.take_events())
            if self._events:
                self._one(self._events.popleft())
                continue
            ready = self.hub.take_ready()
            if not ready:
                return
            for session in ready:
                transport = self._transports.get(session)
                if transport is not None:
                    transport.pump()
                if session.finished:
                    self._transports.pop(session, None)

    def _one(self, event: Event) -> None:
        try:
            self._act(event)
        except Exception:
            _log.failure("an event of a link was not dealt with: {kind}", kind=type(event).__name__)
        if isinstance(event, LinkDown):
            self.hub.wake(event.session)  # its last word goes out, and the transport closes

    def _schedule(self) -> None:
        due_s = self.hub.deadline_s
        if self._stopped or due_s == float("inf"):
            return
        if self._call is not None and self._call.active():
            if self._call.getTime() <= due_s:
                return
            self._call.cancel()
        wait_s = max(0.0, due_s - self._reactor.seconds())
        self._call = self._reactor.callLater(wait_s, self._tick)

    def _tick(self) -> None:
        events: Iterable[Event] = ()
        try:
            events = self.hub.tick(self._reactor.seconds())
        except Exception:
            _log.failure("something that was due on a link failed")
        self.run(events)
