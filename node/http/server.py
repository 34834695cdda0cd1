"""The HTTPS edge: one listening port, hard bounds on what a connection may cost the node.

A connection is always in one phase, and all but `WORK` have a deadline that a sweep enforces:

    HEAD  from connecting, or the first byte of a request, until its headers are complete
    BODY  until its body is complete
    WORK  a handler is at it; handlers bound themselves
    IDLE  a keep-alive connection between requests, or one whose client has not read its reply
    CLOSE the last reply is on its way; what the client still sends is thrown away

Slow senders get 408, large bodies 413 before they are read, all as JSON. When the table of
connections is full, the oldest that never showed a good token makes room.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet import task
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, resource, server

from node.http import limits
from node.http.json import ApiError, dump

log = Logger()

LENGTH_DIGITS_MAX = 32  # of a Content-Length; Python refuses to read 4,300

REASONS = {431: b"Request Header Fields Too Large", 429: b"Slow Down"}


class Phase(IntEnum):
    HEAD = 0
    BODY = 1
    WORK = 2
    IDLE = 3
    CLOSE = 4


class Gate(Protocol):
    """Decides from a request's head alone what its body may be."""

    def body_bytes_max(self, method: bytes, path: bytes) -> int: ...

    def known(self, authorization: bytes | None, path: bytes) -> bool:
        """Whether the bearer of this Authorization header may send more than a stranger."""


class Door:
    """All open connections, with their deadlines and their number an address."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._channels: dict[Channel, str] = {}
        self._per_address: Counter[str] = Counter()
        self.refused = 0  # connections turned away or cut to make room
        self.timed_out = 0
        self._sweep: task.LoopingCall | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def now_s(self) -> float:
        return self._clock.seconds()

    def start(self) -> None:
        """Begin to enforce deadlines."""
        self._sweep = task.LoopingCall(self.sweep)
        self._sweep.clock = self._clock
        self._sweep.start(limits.SWEEP_S, now=False).addErrback(
            lambda failure: log.failure("connection sweep stopped", failure=failure)
        )

    def stop(self) -> None:
        """Cut every connection."""
        if self._sweep is not None and self._sweep.running:
            self._sweep.stop()
        for channel in list(self._channels):
            channel.cut()

    def enter(self, channel: Channel, address: str) -> bool:
        """Register a new connection. False: no room for it, close it."""
        full = len(self._channels) >= limits.CONNECTIONS_MAX
        crowded = self._per_address[address] >= limits.CONNECTIONS_PER_ADDRESS_MAX
        if (full or crowded) and not self._make_room(address if crowded else None):
            self.refused += 1
            return False
        self._channels[channel] = address
        self._per_address[address] += 1
        return True

    def leave(self, channel: Channel) -> None:
        address = self._channels.pop(channel, None)
        if address is None:
            return
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]

    def sweep(self) -> None:
        """Expire every connection that is past its deadline."""
        now_s = self.now_s()
        for channel in [c for c in self._channels if c.deadline_s < now_s]:
            self.timed_out += 1
            try:
                channel.expire()
            except Exception:
                # It would be the end of all sweeps.
                log.failure("a connection past its deadline could not be closed; it is cut")
                self.leave(channel)
                channel.cut()

    def _make_room(self, address: str | None) -> bool:
        """Cut the oldest connection (of `address`) that never showed a good token."""
        for channel, other in self._channels.items():
            if not channel.proven and (address is None or other == address):
                self.refused += 1
                self.leave(channel)
                channel.cut()
                return True
        return False


class Request(server.Request):
    """A request whose body never grows beyond what the gate allows."""

    defaultContentType = b"application/json"
    channel: Channel
    content: IO[bytes]
    _bytes_left = 0  # of the body, until it is too large
    _right_to_more = True  # than a stranger may send

    def gotLength(self, length: int | None) -> None:
        channel = self.channel
        gate = channel.factory.gate
        bytes_max = gate.body_bytes_max(channel.method, channel.path)
        self._right_to_more = True
        if length is None or length > limits.STRANGER_BODY_BYTES_MAX:
            self._right_to_more = gate.known(self.getHeader(b"authorization"), channel.path)
        if not self._right_to_more:
            bytes_max = min(bytes_max, limits.STRANGER_BODY_BYTES_MAX)
        self._bytes_left = bytes_max
        if length is not None and length > bytes_max:
            self._refuse()
        if length is not None and (length <= limits.BODY_MEMORY_BYTES_MAX or length > bytes_max):
            self.content = BytesIO()
        else:
            self.content = channel.factory.spool()

    def handleContentChunk(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left >= 0:
            self.content.write(data)
        elif self.channel.phase is not Phase.CLOSE:
            self._refuse()

    def _refuse(self) -> None:
        """The body is too large; or its sender has to log in first."""
        self._bytes_left = -1
        channel = self.channel
        if not self._right_to_more:
            channel.refuse(ApiError(401, "a body of this size needs a login", "log in again"))
            return
        bytes_max = channel.factory.gate.body_bytes_max(channel.method, channel.path)
        channel.refuse(
            ApiError(413, "the body is larger than is taken here", f"at most {bytes_max:,} bytes")
        )

    def process(self) -> None:
        """Find the resource and render it; whatever it raises becomes a JSON error."""
        self.site = self.channel.site
        self.prepath = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:
            log.failure("request failed: {method} {path}", method=self.method, path=self.path)
            reply_error(self, ApiError(500, "the node failed at this request; its log says why"))

    def processingFailed(self, reason: Failure) -> Failure:
        log.failure("request failed: {path}", failure=reason, path=self.path)
        reply_error(self, ApiError(500, "the node failed at this request; its log says why"))
        return reason


def reply(request: http.Request, status: int, value: object) -> None:
    """Answer with JSON, unless the client has gone."""
    send(request, status, dump(value), b"application/json")


def reply_error(request: http.Request, error: ApiError) -> None:
    """Answer with the error's JSON; a request that already began to answer is cut instead."""
    if request.startedWriting:
        request.loseConnection()
        return
    if error.status == 401:
        request.setHeader(b"www-authenticate", b"Bearer")
    reply(request, error.status, error.body())


def send(request: http.Request, status: int, body: bytes, kind: bytes) -> None:
    """Answer with bytes in one piece, unless the client has gone."""
    if request._disconnected or request.finished:
        return
    request.setResponseCode(status, REASONS.get(status))
    headers = request.responseHeaders
    headers.setRawHeaders(b"content-type", [kind])
    headers.setRawHeaders(b"content-length", [b"%d" % len(body)])
    request.write(body)
    request.finish()


class Channel(http.HTTPChannel):
    """One connection: twisted.web's parser with phases, deadlines and JSON errors."""

    MAX_LENGTH = limits.HEADER_BYTES_MAX
    totalHeadersSize = limits.HEADER_BYTES_MAX
    maxHeaders = limits.HEADER_COUNT_MAX
    requestFactory = Request
    factory: Factory
    site: Factory
    transport: ITCPTransport
    timeOut = None  # the door's sweep does it, cheaper than one timer a request

    _command: bytes
    _path: bytes
    phase = Phase.HEAD
    proven = False  # has completed a request with a good token
    deadline_s = float("inf")
    _thrown_bytes = 0

    @property
    def method(self) -> bytes:
        """Of the request whose headers have just arrived."""
        return self._command

    @property
    def path(self) -> bytes:
        return self._path.split(b"?", 1)[0]

    def connectionMade(self) -> None:
        super().connectionMade()
        door = self.factory.door
        self.deadline_s = door.now_s() + limits.HEAD_S_MAX
        if not door.enter(self, _host_of(self.transport.getPeer())):
            self.cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline_s = float("inf")
        self.factory.door.leave(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self.phase is Phase.CLOSE:
            self._thrown_bytes += len(data)
            if self._thrown_bytes > limits.DRAIN_BYTES_MAX:
                self.cut()
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD, limits.HEAD_S_MAX)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self.phase is not Phase.CLOSE:  # what followed a refused line in the same piece
            super().lineReceived(line)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if header == b"Content-Length" and len(data) > LENGTH_DIGITS_MAX:
            return self._failChooseTransferDecoder()
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.phase is not Phase.CLOSE:
            patience_s = limits.BODY_S_MIN + (self.length or 0) / limits.BODY_BYTES_PER_S_MIN
            self._enter(Phase.BODY, patience_s)

    def allContentReceived(self) -> None:
        if self.phase is Phase.CLOSE:
            return
        self.phase = Phase.WORK
        self.deadline_s = float("inf")
        if not self.proven:
            authorization = self.requests[-1].getHeader(b"authorization")
            self.proven = self.factory.gate.known(authorization, self.path)
        super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        self._enter(Phase.IDLE, limits.IDLE_S_MAX)
        if self._waitingForTransport:
            # The base class does not pause what comes in while a request is at work, and forgets
            # it afterwards: whoever asks and asks and never reads would fill our memory.
            self._networkProducer.pauseProducing()
            self.deadline_s = self.factory.door.now_s() + limits.STALL_S_MAX
        super().requestDone(request)

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self.paused = True  # no further request is begun, even if it is here already
        if self.phase is Phase.WORK or self.phase is Phase.IDLE:
            self.deadline_s = self.factory.door.now_s() + limits.STALL_S_MAX

    def resumeProducing(self) -> None:
        if self.phase is Phase.WORK:
            self.deadline_s = float("inf")
        elif self.phase is Phase.IDLE:
            self._enter(Phase.IDLE, limits.IDLE_S_MAX)
        self.paused = False
        super().resumeProducing()
        if self._buffer:
            self.dataReceived(b"")

    def _enter(self, phase: Phase, patience_s: float) -> None:
        self.phase = phase
        self.deadline_s = self.factory.door.now_s() + patience_s

    def expire(self) -> None:
        """The deadline has passed: say so where anybody listens, and close."""
        if self.phase is Phase.BODY or (self.phase is Phase.HEAD and self.requests):
            self.refuse(ApiError(408, "the request did not arrive in time", "send it whole"))
        elif self.phase is Phase.IDLE and not self._waitingForTransport:
            self._enter(Phase.CLOSE, limits.CLOSE_S_MAX)
            self.loseConnection()
        else:
            self.cut()

    def refuse(self, error: ApiError) -> None:
        """Answer out of turn, with the connection closed after it."""
        body = dump(error.body())
        reason = REASONS.get(error.status) or http.RESPONSES.get(error.status, b"Refused")
        self.transport.writeSequence(
            [
                b"HTTP/1.1 %d %s\r\n" % (error.status, reason),
                b"content-type: application/json\r\nconnection: close\r\n",
                b"content-length: %d\r\n\r\n" % len(body),
                body,
            ]
        )
        self.persistent = 0
        self._enter(Phase.CLOSE, limits.CLOSE_S_MAX)
        # Closing at once, with unread bytes in the socket, would reset the connection and take
        # the reply with it: the client closes when it has read the reply, else the sweep does.

    def cut(self) -> None:
        """End the connection without a word."""
        self.deadline_s = float("inf")
        self.transport.abortConnection()

    def _send100Continue(self) -> None:
        if self.phase is not Phase.CLOSE:
            super()._send100Continue()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(ApiError(431, "the request's headers are too large"))

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self.phase is Phase.CLOSE:
            return
        if self._receivedHeaderSize > self.totalHeadersSize or (
            self._receivedHeaderCount > self.maxHeaders
        ):
            self.refuse(ApiError(431, "the request's headers are too large"))
        else:
            self.refuse(ApiError(400, "this is not HTTP/1.1 as it should be"))

    def _failChooseTransferDecoder(self) -> bool:
        self.refuse(ApiError(400, "the length of the body is not said in one clear way"))
        self.length = None
        return False


def _host_of(address: IAddress) -> str:
    return address.host if isinstance(address, IPv4Address | IPv6Address) else ""


class ErrorResource(resource.Resource):
    """Answers every request with one error."""

    isLeaf = True

    def __init__(self, make: Callable[[], ApiError]) -> None:
        super().__init__()
        self._make = make

    def render(self, request: Any) -> int:
        reply_error(request, self._make())
        return server.NOT_DONE_YET


class _Closed:
    """The gate of a node that is still starting."""

    def body_bytes_max(self, method: bytes, path: bytes) -> int:
        return limits.STRANGER_BODY_BYTES_MAX

    def known(self, authorization: bytes | None, path: bytes) -> bool:
        return False


def _starting() -> ApiError:
    return ApiError(503, "the node is starting", "try again in a moment")


class Factory(server.Site):
    """Builds channels. Until `open` says what to answer with, every request gets 503."""

    gate: Gate

    def __init__(self, clock: IReactorTime, spool_folder: Path) -> None:
        super().__init__(ErrorResource(_starting), reactor=clock, parsePOSTFormSubmission=False)
        self.gate = _Closed()
        self.door = Door(clock)
        self._spool_folder = spool_folder
        self._clock = clock

    def open(self, root: resource.IResource, gate: Gate) -> None:
        """Answer from `root` from now on."""
        self.resource = root
        self.gate = gate

    displayTracebacks = False
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = Channel()
        channel.factory = self
        channel.site = self
        channel.callLater = self._clock.callLater  # type: ignore[method-assign,assignment]
        return channel

    def startFactory(self) -> None:
        self.door.start()

    def stopFactory(self) -> None:
        self.door.stop()

    def log(self, request: http.Request) -> None:
        """No access log: pilots ask thousands of times a second."""

    def spool(self) -> IO[bytes]:
        """A nameless file for a large body, on the disk of the home and not in memory."""
        return tempfile.TemporaryFile(dir=self._spool_folder)


class Root(resource.Resource):
    """/v1 and /pilot; anything else is a JSON 404."""

    def getChild(self, path: bytes, request: Any) -> resource.Resource:
        return ErrorResource(
            lambda: ApiError(404, "there is nothing at this address", "the API begins with /v1/")
        )
