"""Links for requests that move many bytes: apart from those of records, opened when needed.

Either end dials: who has an address is dialled, who has none is asked, over the link for records,
to dial this site.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from federation import limits
from federation.calls import Calls
from federation.driver import Driver
from federation.errors import Unreachable
from federation.events import Event, LinkUp
from federation.hub import Hub
from federation.idle import close_when_idle
from federation.ids import SiteID
from federation.requesting import Asker, swallow
from federation.session import Session
from federation.timing import Timing
from federation.tunnels import Tunnels
from federation.wire import Hello

CALL_BACK = "floe.bulk"  # asks the other site to dial a bulk link here
DialBulk = Callable[[SiteID, str], Deferred[None]]
"""Dial a bulk link to a site at an address; fails when nobody answers there."""


class BulkLinks:
    """See the module."""

    def __init__(
        self,
        reactor: IReactorTime,
        me: SiteID,
        hello: Hello,
        timing: Timing,
        *,
        addresses: Callable[[SiteID], Sequence[str]],
        dial: DialBulk,
        call_back: Callable[[SiteID], Deferred[bytes]],
        act: Callable[[Event], None],
    ) -> None:
        """call_back: asks a site to dial a bulk link here."""
        self.hub = Hub(me, hello, timing)
        self.calls = Calls(self.hub)
        self.tunnels = Tunnels(self.hub, self.want)
        self.hub.add(self.calls)
        self.hub.add(self.tunnels)
        self.driver = Driver(reactor, self.hub, self._happened)
        self.asker = Asker(reactor, self.calls, self.driver)
        self._reactor = reactor
        self._addresses = addresses
        self._dial = dial
        self._call_back = call_back
        self._act = act
        self._waiting: dict[SiteID, list[Deferred[Session]]] = {}

    def link_to(self, site: SiteID) -> Deferred[Session]:
        """The bulk link to a site. Fails with Unreachable."""
        waiting: Deferred[Session] = Deferred()
        session = self.hub.sessions.get(site)
        if session is not None:
            waiting.callback(session)
            return waiting
        self._waiting.setdefault(site, []).append(waiting)
        if len(self._waiting[site]) == 1:
            due_s = self._reactor.seconds() + limits.BULK_S_MAX
            self.hub.agenda.at(due_s, partial(self._late, site, waiting))
            Deferred.fromCoroutine(self._open(site))
            self.driver.run()
        return waiting

    def want(self, site: SiteID) -> None:
        """Have a bulk link to a site, if one can be had."""
        self.link_to(site).addErrback(swallow, Unreachable)

    async def _open(self, site: SiteID) -> None:
        said = "it has no address"
        for address in self._addresses(site):
            try:
                await self._dial(site, address)
                return  # the hub settles which link it is
            except Unreachable as error:
                said = str(error)
        try:
            await self._call_back(site)
        except Exception as error:
            self._fail(site, f"no bulk link: {said}, and it does not dial this site: {error}")

    def _late(self, site: SiteID, first: Deferred[Session], now_s: float) -> None:
        if first in self._waiting.get(site, []):
            self._fail(site, "no bulk link in time")

    def _fail(self, site: SiteID, words: str) -> None:
        for waiting in self._waiting.pop(site, []):
            waiting.errback(Unreachable(words))

    def _activity(self, session: Session) -> tuple[int, int]:
        begun, under_way = self.calls.activity(session)
        return begun, under_way + self.tunnels.count(session)

    def _happened(self, event: Event) -> None:
        if isinstance(event, LinkUp):
            session = event.session
            close_when_idle(self.hub, self._activity, session, self._reactor.seconds())
            for waiting in self._waiting.pop(session.peer, []):
                waiting.callback(session)
        self._act(event)
