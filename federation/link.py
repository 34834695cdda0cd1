"""One TLS connection of a link: bytes between a socket and a session, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet import interfaces
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from federation import limits
from federation.events import Reason
from federation.ids import SiteID
from federation.secure import Channel, TLSError
from federation.session import Session

if TYPE_CHECKING:
    from federation.driver import Driver

_log = Logger()
_NOTSENT_LOWAT: Final = 25  # TCP_NOTSENT_LOWAT of Linux


class Transport(Protocol):
    """What carries a session's bytes."""

    def pump(self) -> None:
        """Send what the session has to send, as far as there is room."""


class Owner(Protocol):
    """Who the links of a site belong to."""

    def identified(self, link: Link) -> tuple[Session, Driver] | None:
        """TLS proved the other end's key: the session to be had with it; None to hang up."""

    def gone(self, link: Link) -> None:
        """The connection ended; its session, if there was one, knows."""


@implementer(interfaces.IPushProducer)
class Link(TwistedProtocol):
    """See the module. path: `host:port` of the other end."""

    def __init__(
        self,
        reactor: IReactorTime,
        channel: Channel,
        owner: Owner,
        path: str,
        *,
        wanted: SiteID | None = None,
    ) -> None:
        """wanted: the site that was dialled; None for a connection that came in."""
        self.channel = channel
        self.path = path
        self.wanted = wanted
        self.session: Session | None = None
        self._driver: Driver | None = None
        self.error = ""  # why it ended before there was a session
        self._reactor = reactor
        self._owner = owner
        self._paused = False
        self._timer: IDelayedCall | None = None
        self._closing = False

    # The socket's side

    def connectionMade(self) -> None:
        self._set_options()
        self.transport: Any
        self.transport.registerProducer(self, True)
        self._timer = self._reactor.callLater(limits.HANDSHAKE_S_MAX, self._cut, "no TLS in time")
        self.channel.start()
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            clear = self.channel.receive(data)
        except TLSError as error:
            self.error = str(error)
            self._hang_up()  # with an alert that says why
            return
        self._flush()
        if self.session is None and self.channel.peer is not None:
            self._identify()
        if self.session is not None and clear:
            self._take(self.session, clear)
        if self.channel.ended:
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._stop_timer()
        if self.session is not None and self._driver is not None:
            self._driver.run(self.session.lost(self._reactor.seconds(), self.error))
        elif not self.error:
            self.error = "the connection ended before the other end showed its key"
        self._owner.gone(self)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.pump()

    def stopProducing(self) -> None:
        self._paused = True

    # The session's side

    def pump(self) -> None:
        """Send what the session has to send; after its last word, hang up."""
        session = self.session
        if session is None or self._closing:
            return
        while not self._paused:
            try:
                data = session.bytes_to_send(self._reactor.seconds())
            except Exception:
                _log.failure("a link to {path} cannot go on", path=self.path)
                self._cut("trouble of our own")
                return
            if not data:
                break
            self.channel.send(data)
            self._flush()
        if session.finished:
            self._hang_up()

    def cut(self) -> None:
        """End the connection at once."""
        self._cut("")

    # Within

    def _identify(self) -> None:
        self._stop_timer()
        found = self._owner.identified(self)
        if found is None:
            self._hang_up()
            return
        self.session, self._driver = found
        self._driver.attach(self.session, self)
        self._driver.run()

    def _take(self, session: Session, clear: bytes) -> None:
        now_s = self._reactor.seconds()
        try:
            events = session.receive(clear, now_s)
        except Exception:
            _log.failure("a message of {path} could not be dealt with", path=self.path)
            session.close(Reason.TROUBLE, now_s, "trouble of our own")
            events = []
        if self._driver is not None:
            self._driver.run(events)

    def _flush(self) -> None:
        data = self.channel.take()
        if data:
            self.transport.write(data)

    def _hang_up(self) -> None:
        """Close once all that was written is out, but wait for that a short while only."""
        if self._closing:
            return
        self._closing = True
        self._stop_timer()
        self.channel.close()
        self._flush()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._timer = self._reactor.callLater(limits.CLOSE_S_MAX, self.transport.abortConnection)

    def _cut(self, error: str) -> None:
        self.error = self.error or error
        self._closing = True
        self._stop_timer()
        if self.transport is not None:  # else it was never connected
            self.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _set_options(self) -> None:
        transport: Any = self.transport
        try:
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
            # Little waits in the kernel: what is more urgent overtakes the rest here.
            transport.getHandle().setsockopt(
                socket.IPPROTO_TCP, _NOTSENT_LOWAT, limits.UNSENT_BYTES_MAX
            )
        except (AttributeError, OSError):
            pass  # no TCP, or no Linux: it works without


class LinkFactory(Factory):
    """Makes the link of each connection that comes in."""

    noisy = False

    def __init__(self, make: Callable[[str], Link | None]) -> None:
        """make: from the other end's `host:port`; None to turn it away."""
        self._make = make

    def buildProtocol(self, addr: Any) -> Link | None:
        return self._make(shown(addr))


def shown(address: Any) -> str:
    """`host:port` of a Twisted address."""
    host, port = getattr(address, "host", "?"), getattr(address, "port", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
