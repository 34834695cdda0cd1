"""Which sites say that they keep second copies of units' outputs.

No part of any log: where to ask for a file, and how many have it. Whoever fetches one checks its
digest.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.records import Holds, Record, Refused
from node.fold.shape import select
from node.fold.step import Step, site_no
from node.ranges import JobRanges, ranges_of


def note(step: Step, records: Sequence[Record | Refused]) -> None:
    """Keep what an entry of a results feed says of copies."""
    for record in records:
        if isinstance(record, Holds):
            _add(step, record)


def _add(step: Step, record: Holds) -> None:
    conn, flat = step.conn, ranges_of(set(record.jobs))
    key = (record.dataset, record.task, site_no(conn, step.ref.feed.site))
    ranges = JobRanges(flat)
    touching = (
        "DELETE FROM copy WHERE dataset = ? AND idx = ? AND site = ? AND lo <= ? AND hi >= ?"
        " RETURNING lo, hi"
    )
    for lo, hi in select(conn, touching, (*key, flat[-1], flat[0])):
        ranges.add(lo, hi)
    conn.executemany(
        "INSERT INTO copy VALUES (?, ?, ?, ?, ?)",
        [(*key, lo, hi) for lo, hi in zip(ranges.flat[::2], ranges.flat[1::2], strict=True)],
    )
