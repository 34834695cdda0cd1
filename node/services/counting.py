"""Units of a dataset by state, with those that run at other sites as far as their beacons tell.

No record says what runs: this site knows it of its own pilots, and of others by beacons, which name
their busiest datasets and no tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.beacon import Beacon
from federation.claims import label
from node.store.tasks import TaskCounts

Elsewhere = Callable[[bytes], Mapping[bytes, int]]
"""Units of a dataset, by its id, that other sites say they run: by site."""


class Running(Protocol):
    """The part of the work service that knows how many units of a task run here."""

    def running(self, task: int) -> int: ...


def elsewhere_of(beacons: Callable[[], Sequence[Beacon]], site: bytes) -> Elsewhere:
    """What the newest beacons of sites other than this one say."""

    def told(dataset: bytes) -> Mapping[bytes, int]:
        name = label(dataset)
        return {
            beacon.site: each.units
            for beacon in beacons()
            if beacon.site != site
            for each in beacon.running
            if each.dataset == name and each.units
        }

    return told


@dataclass(frozen=True, slots=True)
class Counting:
    """Counts as people see them."""

    site: bytes  # this one
    work: Running
    elsewhere: Elsewhere = lambda dataset: {}

    def total(self, dataset: bytes, counted: Sequence[TaskCounts]) -> dict[str, int]:
        """Of all tasks together. dataset: its id."""
        total: dict[str, int] = {}
        for task in counted:
            for state, count in self._here(task).items():
                total[state] = total.get(state, 0) + count
        return _and_running(total, self._away(dataset)) if total else total

    def tasks(self, dataset: bytes, counted: Sequence[TaskCounts]) -> list[dict[str, int]]:
        """Of each task. What runs elsewhere is told of a task when it can be of no other."""
        here = [self._here(task) for task in counted]
        able = [at for at, counts in enumerate(here) if counts["ready"]]
        if len(able) == 1:
            here[able[0]] = _and_running(here[able[0]], self._away(dataset))
        return here

    def by_site(self, dataset: bytes, counted: Sequence[TaskCounts]) -> Mapping[bytes, int]:
        """How many units run at each site, as far as that is known."""
        here = sum(self._here(task)["running"] for task in counted)
        return {**self.elsewhere(dataset), self.site: here}

    def _here(self, task: TaskCounts) -> dict[str, int]:
        return task.counts.shown(self.work.running(task.task))

    def _away(self, dataset: bytes) -> int:
        return sum(self.elsewhere(dataset).values())


def _and_running(counts: dict[str, int], units: int) -> dict[str, int]:
    more = min(units, counts["ready"])
    return counts | {"running": counts["running"] + more, "ready": counts["ready"] - more}
