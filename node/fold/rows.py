"""Rows of a results record, and what folding them changed."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import apsw

from federation.records import Column, Results
from node.changes import Change, OutputsChanged, UnitsFailed, UnitsFaulted, UnitsSettled


@dataclass(slots=True)
class Effect:
    """What one record changed, for the root and for those who listen."""

    settled: Sequence[int] = ()
    duplicates: list[int] = field(default_factory=list)
    faults: list[tuple[int, int]] = field(default_factory=list)  # (job, outcome as it counts)
    open_faults: list[tuple[int, int]] = field(default_factory=list)  # of units not settled
    failed: list[int] = field(default_factory=list)
    spared: set[int] = field(default_factory=set)  # rows of successes that did not count
    withdrawn: list[tuple[int, list[int]]] = field(default_factory=list)  # (task index, jobs)
    reproduced: list[int] = field(default_factory=list)  # settled jobs that ran again

    def told(self, task: int) -> list[Change]:
        found: list[Change] = []
        if self.settled:
            found.append(UnitsSettled(task, self.settled))
        if self.reproduced:
            found.append(OutputsChanged(task, self.reproduced))
            found.append(UnitsSettled(task, self.reproduced))
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


def count_success(
    conn: apsw.Connection, task: int, rows: Rows, record: Results, sign: int = 1
) -> None:
    """Add what settled units cost to their task's sums and peaks.

    sign: -1 to take it off the sums again; peaks stay.
    """
    conn.execute(
        "UPDATE task SET cpu_ms = cpu_ms + ?, wall_ms = wall_ms + ?, gpu_ms = gpu_ms + ?,"
        " memory_kib_max = max(memory_kib_max, ?), disk_kib_max = max(disk_kib_max, ?),"
        " wall_ms_max = max(wall_ms_max, ?) WHERE no = ?",
        (
            sign * rows.total(record.cpu_ms),
            sign * rows.total(record.wall_ms),
            sign * rows.total(record.gpu_ms),
            rows.peak(record.memory_kib),
            rows.peak(record.disk_kib),
            rows.peak(record.wall_ms),
            task,
        ),
    )
