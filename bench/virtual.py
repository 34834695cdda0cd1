"""Meshes in virtual time: real exchanges of a hundred sites, on links that are slow and lose bytes.

Stores are in memory, and links carry what sessions give them; TLS and sockets are left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

from federation.beacon import KIND, Beacon, Heads, write_beacon
from federation.entry import Entry
from federation.events import FloodKind
from federation.ids import EntryID, SiteID
from federation.shapes import Workers
from tests.fakes.feeds import MemoryFeeds
from tests.fakes.mesh import FakeNet, FakeSite, all_equal

SITES = 100
DELAY_S = (0.05, 0.11)  # one way
LOSS = 0.01
RESEND_S = 0.2  # at the least, until TCP sends again what was lost
STORE_S = 0.005  # to store what came
SETTLE_S = 15.0  # links come up, all compare
WRITES = 5  # of each site
WRITE_S = 30.0  # in which they come
IDLE_SITES = 50
IDLE_S = 600.0
BEACON_S = 60.0  # of a site with no news
TLS_RECORD_BYTES = 22


def lossy(random: Random) -> float:
    """Seconds on the way; what TCP lost comes after it was sent again, and what follows waits."""
    delay_s = random.uniform(*DELAY_S)
    while random.random() < LOSS:
        delay_s += max(RESEND_S, 2 * delay_s)
    return delay_s


@dataclass
class Arrivals:
    """When each entry was written, and how long it took to each other site."""

    written_s: dict[EntryID, float] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)


class Watched(MemoryFeeds):
    """Feeds that tell when they take something in."""

    def __init__(self, net: FakeNet, arrivals: Arrivals) -> None:
        super().__init__()
        self._net = net
        self._arrivals = arrivals

    def append(self, entries: Sequence[Entry]) -> None:
        super().append(entries)
        now_s = self._net.now_s
        for entry in entries:
            written_s = self._arrivals.written_s.setdefault(entry.id, now_s)
            if written_s != now_s:
                self._arrivals.took_s.append(now_s - written_s)


def mesh(net: FakeNet, count: int, arrivals: Arrivals) -> list[FakeSite]:
    """All linked that can be; every third only dials out, and those have no links among them."""
    sites = [net.site(number) for number in range(1, count + 1)]
    for site in sites:
        site.feeds = Watched(net, arrivals)
        site.store_s = STORE_S
        site.start(1)
    for (number, one), (place, other) in combinations(enumerate(sites), 2):
        if place % 3:
            net.link(one, other)
        elif number % 3:
            net.link(other, one)
    net.run(SETTLE_S)
    return sites


def bodies(sites: Sequence[FakeSite]) -> tuple[int, int]:
    """Bodies of entries that all sites received, and those of them that they needed."""
    peers = [peer for site in sites for peer in site.exchange.sync.peers()]
    needed = sum(peer.taken for peer in peers)
    return needed + sum(peer.repeated + peer.early for peer in peers), needed


def sim100() -> dict[str, float]:
    """How soon what one of a hundred sites writes is stored at the others; how often it came."""
    net, random, arrivals = FakeNet(7, lossy), Random(7), Arrivals()
    sites = mesh(net, SITES, arrivals)
    due_s = sorted(
        (random.uniform(0, WRITE_S), site) for site in range(SITES) for _ in range(WRITES)
    )
    begun_s = net.now_s
    for at_s, site in due_s:
        net.run(max(0.0, begun_s + at_s - net.now_s))
        sites[site].write()
    net.run(SETTLE_S)
    took_s = sorted(arrivals.took_s)
    assert len(took_s) == SITES * WRITES * (SITES - 1), "not everything came everywhere"
    assert all_equal(sites)
    received, needed = bodies(sites)
    return {
        "sim100_p50_s": took_s[len(took_s) // 2],
        "sim100_p99_s": took_s[len(took_s) * 99 // 100],
        "sim100_max_s": took_s[-1],
        "redundancy": received / needed,
    }


def beacon(site: SiteID, counter: int) -> bytes:
    """What an idle site with some workers says."""
    cpu = Workers(64, 0, 250_000, 900_000, 86_400, 20, 20)
    gpu = Workers(32, 4, 120_000, 0, 0, 4, 4)
    return write_beacon(
        Beacon(
            site, 1, 1, counter, "a-site", "0.1.0", False, Heads(40, b"c" * 8, 900, b"r" * 8),
            1_790_000_000_000, 0, 0, 0, 0, (cpu, gpu), (), (),
        )
    )  # fmt: skip


def idle50() -> dict[str, float]:
    """Bytes a second of a site in an idle mesh, both ways, and what its protocol costs in CPU."""
    net = FakeNet(7, lossy)
    sites = mesh(net, IDLE_SITES, Arrivals())
    feeds = [site.held() for site in sites]
    pieces = 0

    def piece(random: Random) -> int:
        nonlocal pieces
        pieces += 1
        return 1 << 20

    net.piece_bytes = piece
    before = sum(stream.carried for stream in net.streams.values())
    began_s, end_s, counter = time.process_time(), net.now_s + IDLE_S, 0
    while net.now_s < end_s:
        counter += 1
        for site in sites:
            site.exchange.flood(FloodKind[KIND.upper()], beacon(site.id, counter), net.now_s)
            net.pump(site)
            net.run(BEACON_S / IDLE_SITES)
    carried = sum(stream.carried for stream in net.streams.values()) - before
    assert feeds == [site.held() for site in sites], "feeds of an idle mesh grew"
    whole = carried + pieces * TLS_RECORD_BYTES
    seconds = IDLE_S * IDLE_SITES
    return {
        "idle50_virtual_bytes_per_s": 2 * whole / seconds,  # each byte leaves one and reaches one
        "idle50_virtual_core_share": (time.process_time() - began_s) / seconds,
    }
