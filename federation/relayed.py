"""Requests to sites without a link, through one relay: TLS inside a tunnel, end to end.

The relay sees who talks with whom and how much, and can drop it; it can neither read nor alter it.
Within the TLS are the same sessions and requests as on a link, and no records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from federation import limits
from federation.calls import Calls
from federation.driver import Driver
from federation.errors import Unreachable
from federation.events import (
    Event,
    LinkUp,
    TunnelData,
    TunnelOpened,
    TunnelRoom,
    TunnelShut,
)
from federation.hub import Hub
from federation.idle import close_when_idle
from federation.ids import SiteID
from federation.requesting import Asker
from federation.secure import RELAYED, Channel, Contexts, TLSError
from federation.session import Session, State
from federation.tunnels import TunnelEnd, Tunnels


class FarLink:
    """A session's transport: TLS in a tunnel."""

    def __init__(self, far: Relayed, end: TunnelEnd, channel: Channel) -> None:
        self.end = end
        self.channel = channel
        self.session: Session | None = None
        self._far = far
        self._out = bytearray()
        self._done = False

    @property
    def up(self) -> bool:
        return self.session is not None and self.session.state is State.UP

    def start(self) -> None:
        self.channel.start()
        self.pump()

    def receive(self, data: bytes) -> None:
        try:
            clear = self.channel.receive(data)
        except TLSError as error:
            self.shut(str(error))
            return
        if self.session is None and self.channel.peer is not None:
            self.session = self._far.identified(self)
            if self.session is None:
                self.shut("another site than was asked for")
                return
        if self.session is not None and clear:
            self._far.driver.run(self.session.receive(clear, self._far.now_s()))
        self.pump()

    def pump(self) -> None:
        session = self.session
        while not self._done:
            self._out += self.channel.take()
            size = min(self.end.room, len(self._out))
            if size:
                self._far.send(self.end, bytes(self._out[:size]))
                del self._out[:size]
            if self._out or session is None:
                return
            data = session.bytes_to_send(self._far.now_s())
            if not data:
                if session.finished:
                    self.shut("")
                return
            self.channel.send(data)

    def shut(self, words: str) -> None:
        """Close the tunnel; the session, if there was one, is lost by it."""
        if not self._done:
            self._done = True
            self._far.close(self.end, words)


class Relayed:
    """The sessions of one site through relays. tunnels: of the links to those relays."""

    def __init__(
        self,
        reactor: IReactorTime,
        near: Hub,
        tunnels: Tunnels,
        contexts: Contexts,
        *,
        relays: Callable[[SiteID], Sequence[SiteID]],
        reach: Callable[[SiteID], Deferred[Session]],
        is_member: Callable[[SiteID], bool],
        act: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        """near: of the links to relays. relays: the sites that may have links with a site, the best
        first. reach: the link to a relay.

        changed: the tunnels have something to send.
        """
        self.hub = Hub(near.me, near.hello, near.timing)
        self.calls = Calls(self.hub)
        self.hub.add(self.calls)
        self.driver = Driver(reactor, self.hub, self._happened)
        self.asker = Asker(reactor, self.calls, self.driver)
        self._reactor = reactor
        self._tunnels = tunnels
        self._contexts = contexts
        self._relays = relays
        self._reach = reach
        self._is_member = is_member
        self._act = act
        self._changed = changed
        self._links: dict[TunnelEnd, FarLink] = {}
        self._opening: dict[SiteID, list[Deferred[Session]]] = {}
        self._attempts: dict[TunnelEnd, Deferred[str]] = {}

    def now_s(self) -> float:
        return self._reactor.seconds()

    def link_to(self, site: SiteID) -> Deferred[Session]:
        """A session with a site through a relay. Fails with Unreachable."""
        waiting: Deferred[Session] = Deferred()
        session = self.hub.sessions.get(site)
        if session is not None:
            waiting.callback(session)
        elif site in self._opening:
            self._opening[site].append(waiting)
        else:
            self._opening[site] = [waiting]
            Deferred.fromCoroutine(self._open(site))
        return waiting

    def paths(self) -> dict[Session, SiteID]:
        """Every session that is up, and its relay."""
        return {
            link.session: link.end.session.peer
            for link in self._links.values()
            if link.session is not None
        }

    # Events of the links to relays

    def opened(self, event: TunnelOpened) -> None:
        """Somebody opened a tunnel to this site."""
        self._begin(event.end, self._contexts.accept(relayed=True))

    def came(self, event: TunnelData) -> None:
        self._tunnels.consumed(event.end, len(event.data), self.now_s())
        link = self._links.get(event.end)
        if link is not None:
            link.receive(event.data)
        self._changed()

    def room(self, event: TunnelRoom) -> None:
        link = self._links.get(event.end)
        if link is not None:
            link.pump()

    def shut(self, event: TunnelShut) -> None:
        self._lost(event.end, event.words or "the other end closed the tunnel")

    # For FarLink

    def send(self, end: TunnelEnd, data: bytes) -> None:
        self._tunnels.send(end, data, self.now_s())
        self._changed()

    def close(self, end: TunnelEnd, words: str) -> None:
        self._tunnels.shut(end, self.now_s(), words)
        self._changed()
        self._lost(end, words)

    def identified(self, link: FarLink) -> Session | None:
        """The session with the site that TLS proved, if it is the one that the tunnel is for."""
        peer = link.channel.peer
        if peer is None or peer != link.end.site or not self._is_member(peer):
            return None
        session = self.hub.open(peer, self.now_s(), dialled=link.end.opened_here)
        self.driver.attach(session, link)
        return session

    # Within

    async def _open(self, site: SiteID) -> None:
        """Try relays until there is a session, however it came about."""
        said = "no other site has links with both"
        for relay in self._relays(site)[: limits.RELAYS_TRIED_MAX]:
            try:
                session = await self._reach(relay)
                end = self._tunnels.open(session, site, self.now_s())
            except Unreachable as error:
                said = str(error)
            else:
                said = await self._attempt(end)
            if site not in self._opening:
                return
        for waiting in self._opening.pop(site, []):
            waiting.errback(Unreachable(f"no link leads there, and no relay: {said}"))

    def _attempt(self, end: TunnelEnd) -> Deferred[str]:
        """Fires when there is a session in a tunnel, or with the words at its end."""
        ended = self._attempts[end] = Deferred()
        link = self._begin(end, self._contexts.dial(RELAYED))
        link.start()
        return ended

    def _begin(self, end: TunnelEnd, channel: Channel) -> FarLink:
        link = self._links[end] = FarLink(self, end, channel)

        def late(now_s: float) -> None:
            if end in self._links and not link.up:
                link.shut("no answer through the relay in time")

        self.hub.agenda.at(self.now_s() + limits.TUNNEL_S_MAX, late)
        self.driver.run()
        return link

    def _lost(self, end: TunnelEnd, words: str) -> None:
        link = self._links.pop(end, None)
        if link is None:
            return
        if link.session is not None:
            self.driver.run(link.session.lost(self.now_s(), words))
        self._end_attempt(end, words)

    def _end_attempt(self, end: TunnelEnd, words: str) -> None:
        attempt = self._attempts.pop(end, None)
        if attempt is not None:
            attempt.callback(words)

    def _happened(self, event: Event) -> None:
        if isinstance(event, LinkUp):
            close_when_idle(self.hub, self.calls.activity, event.session, self.now_s())
            for waiting in self._opening.pop(event.session.peer, []):
                waiting.callback(event.session)
            for end, link in list(self._links.items()):
                if link.session is event.session:
                    self._end_attempt(end, "")
        self._act(event)
