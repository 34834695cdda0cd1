"""Links with sites that are no members of each other's mesh: one bounded request, to join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from federation import limits
from federation.calls import Calls
from federation.driver import Driver
from federation.errors import RemoteRefused, Unreachable
from federation.events import Answered, Asked, Event, LinkDown, LinkUp, Reason
from federation.hub import Hub
from federation.ids import SiteID
from federation.requesting import JOIN, Asker
from federation.session import Session
from federation.wire import Message

Stranger = Callable[[SiteID, bytes], Awaitable[bytes]]
"""Answers a request to join: (the stranger's key, its body). Raises RemoteRefused."""


@dataclass(slots=True)
class _Joining:
    body: bytes
    answer: Deferred[bytes] = field(default_factory=Deferred)


class _DoorHub(Hub):
    def take(self, session: Session, message: Message, size: int, now_s: float) -> None:
        """A member's messages mean nothing here: the other end takes this site for a member."""
        if type(message) in self._by_message:
            super().take(session, message, size, now_s)
        elif not session.dialled:
            session.close(Reason.STRANGER, now_s, "your key is no member's here")


class Door:
    """See the module. answer: the site's own answer to a request to join."""

    def __init__(self, reactor: IReactorTime, members: Hub, answer: Stranger) -> None:
        """members: the links with members, which begin with the same hello."""
        self.hub = _DoorHub(members.me, members.hello, members.timing)
        self._calls = Calls(self.hub)
        self.hub.add(self._calls)
        self.driver = Driver(reactor, self.hub, self._happened)
        self.turned_away = 0
        self._asker = Asker(reactor, self._calls, self.driver)
        self._reactor = reactor
        self._answer = answer
        self._open: set[Session] = set()
        self._asked: set[Session] = set()
        self._joining: dict[SiteID, _Joining] = {}

    def admit(self, peer: SiteID) -> Session | None:
        """A stranger came in; None if there is no room for it."""
        if len(self._open) >= limits.STRANGERS_MAX:
            self.turned_away += 1
            return None
        return self._session(peer, dialled=False)

    def joins(self, peer: SiteID) -> bool:
        """Whether this site is asking `peer` to be let in."""
        return peer in self._joining

    def dialled(self, peer: SiteID) -> Session:
        """The connection to a site that is to be asked for admission."""
        return self._session(peer, dialled=True)

    def join(self, site: SiteID, body: bytes) -> Deferred[bytes]:
        """Ask a site to be let in, once `dialled`. Fails with Unreachable or RemoteRefused."""
        joining = self._joining[site] = _Joining(body)

        def ended(result: Any) -> Any:
            if self._joining.get(site) is joining:
                del self._joining[site]
            return result

        return joining.answer.addBoth(ended)

    def give_up(self, site: SiteID, why: Unreachable) -> None:
        """There is no connection to a site that was to be asked."""
        joining = self._joining.pop(site, None)
        if joining is not None:
            joining.answer.errback(why)

    def _session(self, peer: SiteID, *, dialled: bool) -> Session:
        now_s = self._reactor.seconds()
        session = self.hub.open(peer, now_s, dialled=dialled)
        if not dialled:
            session.bytes_in_max = limits.STRANGER_BYTES_MAX
        self._open.add(session)

        def late(now_s: float) -> None:
            session.close(Reason.SILENT, now_s, "time is over")

        self.hub.agenda.at(now_s + limits.STRANGER_S_MAX, late)
        return session

    def _happened(self, event: Event) -> None:
        if isinstance(event, LinkUp) and event.session.dialled:
            self._ask(event.session)
        elif isinstance(event, Asked):
            self._take(event)
        elif isinstance(event, Answered):
            self._asker.answered(event)
        elif isinstance(event, LinkDown):
            self._open.discard(event.session)
            self._asked.discard(event.session)
            if event.session.dialled:
                self.give_up(event.session.peer, Unreachable(event.words or "the connection ended"))

    def _ask(self, session: Session) -> None:
        joining = self._joining.get(session.peer)
        if joining is None:
            session.close(Reason.CLOSING, self._reactor.seconds())
            return
        asked = self._asker.ask(session, JOIN, joining.body)

        def ended(result: Any) -> Any:
            self._joining.pop(session.peer, None)
            session.close(Reason.CLOSING, self._reactor.seconds())
            self.driver.run()
            return result

        asked.addBoth(ended).chainDeferred(joining.answer)

    def _take(self, event: Asked) -> None:
        session = event.session
        if session.dialled or event.what != JOIN or session in self._asked:
            self._calls.refuse(event, "a stranger may ask to join, once", self._reactor.seconds())
            return
        self._asked.add(session)
        self._asker.reply(event, lambda: self._answer(session.peer, event.body))


async def nobody(site: SiteID, body: bytes) -> bytes:
    """Of a site that lets nobody in."""
    raise RemoteRefused("this site lets no strangers in")
