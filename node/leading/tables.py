"""The folded tables as the leader reads them: its book, and what was offered to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import apsw

from federation.ids import ShardID
from federation.records import Command, Dataset, decode
from node.fold.documents import Documents
from node.leading.ledger import DatasetFacts, TaskFacts
from node.leading.offers import Offer
from node.model.dataset import DatasetSpec
from node.model.validate import needs_of
from node.store import ledgers, offers, openwork
from node.work.tables import TASKS_A_DATASET, waits_of

Spec = Callable[[apsw.Connection, int], DatasetSpec]


class LedgerTables:
    """Implements `granting.Tables` over one reading connection."""

    def __init__(self, conn: apsw.Connection, site: bytes, generation: int, spec: Spec) -> None:
        """spec: the parsed description of a dataset, by local number."""
        self._conn = conn
        self._site = site
        self._generation = generation
        self._spec = spec

    def open_datasets(self) -> Iterable[int]:
        return openwork.open_datasets(self._conn, self._site, self._generation)

    def ledger(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        row = openwork.dataset(self._conn, dataset, self._site, self._generation)
        if row is None or not row.led:
            return None
        spec = self._spec(self._conn, dataset)
        times = dict(ledgers.unit_times(self._conn, dataset))
        tasks: list[TaskFacts] = []
        sources: dict[int, list[int]] = {}
        for task, index, settled, overrides in openwork.tasks(self._conn, dataset):
            waits = waits_of(self._conn, dataset, task, spec.tasks[index])
            for wait in waits:
                if with_done and wait.task > 0 and wait.task // TASKS_A_DATASET != dataset:
                    sources[wait.task] = openwork.settled(self._conn, wait.task)
            tasks.append(
                TaskFacts(
                    task=task,
                    index=index,
                    needs=needs_of(overrides, spec.tasks[index].needs),
                    sites=spec.tasks[index].sites,
                    waits=waits,
                    owners=ledgers.owners(self._conn, task),
                    settled=self._settled(task, settled) if with_done else None,
                    shut=openwork.shut(self._conn, task),
                    unit_s=times.get(task),
                )
            )
        return DatasetFacts(
            dataset=dataset,
            id=row.id,
            shard=row.shard,
            person=row.person,
            group=row.group,
            priority=row.priority,
            age=row.position,
            jobs=row.jobs,
            paused=row.paused,
            tasks=tasks,
            sources=sources,
        )

    def _settled(self, task: int, settled: int) -> Sequence[int]:
        return openwork.settled(self._conn, task) if settled else ()

    def unit_times(self, dataset: int) -> Iterable[tuple[int, float]]:
        return ledgers.unit_times(self._conn, dataset)


class OfferTables:
    """Implements `offers.Tables` over one reading connection."""

    def __init__(self, conn: apsw.Connection, documents: Documents) -> None:
        self._conn = conn
        self._documents = documents

    def offers(self, shard: ShardID, most: int) -> Sequence[Offer]:
        """What was offered to a shard and not answered by its log; the fold has checked it."""
        rows = offers.unanswered(self._conn, shard, most)
        found = (self._offer(*row) for row in rows)
        return [offer for offer in found if offer is not None]

    def _offer(self, id_: bytes, entry: int, idx: int) -> Offer | None:
        records = decode(openwork.body(self._conn, entry) or b"")
        record = records[idx] if idx < len(records) else None
        if isinstance(record, Command):
            return Offer(id_, record, self._documents.read_order(record).follows)
        return Offer(id_, record) if isinstance(record, Dataset) else None
