"""What every batch system has to offer: submit, list, look up, cancel, describe, limits. Pure.

A scheduler builds command lines and reads what they print; `command.run` executes them here,
`ssh.py` on a submit host. Local child processes are their own kind: see local.py.

What is not known is UNKNOWN. A job that has left the listing may have ended, or the listing may be
wrong: only a batch system's own word for that one job ends it. "I know no such job" is no such
word: a batch system that lost its memory, or is another one than before, says it of living jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Protocol

JobName = NewType("JobName", str)  # how a batch system calls one job
TAG = re.compile(
    r"floe-[a-z0-9]{2,16}-[a-z0-9]{8,16}"
)  # floe-SITE-RANDOM, the name of a submission
AVOID_MAX = 64  # hosts that one submission leaves out
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
WORDS_MAX = 300  # characters of a reason that are kept


class JobState(Enum):
    """What a batch system says of a job."""

    QUEUED = "queued"
    HELD = "held"  # it will not start before somebody does something
    RUNNING = "running"  # or starting, suspended, ending: it has a worker
    DONE = "done"  # it ended with status 0
    FAILED = "failed"  # it ended with another status, by a signal, or never could start
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    PREEMPTED = "preempted"
    NODE_FAILED = "node failed"
    ENDED = "ended"  # how, nobody says; or not yet, where the accounting is late
    UNKNOWN = "unknown"

    @property
    def over(self) -> bool:
        """Whether the job is gone for certain."""
        return self not in _LIVING


_LIVING = (JobState.QUEUED, JobState.HELD, JobState.RUNNING, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one job.

    words: the batch system's own reason, made harmless, WORDS_MAX characters at most. exit: status,
    or -signal. host: the worker. tag: the submission that the job belongs to; "" where a system
    does not say. denied: the system works, and answers that it knows no such job; then the state is
    UNKNOWN. owner: whose job it is, where a listing is of everybody's.
    """

    state: JobState
    words: str = ""
    exit: int | None = None
    host: str = ""
    tag: str = ""
    denied: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class PilotSpec:
    """One submission of pilots. Sizes in bytes, times in seconds; all are for one pilot.

    name: the tag, by which the jobs are found again. argv: the pilot's program and its settings
    file; never a secret. log: file for what it prints, on the submit host, to which each pilot's
    number is added: see Scheduler.log_file. files: what has to be beside the pilot, for a system
    that copies files to workers. count: how many alike. time_s: the wall time to ask for; None:
    the queue's own. options: more words for the submit command, from the admin; lines: more lines
    for the submit file, where a system has one. avoid: hosts, by the system's own names, on which
    no pilot is of use; a system that cannot leave hosts out takes no notice.
    """

    name: str
    argv: Sequence[str]
    log: str
    folder: str = ""
    files: Sequence[str] = ()
    cpu: int = 1
    gpu: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    time_s: int | None = None
    count: int = 1
    queue: str = ""  # partition, queue
    account: str = ""  # account, project, accounting group
    options: Sequence[str] = ()
    lines: Sequence[str] = ()
    extra: Mapping[str, str] = field(default_factory=dict)  # resources by the system's own names
    avoid: Sequence[str] = ()

    @property
    def avoided(self) -> list[str]:
        """What of `avoid` can be the name of a host: nothing else may become part of a rule."""
        return [host for host in self.avoid if _HOST.fullmatch(host)][:AVOID_MAX]


@dataclass(frozen=True, slots=True)
class Queue:
    """What a partition or queue allows; None where the system does not tell, or sets no limit."""

    name: str
    time_s_max: int | None = None
    cpu_max: int | None = None  # of one job on one worker
    memory_bytes_max: int | None = None
    gpu_max: int | None = None
    default: bool = False
    open: bool = True
    words: str = ""  # why it is not open


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and what it reads."""

    argv: Sequence[str]
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command did: exit status (or -signal), and what it printed, cut at a bound."""

    status: int
    out: bytes
    err: bytes
    cut: bool = False  # it printed more than we keep

    def why(self) -> str:
        """The last line of complaint, for messages."""
        lines = (self.err or self.out).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:WORDS_MAX] if lines else f"exit status {self.status}"


class SchedulerError(Exception):
    """A batch system refused, or printed what we cannot read; the message quotes it."""


class Refused(SchedulerError):
    """A batch system said no, and will again: what is asked for has to change, or it does.

    limit: it is of how many jobs there may be, and passes by itself once some have ended. fewer:
    then fewer jobs in one submission may be taken at once.
    """

    def __init__(self, words: str, *, limit: bool = False, fewer: bool = False) -> None:
        super().__init__(words)
        self.limit = limit or fewer
        self.fewer = fewer


class OtherForm(SchedulerError):
    """An answer that cannot be read, but may be in another form: `instead` asks for it."""

    def __init__(self, message: str, instead: Command) -> None:
        super().__init__(message)
        self.instead = instead


class Scheduler(Protocol):
    """A batch system's command line tools. Nothing here runs anything or keeps anything."""

    name: str

    def programs(self) -> Sequence[str]:
        """What is run: names to be found in PATH, or paths."""

    def version(self) -> Command:
        """Shows that the tools are there and talk to their daemons."""

    def version_of(self, done: Completed) -> str:
        """In one line. Raises SchedulerError with the system's words: not there, not allowed."""

    def rehearse(self, spec: PilotSpec) -> Command | None:
        """Has the batch system judge a submission that is not made; None for one that cannot.

        Its files and folder have to be there. Raises SchedulerError as `submit` does.
        """

    def rehearsed(self, done: Completed, spec: PilotSpec) -> str:
        """What it says of a submission that it would take, "" if nothing.

        Raises Refused with its words, or SchedulerError when it could not be asked, or would take
        the same at another time.
        """

    def submit(self, spec: PilotSpec) -> Command:
        """One command that submits `spec.count` pilots."""

    def submitted(self, done: Completed, spec: PilotSpec) -> list[JobName]:
        """The jobs that a submission made, `spec.count` of them.

        Raises Refused where the system said no, and made none for certain. For all other
        SchedulerErrors, whether there are jobs is told by the next listing, by their tag.
        """

    def log_file(self, log: str, job: JobName) -> str:
        """The file to which this job of a submission with `log` prints: LOG.0, LOG.1, ..."""

    def listing(self) -> Command:
        """One command for all jobs of this account that have not ended, ours or not."""

    def listed(self, done: Completed) -> dict[JobName, Report]:
        """Our jobs (those with a tag), each array task on its own.

        Raises SchedulerError for output that is cut, unreadable or of a failed command: then
        nothing is known; OtherForm if the same may be asked for in another form, which is read
        here, too. An empty answer of a system that works is {}.
        """

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        """Commands that tell of jobs that have left the listing, the best first.

        tags: of the submissions to which they belong; without jobs, all jobs of these are asked
        for. Each next one is run only for what those before it left unknown. At most
        LOOKUP_JOBS_MAX jobs at once.
        """

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        """What the answer to command `number` of `lookup` tells; jobs it does not name are absent.

        jobs: of which it is to tell; none: all that are in the answer. Those that it says not to
        know are there as denied.

        Raises SchedulerError when nothing can be known from it.
        """

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        """One command that ends many jobs; those already gone are no error."""

    def cancelled(self, done: Completed) -> None:
        """Raises SchedulerError if the system refused for another reason than jobs being gone."""

    def describe(self, job: JobName) -> Command:
        """Why does this job wait, or why is it held?"""

    def described(self, done: Completed) -> str:
        """The reason in one sentence, "" if the system gives none. Raises SchedulerError."""

    def limits(self) -> Command | None:
        """Tells of partitions or queues; None for a system that cannot."""

    def limits_of(self, done: Completed) -> list[Queue]:
        """Raises SchedulerError."""


LOOKUP_JOBS_MAX = 200
