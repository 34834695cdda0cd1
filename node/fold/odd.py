"""Rows that need a look each: faults, duplicates, successes of failed units."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from federation.records import Outcome, Results, digest_cells
from node.fold import keeping, reproducing
from node.fold.made import Made, Success
from node.fold.rows import Effect, Rows, count_success, value
from node.fold.sets import Jobs
from node.fold.shape import TaskRow
from node.ranges import ranges_of

BOOSTS_MAX = 3  # resources failures that are answered with more resources; later ones count
LOSSES_MAX = 10  # infrastructure losses on any hosts that make a unit poison,
LOSS_HOSTS_MAX = 5  # and on different ones
POISON = "poison"
AWAY = "input-fetch"  # an error class: what the unit reads was not to be had; no fault of the unit
FINAL = "exit-final"  # an error class: the user said that no retry will mend this exit status


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


class Odd:
    """Rows that need a look each: faults, duplicates, successes of failed units."""

    def __init__(
        self,
        conn: apsw.Connection,
        dataset: bytes,
        task: TaskRow,
        entry: int,
        effect: Effect,
        made: Made,
    ) -> None:
        """dataset: id of the task's."""
        self._conn = conn
        self._dataset = dataset
        self._task = task
        self._entry = entry
        self._effect = effect
        self._made = made
        self._again: set[int] = set()  # settled jobs that run again
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
        self._again = reproducing.among(self._conn, self._task.no, done) if done else set()
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
        why, surplus = "cancelled" if job in ended else "duplicate", None
        if job in self._again:
            why, surplus = self._reproduced(rows, job, row)
        if surplus is None or surplus.entry == self._entry:
            self._surplus.append([job, rows.first + row, why])
        self._effect.duplicates.append(job)
        self._effect.spared.add(row)
        self._sums["duplicates"] += why == "duplicate"
        self._add_cost(self._duplicate, rows.record, row)

    def _reproduced(self, rows: Rows, job: int, row: int) -> tuple[str, Success]:
        """A success of a unit that ran again; which attempt is a surplus then, and why."""
        self._again.discard(job)
        made = digest_cells(rows.record.outputs, len(rows.record.jobs))[row]
        new = Success(self._entry, rows.first + row, made, b"")
        why, surplus = reproducing.judge(
            self._conn, self._made, self._dataset, self._task.no, job, new
        )
        if surplus.entry != self._entry:
            sql = "INSERT OR IGNORE INTO surplus VALUES (?, ?, ?, ?, ?)"
            place = (self._task.no, job, surplus.entry, surplus.row)
            self._conn.execute(sql, (*place, why))
        self._effect.reproduced.append(job)
        return why, surplus

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
            poison = False
            if error != AWAY or outcome != Outcome.INFRASTRUCTURE:
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
