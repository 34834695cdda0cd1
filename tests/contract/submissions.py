"""Submitting to a batch system under the contract, and following the jobs to their end."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import JobName, JobState, PilotSpec, Report, SchedulerError
from tests.clusters.place import wait_until
from tests.clusters.rig import Rig

WORKER = Path(__file__).parents[1] / "clusters/worker.py"
SETTLE_S = 60  # until a batch system says what it must know
LATE_S = 5  # until accounting that has not told how a job ended never will


def new_tag() -> str:
    """A tag that no other test has."""
    return f"floe-test-{secrets.token_hex(4)}"


class Submissions:
    """Everything that one test module submits to one rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.scheduler = rig.scheduler
        self._jobs: list[JobName] = []
        self.program = rig.folder / "worker.py"
        shutil.copy(WORKER, self.program)

    def spec(self, words: Iterable[str] = (), settings: Any = None, **fields: Any) -> PilotSpec:
        """A submission of workers with these settings and further words on their command line."""
        tag = new_tag()
        path = self.rig.place.write(f"jobs/{tag}.json", json.dumps(settings or {}))
        fields.setdefault("log", str(self.rig.folder / f"{tag}.log"))
        fields.setdefault("files", [str(self.program), str(path)])
        fields.setdefault("time_s", 600)
        fields.setdefault("memory_bytes", 50 << 20)
        fields["options"] = [*fields.get("options", []), *self.rig.options]
        if fields.get("count", 1) > 1 and "arrays" in self.rig.lacks:
            pytest.skip("this batch system lacks arrays")
        argv = [str(self.program), str(path), *words]
        return PilotSpec(tag, argv, folder=str(self.rig.folder), **fields)

    def submit(self, spec: PilotSpec) -> list[JobName]:
        """Raises SchedulerError."""
        jobs = self.scheduler.submitted(self.rig.run(self.scheduler.submit(spec)), spec)
        self._jobs += jobs
        return jobs

    def attempt(self, spec: PilotSpec) -> tuple[list[JobName], str]:
        """The jobs of a submission, or the words in which it was refused."""
        try:
            return self.submit(spec), ""
        except SchedulerError as error:
            return [], str(error)

    def cancel(self, jobs: Sequence[JobName]) -> None:
        """Raises SchedulerError."""
        self.scheduler.cancelled(self.rig.run(self.scheduler.cancel(jobs)))

    def tidy(self, keep: Collection[JobName] = ()) -> None:
        """Cancel what still lives, so that the next test finds free slots."""
        listed = self.listing()
        living = [job for job in self._jobs if job not in keep and job in listed]
        if living:
            self.cancel(living)
            self.wait_gone(living)
        self._jobs = []

    def listing(self) -> dict[JobName, Report]:
        """Raises SchedulerError."""
        return self.rig.listing()

    def tagged(self, tag: str) -> dict[JobName, Report]:
        """What the listing has of one submission."""
        return {job: report for job, report in self.listing().items() if report.tag == tag}

    def wait(self, jobs: Collection[JobName], state: JobState, some: int | None = None) -> None:
        """Until all of these jobs, or some of them, are listed in this state."""

        def enough() -> bool:
            listed = self.listing()
            there = [job for job in jobs if job in listed and listed[job].state is state]
            return len(there) >= (len(jobs) if some is None else some)

        wait_until(f"{state} of {jobs}", enough, SETTLE_S)

    def wait_gone(self, jobs: Collection[JobName], timeout_s: float = SETTLE_S) -> None:
        """Until none of these jobs is listed."""
        wait_until(f"the end of {jobs}", lambda: not set(jobs) & set(self.listing()), timeout_s)

    def look_up(self, jobs: Collection[JobName], tag: str) -> dict[JobName, Report]:
        """Ask as the node does: each next command only for what is unknown after those before."""
        found: dict[JobName, Report] = {}
        commands = self.scheduler.lookup(list(jobs), [tag])
        for number in range(len(commands)):
            left = [job for job in jobs if job not in found]
            if not left:
                break
            command = self.scheduler.lookup(left, [tag])[number]
            try:
                found |= self.scheduler.looked_up(number, self.rig.run(command), left)
            except SchedulerError:
                continue
        return found

    def look_up_tag(self, tag: str) -> dict[JobName, Report]:
        """What is told of all jobs of a submission, by those who know nothing but its tag."""
        found: dict[JobName, Report] = {}
        for number, command in enumerate(self.scheduler.lookup([], [tag])):
            with contextlib.suppress(SchedulerError):
                told = self.scheduler.looked_up(number, self.rig.run(command), [])
                found |= {job: each for job, each in told.items() if job not in found}
        return {job: each for job, each in found.items() if each.tag == tag}

    def ended(self, jobs: Collection[JobName], tag: str) -> dict[JobName, Report]:
        """How these jobs ended; waits until the batch system tells it of all, or denies some."""
        found: dict[JobName, Report] = {}
        end = time.monotonic() + (0 if "ends" in self.rig.lacks else LATE_S)

        def told() -> bool:
            found.update(self.look_up(jobs, tag))
            states = [found[job].state if job in found else JobState.UNKNOWN for job in jobs]
            denied = {job for job in jobs if job in found and found[job].denied}
            better = (denied or JobState.ENDED in states) and time.monotonic() < end
            over = {job for job, state in zip(jobs, states, strict=True) if state.over}
            return over | denied == set(jobs) and not better

        wait_until(f"news of {jobs}", told, SETTLE_S)
        return found

    def output(self, spec: PilotSpec, job: JobName) -> str:
        """What a job printed; waits for its file."""
        path = Path(self.scheduler.log_file(spec.log, job))
        _wait_filled(path)
        return path.read_text()

    def wait_printing(self, spec: PilotSpec, job: JobName) -> None:
        """Until a job that runs has printed something."""
        _wait_filled(self.rig.printing(Path(self.scheduler.log_file(spec.log, job)), job))


def _wait_filled(path: Path) -> None:
    wait_until(f"{path}", lambda: path.exists() and path.stat().st_size, SETTLE_S)
