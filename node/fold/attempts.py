"""Results that a log accepted: first successes settle units, other attempts are kept as faults.

Nearly all rows are plain: successes of units that nothing else happened to. The others are odd and
go one by one. Which way a row takes makes no difference to the tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from federation.records import Outcome, Results
from node.fold import owners, reading, withdraw
from node.fold.made import Made
from node.fold.odd import Odd
from node.fold.plain import Plain
from node.fold.rows import Effect, Rows, value
from node.fold.shape import Member, Refusal, TaskRow, read_tasks

DAY_MS = 86_400_000


class Attempts:
    """Folds accepted results records of one dataset within one transaction."""

    def __init__(self, conn: apsw.Connection, member: Member, made: Made) -> None:
        self._conn = conn
        self._member = member
        self._made = made

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
        record = reading.without_stale(self._conn, self._made, self._member.id, task, record)
        rows = Rows(record, record.jobs, None, first)
        effect = Effect()
        good, bad = _split(rows)
        if good is not None and not Plain(self._conn, tasks, task).settle(good, entry, effect):
            good, bad = None, rows
        if bad is not None:
            self._odd(task, entry, effect).fold(bad)
        self._charge(record, effect)
        self._judge_early(tasks, task, effect)
        return task.no, effect

    def _odd(self, task: TaskRow, entry: int, effect: Effect) -> Odd:
        return Odd(self._conn, self._member.id, task, entry, effect, self._made)

    def _judge_early(self, tasks: dict[int, TaskRow], task: TaskRow, effect: Effect) -> None:
        """Units that were settled before what they wait for: some may have read something else."""
        for child in tasks.values():
            if child.early and task.no in child.parents and effect.settled:
                stale = reading.stale_among(
                    self._conn, self._made, self._member.id, child, effect.settled
                )
                if stale:
                    withdraw.withdraw(self._conn, self._made, self._member.id, child, stale)
                    effect.withdrawn.append((child.no - self._member.base, stale))

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
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " cpu_us = cpu_us + excluded.cpu_us, gpu_us = gpu_us + excluded.gpu_us",
                (
                    self._member.shard,
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
