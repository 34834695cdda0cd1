"""Shards as people look at them: who leads, who votes, how far everything is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import apsw

from federation.ids import ShardID, SiteID
from keys.signing import KEY_BYTES
from node.fold.shape import select
from node.store.feeds import Feeds

SKIPPED_MAX: Final = 1000  # the newest are told of: a site may write any number of them


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard whose founding is here."""

    id: ShardID
    founder: SiteID
    leader: SiteID
    term: int
    council: tuple[SiteID, ...]
    datasets: int
    open: int  # of them, not finished
    position: int  # log records folded
    unsettled: int  # of them, not settled yet
    unsettled_hlc: int  # clock of the oldest of those; 0 for none
    waits: int  # of them, for results entries that are not here
    forced: bool


def shards(conn: apsw.Connection) -> list[ShardRow]:
    """Every shard that holds a dataset, and those that this node founded or sits in last."""
    sql = (
        "SELECT s.id, s.founder, s.leader, s.term, s.council,"
        " (SELECT count(*) FROM dataset d WHERE d.shard = s.no),"
        " (SELECT count(*) FROM dataset d WHERE d.shard = s.no AND EXISTS (SELECT 1 FROM task t"
        " WHERE t.dataset = d.no AND t.settled + t.cancelled < t.jobs)),"
        " s.own_pos, s.own_pos - s.results_pos,"
        " EXISTS (SELECT 1 FROM forced f WHERE f.shard = s.no),"
        f" (SELECT json_array(coalesce(sum(l.records), 0), min(l.entry)) {_BEYOND})"
        " FROM shard s ORDER BY s.no"
    )
    return [_row(conn, *row) for row in select(conn, sql)]


def leader(conn: apsw.Connection, shard: ShardID) -> SiteID:
    """Who leads a shard whose founding is here, by its newest term."""
    return SiteID(select(conn, "SELECT leader FROM shard WHERE id = ?", (shard,))[0][0])


# Entries of the newest leader that its council has not settled, where it has more than one seat.
_BEYOND: Final = (
    "FROM log_entry l JOIN feed f ON f.no = l.feed AND f.site = s.leader"
    " AND f.generation = s.generation LEFT JOIN settlement x ON x.shard = s.no"
    " AND x.site = s.leader AND x.generation = s.generation WHERE l.shard = s.id"
    " AND s.voters > 1 AND l.seq > coalesce(x.seq, 0)"
)


def _row(
    conn: apsw.Connection,
    id_: bytes,
    founder: bytes,
    leader: bytes,
    term: int,
    council: bytes,
    datasets: int,
    open_: int,
    position: int,
    waits: int,
    forced: int,
    beyond: str,
) -> ShardRow:
    unsettled, oldest = json.loads(beyond)
    return ShardRow(
        ShardID(id_),
        SiteID(founder),
        SiteID(leader),
        term,
        _keys(council),
        datasets,
        open_,
        position,
        unsettled,
        0 if oldest is None else Feeds(conn).by_number(oldest).header.hlc,
        waits,
        bool(forced),
    )


def granted(conn: apsw.Connection) -> Mapping[SiteID, int]:
    """Units that each site owns and that are not settled."""
    sql = (
        "SELECT s.key, sum(o.hi - o.lo - (SELECT count(*) FROM settled x WHERE x.task = o.task"
        " AND x.job >= o.lo AND x.job < o.hi)) FROM owner o JOIN site s ON s.no = o.site"
        " JOIN task t ON t.no = o.task WHERE t.settled + t.cancelled < t.jobs GROUP BY s.key"
    )
    return {SiteID(key): int(units) for key, units in select(conn, sql)}


def roots(conn: apsw.Connection) -> Mapping[ShardID, Mapping[int, str]]:
    """Roots of the results cursor, by shard and by the log position at which they stood."""
    sql = (
        "SELECT s.id, r.pos, r.root FROM root_at r JOIN shard s ON s.no = r.shard"
        " WHERE r.cursor = 1 UNION ALL SELECT id, results_pos, results_root FROM shard"
        " WHERE results_pos > 0"
    )
    found: dict[ShardID, dict[int, str]] = {}
    for id_, pos, root in select(conn, sql):
        found.setdefault(ShardID(id_), {})[pos] = bytes(root).hex()
    return found


def tips(conn: apsw.Connection) -> Mapping[tuple[SiteID, int, int], int]:
    """The newest entry held, by site, generation and lane."""
    sql = "SELECT site, generation, lane, seq FROM feed"
    return {
        (SiteID(site), generation, lane): int(seq)
        for site, generation, lane, seq in select(conn, sql)
    }


def troubles(conn: apsw.Connection) -> list[str]:
    """What an admin must hear of: entries and datasets that could not be folded."""
    (entries,) = select(conn, "SELECT count(*) FROM quarantine")[0]
    (sets,) = select(conn, "SELECT count(*) FROM dataset WHERE quarantined IS NOT NULL")[0]
    counted = [(entries, "entry", "entries"), (sets, "dataset", "datasets")]
    what = " and ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in counted if n)
    return [f"{what} could not be folded here, and set aside: floe doctor"] if what else []


def skipped(conn: apsw.Connection) -> Mapping[SiteID, tuple[int, str]]:
    """Records that everybody skips, by author: how many of the newest, and why the last one was."""
    sql = (
        "SELECT f.site, count(*), r.why, max(r.entry) FROM"
        " (SELECT entry, why FROM refused ORDER BY entry DESC LIMIT ?) r"
        " JOIN entry e ON e.no = r.entry JOIN feed f ON f.no = e.feed GROUP BY f.site"
    )
    return {
        SiteID(site): (int(count), str(why))
        for site, count, why, _ in select(conn, sql, (SKIPPED_MAX,))
    }


def _keys(joined: bytes) -> tuple[SiteID, ...]:
    return tuple(SiteID(joined[at : at + KEY_BYTES]) for at in range(0, len(joined), KEY_BYTES))
