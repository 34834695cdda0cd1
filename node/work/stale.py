"""Successes of units that read something else than what the log took: they do not count.

What a unit reads is settled by the first success of each unit before it, and is stored before the
unit goes out. So only leases that are not known here can be wrong: they were given by a node whose
store was lost, and with it perhaps the results that their units read. Source: docs/protocol.md,
"Results".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from federation.records import Outcome, cells
from node.model.pilotspec import task_spec
from node.work.board import TASKS_A_DATASET, Board
from node.work.ports import Resolved
from node.work.reports import Group
from node.work.sessions import Session

STALE = "inputs-changed"  # an error class
_WHY = "it read other files than those that its dependencies are known to have made"


async def without_stale(board: Board, session: Session, groups: Sequence[Group]) -> list[Group]:
    """The groups; successes that do not count are losses to the infrastructure in them."""
    return [
        group if group.lease in session.leases else await _checked(board, group) for group in groups
    ]


async def _checked(board: Board, group: Group) -> Group:
    no = board.number(group.dataset)
    task = None if no is None else board.dispatch.ready.tasks.get(no * TASKS_A_DATASET + group.task)
    if no is None or task is None or not task.waits:
        return group
    known = board.known(no)
    jobs = sorted(set(group.jobs))
    if not 0 <= jobs[0] <= jobs[-1] < known.jobs:
        return group  # refused for that later
    if not any("task" in entry for entry in task_spec(known.spec, group.task)["inputs"]):
        return group
    found = await board.resolver.resolve(known, task, jobs)
    try:
        return _marked(group, found)
    except (KeyError, TypeError, ValueError):
        return group  # columns that no record can hold


def _marked(group: Group, found: Resolved) -> Group:
    given, rows = group.columns, len(group.jobs)
    outcomes = cells(given["outcome"], rows)
    read = _texts(given["inputs"], rows)
    stale = {
        row
        for row, job in enumerate(group.jobs)
        if outcomes[row] == Outcome.SUCCESS and read[row] != _expected(found, job)
    }
    if not stale:
        return group
    errors = [*given["errors"], STALE]
    changed: Mapping[str, Any] = {
        **given,
        "outcome": _set(outcomes, stale, int(Outcome.INFRASTRUCTURE)),
        "errors": errors,
        "error": _set(cells(given["error"], rows), stale, len(errors) - 1),
        "outputs": _set(_texts(given["outputs"], rows), stale, ""),
        "tails": sorted([*given["tails"], *([row, _WHY] for row in stale)]),
    }
    return replace(group, columns=changed)


def _expected(found: Resolved, job: int) -> str | None:
    """The digest over what the unit should have read; None if that is not known here."""
    return found.read.get(job, "") if job in found.inputs else None


def _texts(column: Any, rows: int) -> list[Any]:
    return [column] * rows if isinstance(column, str) else list(column)


def _set(column: Sequence[Any], rows: set[int], value: Any) -> list[Any]:
    return [value if row in rows else each for row, each in enumerate(column)]
