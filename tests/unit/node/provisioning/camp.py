"""A site with batch systems: the real work service and provisioning, fake batch systems, a clock.

`kill` throws away what is not committed and everything in memory, as kill -9 does; the batch
systems, their jobs and the pilots in them go on. `start` brings a new node up on what is on disk.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from federation.records import Outcome
from node.provisioning.ports import House as Around
from node.provisioning.ports import Tools
from node.provisioning.service import BatchSystems
from node.provisioning.settings import Factory, SystemConfig
from node.provisioning.system import BatchSystem
from node.work.refusals import Refusal
from schedulers.base import JobState
from tests.fakes.batch import Batch, FakeJob, FakeRunner, FakeScheduler
from tests.unit.node.work.house import Described, House, PilotSide, result_of

SETTINGS = SystemConfig(
    "maui", "slurm", (Factory(cpu=4, memory_bytes=8_000_000_000, disk_bytes=10**11),),
    queued_max=4, running_max=6,
)  # fmt: skip
RESOURCES = {
    "cpu": 4, "gpu": 0, "memory_bytes": 7_700_000_000, "disk_bytes": 10**11, "time_left_s": None,
}  # fmt: skip
HEARTBEAT_S = 30


def place_of(settings: SystemConfig) -> str:
    """A batch system by its section's name, or NAME@HOST."""
    return f"{settings.name}@{settings.host}" if settings.host else settings.name


class Pilot(PilotSide):
    """A pilot in a job: announces itself, takes units, finishes them, leaves when idle."""

    def __init__(self, camp: Camp, batch: Batch, job: FakeJob) -> None:
        self.settings = json.loads(batch.files[job.argv[1]])
        super().__init__(camp.house, self.settings["token"])
        self.camp, self.cluster, self.job = camp, batch, job
        self.gone = self.leaving = False
        self.node: Any = None  # the work service that it announced itself to
        self.asked: Deferred[Any] | None = None
        self.due_s = float("inf")
        self.idle_since_s = camp.clock.seconds()

    def hello(self) -> dict[str, Any]:
        told = {"job": self.job.name} if self.camp.tells_job else {}
        return (
            super().hello()
            | {"host": self.job.host + self.camp.domain, "resources": RESOURCES}
            | told
        )

    def step(self) -> None:
        """One second of its life."""
        if self.gone or not self.camp.up:
            return
        now_s = self.camp.clock.seconds()
        if self.node is not self.house.work:
            try:
                self.announce()
            except Refusal:
                self.exit(1)
                return
            self.node, self.asked = self.house.work, None
        if self.asked is not None and self.asked.called:
            answer = self.take(result_of(self.asked))
            self.leaving |= any(each["order"] in ("drain", "exit") for each in answer["orders"])
            self.asked = None
            if self.units():
                self.due_s = now_s + self.camp.unit_s
        if self.units():
            self.idle_since_s = now_s
            if self.job.host == self.camp.swallows:
                error, outcome = self.camp.swallows_as
                self.finish(error=error, outcome=int(outcome))
            elif now_s >= self.due_s:
                self.finish()
        elif self.leaving or now_s - self.idle_since_s > (self.settings["idle_s"] or 10**9):
            self.house.ask(self.house.work.report(
                self.session, {"batch": 0, "results": [], "leaving": True}
            ))  # fmt: skip
            self.exit(0)
            return
        if not self.units() and self.asked is None:
            self.asked = self.poll_later()
        elif self.units() and self.camp.tells_running and int(now_s) % HEARTBEAT_S == 0:
            self.tell_running()

    def tell_running(self) -> None:
        began_ms = int(1000 * (self.due_s - self.camp.unit_s))
        running = [[lease, job, began_ms] for lease, job in self.units()]
        self.house.ask(self.house.work.report(
            self.session, {"batch": self.batch, "results": [], "running": running}
        ))  # fmt: skip

    def exit(self, status: int) -> None:
        self.gone = True
        self.cluster.end(self.job, JobState.FAILED if status else JobState.DONE, status)


class Camp:
    """The whole of it. behave: what becomes of each job that starts."""

    def __init__(
        self, *datasets: Described, systems: tuple[SystemConfig, ...] = (SETTINGS,)
    ) -> None:
        self.house = House(*datasets)
        self.clock = self.house.clock
        self.settings = systems
        self.batches = {place_of(each): Batch(self.clock) for each in systems}
        self.pilots: list[Pilot] = []
        self.tells_job = True
        self.tells_running = True
        self.unit_s = 60.0
        self.domain = ".example.org"  # which the batch system leaves out
        self.swallows = ""  # a host on which every unit fails at once
        self.swallows_as = ("exit", Outcome.PAYLOAD)
        self.up = False
        self.behave: Callable[[Batch, FakeJob], None] = self.good
        self._names = (f"{number:08x}" for number in itertools.count(1))
        for batch in self.batches.values():
            self._follow(batch)
        self.start()

    def _follow(self, batch: Batch) -> None:
        batch.on_start = self._started(batch)
        batch.on_end = self._ended

    def add(self, settings: SystemConfig) -> None:
        """One more batch system, which the node does not know yet."""
        batch = self.batches[place_of(settings)] = Batch(self.clock)
        self._follow(batch)
        self.runners[place_of(settings)] = FakeRunner(batch)

    @property
    def batch(self) -> Batch:
        return next(iter(self.batches.values()))

    @property
    def system(self) -> BatchSystem:
        return self.node.systems[0]

    def _started(self, batch: Batch) -> Callable[[FakeJob], None]:
        return lambda job: self.behave(batch, job)

    def good(self, batch: Batch, job: FakeJob) -> None:
        self.pilots.append(Pilot(self, batch, job))

    def dies(self, batch: Batch, job: FakeJob) -> None:
        batch.files[f"{job.log}.{job.name.split('.')[1]}"] = b"Traceback\nno route to node\n"
        batch.end(job, JobState.FAILED, 1)

    def silent(self, batch: Batch, job: FakeJob) -> None:
        """It runs and never speaks."""

    def _ended(self, job: FakeJob) -> None:
        for pilot in self.pilots:
            if pilot.job is job:
                pilot.gone = True

    def start(self) -> None:
        """A node on what is on disk."""
        tokens = (f"token {self.clock.seconds()} {number}" for number in itertools.count())
        self.runners = {name: FakeRunner(batch) for name, batch in self.batches.items()}
        around = Around(
            self.clock, self.house.work, self.house.disk.conn, b"pilot", ["https://node:1"], "ff",
            "/pilots", [], lambda: next(tokens), lambda: next(self._names),
            lambda: int(self.clock.seconds() * 1000),
        )  # fmt: skip
        self.node = BatchSystems(around, self.settings, self._tools)
        self.node.start()
        self.up = True

    def _tools(self, settings: SystemConfig) -> Tools:
        place = place_of(settings)
        runner = self.runners[place]
        if runner.dead:  # closed, as the node speaks to it in another way now
            runner = self.runners[place] = FakeRunner(self.batches[place])
        return Tools(FakeScheduler(), runner)

    def kill(self) -> None:
        for runner in self.runners.values():
            runner.dead = True
        for system in self.node.systems:
            system._stopped = True  # its calls go with the clock's
        self.house.kill()
        self.up = False

    def restart(self) -> None:
        """As a new process would."""
        if self.up:
            self.kill()
        self.house.start()
        self.start()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; whether `until` came true, if it is given."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for batch in self.batches.values():
                batch.tick()
            self.settle()
            for pilot in list(self.pilots):
                pilot.step()
            if self.up:
                self.house.work.tick()
            self.settle()
            if until is not None and until():
                return True
        return False

    def settle(self) -> None:
        if self.up:
            self.house.settle()
        else:
            self.clock.advance(0)

    def verbs(self, verb: str) -> list[float]:
        """When a command was run."""
        return [at_s for at_s, each in self.batch.ran if each == verb]
