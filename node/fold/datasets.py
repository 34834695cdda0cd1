"""A submission becomes one row and one row a task, whatever the number of its jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import apsw

from node.fold import keeping
from node.fold.counts import settled_among
from node.fold.shape import TASKS_PER_DATASET, select
from node.model.dataset import DatasetSpec, TaskSpec
from node.ranges import size


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the log a record stands. pos: within its shard; hlc: of its entry."""

    shard: int
    pos: int
    entry: int
    idx: int
    hlc: int


def add(conn: apsw.Connection, place: Place, spec: DatasetSpec, person: bytes) -> int:
    """Make the rows of a new dataset; its number."""
    no = _number(conn, place.shard, spec.id)
    conn.execute(
        "INSERT INTO dataset (no, id, shard, pos, entry, idx, name, person, grp, priority, jobs,"
        " cells, extend, hlc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            no,
            spec.id,
            place.shard,
            place.pos,
            place.entry,
            place.idx,
            spec.name,
            person,
            spec.group,
            spec.priority,
            spec.jobs,
            spec.cells,
            int(spec.extend),
            place.hlc,
        ),
    )
    foreign = False
    for task in spec.tasks:
        foreign |= _add_task(conn, no, place.shard, spec, task)
    if foreign:
        keeping.recount(conn, [no * TASKS_PER_DATASET + task.index for task in spec.tasks])
        keeping.turn_gates(conn, [no])
    _adopt_waiting(conn, no, place.shard, spec.id)
    return no


def _number(conn: apsw.Connection, shard: int, id_: bytes) -> int:
    """The local number of a dataset of a shard, which it keeps when that is folded anew."""
    conn.execute("INSERT OR IGNORE INTO numbered (shard, id) VALUES (?, ?)", (shard, id_))
    sql = "SELECT no FROM numbered WHERE shard = ? AND id = ?"
    return int(select(conn, sql, (shard, id_))[0][0])


def _add_task(
    conn: apsw.Connection, dataset: int, shard: int, spec: DatasetSpec, task: TaskSpec
) -> bool:
    """Make a task's row; whether it waits for other datasets."""
    number = dataset * TASKS_PER_DATASET + task.index
    parents = sorted({after.task for after in task.after if after.dataset is None})
    conn.execute(
        "INSERT INTO task (no, dataset, idx, name, jobs, parents, retry_max, ready)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            dataset,
            task.index,
            task.name,
            spec.jobs,
            json.dumps(parents),
            task.retry_max,
            0 if task.after else spec.jobs,
        ),
    )
    foreign = False
    for after in task.after:
        if after.dataset is not None:
            foreign = True
            jobs = after.jobs if after.all_jobs else 0
            conn.execute(
                "INSERT OR IGNORE INTO dependency (child, parent_id, parent_idx, jobs, remaining)"
                " VALUES (?, ?, ?, ?, ?)",
                (number, after.dataset, after.task, jobs, jobs),
            )
    if foreign:
        _resolve(conn, number, shard)
    return foreign


def _resolve(conn: apsw.Connection, child: int, shard: int) -> None:
    """Find the tasks that a new task waits for, as far as they are in the same log."""
    sql = (
        "SELECT x.parent_id, x.parent_idx, x.jobs, t.no FROM dependency x"
        " JOIN dataset d ON d.id = x.parent_id AND d.shard = ?"
        " JOIN task t ON t.dataset = d.no AND t.idx = x.parent_idx WHERE x.child = ?"
    )
    for id_, index, jobs, parent in select(conn, sql, (shard, child)):
        left = jobs - size(settled_among(conn, parent, [0, jobs])) if jobs else 0
        dead = bool(left) and keeping.dies(conn, parent, jobs)
        conn.execute(
            "UPDATE dependency SET parent = ?, remaining = ?, dead = ?"
            " WHERE child = ? AND parent_id = ? AND parent_idx = ? AND jobs = ?",
            (parent, left, dead, child, id_, index, jobs),
        )


def _adopt_waiting(conn: apsw.Connection, dataset: int, shard: int, id_: bytes) -> None:
    """Tasks that came before the dataset they wait for: name what they wait for now."""
    conn.execute(
        "UPDATE dependency SET parent = ? + parent_idx WHERE parent_id = ? AND parent IS NULL"
        " AND (SELECT d.shard FROM dataset d JOIN task t ON t.dataset = d.no"
        " WHERE t.no = dependency.child) = ?"
        " AND parent_idx < (SELECT count(*) FROM task WHERE dataset = ?)",
        (dataset * TASKS_PER_DATASET, id_, shard, dataset),
    )
