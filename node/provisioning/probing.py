"""One pilot from its submission to its end, step by step: what `floe site test NAME` tells.

It is submitted like any other, so that a crash loses nothing of it, but by nobody's limits or
breakers, and gets one unit that is reserved for it. Whoever asks follows it, and ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from node.model.dataset import Needs
from node.model.units import show_size
from node.provisioning.jobs import Cancel, Job, Submission, standing
from node.provisioning.plan import Order
from node.provisioning.shapes import NoFit, Shape, shape_for
from node.provisioning.submitting import log_of
from node.provisioning.system import BatchSystem
from node.work import Work
from node.work.sessions import Session
from schedulers.base import JobState, SchedulerError

_log = Logger()

NEEDS: Final = Needs(1, 0, 100_000_000, 10_000_000, 60)  # of the unit; see node/cli/probing.py
TAIL_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class Step:
    """ok: None while it is not known. took_s: since the one before."""

    what: str
    ok: bool | None
    detail: str = ""
    right: str = ""


class Probe:
    """One test of one batch system."""

    def __init__(self, system: BatchSystem, work: Work, dataset: bytes, now_s: float) -> None:
        """dataset: whose one unit is for this pilot; it need not be here yet."""
        self.system = system
        self.dataset = dataset
        self.began_s = now_s
        self._work = work
        self._first: list[Step] = []
        self._submission: Submission | None = None
        self._shape: Shape | None = None
        self._session: Session | None = None
        self._said = ""  # by the batch system or the pilot's log, of why it does not go on
        self._ending = self._cleaned = False
        self._held = False  # when it was ended

    # -- what is done, each as an errand of the system's round

    async def begin(self) -> None:
        """Find the commands, and submit."""
        name = self.system.settings.name
        if self._work.leases.draining:
            self._first.append(Step("answers", False, "this site is drained: no unit would run",
                                    "floe site drain --off"))  # fmt: skip
            return
        self.system.knock()
        try:
            version = await self.system.asking.version()
        except SchedulerError as error:
            right = "see: floe config check; once that is fine: floe config reload"
            self._first.append(Step("answers", False, str(error), right))
            return
        self._first.append(Step("answers", True, version))
        try:
            order = self._order()
        except NoFit as error:
            right = f"correct [site.{name}], then: floe config reload"
            self._first.append(Step("submitted", False, str(error), right))
            return
        self._shape = order.shape
        submission = self._submission = await self.system.submit(order)
        if not submission.jobs:
            right = f"correct [site.{name}], then: floe config reload"
            if self.system.breakers[order.shape].limit == submission.words:
                right = "this passes by itself, as jobs of the account end"
            if submission.doubtful:
                right = "if it was made all the same, it is found and used: floe pilots"
            self._first.append(Step("submitted", False, submission.words, right))
            return
        self._work.reserve(self.dataset, submission.tag)
        job = next(iter(submission.jobs))
        self._first.append(Step("submitted", True, f"job {job}, {order.shape.words()}"))

    def _order(self) -> Order:
        """Raises NoFit."""
        why: NoFit | None = None
        for factory in self.system.settings.factories:
            try:
                return Order(factory, shape_for(factory, NEEDS, self.system.queues), 1)
            except NoFit as error:
                why = why or error
        assert why is not None
        raise why

    async def end(self) -> None:
        """Let the pilot leave, or end its job; find out why it did not come so far."""
        self._ending = True
        job = self._job()
        if job is not None and not job.over and self._pilot() is None:
            self._held = job.state is JobState.HELD
            await self._ask_why(job)
            await self.system.cancel([job.name], Cancel.ORDER)
        elif (session := self._pilot()) is not None:
            session.draining = True
            self._work.leases.unpark(session)

    async def _ask_why(self, job: Job) -> None:
        submission = self._submission
        assert submission is not None
        try:
            if job.queued:
                self._said = await self.system.asking.describe(job.name)
            else:
                log = log_of(submission)
                self._said = await self.system.asking.tail(log, job.name, TAIL_BYTES)
        except SchedulerError as error:
            self._said = str(error)

    async def look_after(self) -> None:
        """What its end leaves to do: find out why it died, remove its files."""
        job, submission = self._job(), self._submission
        if self.due and job is not None and submission is not None:
            if job.pilot is None and not self._said:
                await self._ask_why(job)
            self._cleaned = await self.system.remove(submission)

    @property
    def due(self) -> bool:
        """Whether `look_after` has anything to do."""
        return self._submission is not None and self._submission.ended and not self._cleaned

    # -- what is known

    def _job(self) -> Job | None:
        found = self._submission
        return None if found is None else next(iter(found.jobs.values()), None)

    def _pilot(self) -> Session | None:
        job = self._job()
        if job is not None and job.pilot is not None:
            found = self._work.sessions.by_pilot.get(job.pilot)
            self._session = found or self._session
            return found
        return None

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self._cleaned or any(step.ok is False for step in self._first)

    def steps(self) -> list[Step]:
        """In order; those after one that failed are left out, but for the last."""
        steps = list(self._first)
        job = self._job()
        if job is None:
            return steps
        self._pilot()
        steps += self._coming(job)
        if self._ending or job.over:
            steps.append(self._clean(job))
        return steps

    def _coming(self, job: Job) -> list[Step]:
        """Whether it started, and spoke."""
        spoke = job.pilot is not None
        started = spoke or job.state is JobState.RUNNING or (job.over and bool(job.host))
        host = self._session.host if self._session is not None else job.host
        if not started:
            return [Step("started", False if self._late(job) else None, *self._waits(job))]
        steps = [Step("started", True, f"on {host or 'a worker'}")]
        if spoke:
            return [*steps, Step("spoke to this node", True, self._offers())]
        return [*steps, Step("spoke to this node", False if self._late(job) else None,
                             *self._silent(job, host))]  # fmt: skip

    def _late(self, job: Job) -> bool:
        return job.over or self._ending

    def _waits(self, job: Job) -> tuple[str, str]:
        """Why it has not started."""
        if job.over and job.cancelled is not Cancel.ORDER:  # not because it had waited long enough
            return f"{_ended(job)}{self._quoted()}", ""
        held = self._held or job.state is JobState.HELD
        right = f"floe site test {self.system.settings.name} --timeout 3600 waits longer"
        if held:
            right = "see what holds it; the batch system's words are quoted"
        return standing(job.name, held, self._said or job.words), right

    def _silent(self, job: Job, host: str) -> tuple[str, str]:
        """Why a pilot that started has not spoken."""
        name, url = self.system.settings.name, self.system.book.told
        if not job.over:
            right = (
                f"workers seem to have no route to {url}: set [site.{name}] url = …, or, if they "
                "reach the submit host, host and tunnel"
            )
            if self.system.settings.tunnel is not None:
                port = url.rpartition(":")[2]
                right = (
                    "workers may know the submit host by another name, or reach another address of "
                    f'it: set [site.{name}] url = "https://NAME:{port}"'
                )
            return f"{host or 'its worker'} has not reached {url}{self._quoted()}", right
        status = f", exit status {job.exit}" if job.exit is not None else ""
        right = f"set [site.{name}] python = …" if job.exit == 127 else ""
        return f"{_ended(job)}{status}{self._quoted()}", right

    def _quoted(self) -> str:
        """The last line of its log."""
        return f"; it said: {self._said.rpartition(' / ')[2]}" if self._said else ""

    def _offers(self) -> str:
        if self._session is None:
            return ""
        whole = self._session.whole
        cpus = f"{whole.cpu} CPU{'s' if whole.cpu != 1 else ''}"
        gpus = f", {whole.gpu} GPU" if whole.gpu else ""
        walls = f", {self._session.isolation}" if self._session.isolation else ""
        return f"{cpus}{gpus}, {show_size(whole.memory_bytes)}{walls}"

    def _clean(self, job: Job) -> Step:
        if self._cleaned:
            how = job.state.value if job.state.over else "its pilot left"
            return Step("cleaned up", True, f"job {job.name}: {how}; its files are removed")
        if not job.over:
            return Step("cleaned up", None, f"job {job.name} is listed still: {job.state.value}")
        return Step("cleaned up", None, "files are there still")


def _ended(job: Job) -> str:
    """How, and in the batch system's words why."""
    return ": ".join(filter(None, (f"job {job.name} {job.state.value}", job.words)))
