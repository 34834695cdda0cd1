"""A site reduced to its logs: feeds in memory, the real exchange, a disk that takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING

from federation.entry import Entry, seal
from federation.events import Event, TakeIn
from federation.exchange import Exchange
from federation.ids import FeedID, Lane, SiteID
from federation.records import Record
from keys.identity import SiteKey
from tests.fakes.feeds import MemoryFeeds
from tests.simulation.logs.dialler import Dialler
from tests.simulation.logs.linking import Linking
from tests.simulation.network import Wire
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.logs.world import LogWorld

COMMIT_S = (0.002, 0.008)
START_S = 0.5


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
        self.bodies_in = 0  # received, needed or not
        self.bodies_new = 0
        self._boot = 0
        self._queue: list[Callable[[], Sequence[Entry]]] = []
        self._after: list[Callable[[], None]] = []
        self._committing = False
        self.process: Process | None = None

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
        self._queue, self._after, self._committing = [], [], False
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

    # The disk: one commit at a time takes what has gathered

    def write(self, records: Sequence[Record], lane: Lane = Lane.CONTROL) -> None:
        """Author an entry; it goes out once it is durable."""

        def store() -> Sequence[Entry]:
            feed = FeedID(self.site, self.generation, lane)
            tip = self.feeds.tip(feed)
            hlc = max(tip.hlc + 1, int(self.world.clock.seconds() * 1000) << 16)
            entry = seal(self.key, feed, tip.seq + 1, tip.id, hlc, records)
            self.feeds.append([entry])
            self.world.authored(entry)
            return [entry]

        self._commit(store)

    def _take_in(self, event: TakeIn) -> None:
        def store() -> Sequence[Entry]:
            self.feeds.append(event.entries)
            for entry in event.entries:
                self.world.arrived(self, entry)
            return event.entries

        def stored() -> None:
            self.exchange.sync.taken(event, self.world.clock.seconds())

        self._commit(store, stored)

    def _commit(
        self, store: Callable[[], Sequence[Entry]], after: Callable[[], None] = lambda: None
    ) -> None:
        self._queue.append(store)
        self._after.append(after)
        self._begin()

    def _begin(self) -> None:
        if self._committing or not self._queue or self.process is None:
            return
        self._committing = True
        stores, self._queue = self._queue, []
        afters, self._after = self._after, []

        def ended() -> None:
            self._committing = False
            entries = [entry for store in stores for entry in store()]
            self.linking.told(self.exchange.durable(entries, self.world.clock.seconds()))
            for after in afters:
                after()
            self.linking.pump()
            self._begin()

        self.process.callLater(self.random.uniform(*COMMIT_S), ended)

    # What the exchange says

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, TakeIn):
                self._take_in(event)
            self._dialler.heard(event)
            self.world.heard(self, event)
