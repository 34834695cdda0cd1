"""Reports of pilots: stored once in the journal, and acted on at once.

What waits for a unit may start as soon as its report is here, before it is stored: the journal
keeps the order, so a child's lease never becomes durable before its parent's result. The pilot is
answered only when all of its batch is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from federation.records import Outcome, Results, cells
from node.model.share import GPU_WEIGHT
from node.ranges import ranges_of
from node.store import pilots as store
from node.store.database import StoreError
from node.store.pilots import WHOLE
from node.unitstate import TaskState
from node.work import bans
from node.work.board import TASKS_A_DATASET, Board, failure_of, watch
from node.work.hosts import TELLS_NOTHING, quick_fails
from node.work.refusals import Refusal
from node.work.reports import (
    BadReport,
    Group,
    all_succeeded,
    chosen,
    failures,
    groups_of,
    held_jobs,
    records_of,
    total,
)
from node.work.sessions import Lease, Session
from node.work.setbacks import judge_worker
from node.work.stale import without_stale

_log = Logger()

Tell = Callable[..., None]  # logs

RUNNING_MAX = 10_000
PILOT_LOST = "pilot-lost"
BEGUN_MS_MAX = 2**38  # nine years: a pilot's clock may be off, but records have bounds


class NotThere(BadReport):
    """What it is about has left the log, or was lost with the database: nobody's mistake."""


@dataclass(slots=True, eq=False)
class Intake:
    """Takes results in, from pilots and about lost ones."""

    board: Board
    refused: int = 0  # groups that could be no result

    async def take(self, session: Session, body: Mapping[str, Any]) -> int:
        """Everything of a report but `leaving`; the number of its batch. Raises Refusal."""
        batch = body.get("batch")
        if type(batch) is not int or not 0 <= batch < 2**53:
            raise Refusal(400, "batch is no number", "count batches from 1")
        groups, wrong = groups_of(body)
        if wrong:
            self.refused += len(wrong)
            _log.warn(
                "pilot {tag}: {n} groups of results refused: {why}",
                tag=session.tag,
                n=len(wrong),
                why=wrong[0],
            )
        _note_running(session, body.get("running"), self.board.wall_ms())
        returned = held_jobs(body.get("returned"))
        if groups:
            await self._take_batch(session, batch, groups)
        for lease_no, jobs in returned.items():
            self._give_back(session, lease_no, jobs)
        self.board.leases.kick()
        return batch

    async def _take_batch(self, session: Session, batch: int, groups: list[Group]) -> None:
        session.reported = True
        if batch in session.flight:
            again: Deferred[None] = Deferred()
            session.flight[batch].append(again)
            await again
            return
        whole = session.part == WHOLE
        if batch < session.batch or (batch == session.batch and whole):
            for group in groups:
                # Stored already; after a restart its leases may still stand.
                self._give_back(session, group.lease, set(group.jobs))
            return
        if self.board.journal.full:
            raise Refusal(503, "the store is behind", "send the batch again in a second")
        stored = session.part if batch == session.batch else 0
        waiters: list[Deferred[None]] = []
        session.flight[batch] = waiters
        try:
            known = [self._of_known_jobs(session, group) for group in groups]
            sound = await without_stale(self.board, session, known)
            await gatherResults(self._record(session, batch, stored, sound), consumeErrors=True)
        except BaseException as error:
            for waiter in waiters:
                waiter.errback(error)
            raise
        else:
            for waiter in waiters:
                waiter.callback(None)
        finally:
            del session.flight[batch]

    def _record(
        self, session: Session, batch: int, stored: int, groups: list[Group]
    ) -> list[Deferred[None]]:
        """Hand the batch to the journal and act on it; the Deferreds fire when it is durable."""
        pieces: list[tuple[Group, Results]] = []
        for group in groups:
            try:
                pieces += [(group, record) for record in self._checked(session, group)]
            except BadReport as error:
                tell = _log.warn if isinstance(error, NotThere) else _log.error
                self._refuse(session, group, str(error), tell)
        for group, record in pieces[:stored]:
            self._give_back(session, group.lease, set(record.jobs))
        waiting = []
        for at in range(stored, len(pieces)):
            group, record = pieces[at]
            part = WHOLE if at == len(pieces) - 1 else at + 1
            gone = self.board.leases.take_gone()
            done = self.board.journal.results(record, partial(_stored, gone, session, batch, part))
            wrong = failure_of(done)
            if wrong is not None:
                self.board.leases.drop(gone)
                if isinstance(wrong, StoreError):
                    raise Refusal(503, str(wrong), "send the batch again in a second")
                # Columns that no record can hold: only this piece is lost.
                self._refuse(session, group, str(wrong))
                continue
            waiting.append(done)
            session.batch, session.part = batch, part
            rest_s = judge_worker(session, record, self.board.now_s())
            if rest_s:
                self.board.reactor.callLater(rest_s, self.board.leases.kick)
            task = self._task(group)
            if task is not None:
                self._judge_host(session, task, record)
                self._apply(session.leases.get(group.lease), task, record)
        return waiting

    def _judge_host(self, session: Session, task: TaskState, record: Results) -> None:
        """Find out whether the worker swallows units."""
        if not session.in_batch_system:
            return
        rows, failed = len(record.jobs), failures(record)
        failed = [
            row for row in failed if row[1] != Outcome.STOPPED and row[2] not in TELLS_NOTHING
        ]
        wall_s = {}
        if failed:
            walls = cells(record.wall_ms, rows)
            wall_s = {job: ms / 1000 for job, ms in zip(record.jobs, walls, strict=True)}
        fails = quick_fails(task.no, failed, wall_s)
        succeeded = rows - len(failures(record))
        hosts = self.board.leases.hosts
        banned = hosts.note(
            session.host,
            task.no,
            succeeded,
            fails,
            len(fails) < len(failed),
            self.board.now_s(),
            "" if task.dataset is None else task.dataset.account.person.hex(),
        )
        if banned is not None:
            _log.warn("worker {host} gets no more units: {why}", host=banned.name, why=banned.why)
        bans.keep(self.board)

    def _of_known_jobs(self, session: Session, group: Group) -> Group:
        """The group without rows of jobs that the dataset does not have, if it has any of them.

        An extension is not there any more when a database was put back, or when a take-over cut it
        off and its order is still to come again: the other rows still count.
        """
        no = self.board.number(group.dataset)
        if no is None:
            return group  # refused for that later
        jobs = self.board.known(no).jobs
        rows = [row for row, job in enumerate(group.jobs) if 0 <= job < jobs]
        if not rows or len(rows) == len(group.jobs):
            return group
        strange = set(group.jobs) - {group.jobs[row] for row in rows}
        try:
            kept = chosen(group, rows)
        except BadReport:
            return group  # as it is, it is refused later
        why = f"results of {len(strange)} jobs that the dataset does not have"
        self._refused(session, why, _log.warn)
        self._give_back(session, group.lease, strange)
        return kept

    def _checked(self, session: Session, group: Group) -> list[Results]:
        no = self.board.number(group.dataset)
        if no is None:
            raise NotThere("results of a dataset that is not known here")
        known = self.board.known(no)
        if not 0 <= group.task < len(known.spec.tasks):
            raise BadReport("results of a task that the dataset does not have")
        if min(group.jobs) < 0 or max(group.jobs) >= known.jobs:
            raise NotThere("results of jobs that the dataset does not have")
        return records_of(group, session.host, self.board.factors)

    def _refuse(self, session: Session, group: Group, why: str, tell: Tell = _log.error) -> None:
        """A group that can be no result: its units go back, the pilot must not send it again."""
        self._refused(session, why, tell)
        self._give_back(session, group.lease, set(group.jobs))

    def _refused(self, session: Session, why: str, tell: Tell) -> None:
        self.refused += 1
        tell("pilot {tag}: results refused: {why}", tag=session.tag, why=why[:200])

    def _give_back(self, session: Session, lease_no: int, jobs: set[int]) -> None:
        lease = session.leases.get(lease_no)
        if lease is not None:
            self.board.leases.give_back(lease, jobs)

    def _task(self, group: Group) -> TaskState | None:
        no = self.board.number(group.dataset)
        return (
            None
            if no is None
            else self.board.dispatch.ready.tasks.get(no * TASKS_A_DATASET + group.task)
        )

    def _apply(self, lease: Lease | None, task: TaskState, record: Results) -> None:
        """What a record that will be durable means for what runs next."""
        named = set(record.jobs)
        if lease is None or lease.task is not task:
            mine: set[int] = set()
        elif named <= lease.left:
            mine = named
        else:
            mine = named & lease.left
        if mine and lease is not None:
            lease.left -= mine
            self._settle_cost(lease, len(mine), record)
            self.board.leases.settle(lease)
        if all_succeeded(record):
            self._succeeded(task, record, named, mine)
            return
        failed = failures(record)
        self.board.dispatch.ready.fail(task, [row for row in failed if row[0] in mine])
        succeeded = named - {job for job, _outcome, _error in failed}
        if succeeded:
            self._succeeded(task, record, succeeded, mine & succeeded)

    def _succeeded(self, task: TaskState, record: Results, jobs: set[int], mine: set[int]) -> None:
        self.board.dispatch.ready.succeed(task, ranges_of(jobs))
        rows = len(record.jobs)
        self.board.resolver.note(task, record.jobs, record.outputs)
        self.board.dispatch.learn_wall(task, total(record.wall_ms, rows) / rows / 1000)
        if len(mine) < len(jobs):
            self.board.leases.order_stop(task, jobs - mine, "done elsewhere")

    def _settle_cost(self, lease: Lease, units: int, record: Results) -> None:
        rows = len(record.jobs)
        used_ms = total(record.cpu_ms, rows) + GPU_WEIGHT * total(record.gpu_ms, rows)
        self.board.dispatch.settle_cost(lease.task, units, lease.cost_s, used_ms / 1000)

    def record_loss(
        self, session: Session, lease: Lease, jobs: list[int], why: str, error: str = PILOT_LOST
    ) -> None:
        """Units of a lease count as attempts that were lost to the infrastructure."""
        known = self.board.known(lease.task.no // TASKS_A_DATASET)
        now_ms = self.board.wall_ms()
        started = [session.running.get((lease.no, job), now_ms) for job in jobs]
        first = min(started)
        group = Group(lease.no, known.spec.id, lease.task.index, jobs, {
            "outcome": int(Outcome.INFRASTRUCTURE), "start_ms": first,
            "offset_ms": [at - first for at in started],
            "wall_ms": [max(0, now_ms - at) for at in started],
            "cpu_ms": 0, "memory_kib": 0, "disk_kib": 0, "gpu_ms": 0, "exit": 0,
            "errors": ["", error], "error": 1, "outputs": "", "inputs": "", "log": "",
            "tails": [[0, why]],
        })  # fmt: skip
        for record in records_of(group, session.host, self.board.factors):
            done = self.board.journal.results(record)
            if failure_of(done) is None:
                self._apply(lease, lease.task, record)
            watch(done, "recording lost units")


def _note_running(session: Session, running: Any, now_ms: int) -> None:
    if type(running) is not list or len(running) > RUNNING_MAX:
        return
    try:
        session.running = {
            (int(lease), int(job)): int(at) if abs(at - now_ms) < BEGUN_MS_MAX else now_ms
            for lease, job, at in running
        }
    except (TypeError, ValueError, OverflowError):
        session.running = {}


def _stored(
    gone: list[int], session: Session, batch: int, part: int, conn: apsw.Connection
) -> None:
    store.set_batches(conn, [(batch, part, session.pilot)])
    if gone:
        store.drop_leases(conn, gone)
