"""Sites that share work out: real journals, folds, dispatch and sharing; a clock, no network.

Entries are passed on twice a second, requests and beacons take a moment, a cut site hears nothing.
Each site has one pilot of some cores that takes so long for every unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock, deferLater

from federation.entry import Entry
from federation.ids import DatasetID, FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import Command, Dataset, Found, Grant, Release, Site, decode
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.beacon.making import Self
from node.dispatch import Dispatch, Room
from node.fold import Fold
from node.fold.documents import Documents
from node.lead import Lead
from node.leading.granting import Rules
from node.leading.tables import LedgerTables
from node.model.commands import command_document, read_command
from node.model.document import load
from node.model.rules import Foreign
from node.model.share import Shares
from node.model.validate import pack_document, read_submission
from node.sharing import Around, Inside, Sharing
from node.store import ledgers, tasks
from node.store.database import Database
from node.store.feeds import Feeds
from node.store.generation import begin_generation
from node.store.highwater import HighWater
from node.store.writer import Journal
from node.unitstate import TaskState
from node.work import Work
from node.work.ports import Known, Resolved
from node.work.tables import FoldedTables
from tests.fakes.wires import Wires

ANA = UserKey(SiteKey(b"ana".ljust(32, b"-")).site)
BEN = UserKey(SiteKey(b"ben".ljust(32, b"-")).site)
SYNC_S = 0.5
PLENTY = 1 << 40
LOST_S = 600.0


class NoInputs:
    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        return Resolved()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


class Mesh:
    """All sites of a test. `members` are those that know each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.sites: list[MeshSite] = []
        self.members: list[SiteID] = []
        self.wires = Wires(self.clock)
        self.told: list[Callable[[], None]] = []
        self._sync()

    def site(self, name: str, cores: int = 4, unit_s: float = 10.0, gpus: int = 0) -> MeshSite:
        """A new member."""
        site = MeshSite(self, name, cores, unit_s, gpus)
        self.sites.append(site)
        self.members.append(site.id)
        for fn in self.told:
            fn()
        site.start()
        return site

    def run(self, seconds: float, step_s: float = 0.1) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)

    def until(self, done: Callable[[], bool], most_s: float) -> float:
        """Run until it is so; the seconds that took."""
        began_s = self.clock.seconds()
        while not done():
            assert self.clock.seconds() - began_s < most_s, "it does not come about"
            self.clock.advance(0.1)
        return self.clock.seconds() - began_s

    @property
    def cut(self) -> set[SiteID]:
        """Sites that reach nobody."""
        return self.wires.cut

    def by_id(self, site: SiteID) -> MeshSite:
        return next(each for each in self.sites if each.id == site)

    def _sync(self) -> None:
        for source in self.sites:
            for target in self.sites:
                if source is not target and self.wires.linked(source.id, target.id):
                    target.take_from(source)
        self.clock.callLater(SYNC_S, self._sync)

    def close(self) -> None:
        for site in self.sites:
            site.stop()


class MeshSite:
    """One site; implements the port Members for itself."""

    def __init__(self, mesh: Mesh, name: str, cores: int, unit_s: float, gpus: int) -> None:
        self.mesh = mesh
        self.name = name
        self.key = SiteKey(name.encode().ljust(32, b"-"))
        self.id = SiteID(self.key.site)
        self.shard = ShardID(digest(Purpose.SHARD, self.id + bytes(16)))
        home = mesh.folder / name
        home.mkdir()
        self.database = Database.open(home, in_thread=maybeDeferred)
        self.highwater = HighWater(home / "high", self.database.path, host="test")
        self.generation = begin_generation(self.database, self.id, self.highwater).generation
        self.journal = Journal(
            mesh.clock, self.database, self.key, self.generation, a_fold(self.id),
            self.highwater, commit=maybeDeferred, wall_ms=self.wall_ms,
            free_bytes=lambda: PLENTY,
        )  # fmt: skip
        self.conn = self.database.reader()
        self.feeds = Feeds(self.conn)
        self.tables = FoldedTables(self.conn, self.id, self.generation, tasks.spec)
        self.pilot = Pilot(self, cores, unit_s, gpus)
        self.lacks: dict[int, str] = {}  # why files of datasets cannot be had, by local number
        self.file_looks = 0

    async def _have_files(self, dataset: int) -> str:
        self.file_looks += 1
        await deferLater(self.mesh.clock, 0.01)
        return self.lacks.get(dataset, "")

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + int(self.mesh.clock.seconds() * 1000)

    def start(self) -> None:
        clock = self.mesh.clock
        if not self.tables.shards():
            self.journal.control(Site(self.name, "1"))
            self.journal.control(Found(self.shard, bytes(16), [self.id]))
            clock.advance(0.01)
        shares = Shares()
        self.work = Work(
            clock, self.journal, self.tables, Dispatch(shares), NoInputs(),
            site=self.id, site_name=self.name, wall_ms=self.wall_ms,
        )  # fmt: skip
        inside = Inside(
            Self(self.id, self.name, "1", lambda: self.generation), self.journal, self.conn,
            self.feeds, LedgerTables(self.conn, self.id, self.generation, tasks.spec),
            self.tables.shards, self.work, lambda: [self.pilot],
            lambda: tasks.usage(self.conn, 20_000), self.wall_ms,
            Documents(read_submission, read_command, lambda document, signature: signature),
            self._have_files,
        )  # fmt: skip
        wire = self.mesh.wires.of(self.id)
        around = Around(self, wire, wire, self._name_of)
        self.sharing = Sharing(clock, inside, around, Random(self.name), Rules(LOST_S))
        self.lead = Lead(
            clock, self.id, self.journal, self.tables, self.tables.shards, self.work.busy,
            self.sharing.granting,
        )  # fmt: skip
        self.journal.leader = self.lead.accept
        for fn in (self.work.changed, self.lead.changed, self.sharing.changed):
            self.journal.subscribe(fn)
        self.journal.subscribe_durable(self.sharing.durable)
        Deferred.fromCoroutine(self.lead.start())
        clock.advance(0.01)
        open_here = [*self.tables.open_datasets(), *self.tables.owned_datasets()]
        self.work.load(dict.fromkeys(open_here))
        self.work.restore(self.conn)
        self.sharing.start()
        self.pilot.start()

    def stop(self) -> None:
        self.pilot.stop()
        self.sharing.stop()
        self.lead.stop()
        self.work.stop()
        self.journal.close()
        self.mesh.clock.advance(0.01)
        self.conn.close()
        self.database.close()

    def _name_of(self, site: SiteID) -> str:
        return self.mesh.by_id(site).name

    # People

    def submit(
        self,
        name: str,
        jobs: int,
        person: UserKey = ANA,
        shard: ShardID | None = None,
        foreign: Mapping[str, Foreign] = MappingProxyType({}),
        **more: Any,
    ) -> DatasetID:
        """A dataset of one task, unless `task` says otherwise. shard: another than this site's.

        foreign: what it waits for, by name.
        """
        description = {
            "floe": 1, "name": name, "jobs": jobs,
            "task": [{"name": "main", "module": [{"run": ["true"]}], "needs": NEEDS}],
            **more,
        }  # fmt: skip
        document = load(description).build(foreign.__getitem__, name.encode().ljust(16)).document
        record = Dataset(shard or self.shard, pack_document(document), person, person)
        self.journal.control(record)
        self.mesh.clock.advance(0.01)
        return DatasetID(digest(Purpose.DATASET, document))

    def order(self, dataset: DatasetID, verb: str, person: UserKey = ANA, nonce: int = 1) -> bytes:
        """An order that this node takes, whoever leads the dataset's shard; its id."""
        text = command_document(dataset, verb, {}, [], nonce.to_bytes(16, "big"))
        place = ledgers.place(self.conn, self.number(dataset))
        assert place is not None
        self.journal.control(Command(place[1], text, person, person))
        self.mesh.clock.advance(0.01)
        return digest(Purpose.COMMAND, text)

    def number(self, dataset: DatasetID) -> int:
        found = self.tables.number(dataset)
        assert found is not None
        return found

    def settled(self, dataset: DatasetID) -> int:
        return tasks.counts(self.conn, self.number(dataset)).settled

    def duplicates(self, dataset: DatasetID) -> int:
        return tasks.counts(self.conn, self.number(dataset)).duplicates

    def control_records(self, kind: type) -> list[Any]:
        """Records of a kind in this site's control feed."""
        feed = FeedID(self.id, self.generation, Lane.CONTROL)
        entries = self.feeds.entries(feed, 0, 10_000)
        found = [record for entry in entries for record in decode(entry.body or b"")]
        return [record for record in found if isinstance(record, kind)]

    def grants(self) -> list[Grant]:
        return self.control_records(Grant)

    def releases(self) -> list[Release]:
        return self.control_records(Release)

    # Entries

    def take_from(self, source: MeshSite) -> None:
        missing: list[Entry] = []
        for tip in source.feeds.tips():
            if tip.feed.site != self.id:
                missing += source.feeds.entries(tip.feed, self.feeds.tip(tip.feed).seq, 200)
        if missing:
            self.journal.ingest(missing).addErrback(lambda failure: None)

    # The port Members

    def members(self) -> Sequence[SiteID]:
        return list(self.mesh.members)

    def is_member(self, site: SiteID) -> bool:
        return site in self.mesh.members

    def revoked(self, site: SiteID) -> bool:
        return False

    def addresses(self, site: SiteID) -> Sequence[str]:
        return []

    def subscribe(self, fn: Callable[[], None]) -> None:
        self.mesh.told.append(fn)


NEEDS: Mapping[str, Any] = {"cpu": 1, "memory": "1GB", "time": "10m"}


class Pilot:
    """Runs units side by side, each for the same time, and reports each as it ends."""

    def __init__(self, site: MeshSite, cores: int, unit_s: float, gpus: int) -> None:
        self.site = site
        self.unit_s = unit_s
        self.resources = {
            "cpu": cores, "gpu": gpus, "memory_bytes": 10**12, "disk_bytes": 10**12,
            "time_left_s": None,
        }  # fmt: skip
        self.free = cores
        self.ran: list[tuple[str, int]] = []  # task description, job
        self.first_s: dict[str, float] = {}  # when the first unit of each began
        self._batch = 0
        self._seen = 0
        self._secret = ""
        self._polling = False
        self._stopped = False

    def more(self) -> tuple[Room, int]:
        return Room(0, 0, 0, 0), 0

    def start(self) -> None:
        work, clock = self.site.work, self.site.mesh.clock
        token = f"token of {self.site.name} {clock.seconds()}"
        Deferred.fromCoroutine(work.arrivals.expect("p", token, 1, "local"))
        clock.advance(0.01)
        hello = {"token": token, "host": "h1", "pid": 7, "resources": self.resources,
                 "isolation": "full", "holding": []}  # fmt: skip
        Deferred.fromCoroutine(work.announce(hello)).addCallback(self._announced)
        clock.advance(0.01)

    def stop(self) -> None:
        self._stopped = True

    def _announced(self, answer: Mapping[str, Any]) -> None:
        self._secret = answer["session"]
        self._poll()

    def _poll(self) -> None:
        if self._polling or self.free <= 0 or self._stopped:
            return
        session = self.site.work.session(self._secret)
        assert session is not None
        self._polling = True
        offer = {
            "free": {**self.resources, "cpu": self.free}, "idle_slots": self.free, "queued": 0,
            "units_max": self.free, "seen": self._seen,
        }  # fmt: skip
        Deferred.fromCoroutine(self.site.work.poll(session, offer)).addCallbacks(
            self._take, lambda failure: None
        )

    def _take(self, answer: Mapping[str, Any]) -> None:
        self._polling = False
        for item in answer["work"]:
            if item["lease"] <= self._seen:
                continue
            self._seen = item["lease"]
            for lo, hi in zip(item["jobs"][::2], item["jobs"][1::2], strict=True):
                for job in range(lo, hi):
                    self._run(item["lease"], item["spec"], job)
        self.site.mesh.clock.callLater(0.05, self._poll)

    def _run(self, lease: int, spec: str, job: int) -> None:
        clock = self.site.mesh.clock
        self.first_s.setdefault(spec, clock.seconds())
        self.free -= 1
        clock.callLater(self.unit_s, self._ran, lease, spec, job)

    def _ran(self, lease: int, spec: str, job: int) -> None:
        if self._stopped:
            return
        self.free += 1
        self._batch += 1
        self.ran.append((spec, job))
        wall_ms = int(self.unit_s * 1000)
        group = {
            "lease": lease, "spec": spec, "jobs": [job], "outcome": 0, "start_ms": 1000,
            "offset_ms": 0, "wall_ms": wall_ms, "cpu_ms": wall_ms, "memory_kib": 900,
            "disk_kib": 0, "gpu_ms": 0, "exit": 0, "errors": [""], "error": 0, "outputs": "",
            "inputs": "", "log": "", "tails": [],
        }  # fmt: skip
        session = self.site.work.session(self._secret)
        assert session is not None
        body = {"batch": self._batch, "results": [group], "running": [], "returned": []}
        Deferred.fromCoroutine(self.site.work.report(session, body))
        self._poll()


def a_fold(site: SiteID) -> Fold:
    """The real fold; a person's signature is the key."""
    return Fold(site, read_submission, read_command, lambda document, signature: signature)
