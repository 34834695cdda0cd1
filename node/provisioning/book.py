"""What is known of every pilot that was submitted to one batch system. Pure.

Three lists are compared: ours (submissions, written down before they are made), the batch system's,
and the pilots that speak to us. Each has its own failings, so only these end a job:

- the batch system's own word for that very job, unless its pilot spoke to us a moment ago; that it
  knows no such job is enough for one that we have cancelled;
- its pilot's goodbye, once the job has left the listing.

What nobody speaks of stays unknown, and is charged against the limits, for a long while. A
listing that failed is not shown to this book at all; an empty one ends nothing, as nothing but
being looked up does.

A submission whose jobs are not known (the node was killed, or the command was, or it complained) is
in doubt: its tag is looked for until it is found, or has not been there for long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from node.provisioning.jobs import QUEUED, Cancel, Changes, Ended, Inquiry, Job, Submission
from node.provisioning.patience import (
    AGAIN_S,
    EAGER_S,
    SPOKE_S,
    given_up_words,
    patience_s,
    pause_s,
)
from node.provisioning.shelf import Shelf
from schedulers.base import LOOKUP_JOBS_MAX, JobName, JobState, Report

DOUBT_S_MIN: Final = 120.0  # a submission that nobody lists may still be on its way
DOUBT_S_MAX: Final = 1800.0  # and where no accounting answers, until then
LOOKS_MIN: Final = 2  # listings without a tag before it is believed not to be there
_NOBODYS_FAULT = (
    JobState.CANCELLED, JobState.NODE_FAILED, JobState.PREEMPTED, JobState.UNKNOWN,
)  # fmt: skip


class Book(Shelf):
    """What news mean for the submissions on the shelf."""

    def __init__(self, announce_s: float) -> None:
        """announce_s: a pilot that started has so long to announce itself."""
        super().__init__()
        self.announce_s = announce_s
        self.told = "it"  # what pilots are told of where this node is
        self.foreign = 0  # jobs in the last listing whose tag we did not write down

    # -- what a submission did

    def named(self, tag: str, jobs: Sequence[JobName], now_s: float) -> Changes:
        """The batch system took it, and named its jobs."""
        changes = Changes()
        submission = self.submissions[tag]
        for name in jobs:
            if name not in submission.jobs:
                self._new(submission, name, Report(JobState.QUEUED), now_s, changes)
        if len(submission.jobs) >= submission.count:
            self._certain(submission, changes)
        self._match(submission, now_s, changes)  # a pilot may be faster than the command
        return changes

    def not_made(self, tag: str, why: str) -> Changes:
        """There is no such submission, for certain."""
        changes = Changes()
        submission = self.submissions[tag]
        submission.words = why
        submission.doubtful = False
        submission.ended = True
        changes.over.append(submission)
        return changes

    def give_up(self, now_s: float) -> Changes:
        """Everything, by an admin's word; what shows up all the same is cancelled."""
        changes = Changes()
        for submission in self:
            for job in submission.living:
                job.over = job.given_up = True
                job.since_s, job.words = now_s, "given up by an admin"
                changes.jobs.append((submission, job))
            submission.doubtful, submission.ended = False, True
            submission.words = "given up by an admin"
            changes.over.append(submission)
        return changes

    def _certain(self, submission: Submission, changes: Changes) -> None:
        if submission.doubtful:
            submission.doubtful = False
            changes.named.append(submission)

    def _new(
        self, submission: Submission, name: JobName, report: Report, now_s: float, changes: Changes
    ) -> Job:
        job = Job(name, report.state, now_s, report.words, report.host, report.exit)
        submission.jobs[name] = job
        changes.jobs.append((submission, job))
        return job

    # -- the batch system's list

    def listed(self, reports: Mapping[JobName, Report], began_s: float, now_s: float) -> Changes:
        """A listing that can be believed as far as it goes. began_s: when it was asked for."""
        changes = Changes()
        self.foreign = 0
        seen: set[tuple[str, JobName]] = set()
        for name, report in reports.items():
            submission = self.whose(name, report.tag)
            if submission is None or not self.may_be(submission, name, report):
                self.foreign += 1
                continue
            seen.add((submission.tag, name))
            self._seen(submission, name, report, now_s, changes)
        for submission in self:
            for job in submission.living:
                if (submission.tag, job.name) not in seen and job.since_s <= began_s:
                    self._missed(submission, job, now_s, changes)
            self._match(submission, now_s, changes)
            if submission.doubtful:
                submission.looks += submission.made_s <= began_s
        self._settle(now_s, changes)
        return changes

    def _seen(
        self, submission: Submission, name: JobName, report: Report, now_s: float, changes: Changes
    ) -> None:
        job = submission.jobs.get(name)
        if job is None:
            job = self._new(submission, name, report, now_s, changes)
            job.over = job.given_up = submission.ended
        if job.over:
            if job.given_up and not report.state.over and job.pilot is None:
                self._cancel(job, Cancel.LATE, now_s, changes)  # its token serves no more
            return
        job.missing_s, job.denied = None, False
        if report.state.over:
            self._told(submission, job, report, now_s, changes)
        else:
            self._note(submission, job, report, now_s, changes)
            if job.cancelled is Cancel.ORDER or (job.cancelled is not None and job.queued):
                self._cancel(job, job.cancelled, now_s, changes)  # the command was lost
        if len(submission.jobs) >= submission.count:
            self._certain(submission, changes)

    def _note(
        self, submission: Submission, job: Job, report: Report, now_s: float, changes: Changes
    ) -> None:
        if (job.state, job.words, job.host) == (report.state, report.words, report.host):
            return
        if job.state is not report.state:
            job.since_s = now_s
        job.state, job.words, job.exit = report.state, report.words, report.exit
        job.host = report.host or job.host
        changes.jobs.append((submission, job))

    def _cancel(self, job: Job, why: Cancel, now_s: float, changes: Changes) -> None:
        if not self._lately(job.cancelled_s, now_s):
            job.cancelled, job.cancelled_s = why, now_s
            changes.cancel.append(job)

    def _missed(self, submission: Submission, job: Job, now_s: float, changes: Changes) -> None:
        if job.missing_s is None:
            job.missing_s = now_s
        if job.left:
            self._end(submission, job, now_s, "its pilot left", changes)

    # -- the accounting

    def inquiry(self, now_s: float) -> Inquiry | None:
        """What the last listing lacked; of more than one command may ask for, each has its turn."""
        doubted = [each.tag for each in self if self._doubt_due(each, now_s)]
        due = [
            (submission.tag, job)
            for submission in self
            for job in submission.living
            if job.missing_s is not None
            and now_s - job.asked_s >= pause_s(job, now_s - job.missing_s)
        ]
        due = sorted(due, key=lambda each: each[1].asked_s)[:LOOKUP_JOBS_MAX]
        tags = list(dict.fromkeys(tag for tag, _ in due))
        return Inquiry([job.name for _, job in due], tags, doubted) if due or doubted else None

    def _doubt_due(self, submission: Submission, now_s: float) -> bool:
        if not (submission.doubtful and submission.looks):
            return False
        return now_s - submission.made_s < EAGER_S or now_s - submission.asked_s >= AGAIN_S

    def looked_up(
        self, asked: Inquiry, reports: Mapping[JobName, Report], answered: bool, now_s: float
    ) -> Changes:
        """answered: nothing failed, so that what is not in `reports` is not known there."""
        changes = Changes()
        wanted, told = set(asked.jobs), set()
        for name, report in reports.items():
            submission = self.whose(name, report.tag)
            if submission is None or (name not in wanted and report.tag not in asked.doubted):
                continue
            told.add((submission.tag, name))
            self._looked(submission, name, report, now_s, changes)
        for tag in asked.doubted:
            submission = self.submissions[tag]
            submission.asked_s = now_s
            submission.asked = submission.asked or answered
        for tag in asked.tags:
            submission = self.submissions[tag]
            for job in submission.living:
                if job.name in wanted:
                    job.asked_s = now_s
                    if (tag, job.name) not in told:
                        self._unknown(submission, job, now_s, changes)
        self._settle(now_s, changes)
        return changes

    def _looked(
        self, submission: Submission, name: JobName, report: Report, now_s: float, changes: Changes
    ) -> None:
        job = submission.jobs.get(name)
        if report.denied:
            if job is not None and not job.over:
                self._denied(submission, job, report, now_s, changes)
            return
        if job is None:
            if submission.ended or not self.may_be(submission, name, report):
                return
            job = self._new(submission, name, report, now_s, changes)
        job.denied = False
        if report.state.over:
            self._told(submission, job, report, now_s, changes)
        elif report.state is not JobState.UNKNOWN:
            job.missing_s = None  # the listing lied, or was behind
        if len(submission.jobs) >= submission.count:
            self._certain(submission, changes)

    def _told(
        self, submission: Submission, job: Job, report: Report, now_s: float, changes: Changes
    ) -> None:
        """The batch system says that it is over."""
        if job.over:
            return
        if self._lately(job.spoke_s, now_s) and not job.left:
            return  # asked again until its pilot is silent
        job.state, job.exit = report.state, report.exit
        job.host = report.host or job.host
        words = ": ".join(each for each in (report.state.value, report.words) if each)
        if job.cancelled is not None:
            words = job.cancel_words
        else:
            job.words = report.words
        self._end(submission, job, now_s, words, changes)

    def _denied(
        self, submission: Submission, job: Job, report: Report, now_s: float, changes: Changes
    ) -> None:
        """The batch system knows no such job: what we cancelled is over, what else is unknown."""
        job.denied = True
        if job.cancelled is not None:
            gone = Report(JobState.CANCELLED, report.words)
            self._told(submission, job, gone, now_s, changes)
            job.given_up = job.over  # it is cancelled again should it come back
        else:
            words = f"it left the listing, and nobody says how it ended: {report.words}"
            self._unknown(submission, job, now_s, changes, words)

    def _unknown(
        self,
        submission: Submission,
        job: Job,
        now_s: float,
        changes: Changes,
        words: str = "it left the listing, and nobody says how it ended",
    ) -> None:
        if job.state is not JobState.UNKNOWN:
            job.state, job.since_s = JobState.UNKNOWN, now_s
            job.words = words
            changes.jobs.append((submission, job))

    # -- pilots that speak

    def announced(self, tag: str, name: str, host: str, pilot: int, now_s: float) -> Changes:
        """A pilot of this submission announced itself. name: of its job, "" if it cannot tell."""
        changes = Changes()
        submission = self.submissions.get(tag)
        if submission is None:
            return changes
        own = next((job for job in submission.jobs.values() if job.pilot == pilot), None)
        job = own or submission.jobs.get(JobName(name))
        if job is None:
            submission.nameless[pilot] = (host, JobName(name))
            self._match(submission, now_s, changes)
        else:
            self._bind(submission, job, pilot, now_s, changes)
        return changes

    def _bind(
        self, submission: Submission, job: Job, pilot: int, now_s: float, changes: Changes
    ) -> None:
        submission.nameless.pop(pilot, None)
        if job.pilot != pilot:
            job.pilot = pilot
            changes.jobs.append((submission, job))
        job.spoke_s = now_s
        if job.state in QUEUED or job.state is JobState.UNKNOWN:
            job.state, job.since_s = JobState.RUNNING, now_s

    def _match(self, submission: Submission, now_s: float, changes: Changes) -> None:
        """Find the jobs of pilots: the one that is named; else where only one can be meant."""
        for pilot, (host, name) in list(submission.nameless.items()):
            if (named := submission.jobs.get(name)) is not None:
                self._bind(submission, named, pilot, now_s, changes)
                continue
            free = [job for job in submission.living if job.pilot is None]
            there = [job for job in free if not job.host or _same_host(job.host, host)]
            if len(there) == 1 and not submission.unseen:
                self._bind(submission, there[0], pilot, now_s, changes)

    # -- time

    def tick(self, now_s: float) -> Changes:
        """What becomes of waiting."""
        changes = Changes()
        self._settle(now_s, changes)
        return changes

    def _settle(self, now_s: float, changes: Changes) -> None:
        for submission in self:
            for job in submission.living:
                self._wait_over(submission, job, now_s, changes)
            if submission.doubtful:
                self._doubt_over(submission, now_s, changes)
            if not submission.doubtful and not submission.living:
                submission.ended = True
                changes.over.append(submission)

    def _wait_over(self, submission: Submission, job: Job, now_s: float, changes: Changes) -> None:
        waited_s = now_s - job.since_s
        if job.state is JobState.RUNNING and job.pilot is None and job.missing_s is None:
            # Where pilots do not tell their jobs, one that spoke may be this one.
            if waited_s > self.announce_s and not submission.nameless:
                job.words = (
                    f"started on {job.host or 'a worker'} {waited_s / 60:.0f} min ago and has not "
                    f"spoken to this node: can workers reach {self.told}?"
                )
                self._cancel(job, Cancel.SILENT, now_s, changes)
        elif job.state is JobState.HELD and job.pilot is not None:
            # A pilot starts once: released, it would be of no use.
            if job.left or not self._lately(job.spoke_s, now_s):
                self._cancel(job, Cancel.HELD, now_s, changes)
        elif job.missing_s is not None and job.state is JobState.UNKNOWN:
            silent_s = now_s - max(job.spoke_s, job.since_s)
            if silent_s > patience_s(job):
                job.given_up = True
                self._end(submission, job, now_s, given_up_words(job), changes)

    def _doubt_over(self, submission: Submission, now_s: float, changes: Changes) -> None:
        """Jobs that have not shown up by now are not there."""
        age_s = now_s - submission.made_s
        if submission.looks < LOOKS_MIN or age_s < DOUBT_S_MIN:
            return
        if submission.asked or age_s >= DOUBT_S_MAX:
            submission.words = submission.words or "the batch system knows nothing of it"
            self._certain(submission, changes)

    def _end(
        self, submission: Submission, job: Job, now_s: float, why: str, changes: Changes
    ) -> None:
        job.over = True
        job.since_s = now_s
        changes.jobs.append((submission, job))
        changes.ended.append(Ended(submission, job, why, self._died_young(submission, job)))

    def _died_young(self, submission: Submission, job: Job) -> bool:
        if job.pilot is not None:
            return False
        # One that was cancelled while it waited is none of those that spoke.
        if submission.nameless and (job.cancelled is None or job.host):
            submission.nameless.popitem()
            return False
        if job.cancelled is not None:
            return job.cancelled is Cancel.SILENT
        return job.denied or job.state not in _NOBODYS_FAULT

    def _lately(self, at_s: float, now_s: float) -> bool:
        return now_s - at_s < SPOKE_S


def _same_host(one: str, other: str) -> bool:
    """Batch systems often say the short name."""
    return bool(one) and one.split(".")[0] == other.split(".")[0]
