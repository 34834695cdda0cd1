"""Keeps the counters of tasks in step with the states of their units.

Two ways. `Change` compares the states of some jobs before and after something happened to them.
`recount` computes counters from nothing; it serves orders over ranges, and gates (a task that waits
for all jobs of another dataset's task), which open or shut for all units at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple

import apsw

from node.fold.counts import Units, waiting_for
from node.fold.sets import Jobs
from node.fold.shape import dataset_of, read_tasks

_ADD = (
    "UPDATE task SET settled = settled + ?, failed = failed + ?, blocked = blocked + ?,"
    " cancelled = cancelled + ?, ready = ready + ?, early = early + ? WHERE no = ?"
)
_SET = (
    "UPDATE task SET settled = ?, failed = ?, blocked = ?, cancelled = ?, ready = ?, early = ?"
    " WHERE no = ?"
)


class Change:
    """Something that happens to some jobs of one task: made before it, `count` called after."""

    def __init__(self, conn: apsw.Connection, task: int, jobs: Jobs) -> None:
        self._conn = conn
        self._task = task
        self._units = Units(conn, jobs)
        self._tasks = self._units.descendants(task)
        self._before = {each: self._units.tally(each) for each in self._tasks}
        self.settled = self._units.settled(task)
        self.failed = self._units.failed(task)
        self.cancelled = self._units.cancelled(task)

    def count(self, settled: Jobs, failed: Jobs, cancelled: Jobs) -> None:
        """Of the jobs, these are settled, failed and cancelled from now on; the tables say so."""
        self._units.behind.update(self._tasks)
        self._units.replace(self._task, settled, failed, cancelled)
        for each in self._tasks:
            after = astuple(self._units.tally(each))
            delta = [b - a for a, b in zip(astuple(self._before[each]), after, strict=True)]
            if any(delta):
                self._conn.execute(_ADD, (*delta, each))
        turned = turn_gates(self._conn, {dataset_of(each) for each in self._tasks})
        if turned:
            recount(self._conn, turned)


def recount(conn: apsw.Connection, tasks: Iterable[int]) -> None:
    """Count the tasks, and all that wait for them, anew."""
    todo = set(tasks)
    while todo:
        units = Units(conn)
        units.touched.update(todo)
        cone = sorted({each for task in todo for each in units.descendants(task)})
        units.behind.update(cone)
        tallies = [(*astuple(units.tally(each)), each) for each in cone]
        for tally in tallies:
            conn.execute(_SET, tally)
        todo = turn_gates(conn, {dataset_of(each) for each in cone})


def settle_gates(conn: apsw.Connection, task: int, jobs: Sequence[int]) -> None:
    """Count newly settled jobs at the gates that wait for them."""
    for wait in waiting_for(conn, dataset_of(task)):
        if wait.parent == task and wait.jobs:
            passed = sum(1 for job in jobs if job < wait.jobs)
            conn.execute(
                "UPDATE dependency SET remaining = remaining - ?"
                " WHERE child = ? AND parent = ? AND jobs = ?",
                (passed, wait.child, task, wait.jobs),
            )
            if passed == wait.remaining > 0:
                recount(conn, [wait.child])


def unsettle_gates(conn: apsw.Connection, task: int, jobs: Sequence[int]) -> None:
    """Count jobs that are settled no longer at the gates that wait for them."""
    shut = set()
    for wait in waiting_for(conn, dataset_of(task)):
        if wait.parent == task and wait.jobs:
            missing = sum(1 for job in jobs if job < wait.jobs)
            conn.execute(
                "UPDATE dependency SET remaining = remaining + ?"
                " WHERE child = ? AND parent = ? AND jobs = ?",
                (missing, wait.child, task, wait.jobs),
            )
            if missing and not wait.remaining:
                shut.add(wait.child)
    if shut:
        recount(conn, shut)


def turn_gates(conn: apsw.Connection, datasets: Iterable[int]) -> set[int]:
    """Tasks whose gate on one of these datasets shut or opened again, as units there died."""
    turned: set[int] = set()
    for dataset in sorted(datasets):
        for wait in waiting_for(conn, dataset):
            if not wait.jobs or wait.parent is None:
                continue
            dead = bool(wait.remaining) and dies(conn, wait.parent, wait.jobs)
            if dead != wait.dead:
                conn.execute(
                    "UPDATE dependency SET dead = ? WHERE child = ? AND parent = ? AND jobs = ?",
                    (dead, wait.child, wait.parent, wait.jobs),
                )
                turned.add(wait.child)
    return turned


def dies(conn: apsw.Connection, task: int, jobs: int) -> bool:
    """Whether one of the first `jobs` units of a task will not be settled as things are."""
    row = read_tasks(conn, dataset_of(task))[task]
    if not row.dead or row.jobs <= jobs:
        return row.dead
    units = Units(conn, Jobs((0, jobs)))
    return bool(units.blocked(task) or units.cancelled(task) or units.failed(task))
