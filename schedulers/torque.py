"""Torque, and other commands in its style: where it differs from pbs.py. Pure.

There is no JSON and no history: a job is shown as completed (C) for some minutes (keep_completed),
with its exit status where the server tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from schedulers import texts
from schedulers.base import (
    LOOKUP_JOBS_MAX,
    Command,
    Completed,
    JobName,
    PilotSpec,
    Report,
    SchedulerError,
)
from schedulers.pbs import UNKNOWN_ID, Pbs, extra, index_of, whole_array
from schedulers.pbsrecords import from_text, jobs_from_text
from schedulers.pbswords import TORQUE_EXITS

_MEBIBYTE = 1 << 20
_PATH = re.compile(r"[\w./@+=%][\w./@+=% -]{0,1000}")


class Torque(Pbs):
    """One Torque server. arrays: whether it has them; without, a submission is one pilot."""

    exits = TORQUE_EXITS

    def __init__(
        self,
        name: str = "torque",
        *,
        commands: Mapping[str, str] | None = None,
        python: str = "",
        gpu: str = "gpus",
        disk: str = "file",
        arrays: bool = True,
    ) -> None:
        super().__init__(name, commands=commands, python=python, gpu=gpu, disk=disk)
        self._arrays = arrays

    def version(self) -> Command:
        """Not qstat -B, which not all of its kin have."""
        return self.limits()

    def version_of(self, done: Completed) -> str:
        queues = from_text(texts.whole(done, "qstat -Q"), "qstat -Q")
        if not queues:
            raise SchedulerError(f"qstat shows no queue: {texts.harmless(done.out, 80)!r}")
        return texts.harmless(f"Torque, {texts.counted(list(queues), 'queue')}", 80)

    def submit(self, spec: PilotSpec) -> Command:
        if spec.count > 1 and not self._arrays:
            raise SchedulerError(f"{self.name} has no job arrays: submit one pilot at a time")
        return super().submit(spec)

    def _log_pattern(self, spec: PilotSpec) -> str:
        """For qsub -o; a subjob's number is added with a hyphen: qsub(1), -t."""
        if not _PATH.fullmatch(spec.log):
            shown = texts.harmless(spec.log, 80)
            raise SchedulerError(f"log {shown!r}: letters, digits and . _ / @ + = % - only")
        return spec.log if spec.count > 1 else f"{spec.log}-0"

    def log_file(self, log: str, job: JobName) -> str:
        return f"{log}-{index_of(job) or 0}"

    def _array(self, spec: PilotSpec) -> Iterator[str]:
        yield from ("-r", "n")  # a pilot that starts again would find its token used up
        if spec.count > 1:
            yield from ("-t", f"0-{spec.count - 1}")

    def _wishes(self, spec: PilotSpec) -> Iterator[str]:
        """All in one word: some of its kin take the last -l alone."""
        node = f"nodes=1:ppn={spec.cpu}"
        if spec.gpu and self._gpu:
            node += f":{self._gpu}={spec.gpu}"
        wishes = [node]
        if spec.memory_bytes:
            wishes.append(f"mem={texts.in_units(spec.memory_bytes, _MEBIBYTE)}mb")
        if spec.disk_bytes and self._disk:
            wishes.append(f"{self._disk}={texts.in_units(spec.disk_bytes, _MEBIBYTE)}mb")
        if spec.time_s is not None:
            wishes.append(f"walltime={texts.clock(spec.time_s)}")
        wishes += [f"{name}={value}" for name, value in extra(spec)]
        yield from ("-l", ",".join(wishes))

    def listing(self) -> Command:
        return Command(self._commands.argv("qstat", "-f", *(["-t"] if self._arrays else [])))

    def listed(self, done: Completed) -> dict[JobName, Report]:
        return self._living(jobs_from_text(self._listing_text(done), "qstat"))

    def _listing_text(self, done: Completed) -> str:
        """Some of its kin call it a failure that there is no job, and say no word of it."""
        if done.status == UNKNOWN_ID and not done.out.strip() and not done.err.strip():
            return ""
        text = texts.whole(done, "qstat", lines=False)
        if text.strip() and not re.search(r"^Job Id:", text, re.MULTILINE):
            raise SchedulerError(f"qstat: printed no jobs: {texts.harmless(text, 80)!r}")
        return text

    def lookup(self, jobs: Sequence[JobName], tags: Sequence[str]) -> Sequence[Command]:
        assert len(jobs) <= LOOKUP_JOBS_MAX
        words = self.listing().argv
        return [Command([*words, *dict.fromkeys(map(whole_array, jobs))])]

    def looked_up(
        self, number: int, done: Completed, jobs: Sequence[JobName]
    ) -> dict[JobName, Report]:
        if jobs:
            return super().looked_up(number, done, jobs)
        return self._reports(jobs_from_text(self._listing_text(done), "qstat"))

    def cancelled(self, done: Completed) -> None:
        """A failure without a word is of jobs that are gone, in some of its kin."""
        if done.out.strip() or done.err.strip():
            super().cancelled(done)
