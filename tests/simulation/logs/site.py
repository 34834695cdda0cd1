"""A site reduced to its logs: feeds in memory, the real exchange, a disk that takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING

from federation.canvass import CANVASS, read_lead, read_question
from federation.entry import Entry, seal
from federation.events import Answered, Asked, Event, FloodHeard, FloodKind, TakeIn
from federation.exchange import Exchange
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Found, FoundCouncil, Record, Refused, Site
from federation.session import Session
from keys.identity import SiteKey
from tests.fakes.feeds import MemoryFeeds
from tests.simulation.logs.dialler import Dialler
from tests.simulation.logs.linking import Linking
from tests.simulation.logs.seat import LogSeat
from tests.simulation.network import Wire
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.logs.world import LogWorld

COMMIT_S = (0.002, 0.008)
Sealing = Callable[[], Sequence[Record]]
"""Gives the records of an entry when it is sealed; none for no entry."""


class LogSite:
    """What stays when its process dies are its feeds; `start` brings another one up."""

    def __init__(self, world: LogWorld, name: str, *, dialable: bool = True) -> None:
        self.name = name
        self.world = world
        self.key = SiteKey(f"simulated site {name}".encode().ljust(32, b"-"))
        self.site = SiteID(self.key.site)
        self.machine = world.network.machine(name, self.site)
        self.address = f"{name}:1" if dialable else ""
        self.feeds = MemoryFeeds()
        self.generation = 1
        self.random = Random(f"site {world.seed} {name}")
        self.process: Process | None = None
        self.copy = self.feeds.copy()
        self._boot = 0

    @property
    def up(self) -> bool:
        return self.process is not None

    # Life

    def start(self) -> None:
        """A new process: nothing is remembered but what is on disk."""
        if self.process is not None:
            return
        world = self.world
        self._boot += 1
        self._queue: list[tuple[Callable[[], Sequence[Entry]], Callable[[], None]]] = []
        self._committing = False
        self._records: dict[EntryID, Sequence[Record | Refused]] = {}
        self._generations: dict[SiteID, int] = {}
        self.seats: dict[ShardID, LogSeat] = {}
        self.asked: dict[tuple[Session, int], LogSeat] = {}
        process = self.process = Process(world.clock, world.failed)
        self.exchange = Exchange(
            self.key, self.feeds, world.is_member, world.is_revoked,
            Random(f"exchange {world.seed} {self.name} {self._boot}"), boot=self._boot,
            timing=world.timing,
        )  # fmt: skip
        self.exchange.sync.writing = self.generation
        self.linking = Linking(process, self.exchange, world.is_member, self._act)
        self._dialler = Dialler(
            process, world.network, self.machine, self.linking,
            lambda: world.addresses(self.site), self.random,
        )  # fmt: skip
        world.network.power_back(self.machine)
        if self.address:
            world.network.listen(self.machine, self.address, self._accepted)
        self._dialler.start()
        for tip in self.feeds.tips():
            self._took(self.feeds.entries(tip.feed, 0, tip.seq))
        if self.generation > 1 and not self.tip(FeedID(self.site, self.generation, Lane.CONTROL)):
            self.write(lambda: [Site(self.name, "0")])
        self.look()

    def die(self, *, quietly: bool = False) -> None:
        """The process ends; what was not committed is gone. quietly: with its machine's power."""
        if self.process is None:
            return
        self.process.end()
        self.process = None
        if quietly:
            self.world.network.power_died(self.machine)
        else:
            self.world.network.process_died(self.machine)

    def keep_copy(self) -> None:
        """Copy the home; see `restore`."""
        self.copy = self.feeds.copy()

    def restore(self) -> None:
        """Put the copy in the place of the database: the site goes on in another generation."""
        self.die()
        self.feeds = self.copy.copy()
        self.generation += 1

    def pause(self) -> None:
        """SIGSTOP."""
        if self.process is not None:
            self.process.pause()
            self.world.network.pause(self.machine)

    def resume(self) -> None:
        if self.process is not None:
            self.process.resume()
            self.world.network.resume(self.machine)

    def _accepted(self, wire: Wire) -> None:
        self.linking.opened(wire, dialled=False)

    # What it holds

    def tip(self, feed: FeedID) -> EntryRef | None:
        tip = self.feeds.tip(feed)
        return EntryRef(feed, tip.seq, EntryID(tip.id)) if tip.seq else None

    def holds(self, ref: EntryRef) -> bool:
        return self.feeds.entry(ref) is not None

    def records(self, entry: Entry) -> Sequence[Record | Refused]:
        """Of a control entry; decoded once."""
        if entry.id not in self._records:
            self._records[entry.id] = entry.records()
        return self._records[entry.id]

    def generations(self) -> dict[SiteID, int]:
        """The newest generation in which anything of a site is here."""
        return self._generations

    # The disk: one commit at a time takes what has gathered

    def write(self, sealing: Sealing, lane: Lane = Lane.CONTROL) -> None:
        """Author an entry; it goes out once it is durable."""

        def store() -> Sequence[Entry]:
            records = sealing()
            if not records:
                return []
            feed = FeedID(self.site, self.generation, lane)
            tip = self.feeds.tip(feed)
            hlc = max(tip.hlc + 1, int(self.world.clock.seconds() * 1000) << 16)
            entry = seal(self.key, feed, tip.seq + 1, tip.id, hlc, records)
            self.feeds.append([entry])
            self.world.authored(entry)
            return [entry]

        self.commit(store=store)

    def commit(
        self,
        after: Callable[[], None] = lambda: None,
        store: Callable[[], Sequence[Entry]] = list,
    ) -> None:
        """Put something on disk, and do something when it is there."""
        self._queue.append((store, after))
        self._begin()

    def _take_in(self, event: TakeIn) -> None:
        def store() -> Sequence[Entry]:
            self.feeds.append(event.entries)
            for entry in event.entries:
                self.world.arrived(self, entry)
            return event.entries

        def stored() -> None:
            self.exchange.sync.taken(event, self.world.clock.seconds())

        self.commit(stored, store)

    def _begin(self) -> None:
        if self._committing or not self._queue or self.process is None:
            return
        self._committing = True
        queue, self._queue = self._queue, []
        self.process.callLater(self.random.uniform(*COMMIT_S), self._committed, queue)

    def _committed(
        self, queue: Sequence[tuple[Callable[[], Sequence[Entry]], Callable[[], None]]]
    ) -> None:
        self._committing = False
        entries: list[Entry] = []
        for store, _ in queue:
            stored = store()
            self._took(stored)
            entries += stored
        self.linking.told(self.exchange.durable(entries, self.world.clock.seconds()))
        for _, after in queue:
            after()
        self.look()
        self.linking.pump()
        self._begin()

    # Shards

    def _took(self, entries: Sequence[Entry]) -> None:
        """Tell the seats of control entries; take the seat that a founding gives us."""
        for entry in entries:
            header = entry.header
            known = self._generations.get(header.site, 0)
            self._generations[header.site] = max(known, header.generation)
            if header.lane is not Lane.CONTROL:
                continue
            records = self.records(entry)
            for seat in self.seats.values():
                seat.took(entry, records)
            for record in records:
                if isinstance(record, Found | FoundCouncil) and self.site in record.council:
                    self._sit(record.shard)

    def _sit(self, shard: ShardID) -> None:
        if shard in self.seats:
            return
        seat = self.seats[shard] = LogSeat(self, shard)
        for tip in self.feeds.tips():
            if tip.feed.lane is Lane.CONTROL:
                for entry in self.feeds.entries(tip.feed, 0, tip.seq):
                    seat.took(entry, self.records(entry))

    def look(self) -> None:
        """Let the seats do what is to be done."""
        for seat in self.seats.values():
            seat.look()

    # What the exchange says

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, TakeIn):
                self._take_in(event)
            elif isinstance(event, FloodHeard) and event.kind is FloodKind.LEAD:
                lead = read_lead(event.document)
                if lead.shard in self.seats:
                    self.seats[lead.shard].hear(lead)
            elif isinstance(event, Asked):
                self._answer(event)
            elif isinstance(event, Answered):
                seat = self.asked.pop((event.session, event.number), None)
                if seat is not None:
                    seat.answered(event)
            self._dialler.heard(event)
            self.world.heard(self, event)

    def _answer(self, asked: Asked) -> None:
        now_s = self.world.clock.seconds()
        seat = None
        if asked.what == CANVASS:
            seat = self.seats.get(read_question(asked.body).shard)
        if seat is None:
            self.exchange.calls.refuse(asked, "nothing is known of that here", now_s)
        else:
            self.exchange.calls.answer(asked, seat.answer(asked), now_s)
