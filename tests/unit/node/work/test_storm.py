"""Random lives of a site: nodes killed, answers lost, pilots dying or falling silent."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation.records import Outcome
from node.work.refusals import Refusal
from tests.unit.node.work.house import Described, House, Pending, PilotSide, result_of

JOBS = 40
STEPS = 120
LEASE_S = 180


class Storm:
    """One life, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.house = House(Described(1, JOBS, after=[[], [0]]), Described(2, JOBS))
        self.pilots: list[PilotSide] = []
        self.unacked: dict[PilotSide, dict[str, Any]] = {}
        self.finished: Counter[tuple[int, int]] = Counter()  # runs that pilots came to an end of
        self.told: Counter[tuple[int, int]] = Counter()  # of them, those whose report was acked
        self.heard_s: dict[PilotSide, float] = {}
        self.strayed: set[PilotSide] = set()  # silent for too long, once
        self.born = 0
        self.calm = False

    def run(self) -> None:
        steps = [
            (self.poll, 10), (self.finish, 10), (self.send_again, 4), (self.kill_node, 2),
            (self.pilot_dies, 1), (self.time_passes, 2), (self.pilot_leaves, 1),
        ]  # fmt: skip
        doing, weights = zip(*steps, strict=True)
        for _ in range(STEPS):
            while len(self.pilots) < 3:
                self.add_pilot()
            self.random.choices(doing, weights)[0]()
        self.heal()

    def add_pilot(self) -> None:
        self.born += 1
        pilot = self.house.pilot(str(self.born))
        self.pilots.append(pilot)
        self.heard(pilot)

    def heard(self, pilot: PilotSide) -> None:
        now_s = self.house.clock.seconds()
        if now_s - self.heard_s.get(pilot, now_s) > LEASE_S:
            self.strayed.add(pilot)
        self.heard_s[pilot] = now_s

    def task_of(self, pilot: PilotSide, lease: int) -> int:
        dataset, index, _ = pilot.spec[lease].split("/")
        return int(dataset[:2], 16) * 64 + int(index)

    # What happens

    def poll(self) -> None:
        pilot = self.random.choice(self.pilots)
        answer = self.ask(pilot, lambda: pilot.poll_later(self.random.randint(1, 6)))
        if answer is None or self.unlucky(0.1):
            return  # lost on its way
        before = set(pilot.units())
        pilot.take(answer)
        for lease, job in set(pilot.units()) - before:
            self.check_alone(pilot, self.task_of(pilot, lease), job)
        self.obey(pilot, answer["orders"])

    def check_alone(self, pilot: PilotSide, task: int, job: int) -> None:
        """No other pilot that was heard of lately runs this unit."""
        now_s = self.house.clock.seconds()
        for other in self.pilots:
            if other is pilot or other in self.strayed or now_s - self.heard_s[other] > LEASE_S:
                continue
            held = {(self.task_of(other, lease), each) for lease, each in other.units()}
            if other in self.unacked:
                for group in self.unacked[other]["results"]:
                    no = self.task_of(other, group["lease"])
                    held -= {(no, each) for each in group["jobs"]}
            assert (task, job) not in held, f"unit {task}/{job} runs twice"

    def obey(self, pilot: PilotSide, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            done = {
                (group["lease"], job)
                for group in self.unacked.get(pilot, {"results": []})["results"]
                for job in group["jobs"]
            }
            dropped = [job for job in order["jobs"] if (order["lease"], job) not in done]
            if order["lease"] in pilot.holding:
                pilot.holding[order["lease"]] -= set(dropped)

    def finish(self) -> None:
        pilot = self.random.choice(self.pilots)
        if pilot in self.unacked or not pilot.units():
            return
        units = self.random.sample(pilot.units(), self.random.randint(1, len(pilot.units())))
        kind = self.random.choices(
            [(0, ""), (Outcome.INFRASTRUCTURE, "worker"), (Outcome.RESOURCES, "memory")], [8, 1, 1]
        )[0]
        body = pilot.results(*units, outcome=kind[0], error=kind[1])
        self.unacked[pilot] = body
        for lease, job in units:
            self.finished[self.task_of(pilot, lease), job] += 1
        self.send(pilot)

    def send_again(self) -> None:
        for pilot in list(self.unacked):
            self.send(pilot)

    def send(self, pilot: PilotSide) -> None:
        body = self.unacked[pilot]
        answer = self.ask(
            pilot, lambda: Deferred.fromCoroutine(self.house.work.report(pilot.session, body))
        )
        if answer is None or self.unlucky(0.1):
            return
        del self.unacked[pilot]
        for group in body["results"]:
            for job in group["jobs"]:
                self.told[self.task_of(pilot, group["lease"]), job] += 1
        pilot.acked(body)
        self.obey(pilot, answer["orders"])

    def unlucky(self, chance: float) -> bool:
        return not self.calm and self.random.random() < chance

    def ask(self, pilot: PilotSide, request: Any) -> dict[str, Any] | None:
        """The answer; None if the node died first, or nothing is to be said."""
        self.heard(pilot)
        try:
            waiting = request()
            if self.unlucky(0.08):
                if self.random.random() < 0.5:
                    self.house.journal.commit()
                self.kill_node()
                waiting.addErrback(lambda _: None)
                return None
            self.house.settle()
            answer: dict[str, Any] = result_of(waiting)
        except Pending:
            self.house.work.hung_up(pilot.session)
            return None
        except Refusal as refusal:
            if refusal.code != "announce":
                raise
            pilot.announce()
            return None
        return answer

    def kill_node(self) -> None:
        self.house.kill()
        self.house.start()

    def pilot_dies(self) -> None:
        pilot = self.pilots.pop(self.random.randrange(len(self.pilots)))
        self.unacked.pop(pilot, None)
        if self.random.random() < 0.7:
            self.house.ask(self.house.work.arrivals.end(pilot.session, "killed"))

    def pilot_leaves(self) -> None:
        pilot = self.random.choice(self.pilots)
        if pilot in self.unacked or pilot.session.stale:
            return
        self.house.ask(self.house.work.report(pilot.session, {**pilot.results(), "leaving": True}))
        self.pilots.remove(pilot)

    def time_passes(self) -> None:
        self.house.clock.advance(self.random.choice([1, 30, 100]))
        self.house.work.tick()
        self.house.settle()

    # The end

    def heal(self) -> None:
        house = self.house
        self.calm = True
        for pilot in self.pilots:
            if pilot.session.stale:
                pilot.announce()
        for _ in range(400):
            self.send_again()
            for _pilot in self.pilots:
                self.poll()
                self.finish()
            house.clock.advance(5)
            house.work.tick()
            house.settle()
            if all(house.disk.settled(task) == set(range(JOBS)) for task in (64, 65, 128)):
                break
        self.check_end()

    def check_end(self) -> None:
        house = self.house
        for task in (64, 65, 128):
            assert house.disk.settled(task) == set(range(JOBS))
        recorded = Counter(
            (task, job) for task, job, _, error in house.disk.attempts if error != "pilot-lost"
        )
        for unit, count in recorded.items():
            assert self.told[unit] <= count <= self.finished[unit]
        assert not self.told - recorded
        while self.unacked:
            self.send_again()
        for pilot in self.pilots:
            pilot.holding.clear()
            pilot.announce()
        house.clock.advance(200)
        house.work.tick()
        house.settle()
        assert all(not task.leased for task in house.dispatch.ready.tasks.values())
        assert not any(session.leases for session in house.work.sessions)


@pytest.mark.parametrize("seed", range(100))
def test_every_unit_is_done_and_no_result_is_lost_or_counted_twice(seed: int) -> None:
    Storm(seed).run()
