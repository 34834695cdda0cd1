"""A batch system in memory: a Scheduler, and the Runner that its commands run in.

It keeps jobs as a real one does: they wait, start on hosts while there are slots, end, leave the
listing and stay in the accounting. Time is a Twisted Clock's. Its faults are those of real ones: it
hangs, fails, prints too much, an empty listing or other people's jobs, forgets what ended, takes a
submission and dies before it says so. Commands are JSON words, and so is what they print.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from schedulers.base import (
    Command,
    Completed,
    JobName,
    JobState,
    PilotSpec,
    Queue,
    Refused,
    Report,
    SchedulerError,
)
from schedulers.runner import Away, Lost, NotReached, NotRun

REFUSED, FEWER, FULL = 2, 3, 4  # exit statuses: FEWER than those may be taken, or none at all
AGAIN_S = 300.0  # between two tries to reach the submit host


@dataclass(slots=True, eq=False)
class FakeJob:
    """A job as the batch system itself knows it."""

    name: JobName
    tag: str
    argv: Sequence[str]
    log: str
    made_s: float
    time_s: int | None
    avoid: Sequence[str]
    state: JobState = JobState.QUEUED
    started_s: float = 0.0
    ended_s: float = 0.0
    host: str = ""
    exit: int | None = None
    words: str = ""


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment; counts are of commands that it still happens to."""

    hangs: bool = False  # every command
    fails: bool = False  # every command says so
    listing: str = ""  # "empty", "cut", "half", "foreign"
    forgets: bool = False  # the accounting knows nothing
    denies: bool = False  # it says of each job that there is none, whether it lives or not
    no_accounting: bool = False  # it does not answer
    refuses: str = ""  # submissions, in these words
    time_s_max: int = 10**9  # longer jobs are refused
    limit: Callable[[Any], int] = lambda given: 0  # FEWER or FULL: submissions are refused for it
    unsure: bool = False  # in words that do not say whether there are jobs
    warns: str = ""  # of a rehearsed one
    loses: int = 0  # submissions are made, and the command is killed before it says so
    drops: int = 0  # submissions are not made, and the command is killed
    unwritable: bool = False  # files


@dataclass(slots=True, eq=False)
class Batch:
    """The batch system itself."""

    clock: Clock
    slots: int = 4
    wait_s: float = 5.0  # at least, before a job starts
    faults: Faults = field(default_factory=Faults)
    jobs: dict[JobName, FakeJob] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    ran: list[tuple[float, str]] = field(default_factory=list)  # when, which verb
    on_start: Callable[[FakeJob], None] = lambda job: None
    on_end: Callable[[FakeJob], None] = lambda job: None
    unknown_hosts: set[str] = field(default_factory=set)  # nobody may name them
    held: str = ""  # new jobs are held, with this reason
    next_no: int = 1
    queues: Sequence[Mapping[str, Any]] = ()

    def living(self) -> list[FakeJob]:
        return [job for job in self.jobs.values() if not job.state.over]

    def running(self) -> list[FakeJob]:
        return [job for job in self.jobs.values() if job.state is JobState.RUNNING]

    def tick(self) -> None:
        """Start and end what is due."""
        now_s = self.clock.seconds()
        for job in self.running():
            if job.time_s is not None and now_s - job.started_s >= job.time_s:
                self.end(job, JobState.TIMED_OUT, words="over its time")
        for job in self.jobs.values():
            if len(self.running()) >= self.slots:
                break
            if job.state is JobState.QUEUED and now_s - job.made_s >= self.wait_s:
                no, task = map(int, job.name.split("."))
                turns = [f"w{(no + task + turn) % 3}" for turn in range(3)]
                able = [host for host in turns if host not in job.avoid]
                if not able:
                    continue
                job.state, job.started_s, job.host = JobState.RUNNING, now_s, able[0]
                self.on_start(job)

    def end(
        self, job: FakeJob, state: JobState = JobState.DONE, status: int = 0, words: str = ""
    ) -> None:
        if job.state.over:
            return
        ran = job.state is JobState.RUNNING
        job.state, job.exit, job.words = state, status, words
        job.ended_s = self.clock.seconds()
        if ran:
            self.on_end(job)

    # -- commands

    def execute(self, verb: str, given: Any) -> Completed:
        made: dict[str, Callable[[Any], Completed]] = {
            "version": lambda _: _said("fake 1.0"),
            "rehearse": self._rehearse,
            "submit": self._submit,
            "listing": self._listing,
            "lookup": self._lookup,
            "cancel": self._cancel,
            "describe": self._describe,
            "limits": lambda _: _said(self.queues),
        }
        return made[verb](given)

    def _rehearse(self, _: Any) -> Completed:
        if self.faults.refuses:
            return Completed(REFUSED, b"", self.faults.refuses.encode())
        return _said(self.faults.warns)

    def _submit(self, given: Any) -> Completed:
        if any(host in self.unknown_hosts for host in given["avoid"]):
            return Completed(1, b"", b"Invalid node name specified")
        if (given["time_s"] or 0) > self.faults.time_s_max:
            return Completed(REFUSED, b"", b"Requested time limit is invalid")
        if self.faults.refuses:
            status = 1 if self.faults.unsure else REFUSED
            return Completed(status, b"", self.faults.refuses.encode())
        if status := self.faults.limit(given):
            return Completed(status, b"", b"as many jobs as are allowed")
        no, self.next_no = self.next_no, self.next_no + 1
        for task in range(given["count"]):
            name = JobName(f"{no}.{task}")
            job = FakeJob(
                name, given["name"], given["argv"], given["log"], self.clock.seconds(),
                given["time_s"], given["avoid"],
            )  # fmt: skip
            if self.held:
                job.state, job.words = JobState.HELD, self.held
            self.jobs[name] = job
        return _said([f"{no}.{task}" for task in range(given["count"])])

    def _listing(self, _: Any) -> Completed:
        rows = [[job.name, job.tag, job.state.value, job.words, job.host] for job in self.living()]
        if self.faults.listing == "empty":
            rows = []
        if self.faults.listing == "half":
            rows = rows[: len(rows) // 2]
        if self.faults.listing == "foreign":
            rows += [["9999.0", "floe-other-abcdefgh12", "running", "", "w9"]]
            rows += [["9998.0", "somebody's job", "queued", "", ""]]
        said = _said(rows)
        if self.faults.listing == "cut":
            return Completed(0, said.out[: len(said.out) // 2], b"", cut=True)
        return said

    def _lookup(self, given: Any) -> Completed:
        if self.faults.no_accounting:
            return Completed(1, b"", b"accounting is disabled")
        if self.faults.denies:
            return _said([[name, "", None, "it knows no such job", "", None]
                          for name in given["jobs"]])  # fmt: skip
        if self.faults.forgets:
            return _said([])
        jobs, tags = set(given["jobs"]), set(given["tags"])
        return _said(
            [
                [job.name, job.tag, job.state.value, job.words, job.host, job.exit]
                for job in self.jobs.values()
                if (job.name in jobs if jobs else job.tag in tags)
            ]
        )

    def _cancel(self, given: Any) -> Completed:
        for name in given:
            if name in self.jobs:
                self.end(self.jobs[name], JobState.CANCELLED, words="by user")
        return _said([])

    def _describe(self, given: Any) -> Completed:
        return _said(self.jobs[given].words if given in self.jobs else "")


def _said(value: Any) -> Completed:
    return Completed(0, json.dumps(value).encode(), b"")


def _read(done: Completed) -> Any:
    if done.cut:
        raise SchedulerError("the output is cut")
    if done.status:
        raise SchedulerError(done.why())
    try:
        return json.loads(done.out)
    except ValueError:
        raise SchedulerError(f"cannot read {done.out[:40]!r}") from None


class FakeScheduler:
    """Its command line tools."""

    name = "fake"

    def programs(self) -> list[str]:
        return ["fake"]

    def version(self) -> Command:
        return _command("version")

    def version_of(self, done: Completed) -> str:
        return str(_read(done))

    def submit(self, spec: PilotSpec) -> Command:
        return _command("submit", {
            "name": spec.name, "argv": list(spec.argv), "log": spec.log, "count": spec.count,
            "time_s": spec.time_s, "avoid": spec.avoided, "cpu": spec.cpu,
        })  # fmt: skip

    def rehearse(self, spec: PilotSpec) -> Command:
        return _command("rehearse", {"cpu": spec.cpu, "queue": spec.queue})

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        if done.status == REFUSED:
            raise Refused(done.why())
        return str(_read(done))

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        if (status := done.status) in (REFUSED, FEWER, FULL):
            raise Refused(done.why(), limit=status == FULL, fewer=status == FEWER)
        return [JobName(name) for name in _read(done)]

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}.{job.split('.')[1]}"

    def listing(self) -> Command:
        return _command("listing")

    def listed(self, done: Completed) -> dict[JobName, Report]:
        return {
            JobName(name): Report(JobState(state), words, None, host, tag)
            for name, tag, state, words, host in _read(done)
            if tag.startswith("floe-")
        }

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        return [_command("lookup", {"jobs": list(jobs), "tags": list(tags)})]

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        return {
            JobName(name): (
                Report(JobState(state), words, status, host, tag)
                if state is not None
                else Report(JobState.UNKNOWN, words, denied=True)
            )
            for name, tag, state, words, host, status in _read(done)
        }

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        return _command("cancel", list(jobs))

    def cancelled(self, done: Completed) -> None:
        _read(done)

    def describe(self, job: JobName) -> Command:
        return _command("describe", job)

    def described(self, done: Completed) -> str:
        return str(_read(done))

    def limits(self) -> Command | None:
        return _command("limits")

    def limits_of(self, done: Completed) -> list[Queue]:
        return [Queue(**each) for each in _read(done)]


def _command(verb: str, given: Any = None) -> Command:
    return Command([verb], json.dumps(given).encode())


class FakeRunner:
    """Runs the fake's commands, and keeps files."""

    name = "fake"

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.dead = False  # the node that used it was killed
        self.unreachable = ""  # why the submit host cannot be reached
        self.knocks = 0  # at its door, meanwhile
        self._fault, self._next_try_s = "", float("-inf")
        self.on_verb: Callable[[str, str], None] = lambda verb, moment: None  # before, after
        self.slow_s: dict[str, float] = {}  # by verb, until what was done is told

    async def run(self, command: Command, *, timeout_s: float = 60.0) -> Completed:
        verb, given = command.argv[0], json.loads(command.stdin)
        self.on_verb(verb, "before")
        if self.dead:
            await Deferred()
        faults = self.batch.faults
        self._reach()
        self.batch.ran.append((self.batch.clock.seconds(), verb))
        if faults.hangs:
            late: Deferred[None] = Deferred()
            self.batch.clock.callLater(timeout_s, late.callback, None)
            await late
            raise Lost(f"{verb} did not end within {timeout_s:g} s")
        if faults.fails:
            return Completed(1, b"", b"cannot reach the daemon")
        if verb == "submit" and faults.drops:
            faults.drops -= 1
            raise Lost("the connection is gone")
        done = self.batch.execute(verb, given)
        if verb == "submit" and faults.loses and not faults.refuses:
            faults.loses -= 1
            raise Lost("the connection is gone")
        if slow_s := self.slow_s.get(verb):
            told: Deferred[None] = Deferred()
            self.batch.clock.callLater(slow_s, told.callback, None)
            await told
        self.on_verb(verb, "after")
        if self.dead:
            await Deferred()
        return done

    async def home(self) -> str:
        return "/home/fake"

    async def _around(self, verb: str, moment: str) -> None:
        self.on_verb(verb, moment)
        if self.dead:
            await Deferred()

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        await self._around("put", "before")
        self._reach()
        if self.batch.faults.unwritable:
            raise NotRun(f"cannot write {path}: no space left")
        self.batch.files[path] = content
        await self._around("put", "after")

    async def get(self, path: str, bytes_max: int) -> bytes | None:
        found = self.batch.files.get(path)
        return None if found is None else found[-bytes_max:]

    async def remove(self, paths: Sequence[str]) -> None:
        if self.batch.faults.unwritable:
            raise NotRun(f"cannot remove {paths[0]}: read-only file system")
        for path in paths:
            for name in [name for name in self.batch.files if name.startswith(path)]:
                del self.batch.files[name]

    def away(self) -> Away | None:
        left_s = self._next_try_s - self.batch.clock.seconds()
        return Away(self._fault, left_s) if left_s > 0 else None

    def _reach(self) -> None:
        """Connect, if that may be tried."""
        if self.unreachable and self.away() is None:
            self.knocks += 1
            self._fault = self.unreachable
            self._next_try_s = self.batch.clock.seconds() + AGAIN_S
        if self.away() is not None:
            raise NotReached(self._fault, lasting=True)

    def retry(self) -> None:
        """The next command tries at once."""
        self._next_try_s = float("-inf")

    async def close(self) -> None:
        self.dead = True
