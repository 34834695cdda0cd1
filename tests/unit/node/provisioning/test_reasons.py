"""Why pilots wait: what listings say, what is asked for, and how it is told."""

from __future__ import annotations

from node.model.dataset import Needs
from node.provisioning.jobs import Job, Submission, standing
from node.provisioning.reasons import UNASKED_S, Reasons
from node.provisioning.settings import Factory
from node.provisioning.shapes import shape_for
from schedulers.base import JobName, JobState

SHAPE = shape_for(Factory(), Needs())


def submission(*jobs: tuple[str, JobState, str]) -> Submission:
    made = Submission(1, "floe-a-1", SHAPE, len(jobs), 1, 0.0, "")
    for name, state, words in jobs:
        made.jobs[JobName(name)] = Job(JobName(name), state, 0.0, words)
    return made


def test_a_reason_that_many_share_is_told_once_and_does_not_hide_another_one():
    held, queued = JobState.HELD, JobState.QUEUED
    book = [
        submission(
            ("1", held, "held by ana"), ("2", held, "held by ana"), ("3", held, "no disk"),
            ("4", queued, "waits for room"), ("5", queued, "waits for room"), ("6", queued, ""),
        )
    ]  # fmt: skip
    reasons = Reasons()
    reasons.hear(book)
    assert reasons.waits[SHAPE] == "job 1 and 1 more are held by ana; job 3 is held: no disk"
    del book[0].jobs[JobName("3")]
    reasons.hear(book)
    told = "job 1 and 1 more are held by ana; job 4 and 1 more wait for room"
    assert reasons.waits[SHAPE] == told


def test_what_is_held_without_a_word_is_asked_about_at_once_and_what_waits_after_a_minute():
    book = [submission(("1", JobState.QUEUED, ""), ("2", JobState.QUEUED, "no room"))]
    reasons = Reasons()
    assert reasons.next(book, UNASKED_S - 1) is None
    assert reasons.next(book, UNASKED_S) == (book[0], book[0].jobs[JobName("1")])
    book.append(submission(("3", JobState.HELD, "")))
    found = reasons.next(book, 0.0)
    assert found is not None
    assert found[1].name == "3"


def test_the_first_question_about_a_kind_that_is_held_waits_for_no_turn():
    book = [submission(("1", JobState.HELD, ""), ("2", JobState.HELD, ""))]
    first, second = book[0].jobs.values()
    reasons = Reasons()
    assert reasons.next(book, 0.0, again=False) == (book[0], first)
    assert reasons.next(book, 0.0, again=False) is None
    reasons.answered(book[0], first, "no disk")
    first.over = True
    reasons.hear(book)
    assert reasons.next(book, 0.0, again=False) == (book[0], second)
    queued = [submission(("3", JobState.QUEUED, ""))]
    assert reasons.next(queued, UNASKED_S, again=False) is None


def test_an_answer_stands_for_all_that_wait_like_that_job_as_long_as_it_does():
    held = JobState.HELD
    book = [submission(("1", held, ""), ("2", held, ""), ("3", JobState.QUEUED, ""))]
    first, second, third = book[0].jobs.values()
    reasons = Reasons()
    reasons.answered(book[0], first, "can't chdir")
    reasons.hear(book)
    assert reasons.waits[SHAPE] == "job 1 and 1 more are held: can't chdir"
    assert reasons.words(SHAPE, second) == "can't chdir"
    assert reasons.words(SHAPE, third) == ""
    first.state = JobState.QUEUED
    reasons.hear(book)
    assert reasons.waits == {}


def test_nothing_is_said_of_a_kind_of_pilots_once_one_has_started():
    book = [submission(("1", JobState.HELD, ""))]
    reasons = Reasons()
    reasons.answered(book[0], book[0].jobs[JobName("1")], "")
    reasons.hear(book)
    assert reasons.waits[SHAPE] == "job 1 is held: no reason given"
    reasons.started(SHAPE)
    assert reasons.waits == {}


def test_a_job_that_is_held_by_somebody_is_not_said_to_be_held_twice():
    assert standing("4711", True, "held by an admin") == "job 4711 is held by an admin"
    assert standing("4711", True, "held") == "job 4711 is held"
    assert standing("4711", True, "JobHeldAdmin") == "job 4711 is held: JobHeldAdmin"
    assert standing("4711", True, "") == "job 4711 is held, and no reason is given"
    assert standing("4711", False, "no room") == "job 4711 waits: no room"
    assert standing("4711", False, "waits for room", 2) == "job 4711 and 2 more wait for room"
