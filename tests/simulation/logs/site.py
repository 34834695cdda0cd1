"""A site reduced to its logs: feeds in memory, a disk that takes time, real links and council."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import apsw
from twisted.internet.defer import Deferred

from federation.entry import Entry, seal
from federation.events import Event, TakeIn
from federation.exchange import Exchange
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Accept, Dataset, Record, Site
from keys.identity import SiteKey
from node.council.service import Council
from tests.fakes.feeds import MemoryFeeds
from tests.simulation.logs.dialler import Dialler
from tests.simulation.logs.facts import LogFacts
from tests.simulation.logs.linking import Linking
from tests.simulation.logs.voice import LogVoice
from tests.simulation.network import Wire
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.logs.world import LogWorld

COMMIT_S = (0.002, 0.008)
Sealing = Callable[[], Sequence[Record]]
"""Gives the records of an entry when it is sealed; none for no entry."""
Store = Callable[[], Sequence[Entry]]


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
        self.withholds: SiteID | None = None  # whose entries it drops and says it has
        self.process: Process | None = None
        self.copy = self.feeds.copy()
        self._boot = 0

    @property
    def up(self) -> bool:
        return self.process is not None

    @property
    def control(self) -> FeedID:
        """The control feed in which it writes."""
        return FeedID(self.site, self.generation, Lane.CONTROL)

    # Life

    def start(self) -> None:
        """A new process: nothing is remembered but what is on disk."""
        if self.process is not None:
            return
        world = self.world
        self._boot += 1
        self._queue: list[tuple[Store, Deferred[None]]] = []
        self._committing = False
        process = self.process = Process(world.clock, world.failed)
        random = Random(f"process {world.seed} {self.name} {self._boot}")
        self.exchange = Exchange(
            self.key, self.feeds, world.is_member, world.revoked, random, boot=self._boot,
            timing=world.timing,
        )  # fmt: skip
        self.exchange.sync.writing = self.generation
        self.linking = Linking(process, self.exchange, world.is_member, self._act)
        self.voice = LogVoice(self.exchange, process.seconds, self.linking.pump)
        self.facts = LogFacts(self.control, self.feeds)
        self.council = Council(
            process, self.control, self.facts, self, self.voice, world, world.pace, random
        )
        self._dialler = Dialler(
            process, world.network, self.machine, self.linking,
            lambda: world.addresses(self.site), random,
        )  # fmt: skip
        world.network.power_back(self.machine)
        if self.address:
            world.network.listen(self.machine, self.address, self._accepted)
        self._dialler.start()
        self.council.start()
        if self.generation > 1 and not self.tip(self.control):
            self.write(lambda: [Site(self.name, "0")])

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

    # Leading

    def tip(self, feed: FeedID) -> EntryRef | None:
        tip = self.feeds.tip(feed)
        return EntryRef(feed, tip.seq, EntryID(tip.id)) if tip.seq else None

    def submit(self, shard: ShardID, number: int) -> None:
        """Write a record for the log of a shard, if this site leads it when that is sealed."""
        self.write(partial(self._log_records, shard, number))

    def _log_records(self, shard: ShardID, number: int) -> list[Record]:
        """Something that was submitted, and the newest results of everybody."""
        if not self.facts.leads(shard):
            return []
        accepts = [
            Accept(shard, tip.feed.site, tip.feed.generation, tip.seq, EntryID(tip.id))
            for tip in self.feeds.tips()
            if tip.feed.lane is Lane.RESULTS
        ]
        document = number.to_bytes(8, "big")
        return [Dataset(shard, document, b"s", self.site), *accepts]  # type: ignore[arg-type]

    # The disk: one commit at a time takes what has gathered

    def write(self, sealing: Sealing, lane: Lane = Lane.CONTROL) -> Deferred[None]:
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

        return self._commit(store)

    def compose(self, make: Sealing) -> Deferred[None]:
        """The council's pen."""
        return self.write(make)

    def local(self, fn: Callable[[apsw.Connection], None]) -> Deferred[None]:
        """The council's pen: a commit of something that is in no log."""
        return self._commit(list)

    def _take_in(self, event: TakeIn) -> None:
        def store() -> Sequence[Entry]:
            self.feeds.append(event.entries)
            for entry in event.entries:
                self.world.arrived(self, entry)
            return event.entries

        def stored(_: None) -> None:
            self.exchange.sync.taken(event, self.world.clock.seconds())

        if any(entry.header.site == self.withholds for entry in event.entries):
            stored(None)
            return
        self._commit(store).addCallback(stored)

    def _commit(self, store: Store) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._queue.append((store, done))
        self._begin()
        return done

    def _begin(self) -> None:
        if self._committing or not self._queue or self.process is None:
            return
        self._committing = True
        queue, self._queue = self._queue, []
        self.process.callLater(self.random.uniform(*COMMIT_S), self._committed, queue)

    def _committed(self, queue: Sequence[tuple[Store, Deferred[None]]]) -> None:
        self._committing = False
        entries: list[Entry] = []
        for store, _ in queue:
            stored = store()
            self.facts.took(stored)
            entries += stored
        self.linking.told(self.exchange.durable(entries, self.world.clock.seconds()))
        if entries:
            self.council.arrived(entries)
        for _, done in queue:
            done.callback(None)
        self.linking.pump()
        self._begin()

    # What the exchange says

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, TakeIn):
                self._take_in(event)
            self._dialler.heard(event)
            self.world.heard(self, event)
        self.voice.hear(events)
