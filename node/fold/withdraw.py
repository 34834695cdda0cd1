"""Settled units that turn out not to count: what they did is noted as a loss, and they may run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import apsw

from federation.records import Outcome, Results, cells, decode
from node.fold import keeping, reproducing
from node.fold.counts import NOTHING
from node.fold.made import Made
from node.fold.odd import Odd
from node.fold.reading import STALE
from node.fold.rows import Effect, Rows, count_success
from node.fold.sets import Jobs
from node.fold.shape import TaskRow, dataset_of, read_tasks, select
from node.ranges import ranges_of


def withdraw(
    conn: apsw.Connection, made: Made, dataset: bytes, task: TaskRow, jobs: Sequence[int]
) -> None:
    """Make settled jobs of a task losses to the infrastructure."""
    successes = made.of(conn, dataset, task.no, jobs)
    universe = Jobs(ranges_of(jobs))
    change = keeping.Change(conn, task.no, universe)
    for job in jobs:
        conn.execute("DELETE FROM settled WHERE task = ? AND job = ?", (task.no, job))
        reproducing.settle_matter(conn, task.no, job)
    change.count(NOTHING, NOTHING, NOTHING)
    keeping.unsettle_gates(conn, task.no, jobs)
    for entry in sorted({success.entry for success in successes.values()}):
        rows = {success.row for success in successes.values() if success.entry == entry}
        _note(conn, made, dataset, task, entry, rows)


def _note(
    conn: apsw.Connection,
    made: Made,
    dataset: bytes,
    task: TaskRow,
    entry: int,
    rows: set[int],
) -> None:
    """Take the cost of some rows of an entry off their task, and fold them again as losses."""
    body = select(conn, "SELECT body FROM entry WHERE no = ?", (entry,))[0][0]
    first = 0
    for record in decode(body):
        if not isinstance(record, Results):
            continue
        picked = [row - first for row in sorted(rows) if 0 <= row - first < len(record.jobs)]
        if picked:
            whole, lost = Rows(record, record.jobs, None, first), _lost(record, picked)
            count_success(conn, task.no, whole.pick(picked), record, -1)
            now = read_tasks(conn, dataset_of(task.no))[task.no]
            odd = Odd(conn, dataset, now, entry, Effect(), made)
            odd.fold(Rows(lost, lost.jobs, None, first).pick(picked))
        first += len(record.jobs)


def _lost(record: Results, rows: Sequence[int]) -> Results:
    """The record with these rows as losses."""
    outcomes = list(cells(record.outcome, len(record.jobs)))
    errors = list(cells(record.error, len(record.jobs)))
    for row in rows:
        outcomes[row], errors[row] = int(Outcome.INFRASTRUCTURE), len(record.errors)
    return replace(record, outcome=outcomes, error=errors, errors=[*record.errors, STALE])
