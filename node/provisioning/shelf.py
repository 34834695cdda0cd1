"""The submissions to one batch system that matter still, and how many pilots they make up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from node.provisioning.jobs import Job, Submission
from node.provisioning.shapes import Shape
from schedulers.base import JobName, Report


class Shelf:
    """Submissions by their tags; those that have ended stay, for jobs that come back."""

    def __init__(self) -> None:
        self.submissions: dict[str, Submission] = {}
        self._account = ""  # what the batch system calls the owner of our jobs, where it tells

    def __iter__(self) -> Iterator[Submission]:
        return iter([each for each in self.submissions.values() if not each.ended])

    @property
    def empty(self) -> bool:
        """Whether all have ended."""
        return all(each.ended for each in self.submissions.values())

    def add(self, submission: Submission) -> None:
        """An intent that is on disk, or one of before a restart."""
        self.submissions[submission.tag] = submission

    def forget(self, no_max: int) -> None:
        """Those that have ended, up to this number: their rows are gone."""
        old = [each.tag for each in self.submissions.values() if each.ended and each.no <= no_max]
        for tag in old:
            del self.submissions[tag]

    def whose(self, name: JobName, tag: str) -> Submission | None:
        """The submission of a job: by its tag. By its name only where a system tells no tags.

        Numbers come again when a batch system loses its spool; tags do not.
        """
        if tag:
            return self.submissions.get(tag)
        return next((each for each in self.submissions.values() if name in each.jobs), None)

    def may_be(self, submission: Submission, name: JobName, report: Report) -> bool:
        """Whether this is, or may be, a job of it; else somebody else calls his by its tag.

        Where a listing is of everybody's jobs, those whose names we know tell who we are there.
        """
        if name in submission.jobs:
            self._account = report.owner or self._account
            return True
        ours = not self._account or report.owner in ("", self._account)
        return ours and len(submission.jobs) < submission.count

    def spoke(self, heard_s: Mapping[int, float]) -> None:
        """When pilots, by their numbers, last said anything."""
        for submission in self:
            for job in submission.living:
                if job.pilot is not None and job.pilot in heard_s:
                    job.spoke_s = max(job.spoke_s, heard_s[job.pilot])

    def left(self, pilot: int) -> list[Job]:
        """A pilot said goodbye; its job, if that is known."""
        mine = [job for each in self for job in each.living if job.pilot == pilot]
        for job in mine:
            job.left = True
        return mine

    # -- counts

    def queued(self) -> int:
        """Pilots that have not started, or may exist without our knowing."""
        return counted(self)[0]

    def running(self) -> int:
        """All others that are charged, unknown ones included."""
        return counted(self)[1]

    def counts(self) -> Counter[str]:
        """By state, for people."""
        found: Counter[str] = Counter()
        for each in self:
            found["in doubt"] += each.unseen
            found.update(job.state.value for job in each.living)
        return +found

    def coming(self) -> Counter[Shape]:
        """Pilots by shape that were submitted and have not announced themselves."""
        found: Counter[Shape] = Counter()
        for each in self:
            jobs = sum(job.coming for job in each.living)
            found[each.shape] += max(0, each.unseen + jobs - len(each.nameless))
        return +found


def counted(submissions: Iterable[Submission]) -> tuple[int, int]:
    """Pilots that have not started or may exist unknown to us; all others that are charged."""
    queued = running = 0
    for each in submissions:
        waiting = sum(job.queued for job in each.living)
        queued += each.unseen + waiting
        running += len(each.living) - waiting
    return queued, running
