"""Ending jobs of one batch system: too many, of no use, or by an admin's order; what is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from node.provisioning.account import Account
from node.provisioning.asking import Asking
from node.provisioning.jobs import Cancel, Changes
from node.provisioning.ports import House, Tools
from node.provisioning.rows import job_row
from node.provisioning.settings import SystemConfig
from node.store import submissions as store
from schedulers.base import JobName, SchedulerError

CANCEL_MAX: Final = 200  # jobs in one command


class Ending(Account):
    """Writes changes down, cancels jobs, has pilots leave."""

    def __init__(self, house: House, settings: SystemConfig, tools: Tools) -> None:
        super().__init__(house, settings, tools)
        self.asking = Asking(tools)
        self._unended = ""  # why jobs could not be ended when an admin wanted it

    async def _write(self, changes: Changes) -> None:
        wall_ms = self._house.wall_ms()
        rows = {
            (submission.no, job.name): job_row(submission, job, wall_ms)
            for submission, job in changes.jobs
        }
        sure = [submission.no for submission in changes.named]
        if rows or sure:
            await self._house.work.write(partial(_write, list(rows.values()), sure))

    def _drain(self, count: int) -> None:
        """Let the pilots with least to do take nothing more and leave."""
        sessions = self._house.work.sessions.by_pilot
        mine = [
            sessions[job.pilot]
            for each in self.book
            for job in each.living
            if job.pilot is not None and job.pilot in sessions
        ]
        leaving = sum(each.draining or each.leaving for each in mine)
        mine.sort(key=lambda each: sum(len(lease.left) for lease in each.leases.values()))
        staying = [each for each in mine if not (each.draining or each.leaving)]
        for session in staying[: max(0, count - leaving)]:
            session.draining = True
            self._house.work.leases.unpark(session)

    async def end(self, *, running: bool) -> None:
        """End all jobs that wait, by an admin's order; with `running`, all others too."""
        jobs = [job.name for each in self.book for job in each.living if running or job.queued]
        self._unended = await self.cancel(jobs, Cancel.ORDER)

    def staying(self) -> int:
        """Jobs that nobody ended, and pilots that are still here."""
        sessions = self._house.work.sessions.by_pilot
        return sum(
            job.cancelled is None if job.pilot is None else job.pilot in sessions
            for each in self.book
            for job in each.living
        )

    def hindrance(self) -> str:
        """Why jobs may still be there though they were to end; "" if nothing is known of that."""
        unseen = sum(each.unseen for each in self.book)
        words = [f"{self._unended}; they are cancelled when it answers"] if self._unended else []
        if unseen:
            many = "a pilot" if unseen == 1 else f"{unseen} pilots"
            words.append(f"{many} may have been submitted, which is not known yet")
        return f"site.{self.settings.name}: {'; '.join(words)}" if words else ""

    async def cancel(self, jobs: Sequence[JobName], why: Cancel) -> str:
        """End these jobs; why that could not be said to the batch system, "" if it was."""
        now_s = self._house.reactor.seconds()
        changes = Changes()
        wanted = set(jobs)
        for each in self.book:
            for job in each.living:
                if job.name in wanted:
                    job.cancelled, job.cancelled_s = why, now_s
                    changes.jobs.append((each, job))
        await self._write(changes)
        return await self._cancel(jobs)

    async def _cancel(self, jobs: Sequence[JobName]) -> str:
        for at in range(0, len(jobs), CANCEL_MAX):
            try:
                await self.asking.cancel(jobs[at : at + CANCEL_MAX])
            except SchedulerError as error:
                self._complain(f"cannot cancel: {error}")
                return f"cannot cancel: {error}"
        return ""


def _write(rows: Sequence[store.JobRow], sure: Sequence[int], conn: Any) -> None:
    if rows:
        store.put_jobs(conn, rows)
    if sure:
        store.certain(conn, sure)
