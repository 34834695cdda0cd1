"""A random life of a site, from one seed: a phase of faults, then healing, then every check.

Each fault is a named step; `skip` leaves some out, so that a failing schedule can be shrunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw
from twisted.internet.defer import Deferred

from federation.records import Outcome
from node.store.writer import JournalClosed
from node.work.refusals import Refusal
from tests.fakes.disk import PowerLost
from tests.simulation.checkers import check_log, check_settled
from tests.simulation.world import YEAR_MS, World
from tests.unit.node.work.house import Pending, PilotSide

STEPS = 160
PILOTS = 3
HEAL_ROUNDS = 400
SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((),),  # flat
    ((), (0,)),  # chain
    ((), (0,), (0,), (1, 2)),  # diamond
)
OUTCOMES = (
    (Outcome.SUCCESS, ""),
    (Outcome.PAYLOAD, "exit"),
    (Outcome.RESOURCES, "memory"),
    (Outcome.INFRASTRUCTURE, "worker"),
)


def description(name: str, shape: tuple[tuple[int, ...], ...], jobs: int) -> dict[str, Any]:
    return {
        "floe": 1,
        "name": name,
        "jobs": jobs,
        "retry": {"max": 2},
        "task": [
            {
                "name": f"t{index}",
                "after": [f"t{parent}" for parent in parents],
                "module": [{"run": ["true"]}],
            }
            for index, parents in enumerate(shape)
        ],
    }


class Storm:
    """One life. `run` raises AssertionError when something that was promised did not hold."""

    def __init__(
        self, seed: int, folder: Path, *, steps: int = STEPS, skip: frozenset[int] = frozenset()
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.world = World(folder)
        self.steps = steps
        self.skip = skip
        self.schedule: list[str] = []  # name of every step taken, in order
        self.pilots: list[PilotSide] = []
        self.unacked: dict[PilotSide, dict[str, Any]] = {}
        self.told: Counter[tuple[str, int]] = Counter()  # (spec, job) of acknowledged results
        self.finished: Counter[tuple[str, int]] = Counter()
        self.settled: dict[tuple[int, int], int] = {}
        self.seen: dict[tuple[int, int, int], bytes] = {}
        self.born = self.nonce = self.sets = 0
        self.calm = False

    def run(self) -> None:
        try:
            self.live()
            self.heal()
        finally:
            self.world.close()

    def live(self) -> None:
        """The phase of faults."""
        doing = {
            self.submit: 4, self.poll: 24, self.finish: 24, self.send_again: 8, self.order: 4,
            self.kill: 3, self.power_cut: 3, self.cut_soon: 3, self.disk_full: 2, self.room: 4,
            self.pilot_dies: 2, self.time_passes: 6, self.clock_jumps: 2,
        }  # fmt: skip
        steps, weights = list(doing), list(doing.values())
        self.submit()
        for number in range(self.steps):
            step: Callable[[], None] = self.random.choices(steps, weights)[0]
            self.random.seed(self.seed * 1_000_003 + number)  # a skipped step moves no other
            self.schedule.append(step.__name__)
            if number not in self.skip:
                self.step(step)
            self.random.seed(self.seed * 7_368_787 + number)

    def step(self, step: Callable[[], None]) -> None:
        try:
            while len(self.pilots) < PILOTS and not self.world.disk.full:
                self.add_pilot()
            step()
            self.world.settle()
        except (PowerLost, apsw.Error, OSError, JournalClosed, Pending):
            if not self.world.dark and not self.world.disk.full:
                raise
        if self.world.dark:
            self.power_cut()
        elif not self.world.disk.full:
            self.look()

    def look(self) -> None:
        """What a reader sees now must be there for ever."""
        entries = self.world.entries()
        for place, id in self.seen.items():
            assert entries.get(place) == id, f"entry {place} changed or is gone"
        self.seen = entries
        self.settled = check_settled(self.world, self.settled)

    # People

    def submit(self) -> None:
        self.sets += 1
        self.nonce += 1
        shape = self.random.choice(SHAPES)
        jobs = self.random.randint(1, 12)
        self.world.submit(description(f"set-{self.sets}", shape, jobs), self.nonce)

    def order(self) -> None:
        if not self.world.submitted:
            return
        dataset = self.random.choice(sorted(self.world.submitted))
        verb, args = self.random.choice(
            [
                ("pause", {}),
                ("resume", {}),
                ("retry", {}),
                ("edit", {"priority": self.random.randint(0, 100)}),
                ("extend", {"jobs": self.random.randint(1, 3)}),
                ("cancel", {"select": {"tasks": ["t0"], "jobs": [0, 2]}}),
            ]
        )
        self.nonce += 1
        self.world.order(dataset, verb, args, self.nonce)

    # Faults

    def kill(self) -> None:
        self.world.kill()
        self.came_back()

    def power_cut(self) -> None:
        self.world.cut(self.random.randrange(1 << 30))
        self.came_back()

    def cut_soon(self) -> None:
        """The power will go during one of the next operations of the disk."""
        self.world.disk.lose_after = self.world.disk.operations + self.random.randint(1, 60)

    def disk_full(self) -> None:
        self.world.disk.full = True

    def room(self) -> None:
        self.world.disk.full = False
        for _ in range(40):  # the journal tries again at growing intervals
            self.world.clock.advance(1)

    def clock_jumps(self) -> None:
        self.world.wall_jump_ms = self.random.choice([-YEAR_MS, 0, YEAR_MS])

    def time_passes(self) -> None:
        self.world.clock.advance(self.random.choice([1, 30, 100]))
        self.world.work.tick()

    def pilot_dies(self) -> None:
        if not self.pilots:
            return
        pilot = self.pilots.pop(self.random.randrange(len(self.pilots)))
        self.unacked.pop(pilot, None)
        if self.random.random() < 0.7 and self.known(pilot):
            self.world.ask(self.world.work.arrivals.end(pilot.session, "killed"))

    def came_back(self) -> None:
        """A new process: what was seen before is there, and pilots come again."""
        self.look()

    # Pilots

    def add_pilot(self) -> None:
        self.born += 1
        self.pilots.append(self.world.pilot(f"local-{self.born}"))

    def known(self, pilot: PilotSide) -> bool:
        return self.world.work.session(pilot.secret) is not None

    def poll(self) -> None:
        if not self.pilots:
            return
        pilot = self.random.choice(self.pilots)
        answer = self.ask(pilot, lambda: pilot.poll_later(self.random.randint(1, 6)))
        if answer is not None and not self.unlucky(0.1):
            pilot.take(answer)
            self.obey(pilot, answer["orders"])

    def obey(self, pilot: PilotSide, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            if order["order"] == "stop" and order["lease"] in pilot.holding:
                done = self.done_of(pilot)
                held = pilot.holding[order["lease"]]
                jobs = held if order["jobs"] is None else set(order["jobs"])
                held -= {job for job in jobs if (order["lease"], job) not in done}

    def done_of(self, pilot: PilotSide) -> set[tuple[int, int]]:
        groups = self.unacked.get(pilot, {"results": []})["results"]
        return {(group["lease"], job) for group in groups for job in group["jobs"]}

    def finish(self) -> None:
        if not self.pilots:
            return
        pilot = self.random.choice(self.pilots)
        if pilot in self.unacked or not pilot.units():
            return
        units = self.random.sample(pilot.units(), self.random.randint(1, len(pilot.units())))
        weights = [8, 1, 1, 1] if not self.calm else [1, 0, 0, 0]
        outcome, error = self.random.choices(OUTCOMES, weights)[0]
        self.unacked[pilot] = pilot.results(*units, outcome=outcome, error=error)
        for lease, job in units:
            self.finished[pilot.spec[lease], job] += 1
        self.send(pilot)

    def send_again(self) -> None:
        for pilot in list(self.unacked):
            self.send(pilot)

    def send(self, pilot: PilotSide) -> None:
        body = self.unacked[pilot]
        answer = self.ask(
            pilot, lambda: Deferred.fromCoroutine(self.world.work.report(pilot.session, body))
        )
        if answer is None:
            return
        for group in body["results"]:
            for job in group["jobs"]:
                self.told[group["spec"], job] += 1
        if self.unlucky(0.1):
            self.told -= Counter(
                (group["spec"], job) for group in body["results"] for job in group["jobs"]
            )
            return  # the answer is lost: the report comes again
        del self.unacked[pilot]
        pilot.acked(body)
        self.obey(pilot, answer["orders"])

    def unlucky(self, chance: float) -> bool:
        return not self.calm and self.random.random() < chance

    def ask(self, pilot: PilotSide, request: Callable[[], Any]) -> dict[str, Any] | None:
        """The answer, or None: the node was down, had nothing to say, or wants an announcement."""
        try:
            if not self.known(pilot):
                pilot.announce()
            waiting = request()
            self.world.settle()
            answers: list[dict[str, Any]] = []
            refusals: list[Exception] = []
            waiting.addCallbacks(answers.append, lambda failure: refusals.append(failure.value))
            if refusals:
                raise refusals[0]
            if not answers:
                self.world.work.hung_up(pilot.session)
                return None
            return answers[0]
        except Refusal as refusal:
            self.refused(pilot, refusal)
            return None

    def refused(self, pilot: PilotSide, refusal: Refusal) -> None:
        if refusal.code == "announce":
            pilot.announce()
        elif refusal.code == "token" or not self.known(pilot):
            self.pilots.remove(pilot)  # its place is lost: it ends, and so do its units
            self.unacked.pop(pilot, None)
        elif not self.world.disk.full:
            raise refusal

    # The end

    def heal(self) -> None:
        """No more faults; people let everything run; then nothing may be left to do."""
        self.calm = True
        self.world.disk.lose_after = None
        self.room()
        self.world.settle()
        self.resume_all()
        for _ in range(HEAL_ROUNDS):
            while len(self.pilots) < PILOTS:
                self.add_pilot()
            self.send_again()
            for _pilot in range(PILOTS):
                self.poll()
                self.finish()
            self.world.clock.advance(5)
            self.world.work.tick()
            self.world.settle()
            if not self.unacked and not self.moving():
                break
        self.look()
        check_log(self.world, self.told, self.finished)
        assert not self.moving(), f"units can move and do not: {self.moving()}"

    def resume_all(self) -> None:
        for dataset in sorted(self.world.submitted):
            self.nonce += 1
            self.world.order(dataset, "resume", {}, self.nonce)
        self.world.settle()

    def moving(self) -> list[tuple[Any, ...]]:
        """Tasks with units that are neither settled, failed, cancelled nor blocked."""
        return self.world.query(
            "SELECT no, jobs, settled, failed, blocked, cancelled FROM task"
            " WHERE settled + failed + blocked + cancelled < jobs"
        )
