"""What dispatch is told of datasets, and what it keeps of each: values and sets, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from federation.records import Outcome
from node.model.dataset import Needs
from node.model.share import Account
from node.ranges import Flat, JobRanges

WITH_THE_PILOT = frozenset({"pilot-lost", "evicted"})
LATER_S_MIN = 2.0  # until a unit that was lost runs again; doubled each time
LATER_S_MAX = 300.0
BOOSTS_MAX = 3  # of one resource, 1.5 times each
WALL_WEIGHT = 0.3  # of the newest batch in a task's mean wall time


@dataclass(frozen=True, slots=True)
class Wait:
    """What a task waits for: the same job of another task, or, if `whole`, all its jobs."""

    task: int  # local task number
    whole: int = 0  # number of jobs that must all be done; 0: the same job only


@dataclass(slots=True)
class Tries:
    """Attempts of a unit that failed before; kept for such units only."""

    attempts: int = 0
    memory: int = 0  # boosts
    disk: int = 0
    time: int = 0
    losses: int = 0  # that lay in the unit's own way: not with its pilot

    def add(self, outcome: int, error: str) -> None:
        """One more attempt ended with this error class."""
        self.attempts += 1
        if outcome == Outcome.INFRASTRUCTURE and error not in WITH_THE_PILOT:
            self.losses += 1
        if outcome != Outcome.RESOURCES:
            return
        if error == "disk":
            self.disk = min(self.disk + 1, BOOSTS_MAX)
        elif error == "time":
            self.time = min(self.time + 1, BOOSTS_MAX)
        else:
            self.memory = min(self.memory + 1, BOOSTS_MAX)

    def later_s(self) -> float:
        """How long to wait before the next attempt: what was not there may be back by then."""
        if not self.losses:
            return 0.0
        return min(LATER_S_MAX, LATER_S_MIN * 2.0 ** min(self.losses - 1, 20))


@dataclass(frozen=True, slots=True)
class Most:
    """The largest that any pilot here offered, beyond which no boost goes. None: not known."""

    memory_bytes: int | None = None
    disk_bytes: int | None = None
    time_s: int | None = None


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as the tables know it. done=None: keep what is in memory."""

    task: int  # local task number
    index: int  # within its dataset
    needs: Needs
    waits: tuple[Wait, ...] = ()
    owned: Flat = ()
    done: Flat | None = ()
    shut: Flat = ()
    tries: Mapping[int, Tries] | None = None


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset as the tables know it."""

    dataset: int  # local number
    person: bytes
    group: str
    priority: int
    age: int  # smaller is older
    jobs: int
    paused: bool
    tasks: tuple[TaskFacts, ...]
    sources: Mapping[int, Flat] = field(default_factory=dict)  # done jobs of other datasets' tasks


@dataclass(slots=True, eq=False)
class TaskState:
    """One task's sets; `dataset` is None for a source whose own dataset has ended."""

    no: int
    index: int
    needs: Needs
    dataset: DatasetState | None
    waits: tuple[Wait, ...] = ()
    children: list[TaskState] = field(default_factory=list)
    owned: JobRanges = field(default_factory=JobRanges)
    done: JobRanges = field(default_factory=JobRanges)
    shut: JobRanges = field(default_factory=JobRanges)
    held: JobRanges = field(default_factory=JobRanges)
    leased: JobRanges = field(default_factory=JobRanges)
    queues: dict[Needs, JobRanges] = field(default_factory=dict)
    ready: int = 0  # sum over the queues
    tries: dict[int, Tries] = field(default_factory=dict)
    wall_s: float | None = None  # moving mean of successes

    def needs_of(self, job: int, most: Most) -> Needs:
        """What this unit asks for, with what earlier attempts taught."""
        tried = self.tries.get(job)
        if tried is None or not (tried.memory or tried.disk or tried.time):
            return self.needs
        return replace(
            self.needs,
            memory_bytes=boosted(self.needs.memory_bytes, tried.memory, most.memory_bytes),
            disk_bytes=boosted(self.needs.disk_bytes, tried.disk, most.disk_bytes),
            time_s=boosted(self.needs.time_s, tried.time, most.time_s),
        )

    def expected_s(self) -> float:
        """Wall time to charge for a unit that starts now."""
        return self.wall_s if self.wall_s is not None else min(self.needs.time_s, 60.0)


@dataclass(slots=True, eq=False)
class DatasetState:
    no: int
    account: Account
    priority: int
    age: int
    jobs: int
    paused: bool
    tasks: list[TaskState] = field(default_factory=list)
    ready: int = 0
    active: bool = False  # stands in its account's list
    withheld: bool = False  # its log is read again: nothing of this is known to be so

    def order(self) -> tuple[int, int, int]:
        return (-self.priority, self.age, self.no)


def boosted(amount: int, times: int, most: int | None) -> int:
    """amount x 1.5^times, whole; no more than `most`, where that is known, but for the amount."""
    more = int(amount * 3**times // 2**times)
    return more if most is None else max(amount, min(more, most))
