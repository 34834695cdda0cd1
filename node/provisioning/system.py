"""One batch system at work: looks at it now and then, keeps its book, submits and cancels.

One round at a time, and in it one command at a time, so that what a listing shows is never older
than what the book already knows. A round looks if that is due, learns what became of jobs that
are not listed, asks for a plan and carries it out. All errors of the batch system are words here,
shown to people; the next rounds come ever more rarely while they last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from node.provisioning.asking import Asking
from node.provisioning.breaker import Breaker
from node.provisioning.jobs import Cancel, Changes, Ended, Submission
from node.provisioning.ordering import Ordering
from node.provisioning.plan import Plan
from node.provisioning.ports import House, Tools
from node.provisioning.settings import SystemConfig
from node.provisioning.submitting import Submitter, log_of, whole_tag
from node.store import pilots as pilot_store
from node.store import submissions as store
from node.work.sessions import Session
from schedulers import texts
from schedulers.base import SchedulerError

_log = Logger()

SOON_S: Final = 1.0  # after units became ready, so that more of them count
BACKOFF_S_MAX: Final = 600.0
STALE_LOOKS: Final = 4  # so many looks without an answer, and nothing is submitted any more
QUEUES_S: Final = 3600.0  # between two looks at the queues' limits
QUEUES_AGAIN_S: Final = 300.0  # after one that was not answered
DESCRIBE_S: Final = 300.0  # between two questions why a pilot waits
TAIL_BYTES: Final = 2000
STOP_S_MAX: Final = 5.0  # that a node which stops waits for the end of a round

Planner = Callable[[str], Plan]
Errand = Callable[[], Awaitable[None]]


class BatchSystem(Ordering):
    """Keeps pilots in one batch system. `start` and `stop` once each."""

    def __init__(
        self, house: House, settings: SystemConfig, tools: Tools, numbers: Iterator[int]
    ) -> None:
        """numbers: of new submissions, shared by all batch systems of the node."""
        super().__init__(house, settings, tools, numbers)
        self.book.told = tools.url or " or ".join(house.urls)
        now_s = house.reactor.seconds()
        self._plan: Planner = lambda name: Plan()
        self._on_rest: Callable[[], None] = lambda: None
        self._failures = 0  # looks in a row
        self._next_look_s = now_s
        self._next_queues_s = now_s
        self._next_describe_s = now_s
        self._call: Any = None
        self._busy = False
        self._idle: Deferred[None] | None = None  # somebody waits for the end of a round
        self._stopped = False
        self._errands: deque[Errand] = deque()

    # -- start and stop

    def start(self, plan: Planner, on_rest: Callable[[], None]) -> None:
        """Begin to look. plan: what to do, by this system's name. on_rest: told of ended rounds."""
        self._plan, self._on_rest = plan, on_rest
        for row in pilot_store.live(self._house.conn):
            if row.scheduler == self.settings.name and row.announcements > 0:
                self._submitter.rows[row.tag] = row
        for session in self._house.work.sessions:
            self._bind(session)
        self._schedule(0.0)

    async def stop(self) -> None:
        """Look no more; pilots go on. What is being said to the batch system is said first."""
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        await self._quiet()
        await self._tools.runner.close()

    async def _quiet(self) -> None:
        """The end of a round, or STOP_S_MAX from now."""
        if not self._busy:
            return
        idle = self._idle = self._idle or Deferred()
        timer = self._house.reactor.callLater(STOP_S_MAX, _fire, idle)
        mine: Deferred[None] = Deferred()
        idle.chainDeferred(mine)
        await mine
        if timer.active():
            timer.cancel()

    async def change(self, settings: SystemConfig, tools: Tools | None = None) -> None:
        """Go on under other settings. tools: None if it is spoken to as before.

        Somebody has done something about whatever was wrong: it is asked at once, and a shape that
        was refused is tried again.
        """
        await self._quiet()
        self.settings = settings
        self.book.announce_s = settings.announce_s
        if tools is not None:
            await self._tools.runner.close()
            rows = self._submitter.rows
            self._tools, self.asking = tools, Asking(tools)
            self.book.told = tools.url or " or ".join(self._house.urls)
            self._submitter = Submitter(self._house, settings, tools)
            self._submitter.rows = rows
        else:
            self._submitter.change(settings)
            self._tools.runner.retry()
        now_s = self._house.reactor.seconds()
        for breaker in self.breakers.values():
            breaker.retry()
        self.version, self._failures, self.refusals = "", 0, 0
        self._next_submit_s = min(self._next_submit_s, now_s + settings.submit_s)
        self._next_new_s = self._next_submit_s
        self._next_look_s = self._next_queues_s = now_s
        self._schedule(0.0)

    def wanted(self) -> None:
        """Units wait: submit as soon as that is allowed."""
        now_s = self._house.reactor.seconds()
        self._schedule(max(SOON_S, self._next_submit_s - now_s))

    def _schedule(self, delay_s: float) -> None:
        if self._stopped or self._busy:
            return
        if self._call is not None and self._call.active():
            if self._call.getTime() <= self._house.reactor.seconds() + delay_s:
                return
            self._call.cancel()
        self._call = self._house.reactor.callLater(delay_s, self._begin)

    def _begin(self) -> None:
        self._call = None
        self._busy = True
        done = Deferred.fromCoroutine(self.round())
        done.addErrback(self._failed)
        done.addBoth(lambda _: self._rest())

    def _failed(self, failure: Failure) -> None:
        """By a mistake of ours, or as nothing can be written down: nothing was submitted."""
        _log.failure("provisioning: a round failed", failure)
        said = texts.harmless(f"{type(failure.value).__name__}: {failure.getErrorMessage()}")
        self._complain(f"this node failed at it, and tries again: {said}")

    def _rest(self) -> None:
        self._busy = False
        idle, self._idle = self._idle, None
        if idle is not None:
            _fire(idle)
        due_s = self._next_look_s - self._house.reactor.seconds()
        self._schedule(0.0 if self._errands else max(1.0, due_s))
        self._on_rest()

    async def end(self, *, running: bool) -> None:
        """As `Ending.end`, once what is being submitted has a name."""
        await self._quiet()
        await super().end(running=running)

    async def give_up(self) -> None:
        """All of its jobs: nobody looks for them any more. Pilots that are up finish and leave."""
        await self._quiet()
        self._drain(self.book.running())
        changes = self.book.give_up(self._house.reactor.seconds())
        await self._write(changes)
        for submission in changes.over:
            await self._close(submission)

    def knock(self) -> None:
        """Somebody asks now: a host that could not be reached is tried at once."""
        if self._tools.runner.away() is not None:
            self._tools.runner.retry()
            self._next_look_s = self._house.reactor.seconds()

    def send(self, errand: Errand) -> None:
        """Do something more at the beginning of the next round, which is soon; once if at all."""
        if errand not in self._errands:
            self._errands.append(errand)
        self._schedule(0.0)

    # -- a round

    async def round(self) -> None:
        """Look, if that is due; then do what the plan says."""
        await self._remember()  # before anything is submitted
        while self._errands:
            await self._errands.popleft()()
        self._hear()
        if self._house.reactor.seconds() >= self._next_look_s:
            await self._look()
        else:
            await self._apply(self.book.tick(self._house.reactor.seconds()))
        self._name_hosts()
        if not self._stopped:
            await self._carry_out(self._plan(self.settings.name))
        await self._remember()

    def _hear(self) -> None:
        """When pilots of ours last said anything."""
        sessions = self._house.work.sessions.by_pilot
        self.book.spoke({
            no: session.seen_s for no, session in sessions.items() if not session.stale
        })  # fmt: skip

    def _name_hosts(self) -> None:
        """Find out how the batch system calls banned hosts on which pilots of ours are."""
        sessions = self._house.work.sessions.by_pilot
        up = [
            (sessions[job.pilot].host, job.host)
            for each in self.book
            for job in each.living
            if job.pilot is not None and job.pilot in sessions
        ]
        self.avoided.learn(up, self._house.reactor.seconds())
        self._house.work.keep_bans()

    async def _look(self) -> None:
        began_s = self._house.reactor.seconds()
        self._next_look_s = began_s + self.settings.look_s
        try:
            if not self.version:
                self.version = await self.asking.version()
            reports = await self.asking.listing()
        except SchedulerError as error:
            self._failures += 1
            self._next_look_s = began_s + self._wait_s()
            self._complain(f"no answer about jobs: {error}")
            await self._apply(self.book.tick(self._house.reactor.seconds()))
            return
        self._failures = 0
        self.looked_s = began_s
        now_s = self._house.reactor.seconds()
        await self._apply(self.book.listed(reports, began_s, now_s))
        await self._look_up()
        self.asking.rest()
        await self._look_at_queues()
        await self._ask_why()

    def _wait_s(self) -> float:
        """After a look without an answer, until the next one; a host has its own waits."""
        if (away := self._tools.runner.away()) is not None:
            return max(self.settings.look_s, away.again_s)
        wait_s = self.settings.look_s * 2.0 ** min(self._failures - 1, 10)
        return max(self.settings.look_s, min(wait_s, BACKOFF_S_MAX))

    async def _look_up(self) -> None:
        asked = self.book.inquiry(self._house.reactor.seconds())
        if asked is None:
            return
        reports, failed = await self.asking.look_up(asked)
        if failed:
            self._complain(f"no answer about jobs that left the listing: {failed}")
        now_s = self._house.reactor.seconds()
        await self._apply(self.book.looked_up(asked, reports, not failed, now_s))

    async def _look_at_queues(self) -> None:
        now_s = self._house.reactor.seconds()
        if now_s < self._next_queues_s:
            return
        try:
            self.queues = await self.asking.queues()
            self._next_queues_s = now_s + QUEUES_S
        except SchedulerError as error:
            self._next_queues_s = now_s + QUEUES_AGAIN_S
            self._complain(f"no answer about queues: {error}")

    async def _ask_why(self) -> None:
        """Have the pilot that waits longest explained, now and then; one that is held at once."""
        now_s = self._house.reactor.seconds()
        self.reasons.hear(self.book)
        due = self.reasons.next(self.book, now_s, again=now_s >= self._next_describe_s)
        if due is None:
            return
        submission, job = due
        self._next_describe_s = now_s + DESCRIBE_S
        try:
            said = await self.asking.describe(job.name)
        except SchedulerError as error:
            self._complain(f"no answer about job {job.name}: {error}")
            return
        self.reasons.answered(submission, job, said)
        self.reasons.hear(self.book)

    # -- what news mean

    async def _apply(self, changes: Changes) -> None:
        """Write it down, and act on it."""
        await self._write(changes)
        for ended in changes.ended:
            await self._bury(ended)
        for submission in changes.over:
            await self._close(submission)
        await self._cancel([job.name for job in changes.cancel])
        for job in changes.cancel:
            if job.cancelled in (Cancel.SILENT, Cancel.HELD):
                self._complain(f"job {job.name}: {job.cancel_words}")

    async def _bury(self, ended: Ended) -> None:
        job, submission = ended.job, ended.submission
        if job.pilot is not None:
            session = self._house.work.sessions.by_pilot.get(job.pilot)
            if session is not None:
                await self._house.work.arrivals.end(session, f"job {job.name}: {ended.why}")
        if ended.young:
            self._submitter.ship_again()
            breaker = self.breakers.setdefault(submission.shape, Breaker())
            tail = ""
            if breaker.until_s <= self._house.reactor.seconds():  # one of a bunch is enough
                tail = await self.asking.tail(log_of(submission), job.name, TAIL_BYTES)
            where = f" on {job.host}" if job.host else ""
            status = f", exit status {job.exit}" if job.exit is not None else ""
            said = f"; it said: {tail}" if tail else ""
            why = f"job {job.name}{where}: {ended.why}{status}{said}"
            breaker.failed(self._house.reactor.seconds(), why)
            if breaker.opened:
                self._complain(breaker.words(self._house.reactor.seconds()))

    async def _close(self, submission: Submission) -> None:
        """The last job of a submission is over: its token serves no more."""
        row = self._submitter.rows.pop(submission.tag, None)
        arrivals = self._house.work.arrivals
        words = submission.words or "all of its jobs have ended"
        if row is not None and row.token in arrivals.expected:
            await arrivals.never_came(row, words)
        wall_ms = self._house.wall_ms()
        await self._house.work.write(
            partial(store.ended, no=submission.no, ended_ms=wall_ms, words=words)
        )
        await self._tidy(submission.folder)

    # -- pilots that speak

    def announced(self, session: Session) -> bool:
        """A pilot announced itself; False if it is none of ours."""
        found = self._bind(session)
        if found is None:
            return False
        submission, changes = found
        self.breakers.setdefault(submission.shape, Breaker()).worked()
        self.reasons.started(submission.shape)
        if changes.jobs:
            done = Deferred.fromCoroutine(self._write(changes))
            done.addErrback(lambda failure: _log.failure("provisioning: a pilot's row", failure))
        return True

    def _bind(self, session: Session) -> tuple[Submission, Changes] | None:
        tag = whole_tag(session.tag, self.book.submissions)
        if tag is None:
            return None
        now_s = self._house.reactor.seconds()
        found = self.book.announced(tag, session.job, session.host, session.pilot, now_s)
        return self.book.submissions[tag], found

    def ended(self, session: Session) -> None:
        """A pilot took its leave, or is known to be gone."""
        for job in self.book.left(session.pilot):
            self.avoided.seen(session.host, job.host)

    # -- what to do

    async def _carry_out(self, plan: Plan) -> None:
        name = self.settings.name
        now_s = self._house.reactor.seconds()
        surplus = plan.surplus.get(name, set())
        self._surplus_s = {each: self._surplus_s.get(each, now_s) for each in surplus}
        if jobs := plan.cancel.get(name):
            await self.cancel(jobs, Cancel.LEFT_OUT if self.leaving else Cancel.SURPLUS)
        if jobs := plan.excess.get(name):
            await self.cancel(jobs, Cancel.LEFT_OUT if self.leaving else Cancel.LIMIT)
        if too_many := plan.drain.get(name):
            self._drain(too_many)
        if order := plan.submit.get(name):
            await self.submit(order)


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
