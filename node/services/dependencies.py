"""What units and tasks wait for, and what keeps it from serving; for `floe why`."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from node.model.dataset import After, DatasetSpec
from node.services.why import OTHERWISE
from node.services.whyfacts import Dependency
from node.store import held, tasks
from node.store.tasks import DatasetRow

TASKS_A_DATASET = 64


def of_unit(
    conn: apsw.Connection, row: DatasetRow, spec: DatasetSpec, index: int, job: int
) -> list[Dependency]:
    """All that one unit of a task waits for."""
    return [_one(conn, row, after, job) for after in spec.tasks[index].after]


def _one(conn: apsw.Connection, row: DatasetRow, after: After, job: int) -> Dependency:
    no = row.no if after.dataset is None else tasks.number(conn, after.dataset)
    if no is None:
        return Dependency(after.text, "", "not known here")
    if after.all_jobs:
        return of_all(conn, row, after, no)
    parent = no * TASKS_A_DATASET + after.task
    name = row.name if after.dataset is None else after.dataset_name
    return Dependency(
        after.text,
        f"{name}/{job}/{after.task_name}",
        tasks.state_of(conn, parent, job),
        holdup=_holdup(conn, row, parent, job, job + 1),
        remedy=_remedy(conn, name, after.task_name, parent, job, job + 1),
    )


def of_all(conn: apsw.Connection, row: DatasetRow, after: After, no: int) -> Dependency:
    """All jobs of a task of another dataset; no: that one's local number."""
    counts = tasks.task_counts(conn, no)[after.task].counts
    settled = min(counts.settled, after.jobs)
    state = "settled" if settled >= after.jobs else "waiting"
    task = no * TASKS_A_DATASET + after.task
    return Dependency(
        after.text,
        "",
        state,
        settled,
        after.jobs,
        holdup=_holdup(conn, row, task, 0, after.jobs),
        remedy=_remedy(conn, after.dataset_name, after.task_name, task, 0, after.jobs),
    )


def of_tasks(
    conn: apsw.Connection, row: DatasetRow, spec: DatasetSpec
) -> Sequence[Sequence[Dependency]]:
    """By task, what all of its units wait for in other datasets, and what was lost of this one's
    own tasks."""
    return [
        [each for after in task.after if (each := _of_all_units(conn, row, after)) is not None]
        for task in spec.tasks
    ]


def _of_all_units(conn: apsw.Connection, row: DatasetRow, after: After) -> Dependency | None:
    if after.dataset is None:
        task = row.no * TASKS_A_DATASET + after.task
        some = 0, max(2, row.jobs)
        lost = _holdup(conn, row, task, *some)
        remedy = _remedy(conn, row.name, after.task_name, task, *some)
        counts = tasks.task_counts(conn, row.no)[after.task].counts
        state = "settled" if counts.done else "waiting"
        own = Dependency(after.text, "", state, counts.settled, counts.units, "", lost, remedy)
        return own if lost else None
    no = tasks.number(conn, after.dataset) if after.all_jobs else None
    return None if no is None else of_all(conn, row, after, no)


def _remedy(conn: apsw.Connection, dataset: str, name: str, task: int, lo: int, hi: int) -> str:
    """The order that lets settled jobs of a task serve again; "" if there is none to give."""
    if not held.differing(conn, task, lo, hi):
        return ""
    order = f"floe set renew {dataset} --task {name}"
    return f"{order} --jobs {lo}" if hi - lo == 1 else order


def _holdup(conn: apsw.Connection, row: DatasetRow, task: int, lo: int, hi: int) -> str:
    """Why settled jobs of a task do not serve a dataset; "" if they do."""
    again = held.again(conn, task, lo, hi)
    if again:
        what = "its outputs were lost; it runs" if hi - lo == 1 else f"{again:,} run"
        return f"{what} again" + ("" if hi - lo == 1 else ", as their outputs were lost")
    differing = held.differing(conn, task, lo, hi)
    if differing:
        if hi - lo == 1:
            return f"its outputs were lost; it was made again and {OTHERWISE}"
        return f"{differing:,} were lost, were made again and {OTHERWISE}"
    lacking, leader = held.not_imported(conn, row.no, task, lo, hi)
    if lacking:
        where = f"in a log that {leader} leads"
        if hi - lo == 1:
            return f"settled {where}; waits for its import into this one's"
        return f"{lacking:,} settled {where} wait for their import into this one's"
    return ""
