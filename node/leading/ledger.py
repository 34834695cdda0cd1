"""One dataset as its leader sees it: what nobody owns, what each owner has not ended. Pure.

All sets are ranges of jobs of one task:

    over    settled, cancelled or failed for good: nobody needs to run them
    owners  granted to a site and to no other since, by site; over or not
    out     owned by anybody, and not over
    free    neither over nor owned, or owned by a site that counts as lost

Results touch `over` and `out` alone, however many owners there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.ids import DatasetID, ShardID, SiteID
from federation.shapes import Shape
from node.model.dataset import Needs
from node.model.share import Account, unit_cost_s
from node.ranges import Flat, JobRanges
from node.unitstate import Wait

EXPECTED_S_MAX = 60.0  # of a unit of which nothing is known yet


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as the leader's tables know it."""

    task: int  # local task number
    index: int  # within its dataset
    needs: Needs
    sites: Mapping[str, Sequence[str]]  # only, avoid, prefer
    waits: tuple[Wait, ...]
    owners: Mapping[SiteID, Flat]  # less what they released
    settled: Flat | None  # None: as known before
    shut: Flat  # cancelled, or failed for good
    unit_s: float | None  # mean wall time of those settled


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset of a shard that is led here, as the tables know it."""

    dataset: int  # local number
    id: DatasetID
    shard: ShardID
    person: bytes
    group: str
    priority: int
    age: int
    jobs: int
    paused: bool
    tasks: Sequence[TaskFacts]
    sources: Mapping[int, Flat] = field(default_factory=dict)  # done jobs of other datasets' tasks


@dataclass(frozen=True, slots=True)
class Ungranted:
    """Jobs that nobody owns of some tasks of a dataset, whose shard this site leads."""

    dataset: int  # local number
    id: DatasetID
    shard: ShardID
    tasks: Sequence[int]  # indices
    ranges: Flat


@dataclass(slots=True, eq=False)
class TaskBook:
    """One task's sets."""

    no: int
    index: int
    shape: Shape
    cost_s: float  # what fair share charges for a unit that is out
    sites: Mapping[str, Sequence[str]]
    waits: tuple[Wait, ...]
    jobs: int
    unit_s: float | None
    owners: dict[SiteID, JobRanges] = field(default_factory=dict)
    over: JobRanges = field(default_factory=JobRanges)
    out: JobRanges = field(default_factory=JobRanges)
    free: JobRanges = field(default_factory=JobRanges)
    _left: dict[SiteID, Flat] = field(default_factory=dict)  # as computed since the last change

    def end(self, flat: Flat) -> None:
        """These units need no owner any more."""
        self._left.clear()
        self.over.add_all(flat)
        self.out.remove_all(flat)
        self.free.remove_all(flat)

    def give(self, flat: Flat, to: SiteID, lost: Iterable[SiteID]) -> None:
        """The log names a new owner of these units."""
        self._left.clear()
        for owned in self.owners.values():
            owned.remove_all(flat)
        self.owners.setdefault(to, JobRanges()).add_all(flat)
        flat = self.over.lacking(flat)
        self.out.add_all(flat)
        if to in lost:
            self.free.add_all(flat)
        else:
            self.free.remove_all(flat)

    def take(self, flat: Flat, site: SiteID) -> None:
        """The owner gave these units back."""
        self._left.clear()
        owned = self.owners.get(site)
        if owned is not None and (back := owned.common(flat)):
            owned.remove_all(back)
            back = self.out.common(back)
            self.out.remove_all(back)
            self.free.add_all(back)

    def left(self, site: SiteID) -> Flat:
        """What a site owns and has not ended. Each claim asks it of every task and owner."""
        found = self._left.get(site)
        if found is None:
            owned = self.owners.get(site)
            found = self._left[site] = self.out.common(owned.flat) if owned else ()
        return found

    def lose(self, site: SiteID) -> None:
        """What this site owns may be granted to others."""
        self.free.add_all(self.left(site))

    def find(self, site: SiteID) -> None:
        """The site is back: what nobody else was granted meanwhile is its own again."""
        self.free.remove_all(self.left(site))

    @property
    def outstanding(self) -> int:
        """Units that have an owner and are not over."""
        return self.out.count

    @property
    def finished(self) -> bool:
        return self.over.count >= self.jobs


@dataclass(slots=True, eq=False)
class DatasetBook:
    """One dataset's tasks, and what orders it among others."""

    no: int
    id: DatasetID
    shard: ShardID
    account: Account
    priority: int
    age: int
    jobs: int
    paused: bool
    tasks: list[TaskBook]

    @property
    def finished(self) -> bool:
        return all(task.finished for task in self.tasks)

    @property
    def order(self) -> tuple[int, int, int]:
        """Of one person's datasets, the one with the smallest goes first."""
        return -self.priority, self.age, self.no

    @property
    def charge_s(self) -> float:
        """What its units that are out are expected to use, in normalised seconds."""
        return sum(task.outstanding * task.cost_s for task in self.tasks)


def open_book(
    facts: DatasetFacts, account: Account, done: Mapping[int, JobRanges], lost: Iterable[SiteID]
) -> DatasetBook:
    """The book of a dataset as the tables know it. done: the settled jobs of its tasks."""
    tasks = [_open_task(task, facts.jobs, done[task.task], set(lost)) for task in facts.tasks]
    return DatasetBook(
        facts.dataset,
        facts.id,
        facts.shard,
        account,
        facts.priority,
        facts.age,
        facts.jobs,
        facts.paused,
        tasks,
    )


def _open_task(facts: TaskFacts, jobs: int, done: JobRanges, lost: set[SiteID]) -> TaskBook:
    needs = facts.needs
    expected_s = min(needs.time_s, EXPECTED_S_MAX) if facts.unit_s is None else facts.unit_s
    task = TaskBook(
        facts.task,
        facts.index,
        shape_of(needs),
        unit_cost_s(needs.cpu, needs.gpu, expected_s),
        facts.sites,
        facts.waits,
        jobs,
        facts.unit_s,
    )
    task.over = JobRanges(done.flat)
    task.over.add_all(facts.shut)
    owned = JobRanges()
    for site, flat in facts.owners.items():
        task.owners[site] = JobRanges(flat)
        task.out.add_all(task.over.lacking(flat))
        if site not in lost:
            owned.add_all(flat)
    task.free = JobRanges(owned.lacking(task.over.lacking([0, jobs])))
    return task


def shape_of(needs: Needs) -> Shape:
    """What sites tell each other of a unit's needs."""
    return Shape.of(needs.cpu, needs.gpu, needs.memory_bytes, needs.disk_bytes, needs.time_s)
