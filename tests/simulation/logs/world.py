"""Hundreds of sites that keep logs and nothing else, on the virtual network."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from random import Random

from federation.election import Pace
from federation.entry import Entry
from federation.events import Event
from federation.ids import FeedID, SiteID
from federation.timing import Timing
from tests.simulation.clock import VirtualClock
from tests.simulation.logs.site import LogSite
from tests.simulation.network import Network
from tests.simulation.ways import Way


class LogWorld:
    """All sites are members of each other. Use it with `with`: sites start there."""

    def __init__(
        self,
        seed: int,
        sites: int,
        *,
        dial_only: int = 0,
        way: Way | None = None,
        timing: Timing | None = None,
        pace: Pace | None = None,
    ) -> None:
        """dial_only: how many of the sites, the first ones, cannot be dialled."""
        self.seed = seed
        self.clock = VirtualClock()
        self.timing = timing or Timing()
        self.pace = pace or Pace()
        self.network = Network(self.clock, Random(f"network {seed}"), way)
        self.broken: list[str] = []
        self.trace: list[str] = []
        self.archive: dict[FeedID, list[Entry]] = {}  # everything that was ever signed
        self.out: set[SiteID] = set()  # sites that were revoked
        self._hearing: list[Callable[[], None]] = []
        self.sites = [
            LogSite(self, f"s{number}", dialable=number >= dial_only) for number in range(sites)
        ]
        self.members = {site.site for site in self.sites}
        self.watchers: list[Callable[[LogSite, Entry], None]] = []
        self.authors: list[Callable[[Entry], None]] = []
        self.listeners: list[Callable[[LogSite, Event], None]] = []

    def __enter__(self) -> LogWorld:
        self._collecting = gc.isenabled()
        gc.disable()
        for site in self.sites:
            site.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._collecting:
            gc.enable()

    def revoke(self, site: LogSite) -> None:
        """Admins revoke a site, and everybody knows at once."""
        self.out.add(site.site)
        for other in self.sites:
            if other.up:
                other.linking.told(other.exchange.members_changed(self.clock.seconds()))
        for hear in self._hearing:
            hear()

    def subscribe(self, hear: Callable[[], None]) -> None:
        """Call after each change of members."""
        self._hearing.append(hear)

    # What sites ask

    def is_member(self, site: SiteID) -> bool:
        return site in self.members and site not in self.out

    def revoked(self, site: SiteID) -> bool:
        return site in self.out

    def addresses(self, me: SiteID) -> Sequence[tuple[SiteID, str]]:
        """Of the others, as far as they have any."""
        return [
            (other.site, other.address)
            for other in self.sites
            if other.address and other.site != me and self.is_member(other.site)
        ]

    # What sites tell

    def note(self, text: str) -> None:
        self.trace.append(f"{self.clock.seconds():10.3f} {text}")

    def failed(self, why: str) -> None:
        """Something that must not happen has happened."""
        self.note(f"BROKEN: {why}")
        self.broken.append(why)

    def authored(self, entry: Entry) -> None:
        """An entry is durable at its author."""
        self.archive.setdefault(entry.header.feed, []).append(entry)
        for watch in self.authors:
            watch(entry)

    def arrived(self, site: LogSite, entry: Entry) -> None:
        """An entry of another site is durable."""
        for watch in self.watchers:
            watch(site, entry)

    def heard(self, site: LogSite, event: Event) -> None:
        for listen in self.listeners:
            listen(site, event)

    # Time

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and what happens in it."""
        end_s = self.clock.seconds() + seconds
        self.clock.callLater(seconds, lambda: None)
        while self.clock.seconds() < end_s and not self.broken:
            self.clock.turn()
        assert not self.broken, "\n".join([*self.broken[:3], *self.trace[-25:]])

    def held(self, site: LogSite) -> dict[FeedID, bytes]:
        """The newest entry of each feed at a site."""
        return {tip.feed: tip.id for tip in site.feeds.tips()}

    def equal(self, sites: Sequence[LogSite] | None = None) -> bool:
        """Whether sites hold the same entries."""
        chosen = self.sites if sites is None else sites
        return all(self.held(site) == self.held(chosen[0]) for site in chosen)
