"""The newest beacon of each other site, with its age. Hints: nothing here is folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import pulse
from federation.beacon import Beacon, read_beacon
from federation.errors import PeerError
from federation.ids import SiteID
from federation.pulse import Health, Pulse
from node.beacon.clocks import Leads, ahead_s, heard

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Kept:
    beacon: Beacon
    pulse: Pulse
    leads: Leads


class Beacons:
    """What other sites said of themselves last."""

    def __init__(self, reactor: IReactorTime, unreachable_s: float = pulse.UNREACHABLE_S) -> None:
        """unreachable_s: so long a site may be silent."""
        self.unreachable_s = unreachable_s
        self.refused = 0  # documents that were no beacons
        self._reactor = reactor
        self._started_s = reactor.seconds()
        self._kept: dict[SiteID, _Kept] = {}
        self._subscribers: list[Callable[[Beacon], None]] = []

    def hear(self, origin: SiteID, document: bytes) -> None:
        """A beacon came, signed by its origin."""
        try:
            beacon = read_beacon(document)
        except PeerError as error:
            self.refused += 1
            _log.info("no beacon of {site}: {why}", site=origin.hex()[:8], why=str(error))
            return
        beat = pulse.beat(
            self._pulse(origin),
            beacon.boot,
            beacon.counter,
            beacon.drained,
            self._reactor.seconds(),
        )
        if beacon.site != origin or beat is None:
            return
        kept = self._kept.get(origin)
        leads = heard(kept.leads if kept else None, beacon.boot, beacon.clock_ms, beat.heard_s)
        self._kept[origin] = _Kept(beacon, beat, leads)
        for fn in self._subscribers:
            try:
                fn(beacon)
            except Exception:
                _log.failure("beacons: a subscriber failed")

    def subscribe(self, fn: Callable[[Beacon], None]) -> None:
        """Call `fn` with each beacon that tells something new."""
        self._subscribers.append(fn)

    def newest(self, site: SiteID) -> Beacon | None:
        """The newest beacon of a site, however old; None: never heard since the start."""
        kept = self._kept.get(site)
        return None if kept is None else kept.beacon

    def fresh(self) -> list[Beacon]:
        """Of sites that were heard of lately."""
        now_s = self._reactor.seconds()
        return [
            kept.beacon
            for kept in self._kept.values()
            if now_s - kept.pulse.heard_s < self.unreachable_s
        ]

    def age_s(self, site: SiteID) -> float | None:
        """Seconds since the newest beacon of a site came; None: there is none."""
        return pulse.age_s(self._pulse(site), self._reactor.seconds())

    def clock_s(self, site: SiteID, wall_s: float, way_s: float = 0.0) -> float | None:
        """How far a site's clock is ahead of ours; None: not known yet. See `clocks.ahead_s`."""
        kept = self._kept.get(site)
        if kept is None:
            return None
        return ahead_s(kept.leads, self._reactor.seconds(), wall_s, way_s)

    def health(self, site: SiteID, *, revoked: bool = False) -> Health:
        """How a member stands."""
        now_s = self._reactor.seconds()
        beat = self._pulse(site)
        return pulse.health(beat, self._started_s, now_s, revoked, self.unreachable_s)

    def _pulse(self, site: SiteID) -> Pulse | None:
        kept = self._kept.get(site)
        return None if kept is None else kept.pulse

    def keep(self, members: Iterable[SiteID]) -> None:
        """Forget the beacons of all others."""
        kept = set(members)
        for site in [site for site in self._kept if site not in kept]:
            del self._kept[site]
