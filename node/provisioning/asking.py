"""What a batch system is asked, one command at a time: jobs, what became of some, queues."""

from __future__ import annotations

from collections.abc import Sequence

from node.provisioning.jobs import Inquiry
from node.provisioning.ports import Tools
from schedulers import texts
from schedulers.base import (
    WORDS_MAX,
    Command,
    Completed,
    JobName,
    JobState,
    OtherForm,
    Queue,
    Report,
    SchedulerError,
)
from schedulers.runner import Lost


class Asking:
    """Each method is one command, but `look_up`, which goes on to the next best source.

    `rest` ends a look.
    """

    def __init__(self, tools: Tools) -> None:
        self._scheduler = tools.scheduler
        self._runner = tools.runner
        self._listing: tuple[Command, Completed] | None = None  # of this look

    async def version(self) -> str:
        """Raises SchedulerError."""
        done = await self._runner.run(self._scheduler.version())
        return self._scheduler.version_of(done)

    async def listing(self) -> dict[JobName, Report]:
        """Raises SchedulerError when nothing can be known from it."""
        command = self._scheduler.listing()
        done = await self._runner.run(command)
        self._listing = (command, done)
        try:
            return self._scheduler.listed(done)
        except OtherForm as error:
            return self._scheduler.listed(await self._runner.run(error.instead))

    async def look_up(self, asked: Inquiry) -> tuple[dict[JobName, Report], str]:
        """What the accounting tells; and why not all of it answered, "" if it did.

        Where the listing itself is one of its sources, the one of a moment ago serves again.
        """
        hung: set[str] = set()
        found, failed = await self._told(asked.jobs, asked.tags, hung) if asked.jobs else ({}, "")
        if asked.doubted:
            more, why = await self._told([], asked.doubted, hung)
            found, failed = more | found, failed or why
        return found, failed

    def rest(self) -> None:
        """The look is over: what was listed is old, and may be large."""
        self._listing = None

    async def _run(self, command: Command, hung: set[str]) -> Completed:
        """hung: programs that did not answer in time, and are not waited for again."""
        if self._listing is not None and command == self._listing[0]:
            return self._listing[1]
        program = command.argv[0]
        if program in hung:
            raise SchedulerError(f"{program} did not end in time, and is not asked again")
        try:
            return await self._runner.run(command)
        except Lost:
            hung.add(program)
            raise

    async def _told(
        self, jobs: Sequence[JobName], tags: Sequence[str], hung: set[str]
    ) -> tuple[dict[JobName, Report], str]:
        """Of these jobs; without jobs, of all that have these tags.

        A job is denied if one answer denies it, and none tells more.
        """
        found: dict[JobName, Report] = {}
        denied: dict[JobName, Report] = {}
        failed = ""
        for number, command in enumerate(self._scheduler.lookup(jobs, tags)):
            unknown = [job for job in jobs if job not in found]
            if number and jobs and not unknown:
                break
            try:
                done = await self._run(command, hung)
                told = self._scheduler.looked_up(number, done, unknown)
            except SchedulerError as error:
                failed = failed or str(error)
                continue
            for job, report in told.items():
                if report.denied:
                    denied.setdefault(job, report)
                elif report.state is not JobState.UNKNOWN:
                    found.setdefault(job, report)
        return denied | found, failed

    async def cancel(self, jobs: Sequence[JobName]) -> None:
        """Raises SchedulerError."""
        done = await self._runner.run(self._scheduler.cancel(jobs))
        self._scheduler.cancelled(done)

    async def describe(self, job: JobName) -> str:
        """Why a job waits, "" if it is not said. Raises SchedulerError."""
        return self._scheduler.described(await self._runner.run(self._scheduler.describe(job)))

    async def queues(self) -> list[Queue]:
        """[] of a system that does not tell. Raises SchedulerError."""
        command = self._scheduler.limits()
        if command is None:
            return []
        return self._scheduler.limits_of(await self._runner.run(command))

    async def tail(self, log: str, job: JobName, bytes_max: int) -> str:
        """The end of what a pilot printed, "" if it cannot be had."""
        try:
            said = await self._runner.get(self._scheduler.log_file(log, job), bytes_max)
        except SchedulerError:
            return ""
        lines = [texts.harmless(line) for line in texts.plain(said or b"").splitlines()[-3:]]
        words = " / ".join(filter(None, lines))
        return words if len(words) <= WORDS_MAX else f"…{words[1 - WORDS_MAX :]}"
