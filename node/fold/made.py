"""What settled units made and read, looked up in the entries that settled them."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import apsw

from federation.records import Outcome, Results, cells, decode, digest_cells
from node.fold.shape import TASKS_PER_DATASET, select

TABLES_CACHED: Final = 64  # of one task in one entry: up to a few thousand rows each


class Success(NamedTuple):
    """A successful attempt. row: within its entry, over all results records."""

    entry: int
    row: int
    outputs: bytes  # digest of the output list; b"" for no outputs
    inputs: bytes  # digest over what it read; b"" for nothing


@dataclass(frozen=True, slots=True)
class _Table:
    """The successes of one task in one entry."""

    first: dict[int, Success]  # by job
    others: dict[int, list[Success]]  # later ones of the same job


class Made:
    """A small cache over entries, which never change."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[bytes, bytes, int], _Table] = OrderedDict()

    def of(
        self, conn: apsw.Connection, dataset: bytes, task: int, jobs: Sequence[int]
    ) -> dict[int, Success]:
        """The attempts that settled these jobs of a task; jobs that are not settled are left out.

        dataset: id of the task's.
        """
        sql = (
            "SELECT value, s.entry FROM carray(?) CROSS JOIN settled s"
            " ON s.task = ? AND s.job = value"
        )
        if not jobs:
            return {}
        by_entry: dict[int, list[int]] = {}
        for job, entry in select(conn, sql, (apsw.carray(array("q", jobs)), task)):
            by_entry.setdefault(entry, []).append(job)
        found: dict[int, Success] = {}
        for entry, chosen in by_entry.items():
            table = self._table(conn, entry, dataset, task % TASKS_PER_DATASET)
            for job in chosen:
                success = table.first.get(job)
                if success is not None and job in table.others:
                    success = _counted(conn, task, job, [success, *table.others[job]])
                if success is not None:
                    found[job] = success._replace(entry=entry)
        return found

    def _table(self, conn: apsw.Connection, entry: int, dataset: bytes, index: int) -> _Table:
        id_, body = select(conn, "SELECT id, body FROM entry WHERE no = ?", (entry,))[0]
        key = (id_, dataset, index)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _read(entry, body, dataset, index)
            if len(self._tables) > TABLES_CACHED:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(key)
        return table


def _read(entry: int, body: bytes | None, dataset: bytes, index: int) -> _Table:
    table = _Table({}, {})
    first = 0
    for record in decode(body) if body is not None else ():
        if not isinstance(record, Results):
            continue
        if (record.dataset, record.task) == (dataset, index):
            for job, success in _successes(entry, first, record):
                if table.first.setdefault(job, success) is not success:
                    table.others.setdefault(job, []).append(success)
        first += len(record.jobs)
    return table


def _successes(entry: int, first: int, record: Results) -> Iterable[tuple[int, Success]]:
    rows = len(record.jobs)
    columns = zip(
        record.jobs,
        cells(record.outcome, rows),
        digest_cells(record.outputs, rows),
        digest_cells(record.inputs, rows),
        strict=True,
    )
    for row, (job, outcome, outputs, inputs) in enumerate(columns):
        if outcome == Outcome.SUCCESS:
            yield job, Success(entry, first + row, outputs, inputs)


def _counted(
    conn: apsw.Connection, task: int, job: int, successes: Sequence[Success]
) -> Success | None:
    """The one among several of a job in one entry that counted: the others are noted as such."""
    entry = successes[0].entry
    sql = (
        "SELECT row FROM surplus WHERE task = ?1 AND job = ?2 AND entry = ?3"
        " UNION SELECT row FROM fault WHERE task = ?1 AND job = ?2 AND entry = ?3"
    )
    out = {row for (row,) in select(conn, sql, (task, job, entry))}
    return next((success for success in successes if success.row not in out), None)
