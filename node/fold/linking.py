"""What tasks wait for in other datasets: by name in their descriptions, by number once it is here.

A dataset of the same log is what a task waits for; of one of another log only what was imported
serves, or what was settled here before it left: a *mirror* of it, with rows for tasks and settled
units and none for the dataset.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import apsw

from node.changes import Change, DatasetChanged, UnitsSettled
from node.fold import keeping
from node.fold.counts import NOTHING, settled_among
from node.fold.sets import Jobs
from node.fold.shape import HERE, TASKS_PER_DATASET, read_tasks, select
from node.fold.step import number_of
from node.ranges import size

VERB: Final = "linked"
_WAITS: Final = (
    "SELECT x.child, x.parent_id, x.parent_idx, x.jobs FROM dependency x"
    " JOIN task t ON t.no = x.child JOIN dataset d ON d.no = t.dataset WHERE d.shard = ?"
)


_PARENT: Final = (
    "SELECT parent FROM dependency WHERE child = ? AND parent_id = ? AND parent_idx = ?"
    " AND jobs = ?"
)


def link_children(conn: apsw.Connection, shard: int, dataset: int) -> None:
    """Find what the tasks of a dataset wait for in others of its log."""
    _link(conn, shard, select(conn, _WAITS + " AND d.no = ?", (shard, dataset)))


def link_parent(conn: apsw.Connection, shard: int, dataset: bytes) -> list[DatasetChanged]:
    """Find anew what tasks of a log wait for that wait for this dataset: it came, or it left.

    What that changed: datasets that wait for another task now, by number.
    """
    waits = select(conn, _WAITS + " AND x.parent_id = ?", (shard, dataset))
    found = sorted({child // TASKS_PER_DATASET for child in _link(conn, shard, waits)})
    return [DatasetChanged(no, VERB) for no in found]


def _link(
    conn: apsw.Connection, shard: int, waits: Sequence[tuple[int, bytes, int, int]]
) -> list[int]:
    """The tasks that wait for another task now."""
    changed = []
    for child, id_, index, jobs in waits:
        parent = _task(conn, shard, id_, index)
        before = select(conn, _PARENT, (child, id_, index, jobs))[0][0]
        if parent != before:
            changed.append(child)
        left, dead = jobs, False
        if parent is not None and jobs:
            left -= size(settled_among(conn, parent, [0, jobs]))
            dead = bool(left) and keeping.dies(conn, parent, jobs)
        conn.execute(
            "UPDATE dependency SET parent = ?, remaining = ?, dead = ?"
            " WHERE child = ? AND parent_id = ? AND parent_idx = ? AND jobs = ?",
            (parent, left, dead, child, id_, index, jobs),
        )
    if waits:
        keeping.recount(conn, {child for child, *_ in waits})
        keeping.turn_gates(conn, {child // TASKS_PER_DATASET for child, *_ in waits})
    return changed


def _task(conn: apsw.Connection, shard: int, dataset: bytes, index: int) -> int | None:
    """The task of a log, or of a mirror in it, that goes by this name."""
    sql = (
        "SELECT t.no FROM task t WHERE t.idx = ?3 AND t.dataset IN"
        " (SELECT no FROM dataset WHERE id = ?2 AND shard = ?1 AND away = ?4"
        " UNION ALL SELECT no FROM mirror WHERE id = ?2 AND shard = ?1)"
        " ORDER BY t.dataset IN (SELECT no FROM mirror) LIMIT 1"
    )
    for (no,) in select(conn, sql, (shard, dataset, index, HERE)):
        return int(no)
    return None


def waiting_jobs(conn: apsw.Connection, shard: int, dataset: bytes, before: int) -> dict[int, int]:
    """{task index: how many of its first jobs} of a dataset that tasks of a log wait for.

    before: counts what entered the log before this position.
    """
    sql = (
        "SELECT x.parent_idx, max(CASE x.jobs WHEN 0 THEN t.jobs ELSE x.jobs END)"
        " FROM dependency x JOIN task t ON t.no = x.child JOIN dataset d ON d.no = t.dataset"
        " WHERE d.shard = ? AND x.parent_id = ? AND d.pos < ? AND d.away = ? GROUP BY 1"
    )
    return dict(select(conn, sql, (shard, dataset, before, HERE)))


def reflect(
    conn: apsw.Connection, shard: int, dataset: bytes, index: int, jobs: Jobs, entry: int
) -> list[Change]:
    """Let units of a dataset that is not in the log serve in it as settled; what that changed.

    entry: the control entry that says so.
    """
    changes: list[Change] = []
    mirror = number_of(conn, shard, b"mirror " + dataset)
    conn.execute("INSERT OR IGNORE INTO mirror VALUES (?, ?, ?)", (mirror, shard, dataset))
    task = mirror * TASKS_PER_DATASET + index
    if task not in read_tasks(conn, mirror):
        conn.execute(
            "INSERT INTO task (no, dataset, idx, name, jobs, parents, retry_max)"
            " VALUES (?, ?, ?, '', 0, '[]', 0)",
            (task, mirror, index),
        )
        changes += link_parent(conn, shard, dataset)
    sql = "UPDATE task SET ready = ready + max(0, ?1 - jobs), jobs = max(jobs, ?1) WHERE no = ?2"
    conn.execute(sql, (jobs.flat[-1], task))
    new = jobs - Jobs(settled_among(conn, task, jobs.flat))
    if not new:
        return changes
    change = keeping.Change(conn, task, new)
    numbers = list(new)
    conn.execute(
        "INSERT INTO settled SELECT ?, value, ? FROM carray(?)",
        (task, entry, apsw.carray(array("q", numbers))),
    )
    change.count(new, NOTHING, NOTHING)
    keeping.settle_gates(conn, task, numbers)
    return [*changes, UnitsSettled(task, numbers)]
