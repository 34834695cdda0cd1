"""Successes of units to which nothing else happened: one statement a column."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import apsw

from node.fold import keeping
from node.fold.counts import Wait, waiting_for, waits_of
from node.fold.rows import Effect, Rows, count_success
from node.fold.shape import TaskRow, dataset_of, read_tasks, select


class Plain:
    """Successes of units that were ready, none of them settled before."""

    def __init__(self, conn: apsw.Connection, tasks: dict[int, TaskRow], task: TaskRow) -> None:
        self._conn = conn
        self._tasks = tasks
        self._task = task

    def settle(self, rows: Rows, entry: int, effect: Effect) -> bool:
        """Settle all rows; False, and nothing changed, when one of them is not plain."""
        conn, task = self._conn, self._task
        jobs = array("q", rows.jobs)
        low, high = min(rows.jobs), max(rows.jobs)
        waiting = waiting_for(conn, self._member_no)
        children = [row for row in self._tasks.values() if task.no in row.parents]
        foreign = [wait for wait in waiting if wait.parent == task.no and not wait.jobs]
        for wait in foreign:
            children.append(read_tasks(conn, dataset_of(wait.child))[wait.child])
        if not self._plain(jobs, low, high, children):
            return False
        conn.execute("SAVEPOINT plain")
        conn.execute(
            "INSERT OR IGNORE INTO settled SELECT ?, value, ? FROM carray(?)",
            (task.no, entry, apsw.carray(jobs)),
        )
        if conn.changes() != len(jobs):
            conn.execute("ROLLBACK TO plain; RELEASE plain")
            return False
        conn.execute("RELEASE plain")
        self._count(rows)
        for child in children:
            self._open(child, jobs)
        if any(wait.parent == task.no and wait.jobs for wait in waiting):
            keeping.settle_gates(conn, task.no, rows.jobs)
        effect.settled = list(rows.jobs) if rows.picked is None else rows.jobs
        return True

    @property
    def _member_no(self) -> int:
        return dataset_of(self._task.no)

    def _plain(self, jobs: array[int], low: int, high: int, children: Iterable[TaskRow]) -> bool:
        task = self._task
        if task.failed and _failed_count(self._conn, task.no, jobs):
            return False
        if task.cancelled and _cancelled_touch(self._conn, task.no, low, high):
            return False
        for child in children:
            if child.early:
                return False
            if child.cancelled and _cancelled_touch(self._conn, child.no, low, high):
                return False
        return self._satisfied(task, jobs) == len(jobs)

    def _satisfied(self, task: TaskRow, jobs: array[int], but: int = -1) -> int:
        """How many of the jobs have all that they wait for; `but`: a task known to be settled."""
        parents = [parent for parent in task.parents if parent != but]
        for wait in self._waits(task.no):
            if wait.parent is None or (wait.jobs and wait.remaining):
                return 0
            if not wait.jobs and wait.parent != but:
                parents.append(wait.parent)
        parents = [no for no in parents if not self._complete(no)]
        if not parents:
            return len(jobs) if jobs and max(jobs) < task.jobs else _below(jobs, task.jobs)
        joins = " ".join(
            f"CROSS JOIN settled s{i} ON s{i}.task = ? AND s{i}.job = value"
            for i in range(len(parents))
        )
        sql = f"SELECT count(*) FROM carray(?) {joins} WHERE value < ?"
        bound = (apsw.carray(jobs), *parents, task.jobs)
        return int(select(self._conn, sql, bound)[0][0])

    def _waits(self, task: int) -> list[Wait]:
        return [wait for wait in waits_of(self._conn, dataset_of(task)) if wait.child == task]

    def _complete(self, task: int) -> bool:
        row = self._tasks.get(task)
        return row is not None and row.settled == row.jobs

    def _open(self, child: TaskRow, jobs: array[int]) -> None:
        """Count the child's units that these jobs made ready: none of them was before."""
        ready = self._satisfied(child, jobs, but=self._task.no)
        if ready:
            self._conn.execute("UPDATE task SET ready = ready + ? WHERE no = ?", (ready, child.no))

    def _count(self, rows: Rows) -> None:
        record, settled = rows.record, len(rows.jobs)
        self._conn.execute(
            "UPDATE task SET settled = settled + ?1, ready = ready - ?1 WHERE no = ?2",
            (settled, self._task.no),
        )
        count_success(self._conn, self._task.no, rows, record)


def _below(jobs: array[int], bound: int) -> int:
    return sum(1 for job in jobs if job < bound)


def _failed_count(conn: apsw.Connection, task: int, jobs: array[int]) -> int:
    sql = (
        "SELECT count(*) FROM carray(?) CROSS JOIN troubled"
        " ON task = ? AND job = value AND failed = 1"
    )
    return int(select(conn, sql, (apsw.carray(jobs), task))[0][0])


def _cancelled_touch(conn: apsw.Connection, task: int, low: int, high: int) -> bool:
    sql = "SELECT 1 FROM cancelled WHERE task = ? AND lo <= ? AND hi > ? LIMIT 1"
    return bool(select(conn, sql, (task, high, low)))
