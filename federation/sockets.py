"""Where connections between sites come in and go out: listening, dialling, turning away."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from federation import limits
from federation.driver import Driver
from federation.errors import Unreachable, WrongSite
from federation.ids import SiteID
from federation.link import Link, LinkFactory, Owner
from federation.secure import Contexts
from federation.session import Session

BACKLOG = 256


class _Dialling(Factory):
    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: Any) -> Link:
        return self._link


class Sockets:
    """All connections of one site. owner: says what becomes of each."""

    def __init__(self, reactor: Any, contexts: Contexts, owner: Owner) -> None:
        self.turned_away = 0  # connections, because too many had not shown their key
        self._reactor = reactor
        self._contexts = contexts
        self._owner = owner
        self._arrivals: dict[Link, None] = {}  # came in, key unknown; the oldest first
        self._dials: dict[Link, Deferred[None]] = {}
        self.links: set[Link] = set()  # whose key is known
        self._listening: Any = None

    def listen(self, host: str, port: int) -> int:
        """Take connections; the port, where 0 stands for any. Raises CannotListenError."""
        factory = LinkFactory(self._arrived)
        self._listening = self._reactor.listenTCP(port, factory, BACKLOG, interface=host)
        where: Any = self._listening.getHost()
        return int(where.port)

    def dial(self, site: SiteID, address: str, protocol: bytes) -> Deferred[None]:
        """Connect to a site: fires when it proved its key. Fails with Unreachable, WrongSite."""
        host, _, port = address.rpartition(":")
        link = Link(self._reactor, self._contexts.dial(protocol), self, address, wanted=site)
        done = self._dials[link] = Deferred()
        endpoint = HostnameEndpoint(
            self._reactor, host.strip("[]").encode(), int(port), timeout=limits.DIAL_S_MAX
        )

        def failed(failure: Failure) -> None:
            self._failed(link, _why(failure))

        endpoint.connect(_Dialling(link)).addErrback(failed)
        return done

    def stop(self) -> Deferred[Any]:
        """Listen no more, and drop what has not shown its key."""
        for link in [*self._arrivals, *self._dials]:
            link.cut()
        listening, self._listening = self._listening, None
        done = None if listening is None else listening.stopListening()
        if isinstance(done, Deferred):
            return done
        stopped: Deferred[Any] = Deferred()
        stopped.callback(None)
        return stopped

    # The owner of links, in front of the real one

    def identified(self, link: Link) -> tuple[Session, Driver] | None:
        self._arrivals.pop(link, None)
        self.links.add(link)
        found = self._owner.identified(link)
        dial = self._dials.pop(link, None)
        if dial is not None:
            peer = link.channel.peer
            if found is None and peer not in (None, link.wanted):
                dial.errback(WrongSite(peer))
            elif found is None:
                dial.errback(Unreachable(link.error or "that link is not wanted"))
            else:
                dial.callback(None)
        return found

    def gone(self, link: Link) -> None:
        self._arrivals.pop(link, None)
        self.links.discard(link)
        self._failed(link, link.error)
        self._owner.gone(link)

    def _arrived(self, path: str) -> Link | None:
        if len(self._arrivals) >= limits.ARRIVALS_MAX:
            self.turned_away += 1
            next(iter(self._arrivals)).cut()
        link = Link(self._reactor, self._contexts.accept(), self, path)
        self._arrivals[link] = None
        return link

    def _failed(self, link: Link, error: str) -> None:
        dial = self._dials.pop(link, None)
        if dial is not None:
            dial.errback(Unreachable(error or "the connection ended"))


def _why(failure: Failure) -> str:
    """Why nobody answered, in short."""
    error = failure.value
    if isinstance(error, ConnectError) and error.osError:
        # Twisted keeps the number alone, and 111 tells nobody anything
        number = error.osError
        return os.strerror(number).lower() if isinstance(number, int) else str(number)
    if isinstance(error, TimedOut):
        return os.strerror(errno.ETIMEDOUT).lower()
    return str(error) or type(error).__name__
