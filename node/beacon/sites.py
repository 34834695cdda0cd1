"""Who is there and may be granted units, from members, beacons and every other word of a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from federation.entry import Entry
from federation.ids import SiteID
from federation.ports import Members
from federation.shapes import Workers
from node.beacon.keeper import Beacons
from node.leading.book import Peer


class KnownSites:
    """Implements `granting.Sites`."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        members: Members,
        beacons: Beacons,
        name_of: Callable[[SiteID], str],
        workers: Callable[[], Sequence[Workers]],
        drained: Callable[[], bool],
    ) -> None:
        """name_of: a site's name by its own record. workers, drained: of this site."""
        self._reactor = reactor
        self._site = site
        self._members = members
        self._beacons = beacons
        self._name_of = name_of
        self._workers = workers
        self._drained = drained
        self._started_s = reactor.seconds()
        self._heard_s: dict[SiteID, float] = {}

    def alone(self) -> bool:
        return all(site == self._site for site in self._members.members())

    def able(self) -> Sequence[Peer]:
        """This site, and those whose beacons are fresh; none that is drained."""
        peers = []
        for site in self._members.members():
            if site == self._site:
                workers = self._workers()
            else:
                age_s = self._beacons.age_s(site)
                beacon = self._beacons.newest(site)
                if age_s is None or age_s > self._beacons.unreachable_s or beacon is None:
                    continue
                workers = beacon.workers
            if not self._is_drained(site):
                peers.append(Peer(site, self._name_of(site), workers))
        return peers

    def peer(self, site: SiteID, workers: Sequence[Workers]) -> Peer | None:
        if not self._members.is_member(site) or self._is_drained(site):
            return None
        return Peer(site, self._name_of(site), workers)

    def _is_drained(self, site: SiteID) -> bool:
        if site == self._site:
            return self._drained()
        beacon = self._beacons.newest(site)
        return beacon is not None and beacon.drained

    def heard(self, site: SiteID) -> None:
        self._heard_s[site] = self._reactor.seconds()

    def heard_entries(self, entries: Sequence[Entry]) -> None:
        """Entries became durable here: their authors wrote them, if not just now."""
        for site in {entry.header.site for entry in entries}:
            self.heard(SiteID(site))

    def silent_s(self, site: SiteID) -> float:
        if not self._members.is_member(site):
            return float("inf")
        now_s = self._reactor.seconds()
        words = [now_s - self._heard_s.get(site, self._started_s)]
        if (age_s := self._beacons.age_s(site)) is not None:
            words.append(age_s)
        return min(words)
