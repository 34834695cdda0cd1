"""A batch system ready for the contract: its plugin, and what only its administrator could do."""

from __future__ import annotations

import abc
import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import Command, Completed, JobName, OtherForm, Report, Scheduler
from tests.clusters.account import Account
from tests.clusters.place import Place

NO_CLUSTER = "no cluster of "


def need(name: str, lacking: str) -> None:
    """Skip what needs a cluster that cannot be made here; fail instead where CI is set."""
    if not lacking:
        return
    if "CI" in os.environ:
        pytest.fail(f"{NO_CLUSTER}{name}: {lacking}", pytrace=False)
    pytest.skip(f"{NO_CLUSTER}{name}: {lacking}")


class Rig(abc.ABC):
    """One cluster and its plugin.

    slots: jobs of one CPU that run at once. time_s: the shortest wall time that it keeps.
    overdue_s: how long until a job over it is gone. held: fields of a PilotSpec with which a job is
    held from its beginning. impossible: such fields that nothing can ever give. unknown: a job that
    never was. lacks: what this system cannot do, of "ends" (tell how a job ended), "limits",
    "sigterm" (warn a job before it is killed), "log" (show what a job printed that has not ended by
    itself), "outage" (its daemons be stopped), "foreign" (a job with a name of our choice),
    "walltime", "cancelled" (tell a cancelled job from a failed one), "held" (tell a held job from a
    waiting one), "arrays", "paths" (take any path of a log), "memory" (know all jobs that have
    ended: some it denies), "avoid" (leave out a host). options: more words of each submission.
    account: of the user who submits.
    """

    scheduler: Scheduler
    place: Place
    slots: int = 4
    time_s: int = 60
    overdue_s: float = 150
    held: Mapping[str, Any]
    impossible: Mapping[str, Any]
    unknown: JobName = JobName("99999")
    lacks: frozenset[str] = frozenset()
    options: Sequence[str] = ()
    account: Account = Account()

    @property
    def folder(self) -> Path:
        """Where jobs can read and write."""
        return self.place.make("jobs", 0o777)

    def run(self, command: Command) -> Completed:
        """What the node does with a command, but waiting for it."""
        done = self.place.run(
            *command.argv, stdin=command.stdin, check=False, user=self.account.name
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def listing(self) -> dict[JobName, Report]:
        """What the node sees. Raises SchedulerError."""
        try:
            return self.scheduler.listed(self.run(self.scheduler.listing()))
        except OtherForm as error:
            return self.scheduler.listed(self.run(error.instead))

    def command(self, name: str) -> str:
        """The words by which a node on this machine runs a command of this cluster."""
        environ = self.place.environ
        words = [f"{key}={value}" for key, value in environ.items() if key != "HOME"]
        return shlex.join(["env", *words, name])

    def printing(self, log: Path, job: JobName) -> Path:
        """Where a job's output is while it runs."""
        return log

    @abc.abstractmethod
    def foreign(self, name: str) -> None:
        """A held job of our own account that has this name, and nothing to do with us."""

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Its daemons are stopped for as long as the block lasts."""
        raise NotImplementedError
        yield

    @abc.abstractmethod
    def close(self) -> None:
        """Take everything down."""
