"""One process's links on the virtual network: what a shell does with sockets and an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from federation.events import Event, LinkDown
from federation.exchange import Exchange
from federation.ids import SiteID
from federation.session import Session
from tests.simulation.network import Wire
from tests.simulation.process import Process


class Linking:
    """Gives an exchange its transports and the time, and its owner the events."""

    def __init__(
        self,
        process: Process,
        exchange: Exchange,
        may_link: Callable[[SiteID], bool],
        act: Callable[[Iterable[Event]], None],
    ) -> None:
        """may_link: whether a key is a member's. act: the owner's, for every event."""
        self._process = process
        self._exchange = exchange
        self._may_link = may_link
        self._act = act
        self._wires: dict[Session, Wire] = {}
        self._tick_s = float("inf")  # for which a tick is scheduled

    def opened(self, wire: Wire, *, dialled: bool) -> Session | None:
        """A transport is there; None for a stranger's, which is closed."""
        if not self._may_link(wire.peer):
            wire.close()
            return None
        session = self._exchange.open(wire.peer, self._process.seconds(), dialled=dialled)
        self._wires[session] = wire
        wire.received = partial(self._received, session)
        wire.lost = partial(self._lost, session)
        wire.has_room = partial(self._send, session, wire)
        self.pump()
        return session

    def told(self, events: Iterable[Event]) -> None:
        """What a call into the exchange returned: act on it, and send what there is to send."""
        for event in events:
            if isinstance(event, LinkDown):
                self._down(event.session)
            self._act((event,))
        self.pump()

    def pump(self) -> None:
        """After every call into the exchange: send what is ready, and see to its next tick."""
        for session in self._exchange.take_ready():
            wire = self._wires.get(session)
            if wire is not None:
                self._send(session, wire)
        due_s = self._exchange.deadline_s
        if due_s < self._tick_s:
            self._tick_s = due_s
            wait_s = max(0.0, due_s - self._process.seconds())
            self._process.callLater(wait_s, self._tick, due_s)

    def linked(self, site: SiteID) -> bool:
        """Whether a link to a site is up."""
        return site in self._exchange.hub.sessions

    def bytes_out(self) -> int:
        """Written to links that are up."""
        return sum(wire.bytes_out for wire in self._wires.values())

    def _tick(self, due_s: float) -> None:
        if self._tick_s == due_s:
            self._tick_s = float("inf")
            self.told(self._exchange.tick(self._process.seconds()))

    def _received(self, session: Session, data: bytes) -> None:
        self.told(session.receive(data, self._process.seconds()))

    def _lost(self, session: Session, why: str) -> None:
        self._wires.pop(session, None)
        self.told(session.lost(self._process.seconds()))

    def _send(self, session: Session, wire: Wire) -> None:
        while wire.room > 0:
            data = session.bytes_to_send(self._process.seconds())
            if not data:
                break
            wire.write(data)

    def _down(self, session: Session) -> None:
        """Say the last words, and close the transport behind them."""
        wire = self._wires.pop(session, None)
        if wire is not None:
            wire.write(session.bytes_to_send(self._process.seconds()))
            wire.close()
