"""SQL over the folded tables for dispatch and the leader: what is open, owned, done, shut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

import apsw

from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Results, cells, decode
from keys.signing import KEY_BYTES
from node.fold.shape import TASKS_PER_DATASET
from node.ranges import JobRanges, ranges_of

Flat = Sequence[int]

# A shard that stood beyond a cut is not to be acted on before it is folded again.
_WHOLE = "shard IN (SELECT no FROM shard WHERE anew = 0)"
_UNFINISHED = (
    "EXISTS (SELECT 1 FROM task WHERE task.dataset = dataset.no"
    " AND task.settled + task.cancelled < task.jobs)"
)
# Units of a finished dataset may have to run again, as their outputs are lost.
LEFT_TO_DO = (
    f"({_UNFINISHED} OR EXISTS (SELECT 1 FROM reproducing WHERE reproducing.task"
    f" BETWEEN dataset.no * {TASKS_PER_DATASET} AND dataset.no * {TASKS_PER_DATASET}"
    f" + {TASKS_PER_DATASET - 1}))"
)


class DatasetRow(NamedTuple):
    id: DatasetID
    shard: ShardID
    person: bytes
    group: str
    priority: int
    jobs: int
    position: int  # in its shard's log
    paused: bool
    led: bool  # this site writes that log
    still: bool  # this site wrote it, in an earlier generation: nobody does now


class StillShard(NamedTuple):
    """A shard in which nothing goes on: its leader's database was put back from a copy, or its
    council has no majority."""

    id: ShardID
    term: int  # the highest that is known
    cut: EntryRef  # the newest entry held of its leader's control feed
    datasets: int
    open: Sequence[tuple[bytes, str, int]]  # (id, name, units left) of those not finished
    why: str = ""  # for people; "" for one whose only voter was this site
    for_good: bool = True  # only an admin can end it


class ForcedShard(NamedTuple):
    """That a shard was forced on, for ever."""

    shard: ShardID
    term: int
    generation: int  # that leads from there
    cut_generation: int
    cut_seq: int
    by: str  # the admin's name, or a piece of the key
    hlc: int


def council_sizes(conn: apsw.Connection, site: bytes) -> tuple[int, int]:
    """Voters of the council of the newest shard that a site leads, 0 for none; of the largest."""
    rows: list[tuple[Any, ...]] = conn.execute(
        "SELECT leader, length(council) FROM shard ORDER BY no"
    ).fetchall()
    own = [int(length) for leader, length in rows if leader == site]
    largest = max((int(length) for _, length in rows), default=0)
    return (own[-1] if own else 0) // KEY_BYTES, largest // KEY_BYTES


def led_shards(conn: apsw.Connection, site: bytes, generation: int) -> list[ShardID]:
    """Shards whose log this generation of a site writes, the newest last."""
    rows = conn.execute(
        "SELECT id FROM shard WHERE leader = ? AND generation = ? AND stopped = 0 AND anew = 0"
        " ORDER BY no",
        (site, generation),
    )
    return [ShardID(id) for (id,) in rows]


def still_shards(conn: apsw.Connection, site: bytes, generation: int) -> list[StillShard]:
    """Shards with datasets that an earlier generation of a site led alone: nobody does now."""
    rows: list[tuple[Any, ...]] = conn.execute(
        "SELECT s.no, s.id, s.term, f.generation, f.seq, f.id,"
        " (SELECT count(*) FROM dataset WHERE shard = s.no) AS datasets"
        " FROM shard s JOIN feed f ON f.site = s.leader AND f.generation = s.generation"
        " AND f.lane = ? WHERE s.leader = ? AND s.generation < ? AND s.voters = 1 AND datasets"
        " ORDER BY s.no",
        (int(Lane.CONTROL), site, generation),
    ).fetchall()
    return [
        StillShard(
            ShardID(id),
            term,
            EntryRef(FeedID(SiteID(site), old, Lane.CONTROL), seq, EntryID(entry)),
            datasets,
            _left(conn, no),
        )
        for no, id, term, old, seq, entry, datasets in rows
    ]


def still_datasets(conn: apsw.Connection, site: bytes, generation: int) -> list[int]:
    """Unfinished datasets of the shards that nobody leads now, oldest first."""
    rows = conn.execute(
        "SELECT no FROM dataset WHERE quarantined IS NULL AND shard IN"
        " (SELECT no FROM shard WHERE leader = ? AND generation < ?)"
        f" AND {_UNFINISHED} ORDER BY no",
        (site, generation),
    )
    return [no for (no,) in rows]


def forced(conn: apsw.Connection, shard: bytes | None = None) -> list[ForcedShard]:
    """When shards were forced on, in order; shard: only that one."""
    rows: Iterable[tuple[Any, ...]] = conn.execute(
        "SELECT s.id, f.term, f.generation, f.cut_generation, f.cut_seq,"
        " coalesce((SELECT name FROM person p WHERE p.site = f.site AND p.key = f.person),"
        " substr(lower(hex(f.person)), 1, 8)), f.hlc FROM forced f"
        " JOIN shard s ON s.no = f.shard WHERE ?1 IS NULL OR s.id = ?1"
        " ORDER BY f.shard, f.term",
        (shard,),
    )
    return [ForcedShard(ShardID(row[0]), *row[1:]) for row in rows]


def shard_work(
    conn: apsw.Connection, shard: ShardID
) -> tuple[int, Sequence[tuple[bytes, str, int]]]:
    """How many datasets a shard has, and (id, name, units left) of those not finished."""
    sql = "SELECT no, (SELECT count(*) FROM dataset d WHERE d.shard = s.no) FROM shard s"
    rows: list[tuple[Any, ...]] = conn.execute(f"{sql} WHERE id = ?", (shard,)).fetchall()
    return (rows[0][1], _left(conn, rows[0][0])) if rows else (0, [])


def _left(conn: apsw.Connection, shard: int) -> list[tuple[bytes, str, int]]:
    rows: Iterable[tuple[Any, ...]] = conn.execute(
        "SELECT d.id, d.name, sum(t.jobs - t.settled - t.cancelled) AS units FROM dataset d"
        " JOIN task t ON t.dataset = d.no WHERE d.shard = ? GROUP BY d.no HAVING units > 0"
        " ORDER BY d.no",
        (shard,),
    )
    return [(id, name, units) for id, name, units in rows]


def unaccepted(conn: apsw.Connection, shard: bytes) -> list[EntryRef]:
    """The newest entry of each results feed that the shard's log has not accepted up to there."""
    rows = conn.execute(
        "SELECT feed.site, feed.generation, feed.seq, feed.id FROM feed "
        "LEFT JOIN site ON site.key = feed.site "
        "LEFT JOIN position ON position.site = site.no AND position.generation = feed.generation "
        "AND position.shard = (SELECT no FROM shard WHERE id = ?) "
        "WHERE feed.lane = ? AND feed.seq > coalesce(position.through, 0)",
        (shard, int(Lane.RESULTS)),
    )
    return [
        EntryRef(FeedID(SiteID(site), generation, Lane.RESULTS), seq, EntryID(id))
        for site, generation, seq, id in rows
    ]


def open_datasets(conn: apsw.Connection, site: bytes, generation: int) -> list[int]:
    """Datasets of led shards with units that have to run, or to run again, oldest first."""
    rows = conn.execute(
        "SELECT no FROM dataset WHERE quarantined IS NULL AND moved IS NULL AND shard IN "
        "(SELECT no FROM shard WHERE leader = ? AND generation = ? AND anew = 0) "
        f"AND {LEFT_TO_DO} ORDER BY no",
        (site, generation),
    )
    return [no for (no,) in rows]


def dataset(conn: apsw.Connection, no: int, site: bytes, generation: int) -> DatasetRow | None:
    """One dataset; None if there is none of that number, or if it is quarantined or folded anew."""
    row = conn.execute(
        "SELECT dataset.id, shard.id, person, grp, priority, jobs, dataset.pos, paused, "
        "moved IS NULL AND leader = ?1 AND generation = ?2, leader = ?1 AND generation < ?2 "
        "FROM dataset JOIN shard ON shard.no = dataset.shard "
        f"WHERE dataset.no = ?3 AND quarantined IS NULL AND dataset.{_WHOLE}",
        (site, generation, no),
    ).fetchone()
    if row is None:
        return None
    return DatasetRow._make([*row[:7], *map(bool, row[7:])])


def council(conn: apsw.Connection, shard: ShardID) -> list[SiteID]:
    """The voters of a shard; none for one that is not known."""
    keys = conn.execute("SELECT council FROM shard WHERE id = ?", (shard,)).get or b""
    return [SiteID(keys[at : at + KEY_BYTES]) for at in range(0, len(keys), KEY_BYTES)]


def council_of(conn: apsw.Connection, dataset: int) -> list[SiteID]:
    """The voters of a dataset's shard."""
    sql = "SELECT s.id FROM dataset d JOIN shard s ON s.no = d.shard WHERE d.no = ?"
    shard = conn.execute(sql, (dataset,)).get
    return [] if shard is None else council(conn, ShardID(shard))


def site_name(conn: apsw.Connection, site: bytes) -> str:
    row = conn.execute("SELECT name FROM site WHERE key = ?", (site,)).fetchone()
    return "" if row is None else str(row[0])


def number(conn: apsw.Connection, dataset_id: bytes) -> int | None:
    row = conn.execute("SELECT no FROM dataset WHERE id = ?", (dataset_id,)).fetchone()
    return None if row is None else int(row[0])


def dataset_id(conn: apsw.Connection, no: int) -> bytes | None:
    row = conn.execute("SELECT id FROM dataset WHERE no = ?", (no,)).fetchone()
    return None if row is None else bytes(row[0])


def tasks(conn: apsw.Connection, no: int) -> list[tuple[int, int, int, Mapping[str, Any]]]:
    """(task, index, settled, overrides of its needs) of a dataset's tasks."""
    rows = conn.execute(
        "SELECT no, idx, settled, needs FROM task WHERE dataset = ? ORDER BY idx", (no,)
    )
    return [
        (task, idx, settled, json.loads(needs) if needs else {})
        for task, idx, settled, needs in rows
    ]


def foreign(conn: apsw.Connection, task: int) -> list[tuple[int | None, bytes, int, int]]:
    """(parent task or None, its dataset's id, its index, n of "all n jobs" or 0) of a task."""
    return list(
        conn.execute(
            "SELECT parent, parent_id, parent_idx, jobs FROM dependency WHERE child = ?", (task,)
        )
    )


def owned(conn: apsw.Connection, task: int, site: bytes) -> list[int]:
    """Ranges of a task that a site owns."""
    rows = conn.execute(
        "SELECT lo, hi FROM owner WHERE task = ? "
        "AND site = (SELECT no FROM site WHERE key = ?) ORDER BY lo",
        (task, site),
    )
    return _flat(rows)


def owned_by_anyone(conn: apsw.Connection, task: int) -> list[int]:
    return _flat(conn.execute("SELECT lo, hi FROM owner WHERE task = ? ORDER BY lo", (task,)))


def settled(conn: apsw.Connection, task: int) -> list[int]:
    """Ranges of settled jobs, but for those that run again. Slow for millions: read it once, at
    start."""
    rows = conn.execute(
        "SELECT min(job), max(job) + 1 FROM (SELECT job, job - row_number() OVER (ORDER BY job) "
        "AS run FROM settled WHERE task = ?) GROUP BY run ORDER BY 1",
        (task,),
    )
    found = _flat(rows)
    again = reproducing(conn, task)
    if not again:
        return found
    left = JobRanges(found)
    left.remove_all(again)
    return left.flat


def reproducing(conn: apsw.Connection, task: int) -> list[int]:
    """Ranges of settled jobs that run again, as their outputs are lost."""
    rows = conn.execute("SELECT job FROM reproducing WHERE task = ?", (task,))
    return ranges_of(job for (job,) in rows)


def reported(conn: apsw.Connection, no: int, site: bytes) -> dict[int, list[int]]:
    """{task: jobs, flat} of successes of a dataset's units that a site wrote and the dataset's log
    has not accepted yet. Decodes what lies beyond: long after a long time without the leader."""
    rows: Iterable[tuple[bytes, bytes]] = conn.execute(
        "SELECT d.id, e.body FROM dataset d JOIN feed f ON f.site = ?2 AND f.lane = ?3"
        " LEFT JOIN position p ON p.shard = d.shard AND p.generation = f.generation"
        " AND p.site = (SELECT no FROM site WHERE key = ?2)"
        " JOIN entry e ON e.feed = f.no AND e.seq > coalesce(p.through, 0)"
        " WHERE d.no = ?1 AND e.body IS NOT NULL",
        (no, site, int(Lane.RESULTS)),
    )
    found: dict[int, set[int]] = {}
    for id_, body in rows:
        for record in decode(body):
            if isinstance(record, Results) and record.dataset == id_:
                outcomes = cells(record.outcome, len(record.jobs))
                jobs = compress(record.jobs, (not outcome for outcome in outcomes))
                found.setdefault(no * TASKS_PER_DATASET + record.task, set()).update(jobs)
    return {task: ranges_of(jobs) for task, jobs in found.items()}


def shut(conn: apsw.Connection, task: int) -> list[int]:
    """Ranges of jobs that are cancelled or failed."""
    flat = _flat(conn.execute("SELECT lo, hi FROM cancelled WHERE task = ?", (task,)))
    for (job,) in conn.execute("SELECT job FROM troubled WHERE task = ? AND failed", (task,)):
        flat += (job, job + 1)
    return flat


def faults(conn: apsw.Connection, task: int) -> Iterable[tuple[int, int, str]]:
    """(job, outcome, error class) of every failed attempt of units that are not settled."""
    return conn.execute(
        "SELECT job, outcome, error FROM fault WHERE task = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM settled WHERE settled.task = ?1 AND settled.job = fault.job)",
        (task,),
    )


def entries_of(conn: apsw.Connection, task: int, lo: int, hi: int) -> Iterable[tuple[int, int]]:
    """(entry, job) of settled jobs in lo..hi - 1, in order of the entries."""
    return conn.execute(
        "SELECT entry, job FROM settled WHERE task = ? AND job >= ? AND job < ? ORDER BY entry",
        (task, lo, hi),
    )


def body(conn: apsw.Connection, entry: int) -> bytes | None:
    row = conn.execute("SELECT body FROM entry WHERE no = ?", (entry,)).fetchone()
    return None if row is None else row[0]


def _flat(rows: Iterable[tuple[int, int]]) -> list[int]:
    flat: list[int] = []
    for lo, hi in rows:
        flat += (lo, hi)
    return flat
