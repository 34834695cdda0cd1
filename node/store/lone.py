"""SQL over the folded tables: units whose outputs one site alone keeps, of those that are left."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import apsw

from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, SiteID
from node.fold.reproducing import RESTORED


class Task(NamedTuple):
    """A task of which units are settled. no: its local number; idx: its index."""

    no: int
    idx: int
    jobs: int
    dataset: int  # local number
    id: DatasetID


class Lone(NamedTuple):
    """Jobs of one task, settled by one entry, that one site keeps, or nobody but it is known to."""

    entry: EntryRef
    keeper: SiteID
    jobs: list[int]


def tasks(conn: apsw.Connection) -> list[Task]:
    """Every task of which a unit is settled."""
    sql = (
        "SELECT t.no, t.idx, t.jobs, d.no, d.id FROM task t JOIN dataset d ON d.no = t.dataset"
        " WHERE t.settled AND d.quarantined IS NULL"
        " AND d.shard IN (SELECT no FROM shard WHERE anew = 0) ORDER BY t.no"
    )
    return [
        Task(no, idx, jobs, dataset, DatasetID(id_))
        for no, idx, jobs, dataset, id_ in conn.execute(sql)
    ]


def lone(
    conn: apsw.Connection, task: Task, lo: int, hi: int, lost: Collection[SiteID]
) -> list[Lone]:
    """Of the settled jobs lo..hi - 1, those with one keeper that is not lost.

    Keepers are who made a unit, who made it again just so, and who says that it holds a copy.
    """
    others = _holders(conn, task, lo, hi, lost)
    sql = (
        "SELECT s.job, f.site, f.generation, e.seq, e.id FROM settled s"
        " JOIN entry e ON e.no = s.entry JOIN feed f ON f.no = e.feed"
        " WHERE s.task = ? AND s.job >= ? AND s.job < ? ORDER BY s.job"
    )
    found: dict[tuple[bytes, bytes], Lone] = {}
    for job, author, generation, seq, id_ in conn.execute(sql, (task.no, lo, hi)):
        keepers = others.get(job, set())
        if author not in lost:
            keepers = keepers | {author}
        if len(keepers) == 1:
            (keeper,) = keepers
            each = found.get((id_, keeper))
            if each is None:
                feed = FeedID(SiteID(author), generation, Lane.RESULTS)
                each = Lone(EntryRef(feed, seq, EntryID(id_)), SiteID(keeper), [])
                found[id_, keeper] = each
            each.jobs.append(job)
    return list(found.values())


def _holders(
    conn: apsw.Connection, task: Task, lo: int, hi: int, lost: Collection[SiteID]
) -> dict[int, set[bytes]]:
    """By job, the sites that keep its outputs and did not settle it."""
    copies = (
        "SELECT site.key, max(lo, ?3), min(hi, ?4) FROM copy JOIN site ON site.no = copy.site"
        " WHERE dataset = ?1 AND idx = ?2 AND lo < ?4 AND hi > ?3"
    )
    again = (
        "SELECT f.site, s.job, s.job + 1 FROM surplus s JOIN entry e ON e.no = s.entry"
        " JOIN feed f ON f.no = e.feed WHERE s.task = ? AND s.job >= ? AND s.job < ? AND s.why = ?"
    )
    rows = [
        *conn.execute(copies, (task.id, task.idx, lo, hi)),
        *conn.execute(again, (task.no, lo, hi, RESTORED)),
    ]
    found: dict[int, set[bytes]] = {}
    for site, first, end in rows:
        if site not in lost:
            for job in range(first, end):
                found.setdefault(job, set()).add(site)
    return found
