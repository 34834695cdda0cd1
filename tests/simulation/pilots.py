"""A pilot without payloads: the real loop of pilot/loop.py, whose units come to drawn outcomes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IDelayedCall

from node.store.blobs import digest_of
from node.work.refusals import Refusal
from pilot.loop import Loop, Resources, Start
from pilot.messages import OUTCOME_OF, ROW, expand_ranges, group_by_lease
from tests.simulation.bell import Bell
from tests.simulation.fates import Fate, put_out
from tests.simulation.host import Host
from tests.simulation.process import Unreachable

if TYPE_CHECKING:
    from tests.simulation.world import World

REPORT_EVERY_S = 1.0
HEARTBEAT_S = 30.0
ORDERS_ONLY_AFTER_S = 10.0
BACK_OFF_S_MAX = 5.0
IDLE_S_MAX = 120.0  # without a unit, then it leaves
GONE_AFTER_S = 40.0  # without an answer to its last words
MEMORY_BYTES = 64 * 10**9
Row = tuple[int, str, list[Any]]  # lease, spec, row
_JOB, _OUTPUTS = ROW.index("job"), ROW.index("outputs")
Sent = tuple[int, int, str, int]  # chunk, lease, spec, job


@dataclass(slots=True)
class Runner:
    """One slot: what it was sent, and what runs there."""

    waiting: deque[Sent] = field(default_factory=deque)
    running: Sent | None = None
    begun_ms: int = 0
    timer: IDelayedCall | None = None


class Pilot:
    """One pilot, from its first announcement until it leaves, vanishes or is refused."""

    def __init__(self, world: World, host: Host, number: int, token: str) -> None:
        self.world = world
        self.host = host
        self.tag = f"sim-{number}"
        self.token = token
        self.session = ""
        self.gone = False
        self.silent_until_s = 0.0  # neither hears nor is heard
        self.broken = False  # a worker on which nothing works
        self._random = Random(f"pilot {world.seed} {number}")
        slots = self._random.choice([1, 2, 4])
        self.resources = Resources(list(range(slots)), [], MEMORY_BYTES, MEMORY_BYTES)
        self._whole = self.resources.shown(None)
        self.loop = Loop(self.resources, slots)
        self._host = f"host-{number % 7}"
        self._runners = [Runner() for _ in range(slots)]
        self._rows: deque[Row] = deque()
        self._in_report: list[Row] = []
        self._returned: list[list[Any]] = []
        self._returned_in_report: list[list[Any]] = []
        self._batch = 0
        self._heard_s = world.clock.seconds()
        self._announcing = DeferredLock()
        self._leaving = False
        self._busy_s = world.clock.seconds()  # when it last had a unit
        self._news = Bell(world.clock)  # results, units that came back, room

    def start(self) -> None:
        self.world.spawn(self._poll_forever(), f"polls of {self.tag}")
        self.world.spawn(self._report_forever(), f"reports of {self.tag}")

    def vanish(self) -> None:
        """kill -9, with all that it runs."""
        self.gone = True
        for runner in self._runners:
            if runner.timer is not None and runner.timer.active():
                runner.timer.cancel()

    def leave(self) -> None:
        """It ends: it says so, and what became of its units."""
        self._leaving = self.loop.draining = True
        self._returned += self.loop.hand_back()
        for slot in range(len(self._runners)):
            self._stop_slot(slot, None, None, "evicted")
        self._news.ring()

    @property
    def busy(self) -> bool:
        return not self.gone and self.loop.busy()

    @property
    def cut_off(self) -> bool:
        return self.world.clock.seconds() < self.silent_until_s

    # The node

    async def _call(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request in our session. Raises Unreachable for everything that may pass."""
        session = self.session or await self._announce("")
        try:
            return await self.world.farm.ask(self, what, session, body)
        except Refusal as refusal:
            if refusal.status not in (401, 403):
                raise Unreachable(refusal.message) from None
        session = await self._announce(session)
        try:
            return await self.world.farm.ask(self, what, session, body)
        except Refusal as refusal:
            raise Unreachable(refusal.message) from None

    async def _announce(self, forgotten: str) -> str:
        """A session; another one if the node refused `forgotten`."""
        await self._announcing.acquire()
        try:
            while not self.gone:
                if self.session and self.session != forgotten:
                    return self.session
                body = {
                    "token": self.token, "tag": self.tag, "host": self._host, "pid": 7,
                    "version": "0", "resources": self._whole, "isolation": "full",
                    "session": forgotten or None, "holding": self._holding(),
                }  # fmt: skip
                try:
                    answer = await self.world.farm.ask(self, "announce", "", body)
                except Unreachable:
                    await self._back_off()
                    continue
                except Refusal as refusal:
                    if refusal.status == 503:
                        await self._back_off()
                        continue
                    self.world.note(f"{self.tag} is refused: {refusal.message}")
                    self.vanish()
                    break
                self.session = str(answer["session"])
                if self.session == forgotten:
                    return self.session
        finally:
            self._announcing.release()
        raise Unreachable("this pilot has ended")

    def _holding(self) -> list[list[Any]]:
        held: dict[int, list[int]] = {}
        for lease, jobs in [*self.loop.holding(), *self._returned, *self._returned_in_report]:
            held.setdefault(lease, []).extend(jobs)
        for lease, _spec, row in [*self._rows, *self._in_report]:
            held.setdefault(lease, []).append(row[0])
        return [[lease, jobs] for lease, jobs in held.items()]

    async def _back_off(self) -> None:
        await self.world.sleep(self._random.uniform(0.2, BACK_OFF_S_MAX))

    async def _poll_forever(self) -> None:
        while not self.gone:
            wanted = self.loop.units_max(len(self._rows) + len(self._in_report))
            quiet = self.world.clock.seconds() - self._heard_s >= ORDERS_ONLY_AFTER_S
            if self._leaving or not (wanted or quiet):
                await self._news.wait(ORDERS_ONLY_AFTER_S)
                continue
            body = {
                "free": self.loop.free(self.world.clock.seconds()), "queued": self.loop.queued(),
                "idle_slots": self.loop.idle_slots(), "units_max": wanted, "seen": self.loop.seen,
            }  # fmt: skip
            try:
                answer = await self._call("poll", body)
            except Unreachable:
                await self._back_off()
                continue
            if not self.gone:
                self._polled(answer)

    def _polled(self, answer: dict[str, Any]) -> None:
        self._heard_s = self.world.clock.seconds()
        work = sorted(answer["work"], key=lambda item: int(item["lease"]))
        if self.loop.draining:
            self._returned += [[item["lease"], expand_ranges(item["jobs"])] for item in work]
        else:
            _wanted, unknown = self.loop.add(work, answer["specs"])
            if unknown:
                self._returned += unknown
                self.world.spawn(self._renew(), f"{self.tag} announces itself again")
        self._obey(answer["orders"])
        self._plan()
        self._news.ring()

    async def _renew(self) -> None:
        """The node forgets which tasks it described to us."""
        try:
            await self._announce(self.session)
        except Unreachable:
            return

    def _obey(self, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            if order["order"] == "stop":
                slots, dropped = self.loop.stop(order["lease"], order["jobs"])
                self._returned += dropped
                for slot in slots:
                    self._stop_slot(slot, order["lease"], order["jobs"], "cancelled")
            elif order["order"] == "exit":
                self.leave()

    async def _report_forever(self) -> None:
        reported_s = self.world.clock.seconds()
        while not self.gone:
            if not self._to_report:
                await self._news.wait(reported_s + HEARTBEAT_S - self.world.clock.seconds())
            await self.world.sleep(REPORT_EVERY_S)
            late = self.world.clock.seconds() - reported_s >= HEARTBEAT_S
            if self.gone or not (late or self._to_report):
                continue
            if self._idle_for_long:
                self.leave()
            last = self._leaving and not self.loop.busy()
            reported_s = self.world.clock.seconds()
            if await self._report(last) and last and not self._rows:
                self.vanish()

    @property
    def _to_report(self) -> bool:
        ended = self._leaving and not self.loop.busy()
        return bool(self._rows or self._returned) or ended

    @property
    def _idle_for_long(self) -> bool:
        now_s = self.world.clock.seconds()
        if self.loop.busy() or self._to_report:
            self._busy_s = now_s
        return now_s - self._busy_s > IDLE_S_MAX

    async def _report(self, last: bool) -> bool:
        """Send what is there until the node has it; False if that never came about."""
        self._in_report, self._rows = list(self._rows), deque()
        self._returned_in_report, self._returned = self._returned, []
        self._batch += 1
        body: dict[str, Any] = {
            "batch": self._batch, "results": group_by_lease(self._in_report),
            "running": self.loop.running(), "returned": self._returned_in_report,
        }  # fmt: skip
        if last:
            body["leaving"] = True
        begun_s = self.world.clock.seconds()
        while not self.gone:
            if self._random.random() < self.world.farm.repeat:
                self.world.spawn(self._again(dict(body)), f"a repeated report of {self.tag}")
            try:
                await self._upload()
                answer = await self._call("report", body)
            except Unreachable:
                if last and self.world.clock.seconds() - begun_s > GONE_AFTER_S:
                    self.vanish()
                await self._back_off()
                continue
            if self.gone:
                return False
            strange = {(spec, job) for spec, job in answer["strange"]}
            rows = [row for row in self._in_report if (row[1], row[2][0]) not in strange]
            self.world.witness.acked(self.host.name, rows)
            self._in_report, self._returned_in_report = [], []
            self._heard_s = self.world.clock.seconds()
            self._obey(answer["orders"])
            return True
        return False

    async def _upload(self) -> None:
        """What units put out is at the node before it hears of it. Raises Unreachable."""
        succeeded = [(spec, row[_JOB]) for _, spec, row in self._in_report if row[_OUTPUTS]]
        contents = [content for unit in succeeded for content in self._put_out(*unit)]
        if contents:
            await self.host.of_node(lambda node: node.upload(contents))

    def _put_out(self, spec: str, job: int) -> tuple[bytes, bytes]:
        return put_out(spec, job, self.host.name if self.world.farm.fates.by_host else "")

    async def _again(self, body: dict[str, Any]) -> None:
        """The same batch once more, beside or behind the first."""
        await self.world.sleep(self._random.choice([0.0, 0.01, 0.3, 3.0]))
        try:
            await self.world.farm.ask(self, "report", self.session, body)
        except (Unreachable, Refusal):
            return

    # Units

    def _plan(self) -> None:
        for start in self.loop.plan(self.world.clock.seconds(), lambda digest: True):
            self._begin(start)

    def _begin(self, start: Start) -> None:
        message, runner = start.message, self._runners[start.slot]
        for job in message["jobs"]:
            runner.waiting.append((message["chunk"], message["lease"], start.spec, job))
        if runner.running is None:
            self._next(start.slot)

    def _next(self, slot: int) -> None:
        runner = self._runners[slot]
        if not runner.waiting:
            return
        runner.running = runner.waiting.popleft()
        _chunk, lease, spec, job = runner.running
        runner.begun_ms = self.host.wall_ms()
        fate = self.world.farm.fates.draw(spec, job, broken=self.broken)
        if fate.wall_s > 0.2:
            self.loop.told_running(slot, lease, job, runner.begun_ms)
        ended: Callable[[], None] = partial(self._ended, slot, fate)
        runner.timer = self.world.clock.callLater(fate.wall_s, ended)

    def _ended(self, slot: int, fate: Fate) -> None:
        runner = self._runners[slot]
        if self.gone or runner.running is None:
            return
        chunk, lease, spec, job = runner.running
        runner.running = runner.timer = None
        wall_ms = int(fate.wall_s * 1000)
        puts_out = self.world.farm.fates.put_out and not fate.error
        outputs = digest_of(self._put_out(spec, job)[1]).hex() if puts_out else ""
        values = {
            "job": job, "outcome": OUTCOME_OF[fate.error], "start_ms": max(0, runner.begun_ms),
            "wall_ms": wall_ms, "cpu_ms": wall_ms // 2 + 1, "memory_kib": 1000 + job, "disk_kib": 8,
            "gpu_ms": 0, "exit": 1 if fate.error else 0, "error": fate.error, "outputs": outputs,
            "inputs": "", "log": fate.id, "tail": "it failed" if fate.error else "",
        }  # fmt: skip
        row = [values[name] for name in ROW]
        self._rows.append((lease, spec, row))
        self._news.ring()
        self.loop.came_back(slot, [(lease, spec, row)], self._chunks_done(slot, chunk))
        self._next(slot)
        self._plan()

    def _chunks_done(self, slot: int, *chunks: int) -> list[int]:
        waiting = {each[0] for each in self._runners[slot].waiting}
        return [chunk for chunk in chunks if chunk not in waiting]

    def _stop_slot(
        self, slot: int, lease: int | None, jobs: Sequence[int] | None, error: str
    ) -> None:
        """End what runs of these units, hand back what waits."""
        runner = self._runners[slot]

        def meant(unit: Sent) -> bool:
            return lease in (None, unit[1]) and (jobs is None or unit[3] in jobs)

        back = [unit for unit in runner.waiting if meant(unit)]
        runner.waiting = deque(unit for unit in runner.waiting if not meant(unit))
        returned = [[unit[1], [unit[3]]] for unit in back]
        self.loop.gave_up(slot, returned)
        self._returned += returned
        if runner.running is not None and meant(runner.running):
            if runner.timer is not None and runner.timer.active():
                runner.timer.cancel()
            _chunk, _lease, spec, job = runner.running
            fate = self.world.farm.fates.draw(spec, job, broken=False)
            self._ended(slot, Fate(0.01, error, fate.id))
        running = None if runner.running is None else runner.running[0]
        ended = self._chunks_done(slot, *{unit[0] for unit in back} - {running})
        self.loop.came_back(slot, [], ended)
        self._plan()
