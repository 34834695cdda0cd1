"""Small values that the parts of the fold share, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

TASKS_PER_DATASET: Final = 64


class Refusal(Exception):
    """A record of the log that everyone skips alike; the message says why."""


# What goes wrong with the disk or the process is no property of a dataset.
ENVIRONMENT_ERRORS: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.InterruptError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.ReadOnlyError,
    MemoryError,
)


@dataclass(slots=True)
class Shard:
    """A row of the shard table, as a walk sees it and leaves it."""

    no: int
    id: bytes
    voters: int
    # The ownership cursor has passed the log records of this term in this feed through this seq.
    at_term: int
    at_feed: int
    at_seq: int
    at_idx: int  # so many records of the next entry are passed, too
    own_pos: int
    results_pos: int
    own_root: bytes
    results_root: bytes
    anew: bool
    behind: bool = False
    stuck: bool = False
    mark: tuple[int, bytes] = (0, b"")  # how far its acts are judged, see `acts.Mark`
    waits: tuple[bytes, int, int] | None = None  # for a results entry: site, generation, seq


HERE: Final = 0
LEFT: Final = 1
COMING: Final = 2  # its state has moved here, and the results cursor is not at the adopt yet


@dataclass(frozen=True, slots=True)
class Member:
    """What the fold needs to know of a dataset of the log."""

    no: int
    id: bytes
    shard: int
    pos: int  # in its log, of the record that brought it
    person: bytes
    group: str
    jobs: int
    cells: int
    extend: bool
    quarantined: bool
    moved: bool  # the ownership cursor has seen it leave
    away: int  # for the results cursor: HERE, LEFT or COMING
    adopted: bool

    @property
    def base(self) -> int:
        """Number of its first task."""
        return self.no * TASKS_PER_DATASET


@dataclass(slots=True)
class TaskRow:
    """A task: what it waits for within its dataset, and its counters. All tasks by number."""

    no: int
    jobs: int
    parents: tuple[int, ...]
    retry_max: int
    settled: int
    failed: int
    blocked: int
    cancelled: int
    ready: int
    early: int
    duplicates: int

    @property
    def dead(self) -> bool:
        """Whether any unit of it will not be settled as things are."""
        return bool(self.failed or self.blocked or self.cancelled)


_MEMBER = (
    "SELECT no, id, shard, pos, person, grp, jobs, cells, extend, quarantined IS NOT NULL,"
    " moved IS NOT NULL, away, source IS NOT NULL FROM dataset"
)
_TASK = (
    "SELECT no, jobs, parents, retry_max, settled, failed, blocked, cancelled, ready, early,"
    " duplicates FROM task"
)
_NO_PARENTS: Final = "[]"


def select(conn: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a statement; the schema is strict about their types."""
    return conn.execute(sql, bindings).fetchall()


def dataset_of(task: int) -> int:
    """Number of the dataset of a task."""
    return task // TASKS_PER_DATASET


def member_by_id(conn: apsw.Connection, dataset: bytes, shard: int) -> Member | None:
    """A dataset of the shard of this local number, if it is in its log."""
    for row in select(conn, _MEMBER + " WHERE id = ? AND shard = ?", (dataset, shard)):
        return _member(row)
    return None


def _member(row: Sequence[Any]) -> Member:
    no, id_, shard, pos, person, group, jobs, cells, *flags, moved, away, adopted = row
    extend, quarantined = map(bool, flags)
    return Member(
        no,
        id_,
        shard,
        pos,
        person,
        group,
        jobs,
        cells,
        extend,
        quarantined,
        bool(moved),
        away,
        bool(adopted),
    )


def read_tasks(conn: apsw.Connection, dataset: int) -> dict[int, TaskRow]:
    """Every task of a dataset, by number, in order."""
    first = dataset * TASKS_PER_DATASET
    bounds = (first, first + TASKS_PER_DATASET - 1)
    return {
        row[0]: _task(row)
        for row in select(conn, _TASK + " WHERE no BETWEEN ? AND ? ORDER BY no", bounds)
    }


def _task(row: Sequence[Any]) -> TaskRow:
    no, jobs, text, *others = row
    parents: tuple[int, ...] = ()
    if text != _NO_PARENTS:
        first = no - no % TASKS_PER_DATASET
        parents = tuple(first + index for index in json.loads(text))
    return TaskRow(no, jobs, parents, *others)
