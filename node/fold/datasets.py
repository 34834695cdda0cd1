"""A submission becomes one row and one row a task, whatever the number of its jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import apsw

from node.fold import linking
from node.fold.shape import TASKS_PER_DATASET
from node.fold.step import number_of
from node.model.dataset import DatasetSpec, TaskSpec


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
    no = number_of(conn, place.shard, spec.id)
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
    for task in spec.tasks:
        _add_task(conn, no, spec, task)
    linking.link_children(conn, place.shard, no)
    linking.link_parent(conn, place.shard, spec.id)
    return no


def _add_task(conn: apsw.Connection, dataset: int, spec: DatasetSpec, task: TaskSpec) -> None:
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
    for after in task.after:
        if after.dataset is not None:
            jobs = after.jobs if after.all_jobs else 0
            conn.execute(
                "INSERT OR IGNORE INTO dependency (child, parent_id, parent_idx, jobs, remaining)"
                " VALUES (?, ?, ?, ?, ?)",
                (number, after.dataset, after.task, jobs, jobs),
            )
