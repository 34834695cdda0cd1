"""The parts of a node, put together as node/site.py and node/edge.py do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from federation.election import Pace
from federation.ids import FeedID, Lane, SiteID
from keys.identity import SiteKey
from node.beacon.making import Self
from node.changes import Change
from node.claims.capacity import More
from node.config import MeshConfig
from node.council.service import Council
from node.council.tables import FoldedFacts
from node.council.views import Views
from node.council.witnesses import witnesses
from node.dispatch import Dispatch
from node.fold import Fold
from node.lead import Lead
from node.leading.granting import Rules
from node.leading.tables import LedgerTables
from node.members import Members
from node.meshing.inquiry import Inquiry
from node.meshing.roots import RootServer
from node.meshing.service import Home, Meshing
from node.model.share import Shares
from node.services.blobs import BlobService
from node.services.commands import Commands
from node.services.lookups import OrderLookups, SubmitLookups
from node.services.recovery import Recovery
from node.services.submit import Submissions
from node.sharing import Around, Inside, Sharing
from node.site import LOOK_S
from node.store import moves, tasks
from node.store.blobs import Blobs
from node.store.database import Database
from node.store.feeds import Feeds
from node.store.highwater import HighWater
from node.store.writer import Journal
from node.tending import Own, Tending
from node.unitstate import TaskState
from node.work import Work
from node.work.inputs import Inputs
from node.work.ports import Known, Resolved
from node.work.tables import FoldedTables
from tests.simulation.sockets import NetworkedProcess
from tests.simulation.software import Software

PLENTY = 1 << 40
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often what comes round comes round, and how long silence is borne, in seconds."""

    tick_s: float = 5.0
    vote_after_s: int = 120
    lost_after_s: int = 300
    hold_s: int = 600
    tends: bool = False  # whether leaders move datasets, import units, and have lost outputs made


class NoInputs:
    """Units of most lives read nothing."""

    def changed(self, changes: Iterable[Change]) -> None:
        pass

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        return Resolved()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Store:
    """What one life of a node has opened."""

    process: NetworkedProcess
    key: SiteKey
    name: str
    generation: int
    shared: bool  # another node of the site may write in the generation
    database: Database
    journal: Journal
    blobs: Blobs
    conn: apsw.Connection
    fold: Fold
    random: Random
    wall_ms: Callable[[], int]
    rhythm: Rhythm
    software: Software
    doubted: HighWater | None  # the file, while it is not known whether the store is the newest

    @property
    def site(self) -> SiteID:
        return SiteID(self.key.site)

    @property
    def control(self) -> FeedID:
        return FeedID(self.site, self.generation, Lane.CONTROL)


class Parts:
    """Mesh, council, sharing, work, and the services that people ask."""

    def __init__(
        self,
        store: Store,
        config: MeshConfig,
        *,
        boot: int,
        more: Callable[[], list[More]],
        again: Callable[[str], None],
    ) -> None:
        """boot: greater at each start. more: pilots that could be started. again: starts anew."""
        self._store = store
        self.control = store.control
        self.tables = FoldedTables(store.conn, store.site, store.generation, tasks.spec)
        self.members = Members(store.conn, store.site)
        self.facts = FoldedFacts(store.conn, store.site, store.fold.acts())
        store.journal.subscribe(self.members.changed)
        home = Home(
            reactor=store.process, key=store.key, generation=store.generation,
            journal=store.journal, blobs=store.blobs, conn=store.conn, read=store.database.read,
            in_thread=store.process.in_thread, members=self.members,
            missing=self.facts.missing, again=again, shard=lambda: self.founding.shard(),
            shared=store.shared, held=store.doubted is not None,
        )  # fmt: skip
        self.meshing = Meshing(
            home, config, boot=boot, version=store.software.version, random=store.random
        )  # fmt: skip
        store.software.install(self.meshing.mesh.exchange.hub)
        self.council = Council(
            store.process, store.control, self.facts, store.journal, self.meshing.mesh,
            self.members, Pace(store.rhythm.vote_after_s), store.random,
        )  # fmt: skip
        self._inputs = self._read_inputs()
        self.work = Work(
            store.process, store.journal, self.tables, Dispatch(Shares()), self._inputs,
            site=store.site, site_name=store.name, wall_ms=store.wall_ms,
            copied=bool(self.tables.still_datasets()), have_files=self.meshing.have_files,
        )  # fmt: skip
        self.sharing = self._share(more)
        self.lead = Lead(
            store.process, store.site, store.journal, self.tables, self.tables.shards,
            self.work.busy, self.sharing.granting,
        )  # fmt: skip
        self.inquiry = self._inquire(store.doubted, again) if store.doubted is not None else None
        self._serve()

    def _inquire(self, highwater: HighWater, again: Callable[[str], None]) -> Inquiry:
        store = self._store
        views = Views(store.control, self.facts, self.members)
        return Inquiry(
            store.process, store.journal, highwater, store.control, "it was copied",
            self.meshing.mesh.abreast,
            lambda: witnesses(
                store.control, self.members, self.facts, views.view,
                lambda shard: bool(moves.standing(store.conn, shard, 1)),
            ),
            lambda: store.site in self.meshing.care.twins, self.members.name_of, again,
        )  # fmt: skip

    def _read_inputs(self) -> Inputs | NoInputs:
        store = self._store
        if not store.rhythm.tends:
            return NoInputs()
        folder = store.database.path.parent / "inputs"
        return Inputs(store.blobs, store.database.read, folder, self.meshing.bring)

    def _share(self, more: Callable[[], list[More]]) -> Sharing:
        store, mesh = self._store, self.meshing.mesh
        inside = Inside(
            me=Self(store.site, store.name, store.software.version, lambda: mesh.boot),
            journal=store.journal, conn=store.conn, feeds=Feeds(store.conn),
            ledgers=LedgerTables(store.conn, store.site, store.generation, tasks.spec),
            shards=self.tables.shards, work=self.work, more=more,
            used=lambda: tasks.usage(store.conn, store.wall_ms() // DAY_MS),
            wall_ms=store.wall_ms,
            have_files=lambda no: self.meshing.have_files(self.tables.known(no)),
        )  # fmt: skip
        around = Around(self.members, mesh, mesh, self.members.said_name)
        return Sharing(store.process, inside, around, store.random, self._rules())

    def _rules(self) -> Rules:
        rhythm = self._store.rhythm
        return Rules(lost_s=rhythm.lost_after_s, asked_s=rhythm.hold_s)

    def _tend(self) -> Tending:
        store = self._store
        own = Own(
            store.process, store.site, store.generation, store.journal, store.blobs, store.conn,
            self.facts, self.tables.shards, store.database.read, store.process.in_thread,
        )  # fmt: skip
        return Tending(
            own, self.meshing, self.sharing, self._rules(), store.rhythm.vote_after_s,
            store.random.randbytes,
        )  # fmt: skip

    def _serve(self) -> None:
        """What people ask for."""
        store = self._store
        self.tending = self._tend()
        self.founding = self.tending.founding
        blobs = BlobService(store.blobs, store.process.in_thread)
        self.submissions = Submissions(
            store.name, store.journal, self.founding.shard,
            SubmitLookups(
                store.conn, blobs, list, self.tables.shards, self.tables.still_shards
            ),
            self.meshing.stored_on(),
        )  # fmt: skip
        lookups = OrderLookups(
            store.conn,
            lambda dataset: {},
            self.tables.shards,
            self.tables.still_shards,
            self.members.name_of,
        )
        self.commands = Commands(
            store.journal, lambda key: "", lookups, self._change, store.process.seconds
        )
        self.recovery = Recovery(
            store.conn, store.control, store.journal, self.lead, (), inquiry=self.inquiry
        )
        RootServer(store.database.read).serve(self.meshing.mesh)

    async def _change(self, dataset: int, timeout_s: float) -> None:
        """For those who wait for something about a dataset: look again soon."""
        await self._store.process.sleep(min(timeout_s, 1.0))

    async def start(self) -> None:
        """Bring back what was, and go on; or only ask whether that is all there was."""
        if self.inquiry is not None:
            self.meshing.start()
            self.inquiry.start()
            return
        journal, tables = self._store.journal, self.tables
        journal.subscribe_durable(self.council.arrived)
        journal.leader = self.lead.accept
        for subscriber in (
            self._inputs.changed, self.work.changed, self.lead.changed, self.sharing.changed,
        ):  # fmt: skip
            journal.subscribe(subscriber)
        journal.subscribe_durable(self.sharing.durable)
        await self.lead.start()
        open_here = [*tables.open_datasets(), *tables.still_datasets()]
        self.work.load(dict.fromkeys([*open_here, *tables.owned_datasets()]))
        self.work.restore(self._store.conn)
        self.meshing.start()
        self.council.start()
        self.sharing.start()
        if self._store.rhythm.tends:
            self.tending.start()
        self._tick()
        self._look()

    def _look(self) -> None:
        self.lead.look()
        self._store.process.callLater(LOOK_S, self._look)

    def _tick(self) -> None:
        self.work.tick()
        self._store.process.callLater(self._store.rhythm.tick_s, self._tick)

    async def stop(self) -> None:
        if self.inquiry is not None:
            self.inquiry.stop()
        self.tending.stop()
        self.sharing.stop()
        self.council.stop()
        self.lead.stop()
        self.work.stop()
        await self.meshing.stop()


def open_blobs(folder: Path) -> Blobs:
    """The blob store of a site; it outlives the node, and the simulated disk does not hold it."""
    return Blobs(folder / "blobs", quota_bytes=PLENTY)


Waits = Deferred[Any]
