"""From a request's method and path to the coroutine that answers it, and its answer to bytes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import resource, server
from zope.interface import implementer

from node.http.auth import Logins, Person
from node.http.json import SCHEMA, ApiError, load_object
from node.http.server import Request, reply, reply_error
from node.services.refusal import Refusal
from node.store.waiting import JournalClosed

log = Logger()

CHUNK_BYTES = 64 * 1024
CALLS_MAX = 512  # answered at once, long polls apart
STATUS_OF = {
    "bad-request": 400,
    "invalid": 400,
    "signature": 400,
    "denied": 403,
    "not-found": 404,
    "conflict": 409,
    "replayed": 409,
    "missing-blobs": 409,
    "too-large": 413,
    "disk-full": 503,
    "busy": 429,
    "unavailable": 503,
}
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


@dataclass(slots=True)
class Call:
    """One request, with what its path and its token said."""

    request: Request
    names: Mapping[str, str]  # from the path: {"ref": "nugen-26"}
    _person: Person | None = None
    _gone: list[Callable[[], None]] = field(default_factory=list)

    @property
    def person(self) -> Person:
        """Who asks. Routes without login must not ask for it."""
        assert self._person is not None
        return self._person

    def body(self) -> dict[str, Any]:
        """The JSON object of the body. Raises ApiError(400)."""
        return load_object(self.request.content.read())

    def text(self, name: str, default: str = "") -> str:
        """A query argument, the last one of that name."""
        values = (self.request.args or {}).get(name.encode())
        return values[-1].decode("utf-8", "replace") if values else default

    def flag(self, name: str) -> bool:
        """True for `?name`, `?name=1`, `?name=true`."""
        values = (self.request.args or {}).get(name.encode())
        return values is not None and values[-1] not in (b"0", b"false")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in the query. Raises ApiError(400) out of low..high."""
        return whole(self.text(name, str(default)), name, low, high)

    def seconds(self, name: str, default: float, most: float) -> float:
        """Seconds in the query, at most `most`. Raises ApiError(400)."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1e9:
            raise ApiError(400, f"{name} is {text[:40]!r}", "a number of seconds")
        return min(value, most)

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Call `tell` if the client leaves before its answer."""
        self._gone.append(tell)

    def left(self) -> None:
        for tell in self._gone:
            tell()


def whole(text: str, name: str, low: int, high: int) -> int:
    """A whole number in bounds. Raises ApiError(400)."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ApiError(400, f"{name} is {text[:40]!r}", f"a whole number from {low} to {high}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON answer; "schema" is added."""

    value: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Stream:
    """A file as the answer, or the range of it that was asked for. Closed when sent."""

    file: IO[bytes]
    size: int
    kind: str = "application/octet-stream"
    digest: str = ""


Answer = Reply | Stream
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """method and path, {name} for one segment and {name*} for the rest."""

    method: str
    path: str
    handler: Handler
    login: bool = True
    role: str = ""
    long: bool = False  # a long poll: waits, and costs nothing while it does


class _Node:
    """One level of the tree of paths."""

    __slots__ = ("fixed", "methods", "named", "rest")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.named: tuple[str, _Node] | None = None
        self.rest: tuple[str, _Node] | None = None
        self.methods: dict[str, Route] = {}

    def grow(self, segment: str) -> _Node:
        if not segment.startswith("{"):
            return self.fixed.setdefault(segment, _Node())
        name = segment.strip("{*}")
        if segment.endswith("*}"):
            self.rest = self.rest or (name, _Node())
            return self.rest[1]
        self.named = self.named or (name, _Node())
        if self.named[0] != name:
            raise ValueError(f"{segment} is called {{{self.named[0]}}} by another route")
        return self.named[1]


class Router(resource.Resource):
    """Answers requests below one path from a table of routes."""

    isLeaf = True

    def __init__(self, routes: list[Route], logins: Logins) -> None:
        super().__init__()
        self._root = _Node()
        self._logins = logins
        self._calls = 0
        for route in routes:
            node = self._root
            for segment in route.path.strip("/").split("/"):
                node = node.grow(segment)
            node.methods[route.method] = route

    def render(self, request: Any) -> int:
        try:
            route, names = self._find(request)
            call = Call(request, names)
            if route.login:
                call._person = self._logins.bearer(request.getHeader("authorization"))
                _check_role(route, call._person)
            if self._calls >= CALLS_MAX and not route.long:
                request.setHeader(b"retry-after", b"1")
                raise ApiError(429, "the node is busy with other requests", "try again in a second")
        except ApiError as error:
            reply_error(request, error)
        else:
            self._run(route, call)
        return server.NOT_DONE_YET

    def _find(self, request: Request) -> tuple[Route, dict[str, str]]:
        names: dict[str, str] = {}
        node = self._root
        segments = [unquote(part.decode("latin-1")) for part in request.path[1:].split(b"/")]
        for at, segment in enumerate(segments):
            if segment in node.fixed:
                node = node.fixed[segment]
            elif node.named is not None and segment:
                names[node.named[0]] = segment
                node = node.named[1]
            elif node.rest is not None and segment:
                names[node.rest[0]] = "/".join(segments[at:])
                node = node.rest[1]
                break
            else:
                raise _nothing_here()
        if not node.methods:
            raise _nothing_here()
        method = request.method.decode("latin-1")
        route = node.methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(node.methods)
            request.setHeader(b"allow", allowed.encode())
            raise ApiError(405, f"{method[:20]} is not for this address", f"use {allowed}")
        return route, names

    def _run(self, route: Route, call: Call) -> None:
        cost = 0 if route.long else 1
        self._calls += cost

        def done(answer: Answer) -> None:
            self._calls -= cost
            respond(call.request, answer)

        def failed(failure: Failure) -> None:
            self._calls -= cost
            if isinstance(failure.value, ApiError | Refusal | JournalClosed):
                reply_error(call.request, _as_error(failure.value))
                return
            log.failure("{method} {path} failed", failure, method=route.method, path=route.path)
            reply_error(
                call.request, ApiError(500, "the node failed at this request; its log says why")
            )

        call.request.notifyFinish().addErrback(lambda _: call.left())
        waiting: Deferred[Answer] = Deferred.fromCoroutine(_coroutine(route.handler, call))
        waiting.addCallbacks(done, failed)
        waiting.addErrback(lambda f: log.failure("{path}: no reply", f, path=route.path))


def _as_error(error: ApiError | Refusal | JournalClosed) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, JournalClosed):
        return ApiError(STATUS_OF["unavailable"], str(error), "floe status", code="unavailable")
    status = STATUS_OF[error.code]
    return ApiError(status, error.message, error.right, code=error.code, **error.fields)


async def _coroutine(handler: Handler, call: Call) -> Answer:
    return await handler(call)


def _nothing_here() -> ApiError:
    return ApiError(404, "there is nothing at this address", "see docs/api.md", code="no-such-path")


def _check_role(route: Route, person: Person) -> None:
    if route.role and route.role not in person.roles:
        raise ApiError(
            403,
            f"{person.name} has not the role {route.role}, which this needs",
            "ask an admin of this site",
        )


def respond(request: Request, answer: Answer) -> None:
    """Send an answer."""
    if isinstance(answer, Reply):
        reply(request, answer.status, {"schema": SCHEMA, **answer.value})
        return
    if request._disconnected:
        answer.file.close()
        return
    try:
        _stream(request, answer)
    except ApiError as error:
        answer.file.close()
        reply_error(request, error)


def _stream(request: Request, answer: Stream) -> None:
    first, last = byte_range(request.getHeader("range"), answer.size)
    headers = request.responseHeaders
    headers.setRawHeaders(b"content-type", [answer.kind.encode()])
    headers.setRawHeaders(b"content-length", [b"%d" % (last + 1 - first)])
    headers.setRawHeaders(b"accept-ranges", [b"bytes"])
    if answer.digest:
        headers.setRawHeaders(b"etag", [f'"{answer.digest}"'.encode()])
    if last + 1 - first < answer.size:
        request.setResponseCode(206)
        headers.setRawHeaders(b"content-range", [b"bytes %d-%d/%d" % (first, last, answer.size)])
    answer.file.seek(first)
    if request.method == b"HEAD":
        answer.file.close()
        request.write(b"")
        request.finish()
        return
    sender = _Sender(request, answer.file, last + 1 - first)
    request.notifyFinish().addBoth(lambda _: answer.file.close())
    request.registerProducer(sender, False)


def byte_range(header: str | None, size: int) -> tuple[int, int]:
    """First and last byte asked for; all of it without a usable Range header.

    Raises ApiError(416) for a range that begins beyond the end.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None or not (found[1] or found[2]):
        return 0, size - 1
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if first >= size or last < first:
        raise ApiError(416, f"the file has {size:,} bytes")
    return first, last


@implementer(IPullProducer)
class _Sender:
    """Copies a file to a request, a chunk each time that the connection has room."""

    def __init__(self, request: Request, file: IO[bytes], left: int) -> None:
        self._request = request
        self._file = file
        self._left = left

    def resumeProducing(self) -> None:
        chunk = self._file.read(min(CHUNK_BYTES, self._left)) if self._left else b""
        self._left -= len(chunk)
        if chunk:
            self._request.write(chunk)
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()
        elif not chunk:  # the file is shorter than it was: the client must notice
            self._request.unregisterProducer()
            self._request.loseConnection()

    def stopProducing(self) -> None:
        self._left = 0
