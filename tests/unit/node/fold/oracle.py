"""The rules about units, done naively: one dict a unit, the whole state computed anew each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.unit.node.fold.world import INFRASTRUCTURE, PAYLOAD, RESOURCES, SUCCESS


@dataclass
class Unit:
    state: str = "open"  # open, settled, failed, cancelled
    payload: int = 0
    boosts: int = 0
    losses: int = 0
    hosts: set[str] = field(default_factory=set)
    duplicates: int = 0


@dataclass
class OracleSet:
    tasks: list[list[Any]]  # waits of each task: an index, or (dataset, index, jobs or 0)
    jobs: int
    retry_max: int
    units: dict[tuple[int, int], Unit] = field(default_factory=dict)

    def unit(self, task: int, job: int) -> Unit:
        return self.units.setdefault((task, job), Unit())


class Oracle:
    def __init__(self) -> None:
        self.sets: dict[bytes, OracleSet] = {}

    def submit(self, id_: bytes, tasks: list[list[Any]], jobs: int, retry_max: int) -> None:
        self.sets[id_] = OracleSet(tasks, jobs, retry_max)

    def attempt(self, id_: bytes, task: int, job: int, outcome: int, host: str) -> None:
        unit = self.sets[id_].unit(task, job)
        if outcome == SUCCESS:
            if unit.state in ("open", "failed"):
                unit.state = "settled"
            elif unit.state == "settled":
                unit.duplicates += 1
            return
        if unit.state in ("settled", "cancelled"):
            return
        if outcome == INFRASTRUCTURE:
            unit.losses += 1
            unit.hosts.add(host)
            if unit.losses == 10 or len(unit.hosts) == 5:
                unit.losses, unit.hosts = 0, set()
                outcome = PAYLOAD
        elif outcome == RESOURCES:
            unit.boosts += 1
            outcome = PAYLOAD if unit.boosts > 3 else RESOURCES
        if outcome == PAYLOAD:
            unit.payload += 1
            if unit.payload > self.sets[id_].retry_max:
                unit.state = "failed"

    def order(self, id_: bytes, verb: str, tasks: list[int], jobs: range) -> None:
        for task in tasks:
            for job in jobs:
                if job >= self.sets[id_].jobs:
                    continue
                unit = self.sets[id_].unit(task, job)
                if verb == "cancel" and unit.state in ("open", "failed"):
                    unit.state = "cancelled"
                elif verb == "retry" and unit.state in ("open", "failed"):
                    self.sets[id_].units[task, job] = Unit()

    def extend(self, id_: bytes, more: int) -> None:
        self.sets[id_].jobs += more

    def state(self, id_: bytes, task: int, job: int) -> str:
        """The unit's state, from the states of what it waits for."""
        unit = self.sets[id_].unit(task, job)
        if unit.state != "open":
            return unit.state
        behind = [self.state(*parent) for parent in self._parents(id_, task, job)]
        if any(state in ("failed", "cancelled", "blocked") for state in behind):
            return "blocked"
        return "ready" if all(state == "settled" for state in behind) else "waiting"

    def _parents(self, id_: bytes, task: int, job: int) -> list[tuple[bytes, int, int]]:
        found = []
        for wait in self.sets[id_].tasks[task]:
            if isinstance(wait, int):
                found.append((id_, wait, job))
            elif wait[2]:
                found += [(wait[0], wait[1], each) for each in range(wait[2])]
            elif job < self.sets[wait[0]].jobs:
                found.append((wait[0], wait[1], job))
            else:
                found.append((wait[0], wait[1], 10**6 + job))  # there is none: it waits
        return found

    def counts(self, id_: bytes, task: int) -> dict[str, int]:
        known = self.sets[id_]
        found: dict[str, int] = {}
        for job in range(known.jobs):
            state = self.state(id_, task, job)
            found[state] = found.get(state, 0) + 1
        if duplicates := sum(known.unit(task, job).duplicates for job in range(known.jobs)):
            found["duplicates"] = duplicates
        found.pop("waiting", None)
        return found
