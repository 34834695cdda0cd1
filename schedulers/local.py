"""Pilots as child processes of this machine. They survive the node, and are found again after it.

A process is known by its id, its start time and the boot that it belongs to, so that a number
that the kernel gave to somebody else meanwhile is never taken for a pilot.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedulers.base import JobName, JobState, PilotSpec, SchedulerError

_START_TICKS = 19  # field of /proc/PID/stat, counted from the one after the name
_STATE = 0


@dataclass(frozen=True, slots=True)
class LocalJob:
    """One process: id, start in clock ticks since boot, and the boot's id."""

    pid: int
    start_ticks: int
    boot: str

    def name(self) -> JobName:
        return JobName(f"{self.pid}.{self.start_ticks}.{self.boot}")

    @classmethod
    def parse(cls, name: str) -> LocalJob:
        """Raises ValueError for what `name()` never gave."""
        pid, ticks, boot = name.split(".", 2)
        return cls(int(pid), int(ticks), boot)


class Local:
    """Starts, looks after and ends pilots on this machine. No call waits for anything."""

    name = "local"

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def submit(self, spec: PilotSpec, environ: Mapping[str, str] | None = None) -> list[JobName]:
        """Start `spec.count` pilots, each in a session of its own.

        Raises SchedulerError if one cannot be started; those before it run and are lost to the
        caller only if it does not look at `error.args[1]`, their names.
        """
        started: list[JobName] = []
        for _ in range(spec.count):
            try:
                started.append(self._start(spec, environ))
            except OSError as error:
                raise SchedulerError(f"{spec.argv[0]}: {error.strerror}", started) from error
        return started

    def states(self, jobs: Sequence[JobName]) -> dict[JobName, JobState]:
        """RUNNING or ENDED; here nothing is ever unknown."""
        self._bury()
        return {job: self._state(LocalJob.parse(job)) for job in jobs}

    def find(self, word: str) -> JobName | None:
        """The oldest process with this word on its command line; None if there is none.

        For a pilot that was started just before we died, with its name not yet written down.
        """
        found: list[tuple[int, int]] = []
        for folder in self._proc.glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            pid = int(folder.name)
            if os.fsencode(word) in words and (seen := self._look(pid)) and seen[0] not in "ZX":
                found.append((seen[1], pid))
        if not found:
            return None
        ticks, pid = min(found)
        return LocalJob(pid, ticks, self._boot).name()

    def cancel(self, jobs: Sequence[JobName], number: int = signal.SIGTERM) -> None:
        """Signal the pilots that still run."""
        for job in map(LocalJob.parse, jobs):
            try:
                handle = os.pidfd_open(job.pid)
            except OSError:
                continue
            try:
                # With the handle open the number cannot go to another process under our feet.
                if self._state(job) is JobState.RUNNING:
                    signal.pidfd_send_signal(handle, number)
            except OSError:
                pass
            finally:
                os.close(handle)

    def _start(self, spec: PilotSpec, environ: Mapping[str, str] | None) -> JobName:
        log = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(
                list(spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=None if environ is None else dict(environ),
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._children[child.pid] = child
        found = self._look(child.pid)  # it is our child: even if it ended, its entry is there
        return LocalJob(child.pid, found[1] if found else 0, self._boot).name()

    def _state(self, job: LocalJob) -> JobState:
        found = self._look(job.pid) if job.boot == self._boot else None
        if found is None or found[1] != job.start_ticks or found[0] in "ZX":
            return JobState.ENDED
        return JobState.RUNNING

    def _look(self, pid: int) -> tuple[str, int] | None:
        """State letter and start of a process; None if there is none."""
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return None
        fields = stat.rpartition(b")")[2].split()
        return fields[_STATE].decode(), int(fields[_START_TICKS])

    def _bury(self) -> None:
        """Collect children that ended."""
        for pid, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[pid]
