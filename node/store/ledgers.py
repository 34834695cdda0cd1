"""SQL over the folded tables for a leader that shares work out: owners, releases, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import apsw

from federation.ids import DatasetID, ShardID, SiteID
from keys.signing import DIGEST_BYTES
from node.ranges import JobRanges
from node.store.openwork import LEFT_TO_DO

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


def place(conn: apsw.Connection, dataset: int) -> tuple[DatasetID, ShardID, SiteID] | None:
    """A dataset's id, its shard, and who leads that."""
    row = conn.execute(
        "SELECT dataset.id, shard.id, shard.leader FROM dataset"
        " JOIN shard ON shard.no = dataset.shard WHERE dataset.no = ?",
        (dataset,),
    ).fetchone()
    return None if row is None else (DatasetID(row[0]), ShardID(row[1]), SiteID(row[2]))


def number(conn: apsw.Connection, dataset: bytes, shard: bytes) -> int | None:
    """Local number of a dataset as it stands in one shard."""
    row = conn.execute(
        "SELECT dataset.no FROM dataset JOIN shard ON shard.no = dataset.shard"
        " WHERE dataset.id = ? AND shard.id = ?",
        (dataset, shard),
    ).fetchone()
    return None if row is None else int(row[0])


def account_of(conn: apsw.Connection, label: bytes) -> tuple[str, bytes] | None:
    """Group and person of the dataset whose id begins so; None if none is known here."""
    row = conn.execute(
        "SELECT grp, person FROM dataset WHERE id BETWEEN ? AND ? LIMIT 1",
        (label.ljust(DIGEST_BYTES, b"\0"), label.ljust(DIGEST_BYTES, b"\xff")),
    ).fetchone()
    return None if row is None else (str(row[0]), bytes(row[1]))


def owns_any(conn: apsw.Connection, dataset: int, site: bytes) -> bool:
    """Whether a site owns units of a dataset, over or not."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM task JOIN owner ON owner.task = task.no"
        " WHERE task.dataset = ? AND owner.site = (SELECT no FROM site WHERE key = ?))"
    )
    return bool(conn.execute(sql, (dataset, site)).fetchall()[0][0])


def owned_datasets(conn: apsw.Connection, site: bytes) -> list[int]:
    """Datasets of any log that are not finished and of which a site owns units, oldest first."""
    rows: Iterable[tuple[int]] = conn.execute(
        "SELECT no FROM dataset WHERE quarantined IS NULL AND shard IN (SELECT no FROM shard"
        f" WHERE anew = 0) AND {LEFT_TO_DO}"
        " AND EXISTS (SELECT 1 FROM task JOIN owner ON owner.task = task.no"
        " WHERE task.dataset = dataset.no AND owner.site = (SELECT no FROM site WHERE key = ?))"
        " ORDER BY no",
        (site,),
    )
    return [no for (no,) in rows]


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
