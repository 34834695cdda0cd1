"""States of units, computed from what happened to them; the counters follow from that.

A unit is in one state only: settled, cancelled, failed, blocked (behind a unit that will not be
settled as things are), ready (all that it waits for is settled), else waiting. Settled, cancelled
and failed are in tables; blocked and ready follow. Everything here works on sets of jobs, so that
a million units in one state cost what one does.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apsw

from node.fold.sets import Jobs
from node.fold.shape import TASKS_PER_DATASET, TaskRow, dataset_of, read_tasks, select
from node.ranges import ranges_of

FETCH_MAX = 1 << 15  # settled rows read as such; larger stretches are counted and halved
NOTHING = Jobs()


@dataclass(frozen=True, slots=True)
class Wait:
    """What a task waits for outside its dataset. parent: task number; None: not in this log.

    jobs: 0 for the same job, n for all of the first n, of which `remaining` are not settled; dead:
    one of the n will not be.
    """

    child: int
    parent: int | None
    jobs: int
    remaining: int
    dead: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """How many units are in each state; early: settled or failed before their time."""

    settled: int
    failed: int
    blocked: int
    cancelled: int
    ready: int
    early: int


_WAIT = "SELECT child, parent, jobs, remaining, dead FROM dependency"


def waits_of(conn: apsw.Connection, dataset: int) -> list[Wait]:
    """What the tasks of a dataset wait for in others."""
    first = dataset * TASKS_PER_DATASET
    rows = conn.execute(
        _WAIT + " WHERE child BETWEEN ? AND ?", (first, first + TASKS_PER_DATASET - 1)
    )
    return [Wait(child, parent, jobs, left, bool(dead)) for child, parent, jobs, left, dead in rows]


def waiting_for(conn: apsw.Connection, dataset: int) -> list[Wait]:
    """Which tasks of other datasets wait for tasks of this one."""
    first = dataset * TASKS_PER_DATASET
    rows = conn.execute(
        _WAIT + " WHERE parent BETWEEN ? AND ?", (first, first + TASKS_PER_DATASET - 1)
    )
    return [Wait(child, parent, jobs, left, bool(dead)) for child, parent, jobs, left, dead in rows]


class Units:
    """States of some jobs of any tasks: read when asked for, then remembered.

    jobs: which ones; None for all of them. A change of what happened to a task is told with
    `replace`, so that the states after it need no second reading.
    """

    def __init__(self, conn: apsw.Connection, jobs: Jobs | None = None) -> None:
        self._conn = conn
        self._chosen = jobs
        self._tasks: dict[int, TaskRow] = {}
        self._waits: dict[int, list[Wait]] = {}
        self._waiting: dict[int, list[Wait]] = {}
        self._universe: dict[int, Jobs] = {}
        self._settled: dict[int, Jobs] = {}
        self._failed: dict[int, Jobs] = {}
        self._cancelled: dict[int, Jobs] = {}
        self._blocked: dict[int, Jobs] = {}
        self.touched: set[int] = set()  # failed or cancelled units changed since they were counted
        self.behind: set[int] = set()  # blocked units may have changed since

    # What the tables say

    def task(self, task: int) -> TaskRow:
        if task not in self._tasks:
            dataset = dataset_of(task)
            self._tasks.update(read_tasks(self._conn, dataset))
            for wait in waits_of(self._conn, dataset):
                self._waits.setdefault(wait.child, []).append(wait)
        return self._tasks[task]

    def waits(self, task: int) -> list[Wait]:
        self.task(task)
        return self._waits.get(task, [])

    def universe(self, task: int) -> Jobs:
        """The chosen jobs that the task has."""
        if task not in self._universe:
            jobs = self.task(task).jobs
            chosen = self._chosen
            if chosen is None or (chosen and chosen.flat[-1] > jobs):
                chosen = Jobs((0, jobs)) if chosen is None else chosen & Jobs((0, jobs))
            self._universe[task] = chosen
        return self._universe[task]

    def settled(self, task: int) -> Jobs:
        if task not in self._settled:
            row = self.task(task)
            if row.settled == 0:
                found = NOTHING
            elif row.settled == row.jobs:
                found = self.universe(task)
            else:
                found = Jobs(settled_among(self._conn, task, self.universe(task).flat))
            self._settled[task] = found
        return self._settled[task]

    def failed(self, task: int) -> Jobs:
        if task not in self._failed:
            found = NOTHING
            if task in self.touched or self.task(task).failed:
                found = Jobs(failed_among(self._conn, task, self.universe(task).flat))
            self._failed[task] = found
        return self._failed[task]

    def cancelled(self, task: int) -> Jobs:
        if task not in self._cancelled:
            found = NOTHING
            if task in self.touched or self.task(task).cancelled:
                found = Jobs(cancelled_among(self._conn, task, self.universe(task).flat))
            self._cancelled[task] = found
        return self._cancelled[task]

    def replace(self, task: int, settled: Jobs, failed: Jobs, cancelled: Jobs) -> None:
        """From now on these of the chosen jobs are settled, failed and cancelled."""
        self.touched.add(task)
        self._settled[task] = settled
        self._failed[task] = failed
        self._cancelled[task] = cancelled
        self._blocked.clear()

    def descendants(self, task: int) -> list[int]:
        """The task and all that wait for it job by job, in this and in other datasets."""
        found = {task: None}
        todo = [task]
        while todo:
            for child in self._children(todo.pop()):
                if child not in found:
                    found[child] = None
                    todo.append(child)
        return list(found)

    def _children(self, task: int) -> list[int]:
        dataset = dataset_of(task)
        self.task(task)
        if dataset not in self._waiting:
            self._waiting[dataset] = waiting_for(self._conn, dataset)
        first = dataset * TASKS_PER_DATASET
        siblings = range(first, first + TASKS_PER_DATASET)
        children = [no for no in siblings if no in self._tasks and task in self._tasks[no].parents]
        waiting = self._waiting[dataset]
        return children + [w.child for w in waiting if w.parent == task and not w.jobs]

    # What follows

    def satisfied(self, task: int) -> Jobs:
        """Units all of whose dependencies are settled."""
        left = self.universe(task)
        for parent in self.task(task).parents:
            left = left & self.settled(parent)
        for wait in self.waits(task):
            if wait.parent is None or (wait.jobs and wait.remaining):
                return NOTHING
            if not wait.jobs:
                left = left & self.settled(wait.parent)
        return left

    def blocked(self, task: int) -> Jobs:
        """Units behind one that is failed, cancelled or itself blocked."""
        for each in self._with_ancestors(task):
            if each not in self._blocked:
                self._blocked[each] = self._blocked_by_parents(each)
        return self._blocked[task]

    def _with_ancestors(self, task: int) -> list[int]:
        """The task after all it waits for job by job; chains of datasets may be deep."""
        order: list[int] = []
        seen: set[int] = set()
        stack = [(task, False)]
        while stack:
            at, expanded = stack.pop()
            if expanded:
                order.append(at)
            elif at not in seen and at not in self._blocked:
                seen.add(at)
                stack.append((at, True))
                stack += [(parent, False) for parent in self._parents(at) if self._worth(parent)]
        return order

    def _parents(self, task: int) -> Iterator[int]:
        yield from self.task(task).parents
        for wait in self.waits(task):
            if wait.parent is not None and not wait.jobs:
                yield wait.parent

    def _worth(self, task: int) -> bool:
        """Whether a task can have units that block others."""
        return task in self.touched or task in self.behind or self.task(task).dead

    def _blocked_by_parents(self, task: int) -> Jobs:
        behind = NOTHING
        for parent in self._parents(task):
            if self._worth(parent):
                behind = behind | self.dead(parent)
        universe = self.universe(task)
        if any(wait.jobs and wait.dead for wait in self.waits(task)):
            behind = universe
        if not behind:
            return NOTHING
        open_ = universe - self.settled(task) - self.failed(task) - self.cancelled(task)
        return open_ & behind

    def dead(self, task: int) -> Jobs:
        """Units that will not be settled as things are; `blocked` of it must be known."""
        return self.failed(task) | self.cancelled(task) | self._blocked.get(task, NOTHING)

    def ready(self, task: int) -> Jobs:
        done = self.satisfied(task) - self.settled(task)
        return done - self.failed(task) - self.cancelled(task)

    def tally(self, task: int) -> Tally:
        settled, failed, cancelled = self.settled(task), self.failed(task), self.cancelled(task)
        satisfied = self.satisfied(task)
        return Tally(
            settled=len(settled),
            failed=len(failed),
            blocked=len(self.blocked(task)),
            cancelled=len(cancelled),
            ready=len(satisfied - settled - failed - cancelled),
            early=len((settled | failed) - satisfied),
        )


def settled_among(conn: apsw.Connection, task: int, flat: list[int]) -> list[int]:
    """Which jobs of the ranges are settled, flat."""
    if len(flat) <= 16:
        found: list[int] = []
        for lo, hi in _pairs(flat):
            found += _settled_within(conn, task, lo, hi)
        return found
    return ranges_of(_members(conn, task, flat))


def _members(conn: apsw.Connection, task: int, flat: list[int]) -> Iterable[int]:
    """Settled jobs of many small ranges."""
    wide = [(lo, hi) for lo, hi in _pairs(flat) if hi - lo > FETCH_MAX]
    for lo, hi in wide:
        for start, end in _pairs(_settled_within(conn, task, lo, hi)):
            yield from range(start, end)
    jobs = array("q")
    for lo, hi in _pairs(flat):
        if hi - lo <= FETCH_MAX:
            jobs.extend(range(lo, hi))
    if jobs:
        sql = "SELECT value FROM carray(?1) CROSS JOIN settled ON task = ?2 AND job = value"
        for (job,) in select(conn, sql, (apsw.carray(jobs), task)):
            yield job


def _settled_within(conn: apsw.Connection, task: int, lo: int, hi: int) -> list[int]:
    """Settled jobs of [lo, hi), flat: whole stretches are counted, mixed ones halved."""
    found: list[int] = []
    todo = [(lo, hi)]
    while todo:
        lo, hi = todo.pop()
        if hi - lo <= FETCH_MAX:
            sql = "SELECT job FROM settled WHERE task = ? AND job >= ? AND job < ?"
            pieces = ranges_of(job for (job,) in select(conn, sql, (task, lo, hi)))
        else:
            sql = (
                "SELECT count(*), min(job), max(job) FROM settled"
                " WHERE task = ? AND job >= ? AND job < ?"
            )
            count, first, last = select(conn, sql, (task, lo, hi))[0]
            if count and count < last + 1 - first:
                middle = (first + last) // 2
                todo += [(middle, last + 1), (first, middle)]
                continue
            pieces = [first, last + 1] if count else []
        if found and pieces and found[-1] == pieces[0]:
            found[-1:] = pieces[1:]
        else:
            found += pieces
    return found


def failed_among(conn: apsw.Connection, task: int, flat: list[int]) -> list[int]:
    """Which jobs of the ranges are failed, flat."""
    if not flat:
        return []
    sql = "SELECT job FROM troubled WHERE task = ? AND job >= ? AND job < ? AND failed = 1"
    jobs = [job for (job,) in select(conn, sql, (task, flat[0], flat[-1]))]
    return (Jobs(ranges_of(jobs)) & Jobs(flat)).flat if jobs else []


def cancelled_among(conn: apsw.Connection, task: int, flat: list[int]) -> list[int]:
    """Which jobs of the ranges are cancelled, flat."""
    if not flat:
        return []
    sql = "SELECT lo, hi FROM cancelled WHERE task = ? AND lo < ? AND hi > ? ORDER BY lo"
    found = [bound for row in select(conn, sql, (task, flat[-1], flat[0])) for bound in row]
    return (Jobs(found) & Jobs(flat)).flat if found else []


def _pairs(flat: list[int]) -> Iterator[tuple[int, int]]:
    return zip(flat[::2], flat[1::2], strict=True)
