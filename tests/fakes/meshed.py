"""Sites with real links over loopback, real TLS and stores in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from federation.entry import Entry, seal
from federation.ids import FeedID, Lane, SiteID
from federation.mesh import Mesh
from federation.records import Site
from federation.timing import Timing
from keys.identity import SiteKey
from tests.fakes.feeds import MemoryFeeds
from tests.fakes.loop import Loop
from tests.fakes.mesh import key_of
from tests.unit.federation.builders import results


class Registry:
    """Who is a member, in one mesh or as one site sees it. Implements the Members port."""

    def __init__(self) -> None:
        self.addresses_of: dict[SiteID, list[str]] = {}
        self.gone: set[SiteID] = set()
        self._told: list[Callable[[], None]] = []

    def admit(self, site: SiteID, addresses: Sequence[str] = ()) -> None:
        self.addresses_of[site] = list(addresses)
        self._tell()

    def revoke(self, site: SiteID) -> None:
        self.addresses_of.pop(site, None)
        self.gone.add(site)
        self._tell()

    def members(self) -> Sequence[SiteID]:
        return list(self.addresses_of)

    def is_member(self, site: SiteID) -> bool:
        return site in self.addresses_of

    def revoked(self, site: SiteID) -> bool:
        return site in self.gone

    def addresses(self, site: SiteID) -> Sequence[str]:
        return self.addresses_of.get(site, [])

    def subscribe(self, fn: Callable[[], None]) -> None:
        self._told.append(fn)

    def _tell(self) -> None:
        for fn in self._told:
            fn()


class MeshedSite:
    """One site of a test."""

    def __init__(
        self,
        loop: Loop,
        members: Registry,
        number: int,
        *,
        dial_only: bool = False,
        timing: Timing | None = None,
        **settings: Any,
    ) -> None:
        self.key: SiteKey = key_of(number)
        self.id = SiteID(self.key.site)
        self.feeds = MemoryFeeds()
        self.members = members
        self.mesh = Mesh(
            loop.reactor,
            self.key,
            self.feeds,
            self,
            members,
            Random(number),
            boot=1,
            version="test",
            listen=None if dial_only else ("127.0.0.1", 0),
            timing=timing,
            **settings,
        )
        self.mesh.writing = 1

    def start(self) -> MeshedSite:
        self.mesh.start()
        return self

    def join(self) -> MeshedSite:
        """Start, and become a member for everybody who shares the registry."""
        self.start()
        self.members.admit(self.id, [self.address] if self.mesh.port else [])
        return self

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.mesh.port}"

    def ingest(self, entries: Sequence[Entry]) -> Deferred[None]:
        self.feeds.append(entries)
        self.mesh.durable(entries)
        return succeed(None)

    def write(self, count: int = 1, lane: Lane = Lane.CONTROL, rows: int = 1) -> list[Entry]:
        feed = FeedID(self.id, 1, lane)
        made = []
        for _ in range(count):
            tip = self.feeds.tip(feed)
            record = Site("s", f"{tip.seq}") if lane is Lane.CONTROL else results(rows)
            entry = seal(self.key, feed, tip.seq + 1, tip.id, tip.hlc + 1, [record])
            self.feeds.append([entry])
            made.append(entry)
        self.mesh.durable(made)
        return made

    def held(self) -> dict[FeedID, bytes]:
        return {tip.feed: tip.id for tip in self.feeds.tips()}

    def linked(self) -> set[SiteID]:
        return set(self.mesh.exchange.hub.sessions)
