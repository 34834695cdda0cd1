"""A second reading of the log, as simple as can be: one object a unit, rules one after the other.

Shares nothing with node/fold but the decoders of records and documents. Slow, and easy to check
against docs/protocol.md by eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.entry import Entry
from federation.ids import FeedID, Lane
from federation.records import (
    Accept,
    Command,
    Dataset,
    Grant,
    Outcome,
    Results,
    cells,
    digest_cells,
)
from keys.signing import BadSignature, Purpose, digest
from keys.sshsig import verify
from node.model.commands import read_command
from node.model.dataset import DatasetSpec
from node.model.validate import read_submission, unpack_document
from tests.simulation.terms import read_shards

BOOSTS = 3
LOSSES = 10
HOSTS = 5
NAMES = {
    Outcome.PAYLOAD: "payload",
    Outcome.RESOURCES: "resources",
    Outcome.INFRASTRUCTURE: "infrastructure",
    Outcome.STOPPED: "stopped",
}
COUNTS = (
    "jobs", "settled", "failed", "blocked", "cancelled", "ready", "duplicates", "payload",
    "resources", "infrastructure", "stopped", "cpu_ms", "wall_ms", "lost_wall_ms",
    "duplicate_wall_ms",
)  # fmt: skip


@dataclass
class Unit:
    """One unit's life."""

    owners: set[bytes] = field(default_factory=set)  # sites that were granted it, ever
    settled: bytes = b""  # the entry that settled it
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
        elif outcome == Outcome.INFRASTRUCTURE:
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
    units: list[list[Unit]] = field(default_factory=list)  # by task, by job
    sums: list[dict[str, int]] = field(default_factory=list)

    def chosen(self, args: Mapping[str, Any]) -> Iterator[Unit]:
        select = args.get("select", {})
        wanted = set(jobs_of(select.get("jobs", [0, self.jobs])))
        for task in self.spec.tasks:
            if task.name in select.get("tasks", [task.name]):
                yield from (
                    unit for job, unit in enumerate(self.units[task.index]) if job in wanted
                )


def _signed(record: Command) -> bool:
    """Whether a person's order carries that person's signature."""
    try:
        return verify(record.doc, record.signature).raw == record.key
    except BadSignature:
        return False


def jobs_of(flat: Sequence[int]) -> list[int]:
    """The single jobs of half-open pairs."""
    return [job for at in range(0, len(flat), 2) for job in range(flat[at], flat[at + 1])]


class Reading:
    """The logs of all shards, read from their first records to their last."""

    def __init__(self, entries: Iterable[Entry], *, settled: bool = False) -> None:
        """entries: those of each feed in their order. settled: read only what is settled."""
        self.sets: dict[bytes, Set] = {}
        self.orders: set[bytes] = set()  # taken
        # Recorded, accepted or not: id (hex), unit, in which generation.
        self.attempts: list[tuple[str, tuple[bytes, int, int], int]] = []
        self.feeds: dict[FeedID, list[Entry]] = {}
        self._through: dict[tuple[bytes, FeedID], int] = {}
        for entry in entries:
            self.feeds.setdefault(entry.header.feed, []).append(entry)
            if entry.header.lane == Lane.RESULTS:
                self._note(entry)
        self.shards = read_shards(self.feeds)
        for shard in self.shards.values():
            for act in shard.settled_log() if settled else shard.log(shard.newest):
                act_on = getattr(self, "_" + type(act.record).__name__.lower(), None)
                if act_on is not None:
                    act_on(act.record)

    def _note(self, entry: Entry) -> None:
        for record in entry.records():
            if not isinstance(record, Results):
                continue
            for job, id in zip(
                record.jobs, digest_cells(record.log, len(record.jobs)), strict=True
            ):
                if id:
                    unit = (record.dataset, record.task, job)
                    self.attempts.append((id.hex(), unit, entry.header.generation))

    def _dataset(self, record: Dataset) -> None:
        spec = read_submission(unpack_document(record.doc))
        if spec.id not in self.sets:
            self.sets[spec.id] = found = Set(spec, record.shard, record.key, 0, spec.priority)
            found.units = [[] for _ in spec.tasks]
            found.sums = [dict.fromkeys(COUNTS, 0) for _ in spec.tasks]
            self._grow(found, spec.jobs)

    def _grow(self, found: Set, jobs: int) -> None:
        found.jobs += jobs
        for units in found.units:
            units.extend(Unit() for _ in range(jobs))

    def _grant(self, record: Grant) -> None:
        found = self.sets[record.dataset]
        for task in record.tasks:
            for job in jobs_of(record.ranges):
                found.units[task][job].owners.add(record.to)

    def _command(self, record: Command) -> None:
        if not _signed(record):
            return
        order = read_command(record.doc)
        id = digest(Purpose.COMMAND, record.doc)
        found = self.sets.get(order.dataset)
        if found is None or found.shard != record.shard or id in self.orders:
            return
        self.orders.add(id)
        if order.verb in ("pause", "resume"):
            found.paused = order.verb == "pause"
        elif order.verb == "edit":
            found.priority = order.args.get("priority", found.priority)
        elif order.verb == "extend":
            self._grow(found, order.args["jobs"] * found.spec.cells)
        else:
            for unit in found.chosen(order.args):
                if order.verb == "retry" and not (unit.settled or unit.cancelled):
                    unit.forgive()
                elif order.verb == "cancel" and not unit.settled:
                    unit.cancelled = True

    def _accept(self, record: Accept) -> None:
        feed = FeedID(record.site, record.generation, Lane.RESULTS)
        key = (record.shard, feed)
        for seq in range(self._through.get(key, 0) + 1, record.through + 1):
            entry = self.feeds[feed][seq - 1]
            for results in entry.records():
                if not isinstance(results, Results):
                    continue
                found = self.sets.get(results.dataset)
                if found is not None and found.shard == record.shard:
                    self._take(found, results, entry)
        self._through[key] = max(self._through.get(key, 0), record.through)

    def _take(self, found: Set, record: Results, entry: Entry) -> None:
        if record.task >= len(found.units) or max(record.jobs) >= found.jobs:
            return
        units, sums = found.units[record.task], found.sums[record.task]
        if not all(entry.header.site in units[job].owners for job in record.jobs):
            return
        rows = len(record.jobs)
        outcomes, errors = cells(record.outcome, rows), cells(record.error, rows)
        hosts, walls = cells(record.host, rows), cells(record.wall_ms, rows)
        cpus = cells(record.cpu_ms, rows)
        for row, job in enumerate(record.jobs):
            unit, outcome = units[job], outcomes[row]
            if outcome == Outcome.SUCCESS and not (unit.settled or unit.cancelled):
                unit.settled = entry.id
                sums["cpu_ms"] += cpus[row]
                sums["wall_ms"] += walls[row]
            elif outcome == Outcome.SUCCESS:
                sums["duplicates"] += not unit.cancelled
                sums["duplicate_wall_ms"] += walls[row]
            else:
                if not (unit.settled or unit.cancelled):
                    retry_max = found.spec.tasks[record.task].retry_max
                    error = record.errors[errors[row]]
                    outcome = unit.fault(outcome, error, record.hosts[hosts[row]], retry_max)
                sums[NAMES[Outcome(outcome)]] += 1
                sums["lost_wall_ms"] += walls[row]

    def settled_units(self) -> dict[tuple[bytes, int, int], bytes]:
        """Every unit that has a result, and the entry that holds it; b"" for a cancelled one."""
        return {
            (id, task, job): unit.settled
            for id, found in self.sets.items()
            for task, units in enumerate(found.units)
            for job, unit in enumerate(units)
            if unit.settled or unit.cancelled
        }

    # What follows from the units

    def count(self, dataset: bytes) -> list[dict[str, int]]:
        """The counts of each task of a dataset."""
        found = self.sets[dataset]
        return [self._count_task(found, task) for task in range(len(found.units))]

    def _count_task(self, found: Set, task: int) -> dict[str, int]:
        counts = dict(found.sums[task])
        counts["jobs"] = found.jobs
        for job, unit in enumerate(found.units[task]):
            state = self._state(found, task, job, unit)
            if state in counts:
                counts[state] += 1
        return counts

    def _state(self, found: Set, task: int, job: int, unit: Unit) -> str:
        for name in ("settled", "cancelled", "failed"):
            if getattr(unit, name):
                return name
        if any(self.hopeless(*each) for each in self._before(found, task, job)):
            return "blocked"
        before = list(self._before(found, task, job))
        return "ready" if all(self._done(*each) for each in before) else "waiting"

    def _before(self, found: Set, task: int, job: int) -> Iterable[tuple[Set | None, int, int]]:
        """Units that a unit waits for; None for the dataset where there is no such unit."""
        for after in found.spec.tasks[task].after:
            if after.dataset is None:
                yield found, after.task, job
                continue
            other = self.sets.get(after.dataset)
            if other is None or other.shard != found.shard:
                yield None, 0, 0
            elif after.all_jobs:
                yield from ((other, after.task, each) for each in range(after.jobs))
            elif job < other.jobs:
                yield other, after.task, job
            else:
                yield None, 0, 0

    @staticmethod
    def _done(found: Set | None, task: int, job: int) -> bool:
        return found is not None and bool(found.units[task][job].settled)

    def hopeless(self, found: Set | None, task: int, job: int) -> bool:
        """Whether this unit will not be settled as things are."""
        if found is None:
            return False
        unit = found.units[task][job]
        if unit.settled:
            return False
        return unit.dead or any(self.hopeless(*each) for each in self._before(found, task, job))

    def waits_for_ever(self, found: Set, task: int, job: int) -> bool:
        """Whether a unit waits, directly or not, for one that does not exist."""
        unit = found.units[task][job]
        if unit.settled or unit.dead:
            return False
        return any(
            other is None or self.waits_for_ever(other, at, each)
            for other, at, each in self._before(found, task, job)
        )
