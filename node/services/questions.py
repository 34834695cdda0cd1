"""Asking the tables: in a reading thread, with people's names for things, refusals for answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import apsw
from twisted.internet.defer import Deferred

from node.services.refusal import Refusal
from node.store import tasks
from node.store.tasks import Ambiguous, DatasetRow, NotFound

T = TypeVar("T")
Value = dict[str, Any]


class Reader(Protocol):
    """Runs a question with a reading connection in another thread."""

    def __call__(self, fn: Callable[[apsw.Connection], T]) -> Deferred[T]: ...


async def asked(read: Reader, fn: Callable[[apsw.Connection], T]) -> T:
    """The answer to a question about the tables. Raises Refusal for names that mean nothing."""
    try:
        return await read(fn)
    except Ambiguous as error:
        raise Refusal("conflict", str(error), "name one of them", choices=error.choices) from None
    except NotFound as error:
        raise Refusal("not-found", str(error)) from None


def chosen(
    conn: apsw.Connection, ref: str, person: bytes, task: str | None
) -> tuple[DatasetRow, int | None, dict[int, str]]:
    """The dataset, the index of the task that was asked for, and the names of all tasks."""
    row = tasks.find(conn, ref, person)
    names = {each.index: each.name for each in tasks.task_counts(conn, row.no)}
    return row, None if task is None else _index(row, names, task), names


def _index(row: DatasetRow, names: Mapping[int, str], task: str) -> int:
    for index, name in names.items():
        if name == task:
            return index
    known = ", ".join(names.values())
    raise NotFound(f"{row.name} has no task {task[:40]!r}; its tasks: {known}")
