"""SQL: what keeps settled units from serving those that wait for them, and datasets from moving on.

Units run again whose outputs were lost, and may come out otherwise; units of another log serve once
they are imported; and a dataset between two logs waits for the second one.
"""

from __future__ import annotations

import apsw

from node.fold.reproducing import DIFFERS
from node.fold.shape import TASKS_PER_DATASET, dataset_of

_LEADER = (
    "coalesce(nullif(site.name, ''), substr(lower(hex(shard.leader)), 1, 8)) FROM shard"
    " LEFT JOIN site ON site.key = shard.leader"
)


def again(conn: apsw.Connection, task: int, lo: int, hi: int) -> int:
    """How many of a task's jobs from lo to hi - 1 run again, as their outputs were lost."""
    sql = "SELECT count(*) FROM reproducing WHERE task = ? AND job >= ? AND job < ?"
    return int(conn.execute(sql, (task, lo, hi)).get)


def differing(conn: apsw.Connection, task: int, lo: int, hi: int) -> int:
    """How many of a task's jobs from lo to hi - 1 came out otherwise when they ran again, after
    others had read what they made first; those that run once more are left out."""
    sql = (
        "SELECT count(DISTINCT job) FROM surplus x WHERE task = ?1 AND job >= ?2 AND job < ?3"
        " AND why = ?4 AND NOT EXISTS (SELECT 1 FROM reproducing r WHERE r.task = x.task"
        " AND r.job = x.job)"
    )
    return int(conn.execute(sql, (task, lo, hi, DIFFERS)).get)


def not_imported(
    conn: apsw.Connection, dataset: int, task: int, lo: int, hi: int
) -> tuple[int, str]:
    """How many of the settled jobs from lo to hi - 1 of a task in another log the log of a dataset
    has not got yet, and who leads the other one; (0, "") for one log."""
    row = conn.execute(
        "SELECT parent.shard, parent.id, child.shard FROM dataset parent, dataset child"
        " WHERE parent.no = ? AND child.no = ? AND parent.shard <> child.shard",
        (dataset_of(task), dataset),
    ).fetchone()
    if row is None:
        return 0, ""
    source, id_, shard = row
    mirror = conn.execute("SELECT no FROM mirror WHERE shard = ? AND id = ?", (shard, id_)).get
    mirrored = -1 if mirror is None else mirror * TASKS_PER_DATASET + task % TASKS_PER_DATASET
    lacking = conn.execute(
        "SELECT count(*) FROM settled s WHERE task = ?1 AND job >= ?2 AND job < ?3"
        " AND NOT EXISTS (SELECT 1 FROM settled m WHERE m.task = ?4 AND m.job = s.job)",
        (task, lo, hi, mirrored),
    ).get
    return int(lacking), str(conn.execute(f"SELECT {_LEADER} WHERE shard.no = ?", (source,)).get)


def moving_to(conn: apsw.Connection, dataset: int) -> str:
    """Who leads the log to which a dataset is on its way; "" while it stands in one."""
    sql = f"SELECT {_LEADER} WHERE shard.id = (SELECT moved FROM dataset WHERE no = ?)"
    return str(conn.execute(sql, (dataset,)).get or "")
