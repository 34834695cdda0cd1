"""Our own beacon, out of the tables and the pilots; sent when it changed, or a minute is over.

New work is told of at once, so that no site with room stands idle until the next round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from federation import limits
from federation.beacon import KIND, LOAD_MAX, Ban, Beacon, Heads, Running, Want, write_beacon
from federation.claims import label
from federation.ids import SiteID
from federation.ports import Floods
from federation.pulse import UNREACHABLE_S
from federation.shapes import Shape, Workers
from node.ready import Ready
from node.store.highwater import Heads as OwnHeads
from node.work.hosts import Host
from node.work.sessions import Session

SEND_S: Final = 10.0  # when something changed
IDLE_S: Final = 60.0  # when nothing did
PER_SILENCE: Final = 3  # beacons that an idle site sends in the time that makes one unreachable
NEWS_S: Final = 0.1  # in which what brings new work gathers
NEWS_S_MIN: Final = 1.0  # from one beacon until the next for the sake of news


class Capacity(Protocol):
    def workers(self) -> Sequence[Workers]: ...
    def cores(self) -> tuple[int, int]:
        """(of pilots that are up, of them busy)."""


@dataclass(frozen=True, slots=True)
class Self:
    """What a site is. boot: of its process, larger for a later start."""

    site: SiteID
    name: str
    version: str
    boot: Callable[[], int]


class BeaconMaker:
    """Looks around and says what there is."""

    def __init__(
        self,
        me: Self,
        heads: Callable[[], OwnHeads],
        drained: Callable[[], bool],
        wall_ms: Callable[[], int],
        capacity: Capacity,
        sessions: Iterable[Session],
        ready: Ready,
        wants: Callable[[], Sequence[Want]],
        id_of: Callable[[int], bytes | None],
        batch: Callable[[], Sequence[str]] = tuple,
        banned: Callable[[], Sequence[Host]] = tuple,
    ) -> None:
        """heads: of the own feeds, as far as they are durable. id_of: a dataset's, by number.

        batch: kinds of batch systems. banned: workers without units, the longest first.
        """
        self._me = me
        self._heads = heads
        self._drained = drained
        self._wall_ms = wall_ms
        self._capacity = capacity
        self._sessions = sessions
        self._ready = ready
        self._wants = wants
        self._id_of = id_of
        self._batch = batch
        self._banned = banned

    def make(self, counter: int) -> Beacon:
        heads = self._heads()
        cores, busy = self._capacity.cores()
        running, banned = self._running(), self._banned()
        return Beacon(
            site=self._me.site,
            generation=heads.generation,
            boot=self._me.boot(),
            counter=counter,
            name=self._me.name,
            version=self._me.version,
            drained=self._drained(),
            heads=Heads(
                heads.control.seq,
                label(heads.control.id),
                heads.results.seq,
                label(heads.results.id),
            ),
            clock_ms=min(max(self._wall_ms(), 0), limits.WALL_CLOCK_MS_MAX),
            load=busy * LOAD_MAX // cores if cores else 0,
            pilots=sum(1 for session in self._sessions if not session.lost),
            active=sum(running.values()),
            ready=sum(state.ready for state in self._ready.datasets.values()),
            workers=tuple(self._capacity.workers()),
            wants=tuple(self._wants()[: limits.WANTS_MAX]),
            running=tuple(self._busiest(running)),
            batch=tuple(sorted(set(self._batch())))[: limits.BATCH_KINDS_MAX],
            barred=len(banned),
            bans=tuple(_ban(host) for host in banned[: limits.BANS_MAX]),
        )

    def _running(self) -> Counter[int]:
        """Units that run, by dataset."""
        found: Counter[int] = Counter()
        for session in self._sessions:
            for lease, count in session.started():
                if lease.task.dataset is not None:
                    found[lease.task.dataset.no] += count
        return found

    def _busiest(self, running: Counter[int]) -> Iterable[Running]:
        for no, units in running.most_common(limits.RUNNING_MAX):
            if (id_ := self._id_of(no)) is not None:
                yield Running(label(id_), units)


def _ban(host: Host) -> Ban:
    return Ban(
        _cut(host.name, limits.BAN_HOST_BYTES_MAX),
        min(max(host.until_ms, 0), limits.WALL_CLOCK_MS_MAX),
        _cut(host.why, limits.BAN_WHY_BYTES_MAX),
    )


def _cut(text: str, bytes_max: int) -> str:
    """The text, or as much of its beginning as there is room for, with an ellipsis."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= bytes_max:
        return whole.decode()
    return whole[: bytes_max - len("…".encode())].decode("utf-8", "ignore") + "…"


class OwnBeacon:
    """Floods what the maker makes. Call `tick` every `send_s`, `soon` when there may be work."""

    def __init__(
        self,
        reactor: IReactorTime,
        maker: BeaconMaker,
        floods: Floods,
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        """unreachable_s: so long other sites wait for a beacon of this one."""
        self.idle_s = min(IDLE_S, unreachable_s / PER_SILENCE)
        self.send_s = min(SEND_S, self.idle_s / 2)
        self._reactor = reactor
        self._maker = maker
        self._floods = floods
        self._sent: Beacon | None = None
        self._sent_s = float("-inf")
        self._counter = 0
        self._call: IDelayedCall | None = None

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def now(self) -> Beacon:
        """What others would be told now."""
        return self._maker.make(self._counter + 1)

    def tick(self) -> None:
        beacon = self.now()
        if not self._told(beacon) or self._reactor.seconds() - self._sent_s >= self.idle_s:
            self._send(beacon)

    def soon(self) -> None:
        """There may be units for others that no beacon told of."""
        if self._call is None:
            wait_s = self._sent_s + NEWS_S_MIN - self._reactor.seconds()
            self._call = self._reactor.callLater(max(NEWS_S, wait_s), self._tell_news)

    def _tell_news(self) -> None:
        self._call = None
        beacon = self.now()
        if self._sent is None or _offered(beacon) - _offered(self._sent):
            self._send(beacon)

    def _send(self, beacon: Beacon) -> None:
        self._counter += 1
        self._sent, self._sent_s = beacon, self._reactor.seconds()
        self._floods.flood(KIND, write_beacon(beacon))

    def _told(self, beacon: Beacon) -> bool:
        """Whether the last one said the same."""
        sent = self._sent
        return sent is not None and sent == replace(
            beacon, counter=sent.counter, clock_ms=sent.clock_ms
        )


def _offered(beacon: Beacon) -> set[tuple[bytes, Shape]]:
    """What a beacon says there is to claim."""
    return {(want.dataset, want.shape) for want in beacon.wants if want.free}
