"""The folded tables as the work service and the leader read them. Short queries, reactor thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import apsw

from federation.ids import EntryRef, ShardID, SiteID
from node.leading.ledger import Ungranted
from node.model.dataset import DatasetSpec, TaskSpec
from node.model.siterules import allowed
from node.model.validate import needs_of
from node.ranges import JobRanges
from node.store import ledgers, openwork
from node.unitstate import DatasetFacts, TaskFacts, Tries, Wait
from node.work.ports import Known

TASKS_A_DATASET = 64
Spec = Callable[[apsw.Connection, int], DatasetSpec]


def waits_of(conn: apsw.Connection, dataset: int, task: int, spec: TaskSpec) -> tuple[Wait, ...]:
    """What a task waits for; a negative number stands for a task that is not in its log."""
    waits = [
        Wait(dataset * TASKS_A_DATASET + after.task)
        for after in spec.after
        if after.dataset is None
    ]
    for at, (parent, _id, _index, whole) in enumerate(openwork.foreign(conn, task)):
        # A dataset of another log, not imported: a task that is never done.
        source = -(task * TASKS_A_DATASET + at + 1) if parent is None else parent
        waits.append(Wait(source, whole))
    return tuple(waits)


class FoldedTables:
    """Implements `work.ports.Tables` and `lead.LeadTables` over one reading connection."""

    def __init__(self, conn: apsw.Connection, site: bytes, generation: int, spec: Spec) -> None:
        """spec: the parsed description of a dataset, by local number."""
        self._conn = conn
        self._site = site
        self._generation = generation
        self._spec = spec

    def shards(self) -> Sequence[ShardID]:
        """Shards that this site leads, the newest last."""
        return openwork.led_shards(self._conn, self._site, self._generation)

    def open_datasets(self) -> Iterable[int]:
        return openwork.open_datasets(self._conn, self._site, self._generation)

    def owned_datasets(self) -> Sequence[int]:
        """Unfinished datasets, of any log, of which this site owns units."""
        return ledgers.owned_datasets(self._conn, self._site)

    def still_datasets(self) -> Sequence[int]:
        """Unfinished datasets whose log this site led in an earlier generation: nobody does now."""
        return openwork.still_datasets(self._conn, self._site, self._generation)

    def still_shards(self) -> Sequence[ShardID]:
        """Shards that this site led in an earlier generation, and that nobody leads now."""
        return [
            shard.id for shard in openwork.still_shards(self._conn, self._site, self._generation)
        ]

    def number(self, dataset_id: bytes) -> int | None:
        return openwork.number(self._conn, dataset_id)

    def settled(self, task: int) -> Sequence[int]:
        return openwork.settled(self._conn, task)

    def known(self, dataset: int) -> Known:
        row = openwork.dataset(self._conn, dataset, self._site, self._generation)
        spec = self._spec(self._conn, dataset)
        return Known(dataset, spec, spec.jobs if row is None else row.jobs)

    def unaccepted(self) -> Iterable[EntryRef]:
        found = {ref for shard in self.shards() for ref in openwork.unaccepted(self._conn, shard)}
        return sorted(found, key=lambda ref: (ref.feed.site, ref.feed.generation))

    def unaccepted_by(self, shard: ShardID) -> Iterable[EntryRef]:
        """`unaccepted` for one shard, whoever leads it."""
        return openwork.unaccepted(self._conn, shard)

    def shard_of(self, dataset: int) -> ShardID | None:
        place = ledgers.place(self._conn, dataset)
        return None if place is None else place[1]

    def was_granted(self, shard: ShardID, site: SiteID) -> bool:
        return ledgers.was_granted(self._conn, shard, site)

    def ungranted(self, dataset: int) -> Sequence[Ungranted]:
        row = openwork.dataset(self._conn, dataset, self._site, self._generation)
        if row is None or not row.led:
            return []
        alike: dict[tuple[int, ...], list[int]] = {}
        name = openwork.site_name(self._conn, self._site)
        rules = self._spec(self._conn, dataset).tasks
        for task, index, _settled, _needs in openwork.tasks(self._conn, dataset):
            if not allowed(rules[index].sites, name):
                continue
            owned = JobRanges(openwork.owned_by_anyone(self._conn, task))
            if free := owned.lacking([0, row.jobs]):
                alike.setdefault(tuple(free), []).append(index)
        return [Ungranted(dataset, row.id, row.shard, tasks, flat) for flat, tasks in alike.items()]

    def facts(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        row = openwork.dataset(self._conn, dataset, self._site, self._generation)
        if row is None:
            return None
        if not (row.led or row.still or ledgers.owns_any(self._conn, dataset, self._site)):
            return None
        spec = self._spec(self._conn, dataset)
        tasks, sources = [], {}
        # What ran here counts as done before its log has accepted it.
        reported = openwork.reported(self._conn, dataset, self._site) if with_done else {}
        for task, index, settled, overrides in openwork.tasks(self._conn, dataset):
            waits = waits_of(self._conn, dataset, task, spec.tasks[index])
            for wait in waits:
                if with_done and wait.task > 0 and wait.task // TASKS_A_DATASET != dataset:
                    sources[wait.task] = openwork.settled(self._conn, wait.task)
            done = self._done(task, settled, row.jobs) if with_done else None
            if done is not None and task in reported:
                done = [*done, *reported[task]]
            tasks.append(
                TaskFacts(
                    task=task,
                    index=index,
                    needs=needs_of(overrides, spec.tasks[index].needs),
                    waits=waits,
                    owned=self._owned(task),
                    done=done,
                    shut=openwork.shut(self._conn, task),
                    tries=self._tries(task),
                )
            )
        return DatasetFacts(
            dataset=dataset,
            person=row.person,
            group=row.group,
            priority=row.priority,
            age=row.position,
            jobs=row.jobs,
            paused=row.paused or row.still,  # what is out goes on; nothing else starts
            tasks=tuple(tasks),
            sources=sources,
        )

    def _owned(self, task: int) -> Sequence[int]:
        back = JobRanges(ledgers.released(self._conn, task, self._site))
        return back.lacking(openwork.owned(self._conn, task, self._site))

    def _done(self, task: int, settled: int, jobs: int) -> Sequence[int]:
        if not settled:
            return ()
        if settled >= jobs and not openwork.reproducing(self._conn, task):
            return [0, jobs]
        return openwork.settled(self._conn, task)

    def _tries(self, task: int) -> dict[int, Tries]:
        tries: dict[int, Tries] = {}
        for job, outcome, error in openwork.faults(self._conn, task):
            tries.setdefault(job, Tries()).add(outcome, error)
        return tries
