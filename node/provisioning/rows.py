"""Books and breakers as they stand in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from node.provisioning.book import Book
from node.provisioning.breaker import Breaker
from node.provisioning.jobs import Cancel, Job, Submission
from node.provisioning.shapes import Shape
from node.store import submissions as store
from node.store.submissions import JobRow, SubmissionRow
from schedulers.base import JobName, JobState


def read_book(conn: apsw.Connection, system: str, announce_s: float, now_s: float) -> Book:
    """Every submission to a batch system that has a row; ages begin anew."""
    book = Book(announce_s)
    by_number: dict[int, Submission] = {}
    for row in store.kept(conn, system):
        by_number[row.no] = submission_of(row, now_s)
        book.add(by_number[row.no])
    for job in store.jobs(conn, system):
        by_number[job.submission].jobs[JobName(job.job)] = _job(job, now_s)
    return book


def submission_of(row: SubmissionRow, now_s: float) -> Submission:
    return Submission(
        row.no, row.tag, Shape.load(row.shape), row.count, row.pilot, now_s, row.folder,
        doubtful=row.doubtful, ended=row.ended_ms is not None, words=row.words,
    )  # fmt: skip


def _job(row: JobRow, now_s: float) -> Job:
    cancelled = None if row.cancelled is None else Cancel[row.cancelled]
    return Job(
        JobName(row.job), JobState(row.state), now_s, row.words, row.host, row.exit, row.pilot,
        cancelled=cancelled, over=row.over, given_up=row.given_up,
    )  # fmt: skip


def job_row(submission: Submission, job: Job, wall_ms: int) -> JobRow:
    cancelled = None if job.cancelled is None else job.cancelled.name
    return JobRow(
        submission.no, job.name, job.state.value, job.words, job.host, job.exit, job.pilot,
        cancelled, job.over, job.given_up, wall_ms,
    )  # fmt: skip


def dump_breakers(breakers: Mapping[Shape, Breaker]) -> list[dict[str, Any]]:
    """Those that are open, or nearly."""
    return [
        {
            "shape": shape.dump(),
            "strikes": each.strikes,
            "opened": each.opened,
            "why": each.why,
            "most": each.most,
            "limit": each.limit if each.most else "",
        }
        for shape, each in breakers.items()
        if each.strikes or each.opened or each.most
    ]


def load_breakers(memory: Iterable[Mapping[str, Any]], now_s: float) -> dict[Shape, Breaker]:
    """An open one begins with a single try: the time that it still had is not known."""
    return {
        Shape.load(each["shape"]): Breaker(
            each["strikes"],
            each["opened"],
            why=each["why"],
            news_s=now_s,
            limit=each.get("limit", ""),
            most=each.get("most", 0),
        )
        for each in memory
    }
