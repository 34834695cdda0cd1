"""Results that a log accepted: first successes settle units, other attempts are kept as faults.

Nearly all records are plain: successes of units that nothing else happened to. These take one
statement a column (`_Plain`). Everything else goes row by row (`_Odd`); both leave the same tables.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from federation.records import Column, Outcome, Results
from node.changes import Change as Told
from node.changes import UnitsFailed, UnitsFaulted, UnitsSettled
from node.fold import keeping, owners
from node.fold.counts import Wait, waiting_for, waits_of
from node.fold.sets import Jobs
from node.fold.shape import Member, Refusal, TaskRow, read_tasks, select
from node.ranges import ranges_of

BOOSTS_MAX = 3  # resources failures that are answered with more resources; later ones count
LOSSES_MAX = 10  # infrastructure losses on any hosts that make a unit poison,
LOSS_HOSTS_MAX = 5  # and on different ones
POISON = "poison"
FINAL = "exit-final"  # an error class: the user said that no retry will mend this exit status
DAY_MS = 86_400_000


@dataclass(slots=True)
class Effect:
    """What one record changed, for the root and for those who listen."""

    settled: Sequence[int] = ()
    duplicates: list[int] = field(default_factory=list)
    faults: list[tuple[int, int]] = field(default_factory=list)  # (job, outcome as it counts)
    open_faults: list[tuple[int, int]] = field(default_factory=list)  # of units not settled
    failed: list[int] = field(default_factory=list)
    spared: set[int] = field(default_factory=set)  # rows of successes that did not count

    def told(self, task: int) -> list[Told]:
        found: list[Told] = []
        if self.settled:
            found.append(UnitsSettled(task, self.settled))
        if self.open_faults:
            jobs, outcomes = zip(*self.open_faults, strict=True)
            found.append(UnitsFaulted(task, jobs, outcomes))
        if self.failed:
            found.append(UnitsFailed(task, self.failed))
        return found

    def packed(self) -> bytes:
        """Canonical bytes: numbers as little-endian 64-bit, each list after its length."""
        faults = [number for fault in self.faults for number in fault]
        numbers = array("q")
        for column in (self.settled, self.duplicates, faults, self.failed):
            numbers.append(len(column))
            numbers.extend(column)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()


@dataclass(slots=True)
class Rows:
    """Some rows of a results record, and which rows of their entry they are."""

    record: Results
    jobs: Sequence[int]
    picked: Sequence[int] | None  # rows within the record; None: all
    first: int  # number, within the entry, of the record's first row

    def column(self, column: Column) -> Column:
        """The column's values of these rows."""
        if self.picked is None or isinstance(column, int):
            return column
        return [column[row] for row in self.picked]

    def total(self, column: Column) -> int:
        if isinstance(column, int):
            return column * len(self.jobs)
        return sum(column if self.picked is None else [column[row] for row in self.picked])

    def peak(self, column: Column) -> int:
        found = self.column(column)
        return found if isinstance(found, int) else max(found, default=0)

    def pick(self, rows: Sequence[int]) -> Rows:
        """Some of a whole record's rows."""
        return Rows(self.record, [self.jobs[row] for row in rows], rows, self.first)


def value(column: Column, row: int) -> int:
    return column if isinstance(column, int) else column[row]


class Attempts:
    """Folds accepted results records of one dataset within one transaction."""

    def __init__(self, conn: apsw.Connection, member: Member) -> None:
        self._conn = conn
        self._member = member

    def fold(self, record: Results, entry: int, first: int, site: int) -> tuple[int, Effect]:
        """(task number, what changed). first: number of its first row within the entry.

        Raises Refusal for a record that names units that do not exist or were never granted.
        """
        tasks = read_tasks(self._conn, self._member.no)
        task = tasks.get(self._member.base + record.task)
        if task is None:
            raise Refusal(f"the dataset has no task {record.task}")
        low, high = min(record.jobs), max(record.jobs)
        if high >= task.jobs:
            raise Refusal(f"names job {high}; the task has {task.jobs}")
        if not owners.ever_granted(self._conn, task.no, site, low, high + 1, record.jobs):
            raise Refusal("units that its site was never granted")
        rows = Rows(record, record.jobs, None, first)
        effect = Effect()
        good, bad = _split(rows)
        if good is not None and not _Plain(self._conn, tasks, task).settle(good, entry, effect):
            good, bad = None, rows
        if bad is not None:
            _Odd(self._conn, task, entry, effect).fold(bad)
        self._charge(record, effect)
        return task.no, effect

    def _charge(self, record: Results, effect: Effect) -> None:
        """Book what the attempts used on the days on which they began. Losses to the
        infrastructure and duplicates are nobody's fault: not charged."""
        rows: Sequence[int] = range(len(record.jobs))
        if effect.faults or effect.spared:
            rows = [
                row
                for row in rows
                if value(record.outcome, row) != Outcome.INFRASTRUCTURE and row not in effect.spared
            ]
        whole = len(rows) == len(record.jobs)
        for day, chosen in _by_day(record, rows):
            part = Rows(record, record.jobs, None if whole and chosen is rows else chosen, 0)
            if part.picked is not None:
                part.jobs = part.picked
            cpu, gpu = part.total(record.cpu_ms), part.total(record.gpu_ms)
            self._conn.execute(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " cpu_us = cpu_us + excluded.cpu_us, gpu_us = gpu_us + excluded.gpu_us",
                (
                    self._member.person,
                    self._member.group,
                    day,
                    cpu * record.factors[0],
                    gpu * record.factors[1],
                ),
            )


def _by_day(record: Results, rows: Sequence[int]) -> list[tuple[int, Sequence[int]]]:
    """Rows by the day on which they began."""
    if not rows:
        return []
    offsets = record.offset_ms
    if isinstance(offsets, int):
        return [((record.start_ms + offsets) // DAY_MS, rows)]
    first = (record.start_ms + min(offsets)) // DAY_MS
    if first == (record.start_ms + max(offsets)) // DAY_MS:
        return [(first, rows)]
    days: dict[int, list[int]] = {}
    for row in rows:
        days.setdefault((record.start_ms + offsets[row]) // DAY_MS, []).append(row)
    return sorted(days.items())


def _split(rows: Rows) -> tuple[Rows | None, Rows | None]:
    """Successes that may take the short way, and the other rows; a unit in both takes the long."""
    outcome = rows.record.outcome
    if isinstance(outcome, int):
        return (rows, None) if outcome == Outcome.SUCCESS else (None, rows)
    bad = [row for row, each in enumerate(outcome) if each]
    if not bad:
        return rows, None
    good = [row for row, each in enumerate(outcome) if not each]
    if not good or not {rows.jobs[row] for row in bad}.isdisjoint(rows.jobs[row] for row in good):
        return None, rows
    return rows.pick(good), rows.pick(bad)


class _Plain:
    """Successes of units that were ready, none of them settled before."""

    def __init__(self, conn: apsw.Connection, tasks: dict[int, TaskRow], task: TaskRow) -> None:
        self._conn = conn
        self._tasks = tasks
        self._task = task

    def settle(self, rows: Rows, entry: int, effect: Effect) -> bool:
        """Settle all rows; False, and nothing changed, when one of them is not plain."""
        conn, task = self._conn, self._task
        jobs = array("q", rows.jobs)
        low, high = min(rows.jobs), max(rows.jobs)
        waiting = waiting_for(conn, self._member_no)
        children = [row for row in self._tasks.values() if task.no in row.parents]
        foreign = [wait for wait in waiting if wait.parent == task.no and not wait.jobs]
        for wait in foreign:
            children.append(read_tasks(conn, wait.child // 64)[wait.child])
        if not self._plain(jobs, low, high, children):
            return False
        conn.execute("SAVEPOINT plain")
        conn.execute(
            "INSERT OR IGNORE INTO settled SELECT ?, value, ? FROM carray(?)",
            (task.no, entry, apsw.carray(jobs)),
        )
        if conn.changes() != len(jobs):
            conn.execute("ROLLBACK TO plain; RELEASE plain")
            return False
        conn.execute("RELEASE plain")
        self._count(rows)
        for child in children:
            self._open(child, jobs)
        if any(wait.parent == task.no and wait.jobs for wait in waiting):
            keeping.settle_gates(conn, task.no, rows.jobs)
        effect.settled = list(rows.jobs) if rows.picked is None else rows.jobs
        return True

    @property
    def _member_no(self) -> int:
        return self._task.no // 64

    def _plain(self, jobs: array[int], low: int, high: int, children: Iterable[TaskRow]) -> bool:
        task = self._task
        if task.failed and _failed_count(self._conn, task.no, jobs):
            return False
        if task.cancelled and _cancelled_touch(self._conn, task.no, low, high):
            return False
        for child in children:
            if child.early:
                return False
            if child.cancelled and _cancelled_touch(self._conn, child.no, low, high):
                return False
        return self._satisfied(task, jobs) == len(jobs)

    def _satisfied(self, task: TaskRow, jobs: array[int], but: int = -1) -> int:
        """How many of the jobs have all that they wait for; `but`: a task known to be settled."""
        parents = [parent for parent in task.parents if parent != but]
        for wait in self._waits(task.no):
            if wait.parent is None or (wait.jobs and wait.remaining):
                return 0
            if not wait.jobs and wait.parent != but:
                parents.append(wait.parent)
        parents = [no for no in parents if not self._complete(no)]
        if not parents:
            return len(jobs) if jobs and max(jobs) < task.jobs else _below(jobs, task.jobs)
        joins = " ".join(
            f"CROSS JOIN settled s{i} ON s{i}.task = ? AND s{i}.job = value"
            for i in range(len(parents))
        )
        sql = f"SELECT count(*) FROM carray(?) {joins} WHERE value < ?"
        bound = (apsw.carray(jobs), *parents, task.jobs)
        return int(select(self._conn, sql, bound)[0][0])

    def _waits(self, task: int) -> list[Wait]:
        return [wait for wait in waits_of(self._conn, task // 64) if wait.child == task]

    def _complete(self, task: int) -> bool:
        row = self._tasks.get(task)
        return row is not None and row.settled == row.jobs

    def _open(self, child: TaskRow, jobs: array[int]) -> None:
        """Count the child's units that these jobs made ready: none of them was before."""
        ready = self._satisfied(child, jobs, but=self._task.no)
        if ready:
            self._conn.execute("UPDATE task SET ready = ready + ? WHERE no = ?", (ready, child.no))

    def _count(self, rows: Rows) -> None:
        record, settled = rows.record, len(rows.jobs)
        self._conn.execute(
            "UPDATE task SET settled = settled + ?1, ready = ready - ?1 WHERE no = ?2",
            (settled, self._task.no),
        )
        count_success(self._conn, self._task.no, rows, record)


def count_success(conn: apsw.Connection, task: int, rows: Rows, record: Results) -> None:
    """Add what settled units cost to their task's sums and peaks."""
    conn.execute(
        "UPDATE task SET cpu_ms = cpu_ms + ?, wall_ms = wall_ms + ?, gpu_ms = gpu_ms + ?,"
        " memory_kib_max = max(memory_kib_max, ?), disk_kib_max = max(disk_kib_max, ?),"
        " wall_ms_max = max(wall_ms_max, ?) WHERE no = ?",
        (
            rows.total(record.cpu_ms),
            rows.total(record.wall_ms),
            rows.total(record.gpu_ms),
            rows.peak(record.memory_kib),
            rows.peak(record.disk_kib),
            rows.peak(record.wall_ms),
            task,
        ),
    )


def _below(jobs: array[int], bound: int) -> int:
    return sum(1 for job in jobs if job < bound)


def _failed_count(conn: apsw.Connection, task: int, jobs: array[int]) -> int:
    sql = (
        "SELECT count(*) FROM carray(?) CROSS JOIN troubled"
        " ON task = ? AND job = value AND failed = 1"
    )
    return int(select(conn, sql, (apsw.carray(jobs), task))[0][0])


def _cancelled_touch(conn: apsw.Connection, task: int, low: int, high: int) -> bool:
    sql = "SELECT 1 FROM cancelled WHERE task = ? AND lo <= ? AND hi > ? LIMIT 1"
    return bool(select(conn, sql, (task, high, low)))


@dataclass(slots=True)
class Trouble:
    """A unit's faults since the last retry, as far as they count."""

    payload: int = 0
    boosts: int = 0
    losses: int = 0
    hosts: list[str] = field(default_factory=list)
    failed: bool = False

    def add(self, outcome: int, host: str, retry_max: int) -> tuple[int, bool]:
        """One more fault; (the outcome as it counts, whether it made the unit poison)."""
        poison = False
        if outcome == Outcome.RESOURCES and self.boosts < BOOSTS_MAX:
            self.boosts += 1
        elif outcome == Outcome.RESOURCES:
            outcome = Outcome.PAYLOAD
        elif outcome == Outcome.INFRASTRUCTURE:
            self.losses += 1
            if host not in self.hosts:
                self.hosts.append(host)
            if len(self.hosts) >= LOSS_HOSTS_MAX or self.losses >= LOSSES_MAX:
                outcome, poison = Outcome.PAYLOAD, True
                self.losses, self.hosts = 0, []
        if outcome == Outcome.PAYLOAD:
            self.payload += 1
            self.failed = self.failed or self.payload > retry_max
        return int(outcome), poison


_COUNTED = {
    Outcome.PAYLOAD: "payload",
    Outcome.RESOURCES: "resources",
    Outcome.INFRASTRUCTURE: "infrastructure",
    Outcome.STOPPED: "stopped",
}


class _Odd:
    """Rows that need a look each: faults, duplicates, successes of failed units."""

    def __init__(self, conn: apsw.Connection, task: TaskRow, entry: int, effect: Effect) -> None:
        self._conn = conn
        self._task = task
        self._entry = entry
        self._effect = effect
        self._settled: dict[int, int] = {}  # job: row within the record
        self._surplus: list[list[Any]] = []
        self._faults: list[list[Any]] = []
        self._sums = dict.fromkeys([*_COUNTED.values(), "duplicates"], 0)
        self._lost = [0, 0]
        self._duplicate = [0, 0]

    def fold(self, rows: Rows) -> None:
        universe = Jobs(ranges_of(set(rows.jobs)))
        change = keeping.Change(self._conn, self._task.no, universe)
        troubles = self._read_troubles(rows.jobs)
        done = {job for job in rows.jobs if job in change.settled}
        ended = {job for job in rows.jobs if job in change.cancelled}
        numbers = rows.picked if rows.picked is not None else range(len(rows.jobs))
        for job, row in zip(rows.jobs, numbers, strict=True):
            if value(rows.record.outcome, row) == Outcome.SUCCESS:
                self._success(rows, job, row, done, ended)
            else:
                self._fault(rows, job, row, troubles, job in done or job in ended)
        for job in self._settled:
            if job in troubles:
                troubles[job].failed = False
        self._write(rows, troubles)
        settled = change.settled | Jobs(ranges_of(self._settled))
        failed = Jobs(ranges_of(job for job, trouble in troubles.items() if trouble.failed))
        change.count(settled, failed, change.cancelled)
        self._tell(troubles)
        if self._settled:
            keeping.settle_gates(self._conn, self._task.no, list(self._settled))

    def _tell(self, troubles: dict[int, Trouble]) -> None:
        effect = self._effect
        effect.settled = [*effect.settled, *self._settled]
        effect.failed = [job for job in effect.failed if troubles[job].failed]
        effect.open_faults = [
            fault for fault in effect.open_faults if fault[0] not in self._settled
        ]

    def _read_troubles(self, jobs: Sequence[int]) -> dict[int, Trouble]:
        sql = (
            "SELECT job, payload, boosts, losses, hosts, failed"
            " FROM carray(?) CROSS JOIN troubled ON task = ? AND job = value"
        )
        found = self._conn.execute(sql, (apsw.carray(array("q", jobs)), self._task.no))
        return {
            job: Trouble(payload, boosts, losses, json.loads(hosts), bool(failed))
            for job, payload, boosts, losses, hosts, failed in found
        }

    def _success(self, rows: Rows, job: int, row: int, done: set[int], ended: set[int]) -> None:
        if job not in done and job not in ended:
            done.add(job)
            self._settled[job] = row
            return
        why = "cancelled" if job in ended else "duplicate"
        self._surplus.append([job, rows.first + row, why])
        self._effect.duplicates.append(job)
        self._effect.spared.add(row)
        self._sums["duplicates"] += why == "duplicate"
        self._add_cost(self._duplicate, rows.record, row)

    def _fault(
        self, rows: Rows, job: int, row: int, troubles: dict[int, Trouble], closed: bool
    ) -> None:
        record = rows.record
        outcome = value(record.outcome, row)
        error = record.errors[value(record.error, row)]
        if not closed:
            trouble = troubles.setdefault(job, Trouble())
            was_failed = trouble.failed
            host = record.hosts[value(record.host, row)]
            retry_max = 0 if error == FINAL else self._task.retry_max
            outcome, poison = trouble.add(outcome, host, retry_max)
            error = POISON if poison else error
            self._effect.open_faults.append((job, outcome))
            if trouble.failed and not was_failed:
                self._effect.failed.append(job)
        self._effect.faults.append((job, outcome))
        exit_ = value(record.exit, row)
        self._faults.append([job, rows.first + row, outcome, error, exit_])
        self._sums[_COUNTED[Outcome(outcome)]] += 1
        self._add_cost(self._lost, record, row)

    @staticmethod
    def _add_cost(sums: list[int], record: Results, row: int) -> None:
        sums[0] += value(record.cpu_ms, row)
        sums[1] += value(record.wall_ms, row)

    def _write(self, rows: Rows, troubles: dict[int, Trouble]) -> None:
        task, entry = self._task.no, self._entry
        self._insert("fault (job, row, outcome, error, exit, task, entry)", 5, self._faults)
        self._insert("surplus (job, row, why, task, entry)", 3, self._surplus)
        if self._settled:
            jobs = apsw.carray(array("q", self._settled))
            self._conn.execute(
                "INSERT INTO settled SELECT ?, value, ? FROM carray(?)", (task, entry, jobs)
            )
        self._conn.execute(
            "INSERT OR REPLACE INTO troubled SELECT ?, value ->> 0, value ->> 1, value ->> 2,"
            " value ->> 3, value -> 4, value ->> 5 FROM json_each(?)",
            (
                task,
                json.dumps(
                    [
                        [job, t.payload, t.boosts, t.losses, t.hosts, int(t.failed)]
                        for job, t in troubles.items()
                    ]
                ),
            ),
        )
        self._write_sums(rows)

    def _insert(self, into: str, columns: int, found: list[list[Any]]) -> None:
        if found:
            picked = ", ".join(f"value ->> {i}" for i in range(columns))
            self._conn.execute(
                f"INSERT OR IGNORE INTO {into} SELECT {picked}, ?, ? FROM json_each(?)",
                (self._task.no, self._entry, json.dumps(found)),
            )

    def _write_sums(self, rows: Rows) -> None:
        sums = self._sums
        self._conn.execute(
            "UPDATE task SET payload = payload + ?, resources = resources + ?,"
            " infrastructure = infrastructure + ?, stopped = stopped + ?,"
            " duplicates = duplicates + ?, lost_cpu_ms = lost_cpu_ms + ?,"
            " lost_wall_ms = lost_wall_ms + ?, duplicate_cpu_ms = duplicate_cpu_ms + ?,"
            " duplicate_wall_ms = duplicate_wall_ms + ? WHERE no = ?",
            (*sums.values(), *self._lost, *self._duplicate, self._task.no),
        )
        if self._settled:
            picked = list(self._settled.values())
            part = Rows(rows.record, list(self._settled), picked, rows.first)
            count_success(self._conn, self._task.no, part, rows.record)
