"""Submissions to a batch system and their jobs, as a book keeps them; and what news mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from node.provisioning.shapes import Shape
from schedulers.base import JobName, JobState

QUEUED: Final = (JobState.QUEUED, JobState.HELD)


def standing(job: str, held: bool, said: str, more: int = 0) -> str:
    """Why a job does not start, and so many more like it.

    `said` by the batch system, which may begin with "held" or "waits" itself.
    """
    who, many = (f"job {job} and {more} more", True) if more else (f"job {job}", False)
    verb = ("are held" if many else "is held") if held else ("wait" if many else "waits")
    first, _, rest = said.partition(" ")
    if first == ("held" if held else "waits"):
        return f"{who} {verb} {rest}".rstrip()
    return f"{who} {verb}: {said}" if said else f"{who} {verb}, and no reason is given"


class Cancel(Enum):
    """Why we end a job; the value is for people."""

    SILENT = "it never spoke to this node"
    SURPLUS = "there is no work for it"
    LIMIT = "the limits are lower now"
    LATE = "it came back after it had been given up"
    HELD = "it was held after its pilot had left"
    ORDER = "an admin ended it"
    LEFT_OUT = "config.toml does not name its batch system any more"


@dataclass(slots=True, eq=False)
class Job:
    """One job. Times are monotonic."""

    name: JobName
    state: JobState
    since_s: float  # of this state
    words: str = ""
    host: str = ""
    exit: int | None = None
    pilot: int | None = None  # that announced itself from it
    spoke_s: float = float("-inf")
    left: bool = False  # its pilot said goodbye, or is known to have ended
    missing_s: float | None = None  # since when listings lack it
    asked_s: float = float("-inf")  # when it was last looked up
    denied: bool = False  # the batch system says that it knows no such job
    cancelled: Cancel | None = None
    cancelled_s: float = float("-inf")
    over: bool = False  # ended, or given up
    given_up: bool = False  # nobody said that it ended

    @property
    def queued(self) -> bool:
        return self.state in QUEUED and self.pilot is None

    @property
    def coming(self) -> bool:
        """Submitted, and not announced."""
        return self.pilot is None

    @property
    def cancel_words(self) -> str:
        """Why we end it; with what the batch system or its silence says where that matters."""
        if self.cancelled is Cancel.SILENT:
            return self.words
        if self.cancelled is Cancel.HELD:
            return f"{Cancel.HELD.value}: {self.words or 'no reason given'}"
        return self.cancelled.value if self.cancelled is not None else ""


@dataclass(slots=True, eq=False)
class Submission:
    """One submission: an intent, then jobs. It ends with the last of them."""

    no: int
    tag: str
    shape: Shape
    count: int
    row: int  # the pilot row of its token
    made_s: float
    folder: str  # of its files, on the submit host
    jobs: dict[JobName, Job] = field(default_factory=dict)
    doubtful: bool = True
    looks: int = 0  # good listings that began after it was made
    asked: bool = False  # the accounting has told all that it knows of the tag
    asked_s: float = float("-inf")
    # Pilots without a known job: their host, and the job that they say they are.
    nameless: dict[int, tuple[str, JobName]] = field(default_factory=dict)
    ended: bool = False
    words: str = ""

    @property
    def living(self) -> list[Job]:
        return [job for job in self.jobs.values() if not job.over]

    @property
    def unseen(self) -> int:
        """Pilots that may exist without our knowing their jobs."""
        return max(0, self.count - len(self.jobs)) if self.doubtful else 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over. young: before its pilot announced itself, by nobody's order."""

    submission: Submission
    job: Job
    why: str
    young: bool


@dataclass(slots=True)
class Changes:
    """What follows from news: rows to write, pilots to bury, jobs to cancel."""

    jobs: list[tuple[Submission, Job]] = field(default_factory=list)  # new or changed
    named: list[Submission] = field(default_factory=list)  # in doubt no longer
    ended: list[Ended] = field(default_factory=list)
    over: list[Submission] = field(default_factory=list)
    cancel: list[Job] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What to look up: jobs, and the tags of their submissions; and submissions in doubt."""

    jobs: Sequence[JobName]
    tags: Sequence[str]
    doubted: Sequence[str]
