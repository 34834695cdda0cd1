"""Pilots and leases as they were before the node stopped, however it stopped.

Nothing is decided here: a unit that was out counts as out. Its pilot must announce itself again and
say what it holds; what it does not hold is free at once, and if it stays silent for the time of a
lease, everything is. Later leases win: a unit that stands in two was requeued in between.
"""

from __future__ import annotations

import apsw

from node.dispatch import Dispatch, Room
from node.model.share import unit_cost_s
from node.ranges import jobs_of, size
from node.store import pilots as store
from node.store.pilots import LeaseRow, PilotRow
from node.unitstate import TaskState
from node.work.sessions import Lease, Session, Sessions


def restore(
    conn: apsw.Connection,
    dispatch: Dispatch,
    sessions: Sessions,
    expected: dict[bytes, PilotRow],
    now_s: float,
) -> list[int]:
    """Fill `sessions` and `expected`; numbers of leases whose rows are of no use any more."""
    for row in store.live(conn):
        if row.announcements > 0:
            expected[row.token] = row
        if row.session is not None:
            sessions.add(_session(row, now_s))
    gone: list[int] = []
    by_task: dict[int, list[Lease]] = {}
    for lease in store.leases(conn):
        if not _claim(lease, dispatch, sessions, by_task):
            gone.append(lease.no)
    for leases in by_task.values():
        gone += [_drop(lease, sessions) for lease in leases if not lease.left]
    return gone


def _session(row: PilotRow, now_s: float) -> Session:
    assert row.session is not None
    resources = row.resources
    amounts = [resources.get(name, 0) for name in ("cpu", "gpu", "memory_bytes", "disk_bytes")]
    return Session(
        row.no, row.tag, row.session, now_s, row.host, row.pid, row.isolation, row.job, resources,
        Room(*amounts), row.batch, row.part, stale=True,
    )  # fmt: skip


def _claim(
    row: LeaseRow, dispatch: Dispatch, sessions: Sessions, by_task: dict[int, list[Lease]]
) -> bool:
    """Count the units of a lease as out, unless they are done. False: nothing of it is left."""
    session = sessions.by_pilot.get(row.pilot)
    task = dispatch.ready.tasks.get(row.task)
    if session is None or task is None or task.dataset is None:
        return False
    flat = task.done.lacking(row.flat)
    if not flat:
        return False
    earlier = by_task.setdefault(row.task, [])
    if twice := task.leased.common(flat):
        again = set(jobs_of(twice))
        for lease in earlier:
            lease.left -= again
    left = set(jobs_of(flat))
    lease = Lease(row.no, row.pilot, task, left, task.needs, _cost_s(task), blobs=None)
    earlier.append(lease)
    session.leases[row.no] = lease
    dispatch.ready.lease(task, flat)
    assert task.dataset is not None
    dispatch.shares.start(task.dataset.account, lease.cost_s * size(flat))
    return True


def _cost_s(task: TaskState) -> float:
    return unit_cost_s(task.needs.cpu, task.needs.gpu, task.expected_s())


def _drop(lease: Lease, sessions: Sessions) -> int:
    session = sessions.by_pilot.get(lease.pilot)
    if session is not None:
        session.leases.pop(lease.no, None)
    return lease.no
