"""SQL over the folded tables for a leader that shares work out: owners, releases, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import apsw

from federation.ids import SiteID
from node.ranges import JobRanges

Flat = Sequence[int]


def owners(conn: apsw.Connection, task: int) -> Mapping[SiteID, Flat]:
    """Which units of a task each site owns, less what it gave back."""
    rows: Iterable[tuple[bytes, int, int]] = conn.execute(
        "SELECT site.key, lo, hi FROM owner JOIN site ON site.no = owner.site"
        " WHERE task = ? ORDER BY lo",
        (task,),
    )
    found: dict[SiteID, list[int]] = {}
    for key, lo, hi in rows:
        found.setdefault(SiteID(key), []).extend((lo, hi))
    back = JobRanges(released(conn, task))
    return {site: back.lacking(flat) for site, flat in found.items()} if back else found


def released(conn: apsw.Connection, task: int, site: bytes | None = None) -> list[int]:
    """Units of a task that their owner gave back and nobody was granted since.

    site: only of that owner.
    """
    rows: Iterable[tuple[int, int]] = conn.execute(
        "SELECT lo, hi FROM released WHERE task = ?1"
        " AND (?2 IS NULL OR site = (SELECT no FROM site WHERE key = ?2)) ORDER BY lo",
        (task, site),
    )
    return [bound for row in rows for bound in row]


def all_released(conn: apsw.Connection, site: bytes) -> Mapping[int, Flat]:
    """By task, what a site gave back and nobody was granted since."""
    rows: Iterable[tuple[int, int, int]] = conn.execute(
        "SELECT task, lo, hi FROM released"
        " WHERE site = (SELECT no FROM site WHERE key = ?) ORDER BY task, lo",
        (site,),
    )
    found: dict[int, list[int]] = {}
    for task, lo, hi in rows:
        found.setdefault(task, []).extend((lo, hi))
    return found


def unit_times(conn: apsw.Connection, dataset: int) -> Iterable[tuple[int, float]]:
    """(task, mean wall time in seconds of its settled units) of a dataset's tasks with any."""
    return [
        (task, wall_ms / settled / 1000)
        for task, wall_ms, settled in conn.execute(
            "SELECT no, wall_ms, settled FROM task WHERE dataset = ? AND settled", (dataset,)
        )
    ]


def was_granted(conn: apsw.Connection, shard: bytes, site: bytes) -> bool:
    """Whether a site was ever granted units of a shard's datasets: whose results count there."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM shard JOIN dataset ON dataset.shard = shard.no"
        " JOIN task ON task.dataset = dataset.no JOIN granted ON granted.task = task.no"
        " WHERE shard.id = ? AND granted.site = (SELECT no FROM site WHERE key = ?))"
    )
    return bool(conn.execute(sql, (shard, site)).fetchall()[0][0])
