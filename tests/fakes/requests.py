"""Requests between sites of one process: the port of `federation.ports`, without links."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail

from federation.errors import RemoteRefused, Unreachable
from federation.ids import SiteID
from federation.ports import Handler


class Exchange:
    """All sites that can be asked. `cut` makes the next so many requests to a site fail."""

    def __init__(self) -> None:
        self.handlers: dict[tuple[SiteID, str], Handler] = {}
        self.cut: dict[SiteID, int] = {}
        self.asked: list[tuple[SiteID, str, bytes]] = []
        self.change: Callable[[bytes], bytes] = lambda answer: answer

    def of(self, site: SiteID) -> DirectRequests:
        return DirectRequests(self, site)


class DirectRequests:
    """One site's end."""

    def __init__(self, exchange: Exchange, site: SiteID) -> None:
        self._exchange = exchange
        self._site = site

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        exchange = self._exchange
        exchange.asked.append((site, kind, body))
        if exchange.cut.get(site, 0) > 0:
            exchange.cut[site] -= 1
            return fail(Unreachable(f"no link leads to {site.hex()[:8]}"))
        handler = exchange.handlers.get((site, kind))
        if handler is None:
            return fail(RemoteRefused(f"no such request: {kind}"))

        async def answer() -> bytes:
            return exchange.change(await handler(self._site, body))

        return Deferred.fromCoroutine(answer())

    def serve(self, kind: str, handler: Handler) -> None:
        self._exchange.handlers[self._site, kind] = handler
