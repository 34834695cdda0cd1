"""Forgetting what was folded of a shard's log, and nothing else, so that it can be folded again.

Local numbers of its datasets stay: leases and answers name units by them.
"""

from __future__ import annotations

from typing import Final

import apsw

from node.fold import roots
from node.fold.shape import TASKS_PER_DATASET, Shard, select

_OF_TASKS: Final = (
    "owner",
    "granted",
    "settled",
    "fault",
    "surplus",
    "troubled",
    "cancelled",
    "reproducing",
)
_OF_DATASETS: Final = ("task", "command", "left_at")
_OF_SHARD: Final = (
    "pending",
    "position",
    "accepted",
    "forced",
    "usage",
    "refused",
    "root_at",
    "answered",
    "adopted",
    "mirror",
    "dataset",
)


def tied(conn: apsw.Connection, shard: int) -> set[int]:
    """The shard and all that datasets which moved tie to it: local numbers."""
    found, todo = {shard}, [shard]
    while todo:
        no = todo.pop()
        sql = (
            "SELECT source FROM adopted WHERE shard = ?1"
            " UNION SELECT shard FROM adopted WHERE source = ?1"
        )
        new = {other for (other,) in select(conn, sql, (no,))} - found
        found |= new
        todo += new
    return found


def forget(conn: apsw.Connection, shard: int) -> list[int]:
    """Delete every row that the shard's log made; the numbers of its datasets."""
    numbers = [no for (no,) in select(conn, "SELECT no FROM dataset WHERE shard = ?", (shard,))]
    mirrors = [no for (no,) in select(conn, "SELECT no FROM mirror WHERE shard = ?", (shard,))]
    for no in (*numbers, *mirrors):
        first = no * TASKS_PER_DATASET
        tasks = (first, first + TASKS_PER_DATASET - 1)
        for table in _OF_TASKS:
            conn.execute(f"DELETE FROM {table} WHERE task BETWEEN ? AND ?", tasks)
        conn.execute("DELETE FROM dependency WHERE child BETWEEN ? AND ?", tasks)
        for table in _OF_DATASETS:
            conn.execute(f"DELETE FROM {table} WHERE dataset = ?", (no,))
    for table in _OF_SHARD:
        conn.execute(f"DELETE FROM {table} WHERE shard = ?", (shard,))
    return numbers


def first_root(conn: apsw.Connection, shard: Shard) -> bytes:
    """The root of a log before its first record."""
    sql = "SELECT council FROM shard WHERE no = ?"
    council = select(conn, sql, (shard.no,))[0][0]
    return roots.of_founding(shard.id, [council[i : i + 32] for i in range(0, len(council), 32)])
