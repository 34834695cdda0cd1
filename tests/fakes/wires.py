"""Requests and floods between sites of one process that take their time, on a clock; no links."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from federation.errors import RemoteRefused, Unreachable
from federation.ids import SiteID
from federation.ports import Handler

MESSAGE_S = 0.2  # one way
Heard = Callable[[SiteID, bytes], None]


class Wires:
    """Between all sites. Those in `cut` reach nobody."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.cut: set[SiteID] = set()
        self.ends: dict[SiteID, WireEnd] = {}
        self.asked = 0

    def of(self, site: SiteID) -> WireEnd:
        return self.ends.setdefault(site, WireEnd(self, site))

    def linked(self, one: SiteID, other: SiteID) -> bool:
        return not self.cut & {one, other}

    def later(self, act: Callable[[], None]) -> None:
        self.clock.callLater(MESSAGE_S, act)


class WireEnd:
    """One site's end: the ports Requests and Floods."""

    def __init__(self, wires: Wires, site: SiteID) -> None:
        self._wires = wires
        self._site = site
        self._handlers: dict[str, Handler] = {}
        self._heard: dict[str, list[Heard]] = {}

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        wires = self._wires
        wires.asked += 1
        other = wires.ends.get(site)
        if other is None or not wires.linked(self._site, site):
            return fail(Unreachable("no link leads there"))
        answer: Deferred[bytes] = Deferred()

        def come_back(result: bytes | Failure) -> None:
            wires.later(lambda: answer.callback(result))  # a Failure becomes the errback's

        wires.later(lambda: other.asked(self._site, kind, body).addBoth(come_back) and None)
        return answer

    def asked(self, by: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        async def handle() -> bytes:
            if (handler := self._handlers.get(kind)) is None:
                raise RemoteRefused(f"no such request: {kind}")
            return await handler(by, body)

        return Deferred.fromCoroutine(handle())

    def serve(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler

    def flood(self, kind: str, document: bytes) -> None:
        for site, other in self._wires.ends.items():
            if other is not self and self._wires.linked(self._site, site):
                self._wires.later(lambda other=other: other.hear(self._site, kind, document))

    def hear(self, origin: SiteID, kind: str, document: bytes) -> None:
        for fn in self._heard.get(kind, ()):
            fn(origin, document)

    def on_flood(self, kind: str, fn: Heard) -> None:
        self._heard.setdefault(kind, []).append(fn)
