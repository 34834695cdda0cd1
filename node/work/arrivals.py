"""Pilots that are expected, come up, come back, fall silent and end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import apsw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from node.dispatch import Room
from node.ranges import JobRanges, ranges_of
from node.store import pilots as store
from node.store.pilots import PilotRow
from node.work.board import Board, watch
from node.work.intake import Intake
from node.work.ports import Statement
from node.work.refusals import Refusal
from node.work.reports import held_jobs
from node.work.sessions import Lease, Session, secret_hash

_log = Logger()

HEARTBEAT_S = 30
POLL_S = 25
PID_END = 2**31
RESOURCES = ("cpu", "gpu", "memory_bytes", "disk_bytes", "time_left_s")
MOST = 2**53  # of any resource
SECRET_CHARS_MIN, SECRET_CHARS_MAX = 32, 128  # of a session, as a pilot proposes it
JOB_CHARS_MAX = 128  # of a batch system's name for a job
FORGET_S = 7 * 86_400.0  # a lost pilot that does not come back is forgotten


@dataclass(slots=True, eq=False)
class Arrivals:
    """Who may announce itself, and what follows when a pilot comes or goes."""

    board: Board
    intake: Intake
    lease_s: float  # a pilot that is silent for so long loses its units
    # The tables are an older copy: units that they do not know as leased were granted all the same.
    copied: bool = False
    expected: dict[bytes, PilotRow] = field(default_factory=dict)  # by the hash of their token
    left_well: set[int] = field(
        default_factory=set
    )  # of those on this machine: they took their leave
    next_pilot: int = 1
    # Told of sessions whose pilot has announced itself, and of those that have ended.
    on_announced: Callable[[Session], None] = lambda session: None
    on_ended: Callable[[Session], None] = lambda session: None

    async def expect(
        self,
        tag: str,
        token: str,
        announcements: int,
        scheduler: str,
        also: Callable[[PilotRow], Statement] | None = None,
    ) -> PilotRow:
        """Write down a pilot that is about to be submitted; it may announce itself with `token`.

        also: more to write with the row, in the same transaction.
        """
        no = self.next_pilot
        self.next_pilot += 1
        row = PilotRow(
            no, tag, scheduler, "", secret_hash(token), announcements, None, "", 0, "",
            submitted_ms=self.board.wall_ms(),
        )  # fmt: skip
        more = None if also is None else also(row)
        await self.board.journal.local(partial(_expect, row, more))
        self.expected[row.token] = row
        return row

    async def announce(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A pilot came up, or comes back with what it holds. Raises Refusal."""
        holding = held_jobs(body.get("holding"))
        resources = body.get("resources")
        if not isinstance(resources, dict):
            raise Refusal(400, "resources is missing", "announce cpu, memory_bytes, disk_bytes")
        whole = room(resources)
        secret = _text(body, "session")
        session, several = self.board.sessions.find(secret), None
        if session is None:
            secret = _proposed(body) or secrets.token_urlsafe(32)
            session = self.board.sessions.find(secret)  # the answer did not reach it
        if session is None:
            session, several = self._first(_text(body, "token"), secret)
        self.board.sessions.place(session, _text(body, "host")[:255] or "unknown")
        pid = body.get("pid")
        session.pid = pid if type(pid) is int and 0 <= pid < PID_END else 0
        session.isolation = _text(body, "isolation")[:32]
        session.job = _text(body, "job")[:JOB_CHARS_MAX] or session.job
        session.resources = {name: resources[name] for name in RESOURCES if name in resources}
        session.whole = whole
        session.idle_slots = 0 if holding else whole.cpu
        session.seen_s = self.board.now_s()
        session.specs.clear()
        left_s = whole.time_left_s
        self.board.dispatch.ready.offered(
            whole.memory_bytes, whole.disk_bytes, None if left_s is None else int(left_s)
        )
        await self.board.journal.local(
            partial(store.announced, row=self._row(session), several=several)
        )
        if self.board.sessions.by_pilot.get(session.pilot) is not session:
            # What it holds runs again already; a lease of it would never end.
            raise Refusal(401, "this pilot has ended", "submit another one", "token")
        self._reconcile(session, holding)
        session.stale = session.lost = False
        _log.info("pilot {tag} on {host} is up", tag=session.tag, host=session.host)
        self.on_announced(session)
        return {
            "session": secret,
            "heartbeat_s": HEARTBEAT_S,
            "poll_s": POLL_S,
            "site": self.board.site_name,
            "batch": session.batch,
        }

    def _first(self, token: str, secret: str) -> tuple[Session, PilotRow | None]:
        """A new session for a submitted pilot; and the row of its token if that serves again."""
        row = self.expected.pop(secret_hash(token), None) if token else None
        if row is None:
            raise Refusal(
                401, "this token is unknown or used up", "a pilot's token serves once", "token"
            )
        several = None
        if row.announcements > 1:  # each is a pilot of its own; the last one takes the token's row
            several = replace(row, announcements=row.announcements - 1)
            self.expected[row.token] = several
            row = replace(row, no=self.next_pilot, tag=f"{row.tag}-{row.announcements}")
            self.next_pilot += 1
        session = Session(row.no, row.tag, secret_hash(secret), self.board.now_s())
        self.board.sessions.add(session)
        return session, several

    def _row(self, session: Session) -> PilotRow:
        return PilotRow(
            session.pilot, session.tag, "", session.job, b"", 0, session.secret, session.host,
            session.pid, session.isolation, session.resources, announced_ms=self.board.wall_ms(),
        )  # fmt: skip

    def _reconcile(self, session: Session, holding: dict[int, set[int]]) -> None:
        """Bring leases into line with what the pilot says that it has."""
        leases = self.board.leases
        on_the_way = set(session.unseen)  # its next poll says whether those arrived
        for lease in list(session.leases.values()):
            if lease.no not in on_the_way:
                leases.give_back(lease, lease.left - holding.get(lease.no, set()))
        for no, jobs in holding.items():
            leases.above(no)
            known = session.leases.get(no)
            if known is None and no in session.expired:
                known = self._revive(session, session.expired[no], jobs)
            strange = jobs if known is None else jobs - known.left
            if strange and not self.copied:
                leases.stop_at(session, no, strange, "not yours any more", strange=True)
        session.expired.clear()
        leases.kick()

    def _revive(self, session: Session, lease: Lease, jobs: set[int]) -> Lease | None:
        """A pilot that was given up is back: it keeps the units that nobody else has begun."""
        task = lease.task
        if task.dataset is None:
            return None
        ready = JobRanges()
        for queue in task.queues.values():
            ready.add_all(queue.flat)
        lease.left = {job for job in jobs if job in ready}
        if not lease.left:
            return None
        flat = ranges_of(lease.left)
        self.board.dispatch.ready.lease(task, flat)
        self.board.dispatch.shares.start(task.dataset.account, lease.cost_s * len(lease.left))
        session.leases[lease.no] = lease
        rows = [store.LeaseRow(lease.no, session.pilot, task.no, flat)]
        watch(self.board.journal.local(partial(store.add_leases, rows=rows)), "reviving a lease")
        return lease

    async def end(self, session: Session, why: str) -> None:
        """The pilot is known to have ended: its units are free, and it will not come back."""
        self.lose(session, why)
        await self._ended(session, why)

    async def left(self, session: Session, body: Mapping[str, Any]) -> None:
        """The pilot took its leave, and may say why: what it still holds was never begun."""
        for lease in list(session.leases.values()):
            self.board.leases.give_back(lease, set(lease.left))
        if not session.in_batch_system:
            self.left_well.add(session.pilot)
        await self._ended(session, _text(body, "why") or "left")

    async def _ended(self, session: Session, why: str) -> None:
        self.board.sessions.remove(session)
        self.board.leases.unpark(session)
        _log.info("pilot {tag} has ended: {why}", tag=session.tag, why=why)
        self.on_ended(session)
        await self._write_end(session.pilot, why)

    async def never_came(self, row: PilotRow, why: str) -> None:
        """A submitted pilot ended without a word."""
        self.expected.pop(row.token, None)
        await self._write_end(row.no, why)

    async def _write_end(self, pilot: int, why: str) -> None:
        await self.board.journal.local(
            partial(store.ended, pilot=pilot, ended_ms=self.board.wall_ms(), why=why[:200])
        )

    def lose(self, session: Session, why: str) -> None:
        """Requeue all that is out at a pilot; what may have begun counts as a lost attempt."""
        suspects = _suspects(session)
        if session.leases:
            _log.warn("pilot {tag}: {why}; its units run again", tag=session.tag, why=why)
        for lease in list(session.leases.values()):
            begun = sorted(lease.left & suspects.get(lease.no, set()))
            session.expired[lease.no] = replace(lease, left=set())
            if begun:
                self.intake.record_loss(session, lease, begun, why)
            self.board.leases.give_back(lease, set(lease.left))
        session.lost = session.stale = True
        session.running.clear()
        self.board.leases.unpark(session)

    def tick(self) -> None:
        """Once in a while: pilots that are silent for too long lose their units."""
        now_s = self.board.now_s()
        for session in self.board.sessions:
            silent_s = now_s - session.seen_s
            if not session.lost and silent_s > self.lease_s:
                self.lose(session, f"not heard of for {silent_s:.0f} s")
            elif session.lost and silent_s > FORGET_S:
                ended = Deferred.fromCoroutine(self._ended(session, "never came back"))
                watch(ended, "forgetting a pilot")


def _expect(row: PilotRow, more: Statement | None, conn: apsw.Connection) -> None:
    store.add_pilot(conn, row)
    if more is not None:
        more(conn)


def _suspects(session: Session) -> dict[int, set[int]]:
    """Units that the pilot said it runs, and the first in line, as many as it has room for."""
    found: dict[int, set[int]] = {}
    for lease_no, job in session.running:
        found.setdefault(lease_no, set()).add(job)
    room_left = max(1, session.whole.cpu)
    for lease in session.leases.values():
        for job in sorted(lease.left)[:room_left]:
            found.setdefault(lease.no, set()).add(job)
            room_left -= 1
        if room_left <= 0:
            break
    return found


def room(resources: Mapping[str, Any]) -> Room:
    """Resources as a pilot writes them. Raises Refusal."""
    values = [resources.get(name, 0) for name in ("cpu", "gpu", "memory_bytes", "disk_bytes")]
    left_s = resources.get("time_left_s")
    if any(type(value) is not int or not 0 <= value < MOST for value in values):
        raise Refusal(400, "resources are whole numbers", "cpu, gpu, memory_bytes, disk_bytes")
    if left_s is not None and not (type(left_s) in (int, float) and abs(left_s) < MOST):
        raise Refusal(400, "time_left_s is no number", "seconds, or null")
    # Steps of a minute, so that equal pilots make equal offers.
    cpu, gpu, memory, disk = values
    return Room(cpu, gpu, memory, disk, None if left_s is None else left_s // 60 * 60)


def _proposed(body: Mapping[str, Any]) -> str:
    """What a pilot wants to be known by, so that it may announce itself twice; "" if nothing."""
    secret = _text(body, "secret")
    return secret if SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX else ""


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    # A lone surrogate could neither be stored nor shown.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
