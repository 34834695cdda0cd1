"""Settled units that run again, because their outputs are on no site that can be reached.

The same outputs restore a unit. Others take the place of the first ones only if nothing has read
those; else they are shown, and the unit stays settled by what it made first.

Source: docs/protocol.md, "Lost outputs".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw

from federation.records import Reproduce
from node.changes import DatasetChanged
from node.fold import roots
from node.fold.counts import settled_among, waiting_for
from node.fold.made import Made, Success
from node.fold.sets import Jobs
from node.fold.shape import Refusal, Shard, dataset_of, read_tasks, select
from node.fold.step import Scene, member_in_turn

VERB: Final = "reproduce"
RESTORED: Final = "reproduced"  # why a success is a surplus
DIFFERS: Final = "differs"
SUPERSEDED: Final = "superseded"


def order(scene: Scene, shard: Shard, record: Reproduce) -> None:
    """Those of the units that are settled may run again. Raises Refusal."""
    member = member_in_turn(scene.conn, shard, record.dataset)
    tasks = read_tasks(scene.conn, member.no)
    numbers = [member.base + index for index in record.tasks]
    if not all(task in tasks for task in numbers):
        raise Refusal("names tasks that the dataset does not have")
    for task in numbers:
        flat = (Jobs(list(record.ranges)) & Jobs((0, tasks[task].jobs))).flat
        for lo, hi in Jobs(settled_among(scene.conn, task, flat)).pairs() if flat else ():
            scene.conn.execute(
                "INSERT OR IGNORE INTO reproducing SELECT task, job FROM settled"
                " WHERE task = ? AND job >= ? AND job < ?",
                (task, lo, hi),
            )
    shard.results_root = roots.extend(
        shard.results_root, b"reproduce", member.id, list(record.tasks), list(record.ranges)
    )
    scene.changes.append(DatasetChanged(member.no, VERB))


def among(conn: apsw.Connection, task: int, jobs: Iterable[int]) -> set[int]:
    """Which of the jobs run again."""
    sql = "SELECT job FROM reproducing WHERE task = ?"
    return {job for (job,) in select(conn, sql, (task,))} & set(jobs)


def any_of(conn: apsw.Connection, task: int) -> bool:
    """Whether any unit of a task runs again."""
    return bool(select(conn, "SELECT 1 FROM reproducing WHERE task = ? LIMIT 1", (task,)))


def judge(
    conn: apsw.Connection, made: Made, dataset: bytes, task: int, job: int, new: Success
) -> tuple[str, Success]:
    """What becomes of a new success of a unit that runs again: which of the two attempts is a
    surplus, and why."""
    _end(conn, task, job)
    first = made.of(conn, dataset, task, [job])[job]
    if new.outputs == first.outputs:
        settle_matter(conn, task, job)
        return RESTORED, new
    if _was_read(conn, task, job):
        return DIFFERS, new
    sql = "UPDATE settled SET entry = ? WHERE task = ? AND job = ?"
    conn.execute(sql, (new.entry, task, job))
    settle_matter(conn, task, job)
    return SUPERSEDED, first


def settle_matter(conn: apsw.Connection, task: int, job: int) -> None:
    """It is clear which outputs of a unit count: attempts that came out otherwise never will."""
    _end(conn, task, job)
    sql = "UPDATE surplus SET why = ? WHERE task = ? AND job = ? AND why = ?"
    conn.execute(sql, (SUPERSEDED, task, job, DIFFERS))


def _end(conn: apsw.Connection, task: int, job: int) -> None:
    """A unit does not run again any more."""
    conn.execute("DELETE FROM reproducing WHERE task = ? AND job = ?", (task, job))


def _was_read(conn: apsw.Connection, task: int, job: int) -> bool:
    """Whether a unit that waits for this one is settled."""
    tasks = read_tasks(conn, dataset_of(task))
    children = [row.no for row in tasks.values() if task in row.parents]
    waits = [wait for wait in waiting_for(conn, dataset_of(task)) if wait.parent == task]
    children += [wait.child for wait in waits if not wait.jobs]
    gates = [wait.child for wait in waits if wait.jobs > job]
    return any(settled_among(conn, child, [job, job + 1]) for child in children) or any(
        select(conn, "SELECT 1 FROM task WHERE no = ? AND settled", (gate,)) for gate in gates
    )
