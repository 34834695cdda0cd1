"""Questions to any site, this one included: a leader claims from itself like from any other."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

from federation.errors import RemoteRefused
from federation.ids import SiteID
from federation.ports import Handler, Requests


class Questions:
    """Implements `Requests`; what is asked of this site does not leave the process."""

    def __init__(self, site: SiteID, requests: Requests) -> None:
        self._site = site
        self._requests = requests
        self._handlers: dict[str, Handler] = {}

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        if site != self._site:
            return self._requests.request(site, kind, body)
        handler = self._handlers.get(kind)
        if handler is None:
            return fail(RemoteRefused(f"nobody here answers {kind!r}"))
        return Deferred.fromCoroutine(_answer(handler, site, body))

    def serve(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler
        self._requests.serve(kind, handler)


async def _answer(handler: Handler, site: SiteID, body: bytes) -> bytes:
    return await handler(site, body)
