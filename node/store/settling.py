"""What logs have accepted and their councils have not settled yet: it may still be withdrawn."""

from __future__ import annotations

from typing import Final

import apsw

from federation.records import Results, decode
from node.fold.shape import TASKS_PER_DATASET, select


def settled_pos(conn: apsw.Connection, shard: int) -> int:
    """How many records of a shard's log, from its first on, are folded here and settled.

    shard: local number. Where the leader alone acks, all that it wrote is settled.
    """
    for own_pos, voters in select(conn, "SELECT own_pos, voters FROM shard WHERE no = ?", (shard,)):
        if voters == 1:
            return int(own_pos)
        for (beyond,) in select(conn, _BEYOND, (shard,)):
            return int(own_pos - beyond)
    return 0


# Records behind the settled place (no row where nothing is settled), up to the cursor.
_BEYOND: Final = """
WITH here AS (
    SELECT s.id, g.no, s.at_seq FROM shard s JOIN segment g
        ON g.shard = s.no AND g.term = s.at_term AND g.feed = s.at_feed
    WHERE s.no = ?1
), place AS (
    SELECT g.no, x.seq FROM settlement x JOIN segment g ON g.shard = x.shard AND g.term = x.term
        JOIN feed f ON f.no = g.feed AND f.site = x.site AND f.generation = x.generation
    WHERE x.shard = ?1
)
SELECT (
    SELECT coalesce(sum(l.records), 0) FROM segment g JOIN log_entry l
        ON l.shard = here.id AND l.feed = g.feed AND l.seq >= g.first
            AND l.seq <= coalesce(g.through, l.seq) AND l.seq < coalesce(g.until, l.seq + 1)
    WHERE g.shard = ?1 AND (g.no, l.seq) > (place.no, place.seq)
        AND (g.no, l.seq) <= (here.no, here.at_seq)
) FROM here JOIN place
"""


def unsettled(conn: apsw.Connection, dataset: int) -> dict[int, int]:
    """{task: how many of its units} of a dataset are accepted by a log and not settled yet.

    Tasks without any are left out. Quick where little is unsettled: reads those entries.
    """
    sql = "SELECT id, shard FROM dataset WHERE no = ?"
    found: dict[int, int] = {}
    for id_, shard in select(conn, sql, (dataset,)):
        through = settled_pos(conn, shard)
        for entry, body in select(conn, _ACCEPTED, (shard, through)):
            for index, (low, high) in _spans(body, id_).items():
                task = dataset * TASKS_PER_DATASET + index
                units = _settled_by(conn, task, entry, low, high)
                found[task] = found.get(task, 0) + units
    return {task: units for task, units in found.items() if units}


def _spans(body: bytes | None, dataset: bytes) -> dict[int, tuple[int, int]]:
    """{task index: lowest and highest job} of a dataset that a results entry tells of."""
    found: dict[int, tuple[int, int]] = {}
    for record in decode(body) if body is not None else ():
        if isinstance(record, Results) and record.dataset == dataset:
            low, high = found.get(record.task, (record.jobs[0], record.jobs[0]))
            found[record.task] = min(low, *record.jobs), max(high, *record.jobs)
    return found


_ACCEPTED: Final = (
    "SELECT a.entry, e.body FROM accepted a JOIN entry e ON e.no = a.entry"
    " WHERE a.shard = ? AND a.pos > ?"
)


def is_settled(conn: apsw.Connection, task: int, job: int) -> bool:
    """Whether the council has settled the result of a unit that its log has accepted."""
    sql = (
        "SELECT a.pos, a.shard FROM settled s JOIN dataset d ON d.no = s.task / 64"
        " JOIN accepted a ON a.entry = s.entry AND a.shard = d.shard"
        " WHERE s.task = ? AND s.job = ?"
    )
    return all(pos <= settled_pos(conn, shard) for pos, shard in select(conn, sql, (task, job)))


def _settled_by(conn: apsw.Connection, task: int, entry: int, low: int, high: int) -> int:
    """How many units of a task an entry settled, whose jobs lie in low..high."""
    sql = "SELECT count(*) FROM settled WHERE task = ? AND job BETWEEN ? AND ? AND entry = ?"
    return int(select(conn, sql, (task, low, high, entry))[0][0])
