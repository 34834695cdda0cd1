"""What every batch system has to offer: submit, status (one call for many jobs), cancel. Pure.

A scheduler builds command lines and parses what they print; `command.run` executes them. Local
child processes are their own kind: see local.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Protocol

JobName = NewType("JobName", str)  # how a batch system calls one job


class JobState(Enum):
    """What is known of a batch job. A job that is not listed any more is UNKNOWN, never ended."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"  # the batch system says so itself, whatever the exit status
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PilotSpec:
    """One submission of pilots. Sizes in bytes, times in seconds; all are for one pilot.

    argv: the pilot's program and its settings file; never a secret. log: file for what it prints.
    count: how many alike. time_s: the wall time to ask for; None: none.
    """

    name: str
    argv: Sequence[str]
    log: str
    cpu: int = 1
    gpu: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    time_s: int | None = None
    count: int = 1
    extra: Mapping[str, str] = field(default_factory=dict)  # the batch system's own options


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
        return lines[-1][:300] if lines else f"exit status {self.status}"


class SchedulerError(Exception):
    """A batch system refused, or printed what we cannot read; the message quotes it."""


class Scheduler(Protocol):
    """A batch system's command line tools."""

    name: str

    def submit(self, spec: PilotSpec) -> Command:
        """The command that submits `spec.count` pilots."""

    def submitted(self, done: Completed) -> list[JobName]:
        """The jobs that a submission made. Raises SchedulerError; then none was made."""

    def status(self, jobs: Sequence[JobName]) -> Command:
        """One command for the state of many jobs."""

    def states(self, done: Completed, jobs: Sequence[JobName]) -> dict[JobName, JobState]:
        """A state for every job asked for. Raises SchedulerError when nothing can be known."""

    def cancel(self, jobs: Sequence[JobName]) -> Command:
        """The command that ends jobs; those already gone are no error."""
