"""One site under a virtual clock on a disk that fails: the real journal, fold, leader and work.

Pilots are what they say to the node; people are the documents that they send. `World.cut` drops
the power (what was not synced may be torn), `World.kill` ends the process between two steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from federation.ids import ShardID, SiteID, UserKey
from federation.records import Command, Dataset, Found
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.changes import Change
from node.dispatch import Dispatch
from node.fold import Fold
from node.lead import Lead
from node.model.commands import command_document, read_command
from node.model.document import load
from node.model.share import Shares
from node.model.validate import pack_document, read_submission
from node.store import tasks
from node.store.database import DATABASE_NAME, Database
from node.store.generation import begin_generation
from node.store.highwater import HighWater
from node.store.verify import finish, rebuild, verify
from node.store.writer import Journal
from node.unitstate import TaskState
from node.work import Work
from node.work.ports import Known, Resolved
from node.work.tables import FoldedTables
from tests.fakes.disk import FakeDisk
from tests.unit.node.work.house import PilotSide, result_of

KEY = SiteKey(b"simulated-site".ljust(32, b"-"))
SITE = SiteID(KEY.site)
SHARD = ShardID(digest(Purpose.SHARD, SITE + bytes(16)))
ANA = UserKey(b"a" * 32)
YEAR_MS = 365 * 86_400_000
PLENTY = 1 << 40


class NoInputs:
    """Units of the simulation read nothing."""

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        return Resolved()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


def a_fold() -> Fold:
    """The real fold; signatures are not what is simulated."""
    return Fold(SITE, read_submission, read_command, lambda document, signature: ANA)


class World:
    """A site, its disk and its clock. Serves `PilotSide` as the house of its tests does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives = 0
        self.wall_jump_ms = 0
        self.clock = Clock()
        self.home = folder / "life-0"
        self.home.mkdir(parents=True)
        self.disk = FakeDisk()
        self.submitted: dict[bytes, str] = {}  # acknowledged dataset ids
        self.orders: set[bytes] = set()
        self.work: Work
        self.start()

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + self.wall_jump_ms + int(self.clock.seconds() * 1000)

    # A process

    def start(self) -> None:
        """Bring a node up from what is on disk."""
        disk = self.disk
        self.database = Database.open(self.home, vfs=disk.vfs, in_thread=maybeDeferred)
        highwater = HighWater(
            self.home / "floe.highwater", self.database.path, files=disk.files, host="sim"
        )
        found = begin_generation(self.database, SITE, highwater)
        self.generation = found.generation
        self.journal = Journal(
            self.clock, self.database, KEY, found.generation, a_fold(), highwater,
            commit=maybeDeferred, wall_ms=self.wall_ms, free_bytes=lambda: PLENTY,
        )  # fmt: skip
        self.conn = self.database.reader()
        tables = FoldedTables(self.conn, SITE, found.generation, tasks.spec)
        if not tables.shards():
            self.journal.control(Found(SHARD, bytes(16), [SITE]))
            self.settle()
        self.work = Work(
            self.clock, self.journal, tables, Dispatch(Shares()), NoInputs(),
            site=SITE, site_name="sim", wall_ms=self.wall_ms,
        )  # fmt: skip
        lead = Lead(self.clock, SITE, self.journal, tables, tables.shards, self.work.busy)
        self.journal.leader = lead.accept
        self.journal.subscribe(self._changed)
        self.journal.subscribe(lead.changed)
        started = Deferred.fromCoroutine(lead.start())
        self.settle()
        result_of(started)
        self.work.load(tables.open_datasets())
        self.work.restore(self.conn)

    def _changed(self, changes: list[Change]) -> None:
        self.work.changed(changes)

    def kill(self) -> None:
        """kill -9 between two steps: what is not committed is gone, the disk keeps what it took.

        A node does not start on a full disk: somebody makes room first.
        """
        self._let_go()
        self.disk.full = False
        self.start()

    def cut(self, seed: int) -> None:
        """The power goes now: writes that were not synced are lost, kept or torn."""
        self.lives += 1
        left = self.folder / f"life-{self.lives}"
        self.disk.survivors(left, seed)
        self.disk.lose_after = self.disk.operations  # whatever still runs reaches nothing
        self._let_go()
        self.disk.close()
        shutil.rmtree(self.home)
        self.home = left
        self.disk = FakeDisk()
        self.disk.adopt(left)
        self.start()

    @property
    def dark(self) -> bool:
        """Whether the power went during an operation."""
        return self.disk.lose_after is not None and self.disk.operations > self.disk.lose_after

    def _let_go(self) -> None:
        """The process is gone: its connections close, and change nothing on disk."""
        self.clock.calls = []
        with self.disk.burying():
            self.conn.close()
            self.database.close()

    def close(self) -> None:
        self._let_go()
        self.disk.close()

    # Time

    def settle(self) -> None:
        """Let everything that waits be written, unless the disk does not let it."""
        for _ in range(12):
            self.clock.advance(0)
            if not self.journal.backlog:
                break
            self.clock.advance(0.11)
        self.clock.advance(0)

    def ask(self, asked: Coroutine[Deferred[Any], Any, Any]) -> Any:
        waiting = Deferred.fromCoroutine(asked)
        self.settle()
        return result_of(waiting)

    # People

    def submit(self, description: Mapping[str, Any], nonce: int) -> Deferred[None]:
        """Send a description; it is in `submitted` once the node acknowledged it."""
        built = load(description, Path()).build(self._foreign, nonce.to_bytes(16, "big"))
        document = built.document
        id = digest(Purpose.DATASET, document)
        name = str(description["name"])
        done = self.journal.control(
            Dataset(SHARD, pack_document(document), b"s" * 100, ANA), intake=True
        )
        done.addCallback(lambda _: self.submitted.__setitem__(id, name))
        done.addErrback(lambda failure: None)  # a full disk refuses it
        return done

    def _foreign(self, name: str) -> Any:
        raise KeyError(name)

    def order(self, dataset: bytes, verb: str, args: Mapping[str, Any], nonce: int) -> None:
        text = command_document(dataset, verb, dict(args), [], nonce.to_bytes(16, "big"))
        id = digest(Purpose.COMMAND, text)
        done = self.journal.control(
            Command(SHARD, pack_document(text), b"s" * 100, ANA), intake=True
        )
        done.addCallback(lambda _: self.orders.add(id))
        done.addErrback(lambda failure: None)

    def pilot(self, tag: str) -> PilotSide:
        token = f"token of {tag}"
        self.ask(self.work.arrivals.expect(tag, token, 1, "local"))
        pilot = PilotSide(self, token)  # type: ignore[arg-type]
        pilot.announce()
        return pilot

    # What is on disk

    def query(self, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
        return list(self.conn.execute(sql, bindings))

    def entries(self) -> dict[tuple[int, int, int], bytes]:
        """(generation, lane, seq) -> entry id of everything that is stored."""
        rows = self.query(
            "SELECT f.generation, f.lane, e.seq, e.id FROM entry e JOIN feed f ON f.no = e.feed"
        )
        return {(generation, lane, seq): id for generation, lane, seq, id in rows}

    def check_store(self) -> list[str]:
        """Problems that a verification from the feeds alone finds, and a rebuild."""
        report = finish(verify(self.home / DATABASE_NAME, a_fold(), vfs=self.disk.vfs))
        copy = apsw.Connection(":memory:")
        with copy.backup("main", self.conn, "main") as backup:
            backup.step()
        before = (a_fold().state_root(copy), a_fold().digest(copy))
        again = finish(rebuild(copy, a_fold()))
        after = (a_fold().state_root(copy), a_fold().digest(copy))
        copy.close()
        changed = [] if before == after else ["a rebuild gives other tables"]
        return [*report.problems, *again.problems, *changed]


Build = Callable[[Path], World]
