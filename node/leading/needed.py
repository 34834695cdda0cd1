"""Which outputs units still need, and which of those are at no site that is left.

Somebody needs what a unit made while another one reads it that has to run, or to run again, or when
a person could not fetch it. It is lost when the site that made it is, and each that says that it
keeps a copy. Where all of them are there, and somebody could not have it all the same, the sites
are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import apsw

from federation.ids import DatasetID, EntryRef, ShardID, SiteID
from node.fold.made import Made
from node.fold.shape import TASKS_PER_DATASET
from node.model.dataset import DatasetSpec
from node.model.pilotspec import task_spec
from node.ranges import Flat, JobRanges, jobs_of, ranges_of
from node.store import losses, openwork
from node.store.feeds import Feeds
from node.store.losses import Parent

Spec = Callable[[apsw.Connection, int], DatasetSpec]

# A unit whose outputs come out differently each time is shown as such, and not made for ever.
DIFFERS_MAX: Final = 3
DOUBTS_MAX: Final = 128  # units of one look of which the sites are asked


@dataclass(frozen=True, slots=True)
class Reads:
    """What a task reads of another one. dataset: None for its own; jobs: 0 for the same one."""

    dataset: bytes | None
    task: int  # index
    jobs: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Units of a task that is led here, whose outputs are needed and lost."""

    shard: ShardID
    dataset: DatasetID
    task: int  # index
    ranges: Sequence[int]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A unit whose outputs somebody could not fetch. entry: the results that settled it."""

    shard: ShardID
    dataset: DatasetID
    task: int  # index
    job: int
    entry: EntryRef
    outputs: bytes  # digest of their list


@dataclass(slots=True)
class Found:
    gone: list[Gone] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)


@dataclass(slots=True)
class Search:
    """One look at the tables. site, generation: of the leader. lost: sites that count as gone.

    asked: (dataset, task, job) of units of which the sites were asked just now. people: what people
    could not fetch, by dataset and index of the task.
    """

    conn: apsw.Connection
    spec: Spec
    site: SiteID
    generation: int
    lost: Collection[SiteID]
    asked: Collection[tuple[bytes, int, int]] = ()
    people: Mapping[tuple[DatasetID, int], Flat] = field(default_factory=dict)

    def run(self) -> Found:
        needed: dict[int, JobRanges] = {}  # by task
        doubted: dict[int, JobRanges] = {}
        parents: dict[int, Parent] = {}
        reads = [self._of_people()]
        reads += [self._reads(*each) for each in losses.open_anywhere(self.conn)]
        for some in reads:
            for parent, index, wanted, unfetched in some:
                task = parent.no * TASKS_PER_DATASET + index
                parents[task] = parent
                needed.setdefault(task, JobRanges()).add_all(wanted)
                doubted.setdefault(task, JobRanges()).add_all(unfetched)
        found, made = Found(), Made()
        for task, wanted_jobs in needed.items():
            self._judge(found, made, parents[task], task, wanted_jobs, doubted[task])
        return found

    def _of_people(self) -> Iterator[tuple[Parent, int, Sequence[int], Sequence[int]]]:
        """As `_reads`, of what people could not fetch."""
        for (dataset, index), jobs in self.people.items():
            parent = losses.led(self.conn, dataset, self.site, self.generation)
            if parent is not None:
                yield parent, index, jobs, jobs

    def _reads(
        self, dataset: int, jobs: int
    ) -> Iterator[tuple[Parent, int, Sequence[int], Sequence[int]]]:
        """(dataset, task index, jobs, those of them that were not to be had) of what the units of
        a dataset read that have to run, as far as its log is written here."""
        spec = self.spec(self.conn, dataset)
        for task in spec.tasks:
            number = dataset * TASKS_PER_DATASET + task.index
            if not (reads := reads_of(spec, task.index)):
                continue
            unfetched = losses.unfetched(self.conn, number)
            if not self.lost and not unfetched:
                continue
            over = JobRanges(openwork.settled(self.conn, number))
            over.add_all(openwork.shut(self.conn, number))
            open_ = over.lacking([0, jobs])
            missed = JobRanges(unfetched).common(open_)
            for each in reads if open_ else ():
                parent = losses.led(self.conn, each.dataset or spec.id, self.site, self.generation)
                if parent is not None:
                    all_ = [0, each.jobs]
                    yield (
                        parent,
                        each.task,
                        all_ if each.jobs else open_,
                        (all_ if missed else []) if each.jobs else missed,
                    )

    def _judge(
        self,
        found: Found,
        made: Made,
        parent: Parent,
        task: int,
        wanted: JobRanges,
        doubted: JobRanges,
    ) -> None:
        """Sort out which of the wanted units of a task are settled, and gone or in doubt."""
        conn, index = self.conn, task % TASKS_PER_DATASET
        left = JobRanges(wanted.common(openwork.settled(conn, task)))
        left.remove_all(losses.differing(conn, task, DIFFERS_MAX))
        gone = JobRanges(left.common(losses.made_by(conn, task, self.lost)))
        gone.remove_all(losses.kept(conn, parent.id, index, self.lost))
        gone.remove_all(losses.restored(conn, task, self.lost))
        rows = made.of(conn, parent.id, task, jobs_of(gone.flat))
        if ranges := ranges_of(job for job, row in rows.items() if row.outputs):
            found.gone.append(Gone(parent.shard, parent.id, index, ranges))
            left.remove_all(ranges)
        jobs = [
            job
            for job in jobs_of(left.common(doubted.flat))
            if (parent.id, index, job) not in self.asked
        ]
        rows = made.of(conn, parent.id, task, jobs[: DOUBTS_MAX - len(found.doubts)])
        for job, row in sorted(rows.items()):
            if row.outputs:
                ref = Feeds(conn).by_number(row.entry).ref
                found.doubts.append(Doubt(parent.shard, parent.id, index, job, ref, row.outputs))


def reads_of(spec: DatasetSpec, index: int) -> Sequence[Reads]:
    """What a task reads of others' outputs."""
    return _reads_of(_Described(spec), index)


class _Described:
    """A description, by its id."""

    def __init__(self, spec: DatasetSpec) -> None:
        self.spec = spec

    def __hash__(self) -> int:
        return hash(self.spec.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Described) and other.spec.id == self.spec.id


@lru_cache(maxsize=1024)
def _reads_of(described: _Described, index: int) -> Sequence[Reads]:
    spec = described.spec
    counts = {(after.dataset, after.task): after.jobs for after in spec.tasks[index].after}
    found = set()
    for entry in task_spec(spec, index)["inputs"]:
        if "task" in entry:
            other = None if entry["dataset"] is None else bytes.fromhex(entry["dataset"])
            jobs = counts[other, entry["task"]] if entry["all_jobs"] else 0
            found.add(Reads(other, entry["task"], jobs))
    return tuple(found)
