"""SQL for pilots and leases: site-local rows that nobody folds.

Writing functions run inside the journal's transaction; each is one statement over a batch.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import apsw

WHOLE = -1  # `part` of a batch that is stored completely
ENDED_KEPT = 1000  # ended pilots that `floe pilots --all` can still show


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One pilot: submitted, perhaps announced, perhaps ended."""

    no: int
    tag: str
    scheduler: str
    job: str
    token: bytes
    announcements: int
    session: bytes | None
    host: str
    pid: int
    isolation: str
    resources: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 0
    part: int = WHOLE
    submitted_ms: int = 0
    announced_ms: int | None = None
    ended_ms: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    no: int
    pilot: int
    task: int
    flat: Sequence[int]


_PILOT = (
    "no, tag, scheduler, job, token, announcements, session, host, pid, isolation, resources, "
    "batch, part, submitted_ms, announced_ms, ended_ms, why"
)


def live(conn: apsw.Connection) -> list[PilotRow]:
    """Pilots that have not ended, oldest first."""
    rows = conn.execute(f"SELECT {_PILOT} FROM pilot WHERE ended_ms IS NULL ORDER BY no")
    return [_pilot(row) for row in rows]


def recent(conn: apsw.Connection, limit: int) -> list[PilotRow]:
    """The newest pilots, ended ones included."""
    rows = conn.execute(f"SELECT {_PILOT} FROM pilot ORDER BY no DESC LIMIT ?", (limit,))
    return [_pilot(row) for row in rows]


def leases(conn: apsw.Connection) -> list[LeaseRow]:
    """All leases, oldest first."""
    rows = conn.execute("SELECT no, pilot, task, jobs FROM lease ORDER BY no")
    return [LeaseRow(no, pilot, task, unpack_ranges(jobs)) for no, pilot, task, jobs in rows]


def next_numbers(conn: apsw.Connection) -> tuple[int, int]:
    """Numbers for the next pilot and the next lease, above all that were used."""
    rows = list(conn.execute("SELECT max(no) FROM pilot UNION ALL SELECT max(no) FROM lease"))
    return (rows[0][0] or 0) + 1, (rows[1][0] or 0) + 1


def add_pilot(conn: apsw.Connection, row: PilotRow) -> None:
    conn.execute(
        "INSERT INTO pilot(no, tag, scheduler, job, token, announcements, submitted_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.no, row.tag, row.scheduler, row.job, row.token, row.announcements, row.submitted_ms),
    )


def submitted(conn: apsw.Connection, pilot: int, job: str) -> None:
    """The batch system took the pilot and calls it so."""
    conn.execute("UPDATE pilot SET job = ? WHERE no = ?", (job, pilot))


def announced(conn: apsw.Connection, row: PilotRow, several: PilotRow | None = None) -> None:
    """A pilot has come up, for the first time or again.

    several: of the token with which it did, if that goes on serving for others.
    """
    if several is not None:
        sql = "UPDATE pilot SET announcements = ? WHERE no = ?"
        conn.execute(sql, (several.announcements, several.no))
        add_pilot(conn, replace(several, no=row.no, tag=row.tag, announcements=0))
    conn.execute(
        "UPDATE pilot SET announcements = ?, session = ?, host = ?, pid = ?, isolation = ?, "
        "job = coalesce(nullif(?, ''), job), resources = ?, announced_ms = ? WHERE no = ?",
        (
            row.announcements, row.session, row.host, row.pid, row.isolation, row.job,
            json.dumps(dict(row.resources)), row.announced_ms, row.no,
        ),
    )  # fmt: skip


def ended(conn: apsw.Connection, pilot: int, ended_ms: int, why: str) -> None:
    """A pilot is gone; its leases go with it, and very old ended ones are dropped."""
    conn.execute(
        "UPDATE pilot SET ended_ms = ?, why = ? WHERE no = ? AND ended_ms IS NULL",
        (ended_ms, why, pilot),
    )
    conn.execute("DELETE FROM lease WHERE pilot = ?", (pilot,))
    conn.execute("DELETE FROM pilot WHERE no <= ? AND ended_ms IS NOT NULL", (pilot - ENDED_KEPT,))


def set_batches(conn: apsw.Connection, rows: Iterable[tuple[int, int, int]]) -> None:
    """(batch, part, pilot) of reports whose results stand in the same transaction."""
    conn.executemany("UPDATE pilot SET batch = ?, part = ? WHERE no = ?", rows)


def add_leases(conn: apsw.Connection, rows: Iterable[LeaseRow]) -> None:
    conn.executemany(
        "INSERT OR REPLACE INTO lease(no, pilot, task, jobs) VALUES (?, ?, ?, ?)",
        [(row.no, row.pilot, row.task, pack_ranges(row.flat)) for row in rows],
    )


def drop_leases(conn: apsw.Connection, numbers: Sequence[int]) -> None:
    conn.execute(
        "DELETE FROM lease WHERE no IN (SELECT value FROM carray(?))",
        (apsw.carray(array("q", numbers)),),
    )


def pack_ranges(flat: Sequence[int]) -> bytes:
    packed = array("q", flat)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tobytes()


def unpack_ranges(data: bytes) -> list[int]:
    packed = array("q")
    packed.frombytes(data)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tolist()


def _pilot(row: Sequence[Any]) -> PilotRow:
    fields = [*row]
    fields[10] = json.loads(row[10])
    return PilotRow(*fields)
