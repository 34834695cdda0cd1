"""How fast and at what cost records reach everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from federation.entry import Entry
from federation.ids import EntryID
from federation.records import Site
from tests.simulation.logs.site import LogSite
from tests.simulation.logs.world import LogWorld
from tests.simulation.ways import Way

FAR = Way((0.05, 0.11), loss=0.01)  # 80 ms, 30 ms more or less; one packet in a hundred is lost
JOIN_S = 20.0
END_S = 10.0


@dataclass(frozen=True, slots=True)
class Convergence:
    """late_s: of every entry at every other site, from durable at its author to durable there.

    redundancy: bodies received for each one needed.
    """

    late_s: Sequence[float]
    redundancy: float

    def percentile_s(self, percent: float) -> float:
        return self.late_s[ceil(len(self.late_s) * percent / 100) - 1]


def one_record(site: LogSite, what: object) -> list[Site]:
    """Something small to write."""
    return [Site(site.name, str(what))]


class Stopwatch:
    """Notes when each entry comes to each site."""

    def __init__(self, world: LogWorld) -> None:
        self._world = world
        self._born: dict[EntryID, float] = {}
        self.late_s: list[float] = []
        world.authors.append(self._authored)
        world.watchers.append(self._arrived)

    def _authored(self, entry: Entry) -> None:
        self._born[entry.id] = self._world.clock.seconds()

    def _arrived(self, site: LogSite, entry: Entry) -> None:
        self.late_s.append(self._world.clock.seconds() - self._born[entry.id])


def convergence(
    seed: int = 1, *, sites: int = 100, entries: int = 2, over_s: float = 20.0, way: Way = FAR
) -> Convergence:
    """Every site writes some entries; a third of the sites only dials out."""
    world = LogWorld(seed, sites, dial_only=sites // 3, way=way)
    watch = Stopwatch(world)
    with world:
        world.pass_s(JOIN_S)
        for site in world.sites:
            for number in range(entries):
                at_s = site.random.uniform(0, over_s)
                world.clock.callLater(at_s, site.write, partial(one_record, site, number))
        world.pass_s(over_s + END_S)
        assert world.equal(), "sites differ at the end"
    return Convergence(sorted(watch.late_s), redundancy(world))


def redundancy(world: LogWorld) -> float:
    """Bodies received for each one needed, on the links that are up."""
    needed = spare = 0
    for site in world.sites:
        for peer in site.exchange.sync.peers():
            needed += peer.taken
            spare += peer.repeated + peer.early
    return (needed + spare) / needed


def idle_bytes_per_s(world: LogWorld, seconds: float) -> float:
    """What a site sends, on average, while nothing happens for so long."""
    before = sum(site.linking.bytes_out() for site in world.sites)
    world.pass_s(seconds)
    sent = sum(site.linking.bytes_out() for site in world.sites) - before
    return sent / seconds / len(world.sites)
