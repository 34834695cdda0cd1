"""One life of a node: the real parts, put together as the site does it, on a clock that is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from federation.entry import Entry
from federation.ids import EntryRef, FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import Force, Found, MemberAdd, Record, Site, UserAdd
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from keys.sshsig import PublicKey
from node.config import MESH_PORT, MeshConfig
from node.dispatch import Dispatch
from node.fold import Fold
from node.lead import Lead
from node.members import Members
from node.meshing.service import Home, Meshing
from node.model import member
from node.model.commands import read_command
from node.model.force import ForceOrder, write_force
from node.model.person import PersonOrder, write_person
from node.model.share import Shares
from node.model.validate import read_submission
from node.services.recovery import next_term
from node.store import openwork, tasks
from node.store.blobs import Blobs
from node.store.database import Database
from node.store.feeds import Feeds
from node.store.generation import begin_generation
from node.store.highwater import HighWater
from node.store.writer import Journal
from node.unitstate import TaskState
from node.work import Work
from node.work.ports import Known, Resolved
from node.work.refusals import Refusal
from node.work.tables import FoldedTables
from tests.simulation.disk import HIGH_WATER_NAME
from tests.simulation.sockets import NetworkedProcess

if TYPE_CHECKING:
    from tests.simulation.disk import SimDisk

ANA = UserKey(SiteKey(b"ana".ljust(32, b"-")).site)  # an admin
BEN = UserKey(SiteKey(b"ben".ljust(32, b"-")).site)
PLENTY = 1 << 40
TICK_S = 5.0


def a_fold(site: SiteID) -> Fold:
    """The real fold; a person's signature is the key: people's cryptography is not simulated."""
    return Fold(site, read_submission, read_command, lambda document, signature: signature)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another site, as people tell each other by mail. addresses: none if it only dials out."""

    site: SiteID
    name: str
    addresses: tuple[str, ...]


class NoInputs:
    """Units of the simulation read nothing."""

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        return Resolved()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


class Node:
    """A process on a home. `boot` must have ended before anything is asked of it."""

    def __init__(
        self,
        process: NetworkedProcess,
        key: SiteKey,
        home: Path,
        disk: SimDisk,
        random: Random,
        *,
        wall_ms: Callable[[], int],
        commit_s: Callable[[], float],
        dial_only: bool,
        others: Sequence[Neighbour],
        folder: Path,
        boot: int,
        shown: Callable[[Sequence[Entry]], None],
    ) -> None:
        """commit_s: how long the next commit takes. others: whom its admin takes in at first.

        folder: for what the simulated disk does not hold. boot: greater at each start. shown:
        hears of every entry that is durable.
        """
        self.process = process
        self.home = home
        self.disk = disk
        self.site = SiteID(key.site)
        self.up = False
        self.full_is_known = random.random() < 0.5  # whether free space is asked for in time
        self.journal: Journal | None = None
        self.dial_only = dial_only
        self._key = key
        self._random = random
        self._wall_ms = wall_ms
        self._commit_s = commit_s
        self._others = others
        self._folder = folder
        self._boot = boot
        self._shown = shown
        self._database: Database | None = None
        self.conn: Any = None  # a reader
        self._blobs: Blobs | None = None

    def fold(self) -> Fold:
        return a_fold(self.site)

    @property
    def idle(self) -> bool:
        """Up, with nothing left to write."""
        return self.up and self.journal is not None and not self.journal.backlog

    def knows_order(self, id: bytes) -> bool:
        """Whether the log holds an order that was taken."""
        return tasks.seen(self.conn, id)

    def refusals(self) -> list[str]:
        """Why the fold skipped records, the latest last."""
        rows = self.conn.execute("SELECT why FROM refused ORDER BY entry, idx")
        return [why for (why,) in rows][-3:]

    # Life

    async def boot(self) -> None:
        """Open the home and bring everything back, as node/site.py does."""
        database = self._database = Database.open(
            self.home, vfs=self.disk.vfs, in_thread=self.process.in_thread
        )
        highwater = HighWater(
            self.home / HIGH_WATER_NAME, database.path, files=self.disk.files, host="sim"
        )
        found = begin_generation(
            database, self.site, highwater, leap=lambda: self._random.randrange(1 << 16)
        )
        self.generation = found.generation
        self.conn = database.reader()
        journal = self.journal = Journal(
            self.process, database, self._key, found.generation, self.fold(), highwater,
            commit=self._commit, wall_ms=self._wall_ms, free_bytes=self._free_bytes,
        )  # fmt: skip
        journal.subscribe_durable(self._shown)
        self.tables = FoldedTables(self.conn, self.site, found.generation, tasks.spec)
        if not self.tables.shards():
            for record in self._first_records():
                await journal.control(record)
        self.members = Members(self.conn, self.site)
        journal.subscribe(self.members.changed)
        self.meshing = self._join_mesh(database, journal)
        await self._start_work(journal)
        self.meshing.start()
        self.up = True
        self._tick()

    def _join_mesh(self, database: Database, journal: Journal) -> Meshing:
        blobs = self._blobs = Blobs(self._folder / "blobs", quota_bytes=PLENTY)
        home = Home(
            reactor=self.process, key=self._key, generation=self.generation, journal=journal,
            blobs=blobs, conn=self.conn, read=database.read, in_thread=self.process.in_thread,
            members=self.members,
        )  # fmt: skip
        config = MeshConfig(listen=f"0.0.0.0:{MESH_PORT}", dial_only=self.dial_only)
        return Meshing(home, config, boot=self._boot, version="0", random=self._random)

    async def _start_work(self, journal: Journal) -> None:
        self.work = Work(
            self.process, journal, self.tables, Dispatch(Shares()), NoInputs(),
            site=self.site, site_name="sim", wall_ms=self._wall_ms,
            copied=bool(self.tables.still_datasets()), have_files=self.meshing.have_files,
        )  # fmt: skip
        self.lead = Lead(
            self.process, self.site, journal, self.tables, self.tables.shards, self.work.busy
        )  # fmt: skip
        journal.leader = self.lead.accept
        journal.subscribe(self.work.changed)
        journal.subscribe(self.lead.changed)
        await self.lead.start()
        self.work.load([*self.tables.open_datasets(), *self.tables.still_datasets()])
        self.work.restore(self.conn)

    def _tick(self) -> None:
        self.work.tick()
        self.process.callLater(TICK_S, self._tick)

    def _first_records(self) -> list[Record]:
        nonce = self._random.randbytes(16)
        records: list[Record] = [
            Site("sim", "0"),
            Found(ShardID(digest(Purpose.SHARD, self.site + nonce)), nonce, [self.site]),
        ]
        if not any(person.site == self.site for person in tasks.people(self.conn)):
            order = PersonOrder(
                "user.add", self.site, PublicKey(ANA, ""), "ana", (), ("admin",), "0" * 32
            )
            document = write_person(order)
            records.append(UserAdd(ANA, "ana", [], ["admin"], document, ANA, ANA))
        return records + [self._admit(other) for other in self._others]

    def _admit(self, other: Neighbour) -> Record:
        """As `floe mesh add KEY@HOST:PORT` does it."""
        nonce = self._random.randbytes(16)
        order = member.Add(self.site, other.site, other.name, other.addresses, nonce)
        return MemberAdd(
            other.site, other.name, list(other.addresses), member.write(order), ANA, ANA, b""
        )

    def die(self) -> None:
        """The process ends here and now; the kernel takes its connections and its lock."""
        self.up = False
        self.process.end()
        self.disk.die_after(-1)  # what still runs in this Python reaches nothing
        if self._blobs is not None:
            self._blobs.close()
        with self.disk.burying():
            if self.conn is not None:
                self.conn.close()
            if self._database is not None:
                self._database.close()

    def _commit(self, fn: Callable[[], Any]) -> Deferred[Any]:
        return self.process.in_thread(fn, self._commit_s())

    def _free_bytes(self) -> int:
        return 0 if self.full_is_known and self.disk.full else PLENTY

    # Requests

    async def serve(self, what: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The pilot API, as node/http/pilots.py has it. Raises Refusal."""
        body = json.loads(json.dumps(body))
        if what == "announce":
            answer = await self.work.announce(body)
        else:
            session = self.work.session(token)
            if session is None:
                raise Refusal(401, "this session is not known", "announce yourself", "announce")
            ask = self.work.poll if what == "poll" else self.work.report
            strange = self._strange(body)
            answer = {**await ask(session, body), "strange": strange}
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found

    def _strange(self, body: Mapping[str, Any]) -> list[tuple[str, int]]:
        """Units of a report that are not known here, as after a copy was put back: (spec, job)."""
        found = []
        for group in body.get("results", ()):
            number = openwork.number(self.conn, bytes.fromhex(group["spec"].split("/")[0]))
            jobs = 0 if number is None else self.tables.known(number).jobs
            found += [(group["spec"], job) for job in group["jobs"] if job >= jobs]
        return found

    def unread(self, token: str) -> None:
        """The connection broke while a poll was answered, and the node noticed."""
        session = self.work.session(token)
        if session is not None:
            self.work.unread(session)

    async def recover(self, nonce: bytes) -> None:
        """An admin forces on what stands still, as `floe mesh recover` does."""
        assert self.journal is not None
        leader = FeedID(self.site, self.generation, Lane.CONTROL)
        for shard in self._still():
            term = next_term(shard.term, self.generation)
            document = write_force(ForceOrder(shard.id, term, leader, shard.cut, nonce))
            cut = shard.cut
            record = Force(shard.id, term, cut.seq, cut.id, document, ANA, ANA)
            done = self.journal.control(record, intake=True)
            if not done.called:
                self.lead.take_over(shard.id)
            await done
            if any(each.id == shard.id for each in self._still()):
                raise AssertionError(f"a force was stored but not taken: {self.refusals()}")

    def _still(self) -> list[openwork.StillShard]:
        return openwork.still_shards(self.conn, self.site, self.generation)

    def held(self) -> dict[FeedID, bytes]:
        """The newest stored entry of every feed."""
        return {tip.feed: tip.id for tip in Feeds(self.conn).tips()}

    def entries(self) -> list[tuple[EntryRef, int]]:
        """Everything that is stored, with local numbers, in the order of arrival."""
        assert self._database is not None
        return [(entry.ref, no) for no, entry in Feeds(self.conn).in_order()]

    async def close(self) -> None:
        """Stop as a node does that is asked to."""
        assert self.journal is not None
        assert self._database is not None
        self.lead.stop()
        self.work.stop()
        await self.meshing.stop()
        await self.journal.close()
        self.up = self.process.alive = False
        if self._blobs is not None:
            self._blobs.close()
        self.conn.close()
        self._database.close()
