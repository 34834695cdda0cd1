"""Units and datasets as the naive reading of the log keeps them: one object each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.ids import FeedID
from federation.records import Outcome
from node.model.dataset import DatasetSpec

BOOSTS = 3
LOSSES = 10
HOSTS = 5


@dataclass
class Unit:
    """One unit's life."""

    owners: set[bytes] = field(default_factory=set)  # sites that were granted it, ever
    settled: bytes = b""  # the entry that settled it
    made: bytes = b""  # the list of outputs of that attempt
    again: bool = False  # settled, and its outputs are lost: its next success is no duplicate
    others: list[tuple[bytes, bytes]] = field(default_factory=list)  # of those: (entry, list)
    cancelled: bool = False
    failed: bool = False
    payload: int = 0
    boosts: int = 0
    losses: int = 0
    hosts: set[str] = field(default_factory=set)

    @property
    def dead(self) -> bool:
        return self.cancelled or (self.failed and not self.settled)

    def forgive(self) -> None:
        self.failed, self.payload, self.boosts, self.losses = False, 0, 0, 0
        self.hosts = set()

    def fault(self, outcome: int, error: str, host: str, retry_max: int) -> int:
        """One more bad end; the outcome as it counts."""
        if outcome == Outcome.RESOURCES:
            self.boosts += 1
            if self.boosts > BOOSTS:
                outcome = Outcome.PAYLOAD
        elif outcome == Outcome.INFRASTRUCTURE and error != "input-fetch":  # no fault of the unit
            self.losses += 1
            self.hosts.add(host)
            if self.losses == LOSSES or len(self.hosts) == HOSTS:
                outcome, self.losses, self.hosts = Outcome.PAYLOAD, 0, set()
        if outcome == Outcome.PAYLOAD:
            self.payload += 1
            if error == "exit-final" or self.payload > retry_max:
                self.failed = True
        return outcome


@dataclass
class Set:
    """A dataset of the log."""

    spec: DatasetSpec
    shard: bytes
    person: bytes
    jobs: int
    priority: int
    paused: bool = False
    moved: bytes = b""  # to which shard, while that has not adopted it
    moved_by: bytes = b""  # the entry that did
    left: dict[FeedID, int] = field(default_factory=dict)  # what the log that it left had counted
    units: list[list[Unit]] = field(default_factory=list)  # by task, by job
    sums: list[dict[str, int]] = field(default_factory=list)

    @property
    def logs(self) -> set[bytes]:
        """The shards whose logs are needed to know all of it."""
        return {self.shard, self.moved} - {b""}

    def stands_in(self, shard: bytes) -> bool:
        """Whether that shard's log decides about it."""
        return self.shard == shard and not self.moved

    def chosen(self, args: Mapping[str, Any]) -> Iterator[Unit]:
        select = args.get("select", {})
        wanted = set(jobs_of(select.get("jobs", [0, self.jobs])))
        for task in self.spec.tasks:
            if task.name in select.get("tasks", [task.name]):
                yield from (
                    unit for job, unit in enumerate(self.units[task.index]) if job in wanted
                )


def jobs_of(flat: Sequence[int]) -> list[int]:
    """The single jobs of half-open pairs."""
    return [job for at in range(0, len(flat), 2) for job in range(flat[at], flat[at + 1])]
