"""Sites in one process, joined by links that delay and cut what goes over them. Virtual time.

The exchanges are real; stores are in memory. A link is a pair of byte streams, in order, delivered
in pieces of any size; a stream takes no more bytes while too many are on their way.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from federation.entry import Entry, seal
from federation.events import Event, LinkDown, TakeIn
from federation.exchange import Exchange
from federation.ids import FeedID, Lane, SiteID
from federation.records import Record, Site
from federation.session import Session
from federation.timing import Timing
from keys.identity import SiteKey
from tests.fakes.feeds import MemoryFeeds
from tests.unit.federation.builders import results

ON_THE_WAY_MAX = 64 * 1024  # bytes in a stream


def key_of(number: int) -> SiteKey:
    return SiteKey(number.to_bytes(32, "big"))


class FakeSite:
    """One site: its feeds, its exchange, and what it was told."""

    def __init__(self, net: FakeNet, key: SiteKey, boot: int, timing: Timing | None) -> None:
        self.net = net
        self.key = key
        self.id = SiteID(key.site)
        self.feeds = MemoryFeeds()
        self.events: list[Event] = []
        self.store_s = 0.0  # how long the store takes
        self.refuses = False  # whether the store fails
        self.generation = 1
        self.strangers: set[SiteID] = set()  # members that this site does not know
        self.start(boot, timing)

    def start(self, boot: int, timing: Timing | None = None) -> None:
        """A new process: nothing is remembered but what is stored."""
        self.exchange = Exchange(
            self.key,
            self.feeds,
            self._is_member,
            lambda site: site in self.net.revoked,
            Random(f"{boot}{self.id.hex()}"),
            boot=boot,
            timing=timing,
        )
        self.exchange.sync.writing = self.generation

    def _is_member(self, site: SiteID) -> bool:
        net = self.net
        return site in net.members - net.revoked - self.strangers

    def write(
        self, count: int = 1, lane: Lane = Lane.CONTROL, rows: int = 1, name: str = "s"
    ) -> list[Entry]:
        """Author entries, durable at once."""
        feed = FeedID(self.id, self.generation, lane)
        made: list[Entry] = []
        for _ in range(count):
            tip = self.feeds.tip(feed)
            record: Record = Site(name, f"{tip.seq}") if lane is Lane.CONTROL else results(rows)
            entry = seal(self.key, feed, tip.seq + 1, tip.id, tip.hlc + 1, [record])
            self.feeds.append([entry])
            made.append(entry)
        self.act(self.exchange.durable(made, self.net.now_s))
        return made

    def act(self, events: Iterable[Event]) -> None:
        """What a shell does with events."""
        for event in events:
            self.events.append(event)
            if isinstance(event, TakeIn):
                self.net.after(self.store_s, lambda event=event: self._store(event))
            elif isinstance(event, LinkDown):
                self.net.close(event.session)
        self.net.pump(self)

    def _store(self, event: TakeIn) -> None:
        now_s = self.net.now_s
        if self.refuses:
            self.exchange.sync.refused(event, now_s)
            self.net.pump(self)
            return
        self.feeds.append(event.entries)
        self.act(self.exchange.durable(event.entries, now_s))
        self.exchange.sync.taken(event, now_s)
        self.net.pump(self)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def held(self) -> dict[FeedID, bytes]:
        return {tip.feed: tip.id for tip in self.feeds.tips()}


@dataclass(eq=False)
class Stream:
    """One direction of a link."""

    site: FakeSite
    session: Session
    other: Stream | None = None
    on_the_way: int = 0
    arrived_s: float = 0.0  # of the latest piece
    stopped: bool = False  # the far end reads nothing
    held: list[bytes] = field(default_factory=list)
    dead: bool = False
    carried: int = 0


class FakeNet:
    """All sites and links, and the time."""

    def __init__(self, seed: int = 1, delay_s: Callable[[Random], float] | None = None) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.members: set[SiteID] = set()
        self.revoked: set[SiteID] = set()
        self.streams: dict[Session, Stream] = {}
        self.piece_bytes: Callable[[Random], int] = lambda random: 1 << 20
        self._delay_s = delay_s or (lambda random: 0.01)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._ticks: dict[FakeSite, float] = {}
        self.sites: list[FakeSite] = []

    def site(self, number: int, timing: Timing | None = None, *, boot: int = 1) -> FakeSite:
        site = FakeSite(self, key_of(number), boot, timing)
        self.members.add(site.id)
        self.sites.append(site)
        return site

    def link(self, one: FakeSite, other: FakeSite) -> tuple[Session, Session]:
        """`one` dials `other`."""
        mine = one.exchange.open(other.id, self.now_s, dialled=True)
        theirs = other.exchange.open(one.id, self.now_s, dialled=False)
        here, there = Stream(one, mine), Stream(other, theirs)
        here.other, there.other = there, here
        self.streams[mine], self.streams[theirs] = here, there
        self.pump(one)
        self.pump(other)
        return mine, theirs

    def cut(self, session: Session) -> None:
        """The link is lost: both ends learn it, what was on its way is gone."""
        stream = self.streams[session]
        assert stream.other is not None
        for end in (stream, stream.other):
            if not end.dead:
                end.dead = True
                end.site.act(end.session.lost(self.now_s))

    def close(self, session: Session) -> None:
        """One end closes once all it has to say is out; the other learns it then."""
        stream = self.streams.get(session)
        if stream is None or stream.dead:
            return
        self._send(stream)
        stream.dead = True
        other = stream.other
        assert other is not None

        def gone() -> None:
            if not other.dead:
                other.dead = True
                other.site.act(other.session.lost(self.now_s))

        self._at(max(stream.arrived_s, self.now_s) + self._delay_s(self.random), gone)

    def after(self, wait_s: float, act: Callable[[], None]) -> None:
        if wait_s:
            self._at(self.now_s + wait_s, act)
        else:
            act()

    def pump(self, site: FakeSite) -> None:
        """Send what a site has to send, and see to its next tick."""
        for session in site.exchange.take_ready():
            stream = self.streams.get(session)
            if stream is not None and not stream.dead:
                self._send(stream)
        due_s = site.exchange.deadline_s
        if due_s < self._ticks.get(site, float("inf")):
            self._ticks[site] = due_s
            self._at(due_s, lambda: self._tick(site, due_s))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, act = heapq.heappop(self._due)
            act()
        self.now_s = end_s

    def _tick(self, site: FakeSite, due_s: float) -> None:
        if self._ticks.get(site) == due_s:
            del self._ticks[site]
            site.act(site.exchange.tick(self.now_s))

    def _at(self, due_s: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (due_s, self._count, act))

    def _send(self, stream: Stream) -> None:
        while stream.on_the_way < ON_THE_WAY_MAX:
            data = stream.session.bytes_to_send(self.now_s)
            if not data:
                return
            stream.carried += len(data)
            for piece in self._cut_up(data):
                stream.on_the_way += len(piece)
                due_s = max(self.now_s + self._delay_s(self.random), stream.arrived_s)
                stream.arrived_s = due_s
                self._at(due_s, lambda piece=piece: self._arrive(stream, piece))  # type: ignore[misc]

    def _cut_up(self, data: bytes) -> Sequence[bytes]:
        pieces = []
        while data:
            size = max(1, self.piece_bytes(self.random))
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    def _arrive(self, stream: Stream, piece: bytes) -> None:
        other = stream.other
        assert other is not None
        if other.dead:
            return
        if stream.stopped:
            stream.held.append(piece)
            return
        stream.on_the_way -= len(piece)
        other.site.act(other.session.receive(piece, self.now_s))
        if not stream.dead:
            self._send(stream)

    def resume(self, session: Session) -> None:
        """The far end reads again."""
        stream = self.streams[session]
        stream.stopped = False
        held, stream.held = stream.held, []
        for piece in held:
            self._arrive(stream, piece)


def all_equal(sites: Sequence[FakeSite]) -> bool:
    """Whether all sites hold the same entries."""
    return all(site.held() == sites[0].held() for site in sites)
