"""Jobs that others call as our submissions are called, in a listing of everybody's."""

from __future__ import annotations

from node.provisioning.book import Book
from node.provisioning.jobs import Inquiry, Submission
from node.provisioning.shapes import Shape
from schedulers.base import JobName, JobState, Report

SHAPE = Shape("default", 1, 0, 1 << 30, 0, 7200)
KNOWN, DOUBTED = "floe-maui-00000001", "floe-maui-00000002"
OURS, OTHERS, FOUND = JobName("1.pbs"), JobName("9.pbs"), JobName("2.pbs")


def row(tag: str, owner: str, state: JobState = JobState.QUEUED) -> Report:
    return Report(state, tag=tag, owner=owner)


def in_doubt() -> tuple[Book, Submission]:
    """A book with a job that has a name, and a submission that may have made one."""
    book = Book(900.0)
    for number, tag in enumerate((KNOWN, DOUBTED), start=1):
        book.add(Submission(number, tag, SHAPE, 1, number, 0.0, f"/pilots/{tag}"))
    book.named(KNOWN, [OURS], 0.0)
    book.listed({OURS: row(KNOWN, "ana")}, 10.0, 10.0)
    return book, book.submissions[DOUBTED]


def test_a_submission_in_doubt_takes_no_job_of_another_account():
    book, doubted = in_doubt()
    listing = {OURS: row(KNOWN, "ana"), OTHERS: row(DOUBTED, "eve"), FOUND: row(DOUBTED, "ana")}
    changes = book.listed(listing, 20.0, 20.0)
    assert list(doubted.jobs) == [FOUND]
    assert book.foreign == 1
    assert not changes.cancel


def test_nor_does_it_where_it_is_looked_up():
    book, doubted = in_doubt()
    found = {
        OTHERS: row(DOUBTED, "eve", JobState.DONE),
        FOUND: row(DOUBTED, "ana", JobState.RUNNING),
    }
    book.looked_up(Inquiry([], [], [DOUBTED]), found, True, 20.0)
    assert list(doubted.jobs) == [FOUND]


def test_where_owners_are_not_told_the_tag_is_all_there_is():
    book, doubted = in_doubt()
    book.listed({OURS: row(KNOWN, "ana"), FOUND: row(DOUBTED, "")}, 20.0, 20.0)
    assert list(doubted.jobs) == [FOUND]
