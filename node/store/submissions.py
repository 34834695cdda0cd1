"""SQL for submissions to batch systems and their jobs: site-local rows that nobody folds.

Writing functions run inside the journal's transaction; each is one statement over a batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

ENDED_KEPT = 500  # submissions whose late jobs are still known


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """One submission, written before it is made."""

    no: int
    tag: str
    system: str
    shape: str
    count: int
    pilot: int
    submitted_ms: int
    doubtful: bool = True
    ended_ms: int | None = None
    words: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job of a submission."""

    submission: int
    job: str
    state: str
    words: str
    host: str
    exit: int | None
    pilot: int | None
    cancelled: str | None
    over: bool
    given_up: bool
    changed_ms: int


_SUBMISSION = (
    "no, tag, system, shape, count, pilot, submitted_ms, doubtful, ended_ms, words, folder"
)
_JOB = "submission, job, state, words, host, exit, pilot, cancelled, over, given_up, changed_ms"


def kept(conn: apsw.Connection, system: str) -> list[SubmissionRow]:
    """All submissions to a batch system that have rows, oldest first."""
    sql = f"SELECT {_SUBMISSION} FROM submission WHERE system = ? ORDER BY no"
    return [_submission(row) for row in conn.execute(sql, (system,))]


def jobs(conn: apsw.Connection, system: str) -> list[JobRow]:
    """All jobs of those."""
    names = ", ".join(f"j.{name.strip()}" for name in _JOB.split(","))
    sql = (
        f"SELECT {names} FROM batch_job AS j JOIN submission AS s ON s.no = j.submission "
        "WHERE s.system = ? ORDER BY j.submission, j.job"
    )
    return [_job(row) for row in conn.execute(sql, (system,))]


def living(conn: apsw.Connection) -> list[tuple[str, int]]:
    """Batch systems with submissions that are not over, and how many these are."""
    sql = "SELECT system, count(*) FROM submission WHERE ended_ms IS NULL GROUP BY system"
    return [(str(system), int(count)) for system, count in conn.execute(f"{sql} ORDER BY system")]


def next_number(conn: apsw.Connection) -> int:
    """Above all that were used."""
    found = conn.execute("SELECT max(no) FROM submission").get
    return int(found or 0) + 1


def intend(conn: apsw.Connection, row: SubmissionRow) -> None:
    """A submission is about to be made; the oldest ended ones are dropped."""
    conn.execute(
        "INSERT INTO submission(no, tag, system, shape, count, pilot, submitted_ms, folder) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.no,
            row.tag,
            row.system,
            row.shape,
            row.count,
            row.pilot,
            row.submitted_ms,
            row.folder,
        ),
    )
    old = (row.no - ENDED_KEPT,)
    ended = "SELECT no FROM submission WHERE no <= ? AND ended_ms IS NOT NULL"
    conn.execute(f"DELETE FROM batch_job WHERE submission IN ({ended})", old)
    conn.execute("DELETE FROM submission WHERE no <= ? AND ended_ms IS NOT NULL", old)


def put_jobs(conn: apsw.Connection, rows: Iterable[JobRow]) -> None:
    """New jobs, or what is new of old ones."""
    packed = json.dumps([
        [
            row.submission, row.job, row.state, row.words, row.host, row.exit, row.pilot,
            row.cancelled, int(row.over), int(row.given_up), row.changed_ms,
        ]
        for row in rows
    ])  # fmt: skip
    picked = ", ".join(f"value ->> {at}" for at in range(len(_JOB.split(","))))
    conn.execute(
        f"INSERT OR REPLACE INTO batch_job({_JOB}) SELECT {picked} FROM json_each(?)", (packed,)
    )


def certain(conn: apsw.Connection, numbers: Sequence[int]) -> None:
    """All jobs of these submissions are known."""
    conn.execute(
        "UPDATE submission SET doubtful = 0 WHERE no IN (SELECT value FROM json_each(?))",
        (json.dumps(list(numbers)),),
    )


def ended(conn: apsw.Connection, no: int, ended_ms: int, words: str) -> None:
    """The last job of a submission is over."""
    conn.execute(
        "UPDATE submission SET doubtful = 0, ended_ms = ?, words = ? WHERE no = ?",
        (ended_ms, words, no),
    )


def memory(conn: apsw.Connection, system: str) -> Any:
    """What `remember` wrote last; None if it never did."""
    found = conn.execute("SELECT memory FROM batch_system WHERE name = ?", (system,)).get
    return None if found is None else json.loads(found)


def settings(conn: apsw.Connection, system: str) -> str:
    """How it was last spoken to; "" if nobody ever did."""
    found = conn.execute("SELECT settings FROM batch_system WHERE name = ?", (system,)).get
    return str(found or "")


def remember(conn: apsw.Connection, system: str, memory: Any, settings: str) -> None:
    conn.execute(
        "INSERT OR REPLACE INTO batch_system(name, memory, settings) VALUES (?, ?, ?)",
        (system, json.dumps(memory), settings),
    )


def _submission(row: Sequence[Any]) -> SubmissionRow:
    fields = [*row]
    fields[7] = bool(row[7])
    return SubmissionRow(*fields)


def _job(row: Sequence[Any]) -> JobRow:
    fields = [*row]
    fields[8], fields[9] = bool(row[8]), bool(row[9])
    return JobRow(*fields)
