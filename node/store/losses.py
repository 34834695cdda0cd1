"""SQL over the folded tables: who made and who keeps the outputs that units still need."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import apsw

from federation.ids import DatasetID, Lane, ShardID, SiteID
from node.fold.odd import AWAY
from node.fold.reproducing import DIFFERS, RESTORED
from node.fold.shape import HERE
from node.ranges import ranges_of
from node.store.openwork import LEFT_TO_DO

Flat = Sequence[int]


class Parent(NamedTuple):
    """A dataset whose log this site writes."""

    no: int
    id: DatasetID
    shard: ShardID


def authors(conn: apsw.Connection) -> list[SiteID]:
    """Every site of whose results something is here."""
    sql = "SELECT DISTINCT site FROM feed WHERE lane = ?"
    return [SiteID(site) for (site,) in conn.execute(sql, (int(Lane.RESULTS),))]


def open_anywhere(conn: apsw.Connection) -> list[tuple[int, int]]:
    """(number, jobs) of the datasets of all logs with units that have to run, or to run again."""
    sql = (
        "SELECT no, jobs FROM dataset WHERE quarantined IS NULL AND away = ?"
        f" AND shard IN (SELECT no FROM shard WHERE anew = 0) AND {LEFT_TO_DO} ORDER BY no"
    )
    return [(no, jobs) for no, jobs in conn.execute(sql, (HERE,))]


def led(conn: apsw.Connection, dataset: bytes, site: bytes, generation: int) -> Parent | None:
    """The dataset of this id, if it stands in a log that this generation of a site writes."""
    row = conn.execute(
        "SELECT d.no, d.id, s.id FROM dataset d JOIN shard s ON s.no = d.shard WHERE d.id = ?"
        " AND s.leader = ? AND s.generation = ? AND s.stopped = 0 AND s.anew = 0"
        " AND d.moved IS NULL AND d.away = ? AND d.quarantined IS NULL",
        (dataset, site, generation, HERE),
    ).fetchone()
    return None if row is None else Parent(row[0], DatasetID(row[1]), ShardID(row[2]))


def made_by(conn: apsw.Connection, task: int, sites: Collection[SiteID]) -> list[int]:
    """Ranges of a task's units that results of these sites settled. Slow for millions."""
    sql = (
        "SELECT s.job FROM settled s JOIN entry e ON e.no = s.entry WHERE s.task = ?"
        " AND e.feed IN (SELECT value FROM carray(?)) ORDER BY s.job"
    )
    feeds = _feeds(conn, sites)
    return ranges_of(job for (job,) in conn.execute(sql, (task, feeds))) if sites else []


def kept(conn: apsw.Connection, dataset: bytes, index: int, lost: Collection[SiteID]) -> list[int]:
    """Ranges of a task's units whose outputs a site that is not lost says that it keeps."""
    rows = conn.execute(
        "SELECT site.key, lo, hi FROM copy JOIN site ON site.no = copy.site"
        " WHERE dataset = ? AND idx = ?",
        (dataset, index),
    )
    return [bound for key, lo, hi in rows if key not in lost for bound in (lo, hi)]


def restored(conn: apsw.Connection, task: int, lost: Collection[SiteID]) -> list[int]:
    """Ranges of a task's units that a site which is not lost made again, just as before."""
    rows = conn.execute(
        "SELECT s.job, f.site FROM surplus s JOIN entry e ON e.no = s.entry"
        " JOIN feed f ON f.no = e.feed WHERE s.task = ? AND s.why = ?",
        (task, RESTORED),
    )
    return ranges_of({job for job, site in rows if site not in lost})


def differing(conn: apsw.Connection, task: int, times: int) -> list[int]:
    """Ranges of a task's units that came out differently so often, when they were made again."""
    rows = conn.execute(
        "SELECT job FROM surplus WHERE task = ? AND why = ? GROUP BY job HAVING count(*) >= ?",
        (task, DIFFERS, times),
    )
    return ranges_of({job for (job,) in rows})


def unfetched(conn: apsw.Connection, task: int) -> list[int]:
    """Ranges of a task's units that were lost because what they read was not to be had."""
    rows = conn.execute("SELECT job FROM fault WHERE task = ? AND error = ?", (task, AWAY))
    return ranges_of({job for (job,) in rows})


def _feeds(conn: apsw.Connection, sites: Iterable[SiteID]) -> object:
    numbers = [
        no
        for site in sites
        for (no,) in conn.execute(
            "SELECT no FROM feed WHERE site = ? AND lane = ?", (site, int(Lane.RESULTS))
        )
    ]
    return apsw.carray(array("q", numbers or [-1]))
