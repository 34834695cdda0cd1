"""One life of a node: the real parts on a disk, a clock and a network that are told what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from federation.entry import Entry
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Found, MemberAdd, Record, Site, UserAdd
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from keys.sshsig import PublicKey
from node.claims.capacity import More
from node.config import MeshConfig
from node.fold import Fold
from node.meshing.inquiry import HELD
from node.model import member
from node.model.commands import read_command
from node.model.force import ForceOrder, write_force
from node.model.person import PersonOrder, write_person
from node.model.validate import read_submission
from node.services.recovery import next_term
from node.store import branches, folded, forks, openwork, tasks
from node.store.blobs import Blobs
from node.store.database import Database
from node.store.feeds import Feeds
from node.store.generation import begin_generation
from node.store.highwater import HighWater
from node.store.verify import finish, rebuild
from node.store.writer import Journal
from node.work.refusals import Refusal
from tests.simulation.disk import HIGH_WATER_NAME
from tests.simulation.parts import PLENTY, Parts, Rhythm, Store, open_blobs
from tests.simulation.persons import ANA
from tests.simulation.sockets import NetworkedProcess
from tests.simulation.software import Software

if TYPE_CHECKING:
    from tests.simulation.disk import SimDisk


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another site, as people tell each other by mail. addresses: none if it only dials out."""

    site: SiteID
    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a life of a node finds: the machine with its disk, and the world around it.

    folder: for what the simulated disk does not hold. boot: greater at each start. commit_s: how
    long the next commit takes. others: whom its admin takes in at first. more: pilots that could be
    started. shown: hears of every entry that is durable. outlived: it has to start again.
    went_on: whether that is why this life began.
    """

    process: NetworkedProcess
    key: SiteKey
    name: str
    home: Path
    disk: SimDisk
    folder: Path
    boot: int
    random: Random
    rhythm: Rhythm
    config: MeshConfig
    software: Software
    wall_ms: Callable[[], int]
    commit_s: Callable[[], float]
    others: Sequence[Neighbour]
    more: Callable[[], list[More]]
    shown: Callable[[Sequence[Entry]], None]
    outlived: Callable[[], None]
    went_on: bool


class Node:
    """A process on a home. `boot` must have ended before anything is asked of it."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.process = around.process
        self.home = around.home
        self.site = SiteID(around.key.site)
        self.up = False
        self.generation = 0
        self.journal: Journal | None = None
        self.conn: Any = None  # a reader
        self._full_is_known = around.random.random() < 0.5  # whether free space is asked for
        self._database: Database | None = None
        self._blobs: Blobs | None = None

    @staticmethod
    def fold(site: SiteID) -> Fold:
        return Fold(site, read_submission, read_command)

    def read(self, ask: Callable[[Any], Any]) -> Deferred[Any]:
        """Ask in a reading thread."""
        assert self._database is not None
        return self._database.read(ask)

    @property
    def blobs(self) -> Blobs:
        assert self._blobs is not None
        return self._blobs

    @property
    def idle(self) -> bool:
        """Up, with nothing left to write."""
        return self.up and self.journal is not None and not self.journal.backlog

    # Life

    async def boot(self) -> None:
        """Open the home and bring everything back, as node/site.py does."""
        around = self.around
        database = self._database = Database.open(
            self.home, vfs=around.disk.vfs, in_thread=self.process.in_thread
        )
        highwater = HighWater(
            self.home / HIGH_WATER_NAME, database.path, files=around.disk.files, host="sim"
        )

        def leap() -> int:
            return around.random.randrange(1 << 16)

        if not folded.is_current(database.writer):
            finish(rebuild(database.writer, self.fold(self.site)))  # `floe up` asks for that
        branches.take(database.writer, self.site, self.fold(self.site))
        found = begin_generation(database, self.site, highwater, leap=leap)
        self.generation = found.generation
        self.conn = database.reader()
        fold = self.fold(self.site)
        journal = self.journal = Journal(
            self.process, database, around.key, found.generation, fold, highwater,
            commit=self._commit, wall_ms=around.wall_ms, free_bytes=self._free_bytes, leap=leap,
            held=HELD if found.doubt else "",
        )  # fmt: skip
        journal.on_outlived(lambda why: around.outlived())
        journal.subscribe_durable(around.shown)
        blobs = self._blobs = open_blobs(around.folder)
        for record in [] if found.doubt else self._first_records():
            await journal.control(record)
        store = Store(
            self.process, around.key, around.name, found.generation,
            found.continued or not around.went_on, database,
            journal, blobs,
            self.conn, fold, around.random, around.wall_ms, around.rhythm, around.software,
            highwater if found.doubt else None,
        )  # fmt: skip
        self.parts = Parts(
            store, around.config, boot=around.boot, more=around.more,
            again=lambda why: around.outlived(),
        )  # fmt: skip
        await self.parts.start()
        self.up = True

    def _first_records(self) -> list[Record]:
        """What a generation writes before anything else."""
        if openwork.led_shards(self.conn, self.site, self.generation):
            return []
        random, name = self.around.random, self.around.name
        nonce = random.randbytes(16)
        shard = ShardID(digest(Purpose.SHARD, self.site + nonce))
        records: list[Record] = [
            Site(name, self.around.software.version),
            Found(shard, nonce, [self.site]),
        ]
        if any(person.site == self.site for person in tasks.people(self.conn)):
            return records
        order = PersonOrder(
            "user.add", self.site, PublicKey(ANA.key, ""), "ana", (), ("admin",), "0" * 32
        )
        document = write_person(order)
        signature = ANA.sign(document)
        records.append(UserAdd(ANA.key, "ana", [], ["admin"], document, signature, ANA.key))
        return records + [self._admit(other) for other in self.around.others]

    def _admit(self, other: Neighbour) -> Record:
        """As `floe mesh add KEY@HOST:PORT` does it."""
        nonce = self.around.random.randbytes(16)
        order = member.Add(self.site, other.site, other.name, other.addresses, nonce)
        document = member.write(order)
        return MemberAdd(
            other.site, other.name, list(other.addresses), document, ANA.sign(document), ANA.key,
            b"",
        )  # fmt: skip

    def die(self) -> None:
        """The process ends here and now; the kernel takes its connections and its lock."""
        self.up = False
        self.process.end()
        self.around.disk.die_after(-1)  # what still runs in this Python reaches nothing
        if self._blobs is not None:
            self._blobs.close()
        with self.around.disk.burying():
            if self.conn is not None:
                self.conn.close()
            if self._database is not None:
                self._database.close()

    async def close(self) -> None:
        """Stop as a node does that is asked to."""
        assert self.journal is not None
        assert self._database is not None
        assert self._blobs is not None
        await self.parts.stop()
        await self.journal.close()
        self.up = self.process.alive = False
        self._blobs.close()
        self.conn.close()
        self._database.close()

    def _commit(self, fn: Callable[[], Any]) -> Deferred[Any]:
        return self.process.in_thread(fn, self.around.commit_s())

    def _free_bytes(self) -> int:
        return 0 if self._full_is_known and self.around.disk.full else PLENTY

    # Pilots

    async def serve(self, what: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The pilot API, as node/http/pilots.py has it. Raises Refusal."""
        if self.parts.inquiry is not None:
            raise Refusal(503, HELD, "come again later")
        body = json.loads(json.dumps(body))
        work = self.parts.work
        if what == "announce":
            answer = await work.announce(body)
        else:
            session = work.session(token)
            if session is None:
                raise Refusal(401, "this session is not known", "announce yourself", "announce")
            ask = work.poll if what == "poll" else work.report
            strange = self._strange(body)
            answer = {**await ask(session, body), "strange": strange}
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found

    def _strange(self, body: Mapping[str, Any]) -> list[tuple[str, int]]:
        """Units of a report that are not known here, as after a copy was put back: (spec, job)."""
        found = []
        for group in body.get("results", ()):
            number = openwork.number(self.conn, bytes.fromhex(group["spec"].split("/")[0]))
            jobs = 0 if number is None else self.parts.tables.known(number).jobs
            found += [(group["spec"], job) for job in group["jobs"] if job >= jobs]
        return found

    async def upload(self, contents: Sequence[bytes]) -> None:
        """Keep files that units put out, as the pilot API does."""
        blobs = self._blobs
        assert blobs is not None
        await self.process.in_thread(lambda: blobs.put_many(contents))

    def unread(self, token: str) -> None:
        """The connection broke while a poll was answered, and the node noticed."""
        session = self.parts.work.session(token)
        if session is not None:
            self.parts.work.unread(session)

    # People

    async def recover(self, nonce: bytes) -> bool:
        """An admin forces on what stands still, as `floe mesh recover` does; if False, ask again.

        Of a copy that nobody can tell from the newest the admin knows that it is none. What stands
        still by that is seen when the node has started again.
        """
        inquiry = self.parts.inquiry
        if inquiry is not None:
            if inquiry.pending:
                await self.decide(False)
            return False
        leader = FeedID(self.site, self.generation, Lane.CONTROL)
        for shard in self.parts.recovery.still():
            term = next_term(shard.term, self.generation)
            document = write_force(ForceOrder(shard.id, term, leader, shard.cut, nonce))
            await self.parts.recovery.force(document, ANA.sign(document), ANA.person)
        return True

    async def decide(self, newest: bool) -> None:
        """An admin says which copy this is, as `floe mesh recover --newest` does, or `--older`."""
        await self.parts.recovery.decide(newest, ANA.person)

    # What it holds

    def held(self) -> dict[FeedID, bytes]:
        """The newest stored entry of every feed, but of those that are proved to be forked."""
        forked = forks.known_forks(self.conn)
        return {
            tip.feed: tip.id
            for tip in Feeds(self.conn).tips()
            if (tip.feed.site, tip.feed.generation) not in forked
        }

    def entries(self) -> list[Entry]:
        """Everything that is stored, in the order of arrival."""
        return [entry for _, entry in Feeds(self.conn).in_order()]
