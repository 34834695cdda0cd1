"""Strangers without links: sites that can be dialled at addresses, each with its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, fail

from federation import limits
from federation.errors import LocalError, RemoteRefused, Unreachable, WrongSite
from federation.ids import SiteID
from federation.ports import Handler


@dataclass
class Exchange:
    """Who listens where. `down`: addresses at which nobody answers for now."""

    listening: dict[str, FakeStrangers] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)


class FakeStrangers:
    """One site's end. Implements the Strangers port."""

    def __init__(self, exchange: Exchange, site: SiteID, addresses: Sequence[str] = ()) -> None:
        self.site = site
        self.asked = 0
        self._exchange = exchange
        self._handler: Handler | None = None
        for address in addresses:
            exchange.listening[address] = self

    def serve_strangers(self, handler: Handler) -> None:
        self._handler = handler

    def join(self, site: SiteID, addresses: Sequence[str], body: bytes) -> Deferred[bytes]:
        if len(body) > limits.JOIN_BYTES_MAX:
            return fail(LocalError(f"a request to join has at most {limits.JOIN_BYTES_MAX} bytes"))
        found: FakeStrangers | None = None
        for address in addresses:
            if address not in self._exchange.down:
                found = self._exchange.listening.get(address, found)
            if found is not None and found.site == site:
                return Deferred.fromCoroutine(found.answer(self.site, body))
        if found is not None:
            return fail(WrongSite(found.site))
        return fail(Unreachable("nobody answers there" if addresses else "it has no address"))

    async def answer(self, site: SiteID, body: bytes) -> bytes:
        """What a stranger hears."""
        self.asked += 1
        if self._handler is None:
            raise RemoteRefused("this site lets no strangers in")
        reply = await self._handler(site, body)
        if len(reply) > limits.JOIN_BYTES_MAX:
            raise RemoteRefused("the answer is too large")
        return reply
