"""A second reading of the log, as simple as can be: one object a unit, rules one after the other.

Shares nothing with node/fold but the decoders of records and documents. Slow, and easy to check
against docs/protocol.md by eye.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from federation.entry import Entry
from federation.ids import FeedID, Lane
from federation.opening import entry_ref
from federation.records import (
    Accept,
    Adopt,
    Command,
    Dataset,
    Grant,
    Import,
    Move,
    Outcome,
    Reproduce,
    Results,
    cells,
    digest_cells,
)
from keys.signing import BadSignature, Purpose, digest
from keys.sshsig import verify
from node.model.commands import read_command
from node.model.validate import read_submission, unpack_document
from tests.simulation.naivesets import Set, Unit, jobs_of
from tests.simulation.terms import Act, read_shards

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


class Before(NamedTuple):
    """A unit for which another one waits. found: None for one that does not exist; inside: whether
    it stands in the log of the one that waits."""

    found: Set | None
    task: int
    job: int
    inside: bool = True


def _signed(record: Command) -> bool:
    """Whether a person's order carries that person's signature."""
    try:
        return verify(record.doc, record.signature).raw == record.key
    except BadSignature:
        return False


class Reading:
    """The logs of all shards, read from their first records to their last."""

    def __init__(self, entries: Iterable[Entry], *, settled: bool = False) -> None:
        """entries: those of each feed in their order. settled: read only what is settled."""
        self.sets: dict[bytes, Set] = {}
        self.orders: set[bytes] = set()  # taken
        # Recorded, accepted or not: id (hex), unit, in which generation.
        self.attempts: list[tuple[str, tuple[bytes, int, int], int]] = []
        self.feeds: dict[FeedID, list[Entry]] = {}
        self.superseded: set[bytes] = set()  # entries that settled a unit before others did
        self.imports = False  # whether leaders import what their logs wait for
        self._through: dict[tuple[bytes, FeedID], int] = {}
        # Units of others' datasets that serve in a shard: by shard, dataset, task.
        self._serving: dict[tuple[bytes, bytes, int], set[int]] = {}
        for entry in entries:
            self.feeds.setdefault(entry.header.feed, []).append(entry)
            if entry.header.lane == Lane.RESULTS:
                self._note(entry)
        self.shards = read_shards(self.feeds)
        logs = (
            each.settled_log() if settled else each.log(each.newest)
            for each in self.shards.values()
        )  # fmt: skip
        self._read([deque(log) for log in logs])

    def _read(self, logs: Sequence[deque[Act]]) -> None:
        """Each log in its order. One that adopts a dataset waits until that has left its own."""
        while any(logs):
            before = sum(map(len, logs))
            for log in logs:
                while log and not self._waits(log[0]):
                    self._act(log.popleft())
            if sum(map(len, logs)) == before:  # of moves that no log has, as after a force
                next(log for log in logs if log).popleft()

    def _waits(self, act: Act) -> bool:
        """Whether this adopt's move is still to come."""
        record = act.record
        if not isinstance(record, Adopt):
            return False
        found = self.sets.get(record.dataset)
        if found is not None and found.stands_in(record.shard):
            return False  # one more of the same
        return found is None or found.moved_by != entry_ref(record.move).id

    def _act(self, act: Act) -> None:
        if isinstance(act.record, Move):
            self._move(act.record, act.entry)
        elif act_on := getattr(self, "_" + type(act.record).__name__.lower(), None):
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
        found = self.sets.get(record.dataset)
        if found is None or not found.stands_in(record.shard):
            return
        for task in record.tasks:
            for job in jobs_of(record.ranges):
                found.units[task][job].owners.add(record.to)

    def _command(self, record: Command) -> None:
        if not _signed(record):
            return
        order = read_command(record.doc)
        id = digest(Purpose.COMMAND, record.doc)
        found = self.sets.get(order.dataset)
        if found is None or not found.stands_in(record.shard) or id in self.orders:
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
                elif order.verb == "renew" and unit.others:
                    # Nothing is withdrawn: results of the simulation do not say what they read.
                    self._supersede(unit, *unit.others[-1])

    def _accept(self, record: Accept) -> None:
        feed = FeedID(record.site, record.generation, Lane.RESULTS)
        key = (record.shard, feed)
        for seq in range(self._through.get(key, 0) + 1, record.through + 1):
            for results in self.feeds[feed][seq - 1].records():
                found = self.sets.get(results.dataset) if isinstance(results, Results) else None
                if found is not None and found.stands_in(record.shard):
                    self._count_one(found, results, feed, seq)
        self._through[key] = max(self._through.get(key, 0), record.through)

    def _count_one(self, found: Set, record: Results, feed: FeedID, seq: int) -> None:
        """Take results, unless the log that the dataset left has."""
        if seq > found.left.get(feed, 0):
            self._take(found, record, self.feeds[feed][seq - 1])

    def _accepted(self, shard: bytes) -> dict[FeedID, int]:
        """Through which entry of each results feed a log has accepted it."""
        return {feed: last for (each, feed), last in self._through.items() if each == shard}

    def _move(self, record: Move, entry: Entry) -> None:
        found = self.sets.get(record.dataset)
        if found is None or not found.stands_in(record.shard) or record.to == record.shard:
            return
        found.moved, found.moved_by = record.to, entry.id
        for feed, last in self._accepted(record.shard).items():
            found.left[feed] = max(last, found.left.get(feed, 0))
        for task, units in enumerate(found.units):
            done = (job for job, unit in enumerate(units) if unit.settled)
            self._serve(record.shard, record.dataset, task, done)

    def _adopt(self, record: Adopt) -> None:
        found = self.sets[record.dataset]
        if found.stands_in(record.shard) or found.moved != record.shard:
            return
        found.shard, found.moved = record.shard, b""
        accepted = self._accepted(record.shard)
        for feed in sorted(accepted, key=lambda feed: (feed.site, feed.generation)):
            last = accepted[feed]
            for seq in range(1, last + 1):
                for results in self.feeds[feed][seq - 1].records():
                    if isinstance(results, Results) and results.dataset == record.dataset:
                        self._count_one(found, results, feed, seq)

    def _import(self, record: Import) -> None:
        found = self.sets.get(record.dataset)
        if found is None or not found.stands_in(record.shard):
            jobs = jobs_of(record.ranges)
            self._serve(record.shard, record.dataset, record.task, jobs)

    def _reproduce(self, record: Reproduce) -> None:
        found = self.sets.get(record.dataset)
        if found is not None and found.stands_in(record.shard):
            for task in record.tasks:
                for job in jobs_of(record.ranges):
                    unit = found.units[task][job]
                    unit.again = unit.again or bool(unit.settled)

    def _made_again(self, found: Set, place: tuple[int, int], entry: bytes, made: bytes) -> None:
        """A unit whose outputs were lost has others now, or the same."""
        task, job = place
        unit = found.units[task][job]
        unit.again = False
        if made == unit.made:
            unit.others.clear()
        elif self._was_read(found, task, job):
            unit.others.append((entry, made))
        else:
            self._supersede(unit, entry, made)

    def _supersede(self, unit: Unit, entry: bytes, made: bytes) -> None:
        self.superseded.add(unit.settled)
        unit.settled, unit.made, unit.again = entry, made, False
        unit.others.clear()

    def _was_read(self, found: Set, task: int, job: int) -> bool:
        """Whether a unit is settled that waits for this one; none of other datasets does here."""
        return any(
            found.units[each.index][job].settled
            for each in found.spec.tasks
            if any(after.dataset is None and after.task == task for after in each.after)
        )

    def _serve(self, shard: bytes, dataset: bytes, task: int, jobs: Iterable[int]) -> None:
        """Those of the units for which something in this log waits count there as settled."""
        most = max(
            (
                after.jobs if after.all_jobs else each.jobs
                for each in self.sets.values()
                if each.stands_in(shard)
                for waiting in each.spec.tasks
                for after in waiting.after
                if (after.dataset, after.task) == (dataset, task)
            ),
            default=0,
        )
        key = (shard, dataset, task)
        self._serving.setdefault(key, set()).update(job for job in jobs if job < most)

    def _take(self, found: Set, record: Results, entry: Entry) -> None:
        if record.task >= len(found.units) or max(record.jobs) >= found.jobs:
            return
        units, sums = found.units[record.task], found.sums[record.task]
        if not all(entry.header.site in units[job].owners for job in record.jobs):
            return
        rows = len(record.jobs)
        outcomes, errors = cells(record.outcome, rows), cells(record.error, rows)
        hosts, walls = cells(record.host, rows), cells(record.wall_ms, rows)
        cpus, made = cells(record.cpu_ms, rows), digest_cells(record.outputs, rows)
        for row, job in enumerate(record.jobs):
            unit, outcome = units[job], outcomes[row]
            if outcome == Outcome.SUCCESS and not (unit.settled or unit.cancelled):
                unit.settled, unit.made = entry.id, made[row]
                sums["cpu_ms"] += cpus[row]
                sums["wall_ms"] += walls[row]
            elif outcome == Outcome.SUCCESS:
                sums["duplicates"] += not (unit.cancelled or unit.again)
                if unit.again:
                    self._made_again(found, (record.task, job), entry.id, made[row])
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
        before = list(self._before(found, task, job))
        if any(self._lost(each) for each in before):
            return "blocked"
        return "ready" if all(self._done(each) for each in before) else "waiting"

    def _before(self, found: Set, task: int, job: int) -> Iterator[Before]:
        """Units that a unit waits for, but for those of other logs that serve in its own."""
        for after in found.spec.tasks[task].after:
            if after.dataset is None:
                yield Before(found, after.task, job)
                continue
            other = self.sets.get(after.dataset)
            inside = other is not None and other.stands_in(found.shard)
            serving = self._serving.get((found.shard, after.dataset, after.task), set())
            for each in range(after.jobs) if after.all_jobs else (job,):
                if not inside and each in serving:
                    continue
                exists = other is not None and each < other.jobs
                yield Before(other if exists else None, after.task, each, inside)

    @staticmethod
    def _done(before: Before) -> bool:
        if before.found is None or not before.inside:
            return False
        unit = before.found.units[before.task][before.job]
        return bool(unit.settled) and not unit.again

    def _lost(self, before: Before) -> bool:
        """Whether a log knows that one of its own units will not be settled as things are."""
        found = before.found
        return found is not None and before.inside and self.hopeless(found, before.task, before.job)

    def hopeless(self, found: Set, task: int, job: int) -> bool:
        """Whether this unit will not be settled as things are."""
        unit = found.units[task][job]
        if unit.settled:
            return False
        return unit.dead or any(self._lost(each) for each in self._before(found, task, job))

    def waits_for_ever(self, found: Set, task: int, job: int) -> bool:
        """Whether a unit waits, directly or not, for one that does not exist, or never serves."""
        unit = found.units[task][job]
        if unit.settled or unit.dead:
            return False
        return any(self._never_comes(each) for each in self._before(found, task, job))

    def _never_comes(self, before: Before) -> bool:
        found, task, job = before.found, before.task, before.job
        if found is None or (not before.inside and not self.imports):
            return True
        dead = not before.inside and self.hopeless(found, task, job)
        return dead or self.waits_for_ever(found, task, job)
