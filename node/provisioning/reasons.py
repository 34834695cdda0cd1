"""Why pilots wait in a batch system, in its own words. Pure.

Its listing says it of some, most of all of those that are held; of others it is asked, one job at a
time, and what it says of one stands for all that wait as that one does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from node.provisioning.jobs import Job, Submission, standing
from node.provisioning.shapes import Shape
from schedulers.base import JobState

UNASKED_S: Final = 60.0  # a pilot may wait so long before anybody asks why
TOLD_MAX: Final = 2  # reasons why pilots of a shape are held


@dataclass(frozen=True, slots=True)
class Answer:
    """What the batch system said of a job, which was held or not."""

    job: Job
    held: bool
    said: str

    @property
    def stands(self) -> bool:
        """Whether the job still waits as it did."""
        return not self.job.over and self.job.queued and _held(self.job) == self.held


class Reasons:
    """waits: what is to be told of each shape."""

    def __init__(self) -> None:
        self.waits: dict[Shape, str] = {}
        self._answers: dict[Shape, Answer] = {}
        self._asked: set[Shape] = set()  # of which some are held

    def hear(self, book: Iterable[Submission]) -> None:
        """A new listing has come."""
        for shape in [shape for shape, each in self._answers.items() if not each.stands]:
            del self._answers[shape]
            self._asked.discard(shape)
        told: dict[Shape, dict[str, list[Job]]] = defaultdict(lambda: defaultdict(list))
        for submission, job in _waiting(book):
            if said := self.words(submission.shape, job):
                told[submission.shape][said].append(job)
        self.waits = {shape: _words(jobs) for shape, jobs in told.items()}

    def words(self, shape: Shape, job: Job) -> str:
        """Why it waits, as far as it is known; "" if not."""
        answer = self._answers.get(shape)
        if job.words or answer is None or not job.queued or _held(job) != answer.held:
            return job.words
        return answer.said

    def next(
        self, book: Iterable[Submission], now_s: float, *, again: bool = True
    ) -> tuple[Submission, Job] | None:
        """Of which job to ask why it waits: one that is held, else the one that waits longest.

        again: it is time for another question; without it only for the first about a shape that is
        held.
        """
        waiting = [
            (not _held(job), job.since_s, submission, job)
            for submission, job in _waiting(book)
            if job.missing_s is None and not job.words
        ]
        held = {submission.shape for queued, _, submission, _ in waiting if not queued}
        self._asked &= held
        fresh = held - self._asked
        if fresh:
            waiting = [each for each in waiting if each[2].shape in fresh]
        if not waiting or not (fresh or again):
            return None
        queued, since_s, submission, job = min(waiting, key=lambda each: each[:2])
        if queued and now_s - since_s < UNASKED_S:
            return None
        self._asked |= fresh & {submission.shape}
        return submission, job

    def answered(self, submission: Submission, job: Job, said: str) -> None:
        self._answers[submission.shape] = Answer(job, _held(job), said or "no reason given")

    def started(self, shape: Shape) -> None:
        """A pilot of that shape has announced itself."""
        self.waits.pop(shape, None)
        self._answers.pop(shape, None)


def _waiting(book: Iterable[Submission]) -> Iterator[tuple[Submission, Job]]:
    return ((each, job) for each in book for job in each.living if job.queued)


def _held(job: Job) -> bool:
    return job.state is JobState.HELD


def _words(told: dict[str, list[Job]]) -> str:
    """The reasons of most pilots; those that are held first."""
    most = sorted(told.items(), key=lambda each: (not _held(each[1][0]), -len(each[1])))
    return "; ".join(
        standing(jobs[0].name, _held(jobs[0]), said, len(jobs) - 1)
        for said, jobs in most[:TOLD_MAX]
    )
