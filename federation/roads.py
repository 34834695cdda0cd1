"""The ways that a request may take: over the link, over a bulk link, through a relay by either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from federation.bulk import CALL_BACK, BulkLinks, DialBulk
from federation.driver import Driver
from federation.errors import RemoteRefused, Unreachable
from federation.events import (
    Answered,
    Asked,
    Event,
    LinkDown,
    TunnelData,
    TunnelOpened,
    TunnelRoom,
    TunnelShut,
)
from federation.exchange import Exchange
from federation.ids import SiteID
from federation.ports import Members
from federation.relayed import Relayed
from federation.requesting import Asker
from federation.secure import Contexts
from federation.session import Session

Answer = Callable[[SiteID, str, bytes], Awaitable[bytes]]
"""This site's answer to a request: (who asks, what, body). Raises RemoteRefused."""


class Roads:
    """See the module. near: runs the links for records."""

    def __init__(
        self,
        reactor: Any,
        exchange: Exchange,
        near: Driver,
        contexts: Contexts,
        members: Members,
        *,
        bulk_kinds: frozenset[str],
        dial: DialBulk,
        answer: Answer,
        down: Callable[[LinkDown], None],
    ) -> None:
        """bulk_kinds: what goes over bulk links. down: told of each bulk or relayed link's end."""
        self._exchange = exchange
        self._contexts = contexts
        self._members = members
        self._bulk_kinds = bulk_kinds
        self._answer = answer
        self._down = down
        self._near = Asker(reactor, exchange.calls, near)
        hub = exchange.hub
        self.bulk = BulkLinks(
            reactor, hub.me, hub.hello, hub.timing,
            addresses=members.addresses, dial=dial, call_back=self._call_back,
            act=self._bulk_happened,
        )  # fmt: skip
        self.far = Relayed(
            reactor, hub, exchange.tunnels, contexts,
            relays=self._relays, reach=self._link_to, is_member=members.is_member,
            act=lambda event: self._asked(event, self.far.asker), changed=near.run,
        )  # fmt: skip
        self.bulk_far = Relayed(
            reactor, self.bulk.hub, self.bulk.tunnels, contexts,
            relays=self._relays, reach=self.bulk.link_to, is_member=members.is_member,
            act=lambda event: self._asked(event, self.bulk_far.asker),
            changed=self.bulk.driver.run,
        )  # fmt: skip

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """All but that of the links for records; those that rest on others first."""
        return self.far.driver, self.bulk_far.driver, self.bulk.driver

    async def way(self, site: SiteID, kind: str) -> tuple[Asker, Session]:
        """The link over which to ask a site. Raises Unreachable."""
        if kind in self._bulk_kinds:
            return await self._bulk_way(site)
        session = self._exchange.hub.sessions.get(site)
        if session is not None:
            return self._near, session
        if not self._members.is_member(site):
            raise Unreachable("that site is no member of this mesh")
        return self.far.asker, await self.far.link_to(site)

    def nearest(self) -> list[SiteID]:
        """The neighbours, the nearest first."""
        return self._by_distance(self._exchange.hub.sessions)

    def happened(self, event: Event) -> None:
        """An event of the links for records, if it is about tunnels or requests."""
        if not _tunnelled(event, self.far):
            self._asked(event, self._near)

    async def called_back(self, site: SiteID, body: bytes) -> bytes:
        """Answer CALL_BACK: dial a bulk link to a site that cannot dial this one."""
        if not self._members.addresses(site):
            raise RemoteRefused("you have no address")
        self.bulk.want(site)
        return b""

    async def _bulk_way(self, site: SiteID) -> tuple[Asker, Session]:
        near = site in self._exchange.hub.sessions
        if near or self._members.addresses(site):
            try:
                return self.bulk.asker, await self.bulk.link_to(site)
            except Unreachable:
                if near:
                    raise
        return self.bulk_far.asker, await self.bulk_far.link_to(site)

    def _bulk_happened(self, event: Event) -> None:
        if not _tunnelled(event, self.bulk_far):
            self._asked(event, self.bulk.asker)

    def _asked(self, event: Event, asker: Asker) -> None:
        if isinstance(event, Answered):
            asker.answered(event)
        elif isinstance(event, Asked):
            site, what, body = event.session.peer, event.what, event.body
            asker.reply(event, lambda: self._answer(site, what, body))
        elif isinstance(event, LinkDown):
            self._down(event)

    def _relays(self, site: SiteID) -> list[SiteID]:
        """The neighbours that have a link with a site, the nearest first."""
        return self._by_distance(self._exchange.gossip.neighbourhood.between(site))

    def _by_distance(self, sites: Sequence[SiteID] | dict[SiteID, Session]) -> list[SiteID]:
        sessions = self._exchange.hub.sessions
        return sorted(sites, key=lambda site: sessions[site].rtt_s or 0.0)

    def _link_to(self, relay: SiteID) -> Deferred[Session]:
        session = self._exchange.hub.sessions.get(relay)
        if session is None:
            return fail(Unreachable("the link to the relay has ended"))
        return succeed(session)

    def _call_back(self, site: SiteID) -> Deferred[bytes]:
        session = self._exchange.hub.sessions.get(site)
        if session is None:
            return fail(Unreachable("there is no link over which to ask it"))
        return self._near.ask(session, CALL_BACK, b"")


def _tunnelled(event: Event, far: Relayed) -> bool:
    """Hand an event of a tunnel on; whether it was one."""
    if isinstance(event, TunnelOpened):
        far.opened(event)
    elif isinstance(event, TunnelData):
        far.came(event)
    elif isinstance(event, TunnelRoom):
        far.room(event)
    elif isinstance(event, TunnelShut):
        far.shut(event)
    else:
        return False
    return True
