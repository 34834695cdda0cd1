"""SQL: units of other logs that tasks of logs led here wait for, and where those stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from node.fold.shape import HERE, TASKS_PER_DATASET, select
from node.ranges import JobRanges
from node.store import openwork


class Wanted(NamedTuple):
    """Settled units of a task that a log waits for and has not got.

    place: of the other log; they are settled there at it or before.
    """

    shard: ShardID  # that waits
    dataset: DatasetID
    task: int  # index
    ranges: list[int]
    source: ShardID
    place: EntryRef

    @property
    def key(self) -> tuple[ShardID, DatasetID, int]:
        return self.shard, self.dataset, self.task


_WAITS = (
    "SELECT w.no, w.id, x.parent_id, x.parent_idx,"
    " max(CASE x.jobs WHEN 0 THEN t.jobs ELSE x.jobs END)"
    " FROM shard w JOIN dataset d ON d.shard = w.no JOIN dependency x"
    f" ON x.child BETWEEN d.no * {TASKS_PER_DATASET} AND d.no * {TASKS_PER_DATASET}"
    f" + {TASKS_PER_DATASET - 1} JOIN task t ON t.no = x.child"
    " WHERE w.leader = ? AND w.generation = ? AND w.stopped = 0 AND w.anew = 0"
    " AND d.away = ? AND d.moved IS NULL AND t.settled + t.cancelled < t.jobs"
    " AND NOT EXISTS (SELECT 1 FROM dataset p"
    " WHERE p.id = x.parent_id AND p.shard = w.no AND p.away = ?)"
    " GROUP BY w.no, x.parent_id, x.parent_idx"
)
_SOURCE = (
    "SELECT d.no, s.id, s.at_idx, f.site, f.generation, e.seq, e.id FROM dataset d"
    " JOIN shard s ON s.no = d.shard JOIN feed f ON f.no = s.at_feed"
    " JOIN entry e ON e.feed = f.no AND e.seq = s.at_seq"
    " WHERE d.id = ? AND d.away = ? AND d.quarantined IS NULL AND s.anew = 0 ORDER BY d.no"
)


def wanted(conn: apsw.Connection, site: bytes, generation: int) -> list[Wanted]:
    """What the logs that this generation of a site writes wait for, of one snapshot."""
    found = []
    for no, shard, dataset, index, jobs in select(conn, _WAITS, (site, generation, HERE, HERE)):
        for parent, source, idx, *entry in select(conn, _SOURCE, (dataset, HERE)):
            ranges = [] if idx else _lacking(conn, no, dataset, parent, index, jobs)
            if ranges:
                id_, source_id = DatasetID(dataset), ShardID(source)
                found.append(Wanted(ShardID(shard), id_, index, ranges, source_id, _ref(entry)))
                break
    return found


def _lacking(
    conn: apsw.Connection, shard: int, dataset: bytes, parent: int, index: int, jobs: int
) -> list[int]:
    """The first jobs of a task that are settled in its own log, and do not serve in a shard's."""
    task = parent * TASKS_PER_DATASET + index
    sql = "SELECT no FROM mirror WHERE shard = ? AND id = ?"
    rows = select(conn, sql, (shard, dataset))
    mirrored = rows[0][0] * TASKS_PER_DATASET + index if rows else -1
    if _settled(conn, mirrored) >= _settled(conn, task):
        return []
    here = JobRanges(openwork.settled(conn, mirrored))
    return JobRanges(here.lacking(openwork.settled(conn, task))).common([0, jobs])


def _settled(conn: apsw.Connection, task: int) -> int:
    rows = select(conn, "SELECT settled FROM task WHERE no = ?", (task,))
    return int(rows[0][0]) if rows else 0


def _ref(row: list[Any]) -> EntryRef:
    site, generation, seq, id_ = row
    return EntryRef(FeedID(SiteID(site), generation, Lane.CONTROL), seq, EntryID(id_))
