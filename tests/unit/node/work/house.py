"""A site around the real work service: journal, log and tables in memory, a clock, no network.

The journal commits when `settle` is called, so that a test can kill the node between any two steps:
`kill` throws away everything that is not committed, `start` brings a new service up from the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import apsw
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from federation.errors import LocalError
from federation.records import Outcome, Record, Results, cells, encode
from node.changes import Change, UnitsFailed, UnitsFaulted, UnitsSettled
from node.dispatch import Dispatch
from node.model.dataset import After, DatasetSpec, FileRef, Needs, TaskSpec
from node.model.inputs import read_digest
from node.model.share import Shares
from node.ranges import ranges_of
from node.unitstate import DatasetFacts, TaskFacts, TaskState, Tries, Wait
from node.work import Work
from node.work.ports import Known, Resolved, Statement
from node.work.sessions import Session

SITE = b"s" * 32
RETRY_MAX = 3
FILE = FileRef("gen.py", b"f" * 32, 10, 0o644)
RESOURCES = {
    "cpu": 4, "gpu": 0, "memory_bytes": 10**11, "disk_bytes": 10**12, "time_left_s": None,
}  # fmt: skip


@dataclass(slots=True)
class Waiting:
    record: Record | None
    statement: Statement | None
    done: Deferred[None]
    in_order: bool = False


class Disk:
    """What survives the node: the site-local tables, and the log as attempts."""

    def __init__(self) -> None:
        self.conn = apsw.Connection(":memory:")
        for name in (
            "0003_local.sql",
            "0015_submissions.sql",
            "0016_bans.sql",
            "0017_folders.sql",
            "0018_left_out.sql",
        ):
            schema = resources.files("node.store.schema").joinpath(name)
            self.conn.execute(schema.read_text("utf-8"))
        self.attempts: list[tuple[int, int, int, str]] = []  # task, job, outcome, error

    def settled(self, task: int) -> set[int]:
        return {job for no, job, outcome, _ in self.attempts if no == task and outcome == 0}

    def failed(self, task: int) -> set[int]:
        counts = Counter(
            job
            for no, job, outcome, _ in self.attempts
            if no == task and outcome == Outcome.PAYLOAD
        )
        return {job for job, count in counts.items() if count > RETRY_MAX} - self.settled(task)

    def tries(self, task: int) -> dict[int, Tries]:
        tries: dict[int, Tries] = {}
        for no, job, outcome, error in self.attempts:
            if no == task and outcome != 0:
                tries.setdefault(job, Tries()).add(outcome, error)
        return {job: found for job, found in tries.items() if job not in self.settled(task)}


@dataclass(slots=True)
class Described:
    """A dataset of the test: each task waits for those named in `after`."""

    no: int
    jobs: int
    after: Sequence[Sequence[int]] = ((),)
    paused: bool = False
    cancelled: set[int] = field(default_factory=set)
    reads: bool = False  # each task reads a file of those that it waits for

    @property
    def id(self) -> bytes:
        return bytes([self.no]) * 32


class Journal:
    """Commits on demand."""

    def __init__(self, disk: Disk, tell: Callable[[list[Change]], None]) -> None:
        self.disk = disk
        self.gathering = False  # results wait for others, what need not be in order does not
        self.full = False
        self.dead = False
        # Told of statements, before they are taken and after they are on disk.
        self.on_local: Callable[[Statement, str], None] = lambda statement, moment: None
        self._tell = tell
        self._waiting: list[Waiting] = []

    def results(self, record: Record, local: Statement | None = None) -> Deferred[None]:
        try:
            encode(record)  # refuses what the real journal refuses
        except LocalError as error:
            return fail(error)
        return self._put(Waiting(record, local, Deferred()))

    def local(self, fn: Statement, *, in_order: bool = False) -> Deferred[None]:
        return self._put(Waiting(None, fn, Deferred(), in_order))

    def _put(self, waiting: Waiting) -> Deferred[None]:
        if waiting.statement is not None:
            self.on_local(waiting.statement, "before")
        if not self.dead:
            self._waiting.append(waiting)
        return waiting.done

    def commit(self) -> bool:
        """One cycle. False: nothing waited."""
        waiting, self._waiting = self._waiting, []
        if self.gathering and not any(each.in_order for each in waiting):
            self._waiting = [each for each in waiting if each.record is not None]
            waiting = [each for each in waiting if each.record is None]
        changes: list[Change] = []
        with self.disk.conn:
            for each in waiting:
                if isinstance(each.record, Results):
                    changes += self._fold(each.record)
                if each.statement is not None:
                    each.statement(self.disk.conn)
        for each in waiting:
            if each.statement is not None:
                self.on_local(each.statement, "after")
        if self.dead:
            return False
        if changes:
            self._tell(changes)
        for each in waiting:
            each.done.callback(None)
        return bool(waiting)

    def _fold(self, record: Results) -> list[Change]:
        task = record.dataset[0] * 64 + record.task
        rows = len(record.jobs)
        before = self.disk.settled(task)
        faults: list[tuple[int, int]] = []
        for job, outcome, error in zip(
            record.jobs, cells(record.outcome, rows), cells(record.error, rows), strict=True
        ):
            self.disk.attempts.append((task, job, outcome, record.errors[error]))
            if outcome != 0:
                faults.append((job, outcome))
        changes: list[Change] = []
        new = sorted(self.disk.settled(task) - before)
        if new:
            changes.append(UnitsSettled(task, new))
        if faults:
            jobs, outcomes = zip(*faults, strict=True)
            changes.append(UnitsFaulted(task, jobs, outcomes))
            failed = sorted(set(jobs) & self.disk.failed(task))
            if failed:
                changes.append(UnitsFailed(task, failed))
        return changes


class Tables:
    """Folded tables out of the attempts on disk."""

    def __init__(self, disk: Disk, datasets: dict[int, Described]) -> None:
        self.disk = disk
        self.datasets = datasets

    def facts(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        found = self.datasets.get(dataset)
        if found is None:
            return None
        base = dataset * 64
        tasks = tuple(
            TaskFacts(
                base + index,
                index,
                Needs(),
                tuple(Wait(base + parent) for parent in parents),
                owned=[0, found.jobs],
                done=ranges_of(self.disk.settled(base + index)) if with_done else None,
                shut=ranges_of(self.disk.failed(base + index) | found.cancelled),
                tries=self.disk.tries(base + index),
            )
            for index, parents in enumerate(found.after)
        )
        return DatasetFacts(dataset, b"p" * 32, "g", 50, dataset, found.jobs, found.paused, tasks)

    def settled(self, task: int) -> list[int]:
        return ranges_of(self.disk.settled(task))

    def known(self, dataset: int) -> Known:
        found = self.datasets[dataset]
        described = []
        tasks = []
        for i, parents in enumerate(found.after):
            inputs = {f"in{parent}": f"t{parent}/out" for parent in parents if found.reads}
            described.append({"name": f"t{i}", "module": [], "inputs": inputs})
            after = tuple(After(f"t{parent}", parent, f"t{parent}") for parent in parents)
            tasks.append(TaskSpec(i, f"t{i}", after, Needs(), RETRY_MAX, {}))
        description = {"task": described}
        document = {"description": description}
        spec = DatasetSpec(
            found.id,
            "d",
            "",
            {},
            "g",
            50,
            found.jobs,
            1,
            True,
            tuple(tasks),
            (FILE,),
            None,
            document,
        )
        return Known(dataset, spec, found.jobs)

    def number(self, dataset_id: bytes) -> int | None:
        return dataset_id[0] if dataset_id[0] in self.datasets else None

    def open_datasets(self) -> Iterable[int]:
        return list(self.datasets)


def read_of(inputs: Sequence[Any]) -> str:
    """What stands for these inputs in a result: here, as if each were a parent's output list."""
    return read_digest(bytes.fromhex(each[1]) for each in inputs).hex()


class Files:
    """What units read, by job; nothing else is known."""

    def __init__(self) -> None:
        self.inputs: dict[int, list[Any]] = {}

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        found = {job: self.inputs[job] for job in jobs if job in self.inputs}
        missing = {job: "not known" for job in jobs if job not in found}
        read = {job: read_of(got) for job, got in found.items()}
        return Resolved(found, missing=missing, read=read)

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


class House:
    """The site: what it kept, and the service that runs on it at the moment."""

    def __init__(self, *datasets: Described) -> None:
        self.disk = Disk()
        self.clock = Clock()
        self.datasets = {each.no: each for each in datasets}
        self.files = Files()
        self.work: Work
        self.start()

    def start(self, *, copied: bool = False) -> None:
        """A new process on what is on disk; copied: which is an older copy."""
        self.journal = Journal(self.disk, lambda changes: self.work.changed(changes))
        self.dispatch = Dispatch(Shares())
        tables = Tables(self.disk, self.datasets)
        self.work = Work(
            self.clock, self.journal, tables, self.dispatch, self.files,
            site=SITE, site_name="here", wall_ms=lambda: int(self.clock.seconds() * 1000),
            copied=copied,
        )  # fmt: skip
        self.work.load(tables.open_datasets())
        self.work.restore(self.disk.conn)

    def kill(self) -> None:
        """Everything that is not committed is gone, and nobody is answered any more."""
        self.journal.dead = True
        self.journal._waiting.clear()
        self.clock.calls = []

    def settle(self) -> None:
        """Commit, and do what follows at once, until nothing moves."""
        self.clock.advance(0)
        while self.journal.commit():
            self.clock.advance(0)

    def ask(self, asked: Coroutine[Deferred[Any], Any, Any]) -> Any:
        """The answer to a request, with every commit that it takes."""
        waiting = Deferred.fromCoroutine(asked)
        self.settle()
        return result_of(waiting)

    def pilot(self, tag: str = "p") -> PilotSide:
        """A submitted pilot that has announced itself."""
        token = f"token of {tag} {self.clock.seconds()}"
        self.ask(self.work.arrivals.expect(tag, token, 1, "local"))
        pilot = PilotSide(self, token)
        pilot.announce()
        return pilot

    def state(self, task: int) -> TaskState:
        return self.dispatch.ready.tasks[task]


class Pending(Exception):
    """The request is not answered yet."""


def result_of(waiting: Deferred[Any]) -> Any:
    found: list[Any] = []
    errors: list[Any] = []
    waiting.addCallbacks(found.append, errors.append)
    if errors:
        raise errors[0].value
    if not found:
        raise Pending
    return found[0]


class PilotSide:
    """What a pilot holds and says."""

    def __init__(self, house: House, token: str) -> None:
        self.house = house
        self.token = token
        self.secret = ""
        self.seen = 0
        self.batch = 0
        self.holding: dict[int, set[int]] = {}  # begun or not, reported but not acked
        self.spec: dict[int, str] = {}

    @property
    def session(self) -> Session:
        found = self.house.work.session(self.secret)
        assert found is not None
        return found

    def announce(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.house.ask(self.house.work.announce(self.hello()))
        self.secret = answer["session"]
        return answer

    def hello(self) -> dict[str, Any]:
        holding = [[lease, sorted(jobs)] for lease, jobs in self.holding.items() if jobs]
        return {
            "token": self.token, "session": self.secret or None, "host": "h1", "pid": 7,
            "resources": RESOURCES, "isolation": "full", "holding": holding,
        }  # fmt: skip

    def offer(self, units: int) -> dict[str, Any]:
        return {
            "free": RESOURCES, "idle_slots": max(0, 4 - len(self.units())), "queued": 0,
            "units_max": units, "seen": self.seen,
        }  # fmt: skip

    def poll(self, units: int = 4) -> dict[str, Any]:
        """Ask for work and take it."""
        return self.take(self.house.ask(self.house.work.poll(self.session, self.offer(units))))

    def poll_later(self, units: int = 4) -> Deferred[Any]:
        """Ask for work when there may be none yet."""
        return Deferred.fromCoroutine(self.house.work.poll(self.session, self.offer(units)))

    def take(self, answer: dict[str, Any]) -> dict[str, Any]:
        for item in answer["work"]:
            if item["lease"] > self.seen:
                self.seen = item["lease"]
                flat = item["jobs"]
                jobs = {j for i in range(0, len(flat), 2) for j in range(flat[i], flat[i + 1])}
                self.holding[item["lease"]] = jobs
                self.spec[item["lease"]] = item["spec"]
        return answer

    def units(self) -> list[tuple[int, int]]:
        return [(lease, job) for lease, jobs in self.holding.items() for job in sorted(jobs)]

    def results(self, *units: tuple[int, int], error: str = "", outcome: int = 0) -> dict[str, Any]:
        """A report body for these units, with the next batch number."""
        self.batch += 1
        groups = []
        for lease in sorted({lease for lease, _ in units}):
            jobs = [job for each, job in units if each == lease]
            groups.append(columns(lease, self.spec[lease], jobs, outcome, error))
        return {"batch": self.batch, "results": groups, "running": [], "returned": []}

    def report(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a report until it is acked."""
        answer: dict[str, Any] = self.house.ask(self.house.work.report(self.session, body))
        self.acked(body)
        return answer

    def acked(self, body: dict[str, Any]) -> None:
        for group in body["results"]:
            self.holding[group["lease"]] -= set(group["jobs"])
        for lease, jobs in body["returned"]:
            self.holding[lease] -= set(jobs)

    def finish(self, *units: tuple[int, int], **how: Any) -> dict[str, Any]:
        """Report these units (all, if none are named)."""
        return self.report(self.results(*(units or self.units()), **how))


def columns(lease: int, spec: str, jobs: list[int], outcome: int, error: str) -> dict[str, Any]:
    return {
        "lease": lease, "spec": spec, "jobs": jobs, "outcome": outcome, "start_ms": 1000,
        "offset_ms": 0, "wall_ms": 5, "cpu_ms": 4, "memory_kib": 900, "disk_kib": 0, "gpu_ms": 0,
        "exit": 1 if outcome == Outcome.PAYLOAD else 0, "errors": ["", error] if error else [""],
        "error": 1 if error else 0, "outputs": "", "inputs": "", "log": "", "tails": [],
    }  # fmt: skip
