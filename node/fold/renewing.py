"""The order `renew`: outputs that were made again, and came out otherwise, count from now on.

What was lost does not come back, so the first ones give way. Units of the dataset that have read
them are withdrawn, and run again; what read those is judged when they are settled, as ever: where a
unit puts out what it did before, nothing behind it has to run.

Source: docs/protocol.md, "Lost outputs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from node.fold import reading, withdraw
from node.fold.made import Made, Success
from node.fold.reproducing import DIFFERS, SUPERSEDED, settle_matter
from node.fold.sets import Jobs
from node.fold.shape import Member, read_tasks, select

VERB = "renew"

# In the order of the log that has the dataset now; what a log before it counted comes first.
_DIFFERENT = (
    "SELECT x.job, x.entry, x.row FROM surplus x JOIN entry e ON e.no = x.entry"
    " JOIN feed f ON f.no = e.feed LEFT JOIN accepted a ON a.entry = x.entry AND a.shard = ?"
    " WHERE x.task = ? AND x.why = ?"
    " ORDER BY x.job, coalesce(a.pos, 0), f.site, f.generation, e.seq, x.row"
)


def renew(
    conn: apsw.Connection, made: Made, member: Member, tasks: Sequence[int], chosen: Jobs | None
) -> dict[int, list[int]]:
    """Of the chosen units, let the last attempts count that came out otherwise. By task, the jobs
    of all units whose outputs are not what they were: those, and the ones that are withdrawn.

    chosen: jobs; None: all.
    """
    changed = {task: _take_over(conn, made, member, task, chosen) for task in tasks}
    changed = {task: jobs for task, jobs in changed.items() if jobs}
    for task, jobs in [*changed.items()]:
        for child in read_tasks(conn, member.no).values():
            if task not in child.parents:
                continue
            stale = reading.stale_among(conn, made, member.id, child, jobs)
            if stale:
                withdraw.withdraw(conn, made, member.id, child, stale)
                changed[child.no] = sorted({*changed.get(child.no, ()), *stale})
    return changed


def _take_over(
    conn: apsw.Connection, made: Made, member: Member, task: int, chosen: Jobs | None
) -> list[int]:
    """Let attempts that differ take the place of the first ones; the jobs."""
    last = {
        job: (entry, row)
        for job, entry, row in select(conn, _DIFFERENT, (member.shard, task, DIFFERS))
        if chosen is None or job in chosen
    }
    first = made.of(conn, member.id, task, sorted(last))
    _swap(conn, task, first, {job: last[job] for job in first})
    return sorted(first)


def _swap(
    conn: apsw.Connection,
    task: int,
    first: Mapping[int, Success],
    last: Mapping[int, tuple[int, int]],
) -> None:
    for job, (entry, row) in last.items():
        old = first[job]
        key = (task, job)
        conn.execute("UPDATE settled SET entry = ? WHERE task = ? AND job = ?", (entry, *key))
        conn.execute(
            "DELETE FROM surplus WHERE task = ? AND job = ? AND entry = ? AND row = ?",
            (*key, entry, row),
        )
        conn.execute(
            "INSERT OR IGNORE INTO surplus VALUES (?, ?, ?, ?, ?)",
            (*key, old.entry, old.row, SUPERSEDED),
        )
        settle_matter(conn, task, job)
