"""The work service: what pilots ask, what the log tells, what people want to know about both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import apsw
from twisted.internet.interfaces import IReactorTime

from node.changes import Change
from node.dispatch import Dispatch, Offer
from node.store import pilots as store
from node.work import bans, restart
from node.work.answers import Answers, HaveFiles
from node.work.arrivals import POLL_S, Arrivals, room
from node.work.board import Board, watch
from node.work.fromlog import FromLog
from node.work.intake import Intake
from node.work.leases import Leases
from node.work.ports import Journal, Resolver, Statement, Tables
from node.work.refusals import Refusal
from node.work.sessions import Lease, Session, Sessions, Tail
from node.work.tails import Tails

LEASE_S = 180.0
UNITS_MAX = 5_000  # in one answer


class Work:
    """Sessions, leases and reports of one site. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        journal: Journal,
        tables: Tables,
        dispatch: Dispatch,
        resolver: Resolver,
        *,
        site: bytes,
        site_name: str,
        factors: Sequence[int] = (1000, 1000),
        lease_s: float = LEASE_S,
        copied: bool = False,
        have_files: HaveFiles | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """lease_s: a pilot that is silent for so long loses its units.

        copied: the tables are an older copy; units that they do not know as leased may finish.
        have_files: has what came with a dataset here; None for a site that is alone.
        """
        self.dispatch = dispatch
        self.sessions = Sessions()
        self.leases = Leases(reactor, dispatch, self.sessions, journal)
        self._board = Board(
            reactor, journal, tables, dispatch, resolver, self.sessions, self.leases,
            site, site_name, factors, wall_ms,
        )  # fmt: skip
        self.leases.number_of = self._board.number
        self._answers = Answers(self._board.known, resolver, have_files)
        self._intake = Intake(self._board)
        self.arrivals = Arrivals(self._board, self._intake, lease_s, copied)
        self._tails = Tails(reactor, self.leases)
        self._log = FromLog(self._board, self._answers)

    # -- start and stop

    def load(self, datasets: Iterable[int]) -> None:
        """Take in open datasets from the tables; then `restore`."""
        for dataset in datasets:
            self._board.load(dataset, with_done=True)

    def restore(self, conn: apsw.Connection) -> None:
        """Pilots and leases of before the restart; the open datasets must be loaded."""
        gone = restart.restore(
            conn, self.dispatch, self.sessions, self.arrivals.expected, self._board.now_s()
        )
        bans.restore(conn, self.leases.hosts, self._board.now_s(), self._board.wall_ms())
        self.arrivals.next_pilot, self.leases.next_no = store.next_numbers(conn)
        if gone:
            watch(
                self._board.journal.local(partial(store.drop_leases, numbers=gone)),
                "dropping old leases",
            )

    def allow(self, host: str) -> bool:
        """A banned worker gets units again; False if there is no such one."""
        found = self.leases.hosts.forgive(host)
        self.keep_bans()
        self.leases.kick()
        return found

    def keep_bans(self) -> None:
        """Write down what was found out about banned workers."""
        bans.keep(self._board)

    def tick(self) -> None:
        """Call every few seconds: looks for silent pilots."""
        self.arrivals.tick()

    def stop(self) -> None:
        """Answer polls that wait; pilots go on and come back."""
        self.leases.stop()
        self._log.stop()

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber."""
        self._log.changed(changes)

    # -- pilots

    async def announce(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A pilot came up, or comes back with what it holds. Raises Refusal."""
        return await self.arrivals.announce(body)

    async def poll(self, session: Session, body: Mapping[str, Any]) -> dict[str, Any]:
        """Work for a pilot, or orders; waits up to POLL_S for either. Raises Refusal."""
        offer = self._hear(session, body)
        orders = session.due_orders(self._board.now_s())
        if not (orders or session.unseen or self.leases.take(session, offer)):
            await self._wait(session, offer)
            orders = session.due_orders(self._board.now_s())
        leases = [session.leases[no] for no in session.unseen if no in session.leases]
        work: list[dict[str, Any]] = []
        specs: dict[str, Any] = {}
        if leases:
            await self.leases.write(leases)
            # Meanwhile some may have been taken back.
            leases = [lease for lease in leases if lease.left]
            work, specs, missing = await self._answers.describe(session, leases)
            for lease_no, jobs, why in missing:
                self._cannot_run(session, lease_no, jobs, why)
        return {"work": work, "specs": specs, "orders": orders}

    def _hear(self, session: Session, body: Mapping[str, Any]) -> Offer:
        """Take note of who asks, with what room."""
        self._check(session)
        units_max, free, idle = (body.get(key) for key in ("units_max", "free", "idle_slots"))
        if type(units_max) is not int or not isinstance(free, dict):
            raise Refusal(400, "free and units_max are missing", "see pilot/messages.py")
        session.idle_slots = idle if type(idle) is int else 0
        if session.leases:
            session.idle_since_s = None
        elif session.idle_since_s is None:
            session.idle_since_s = session.seen_s
        seen = body.get("seen")
        if type(seen) is int:
            self.leases.above(seen)
            session.unseen = [no for no in session.unseen if no > seen]
        elif not session.unread:
            session.unseen = []  # a pilot that does not say what it has seen has seen all
        session.unread = False
        # Those of which nothing is left are told to nobody; waiting for them would never end.
        session.unseen = [no for no in session.unseen if no in session.leases]
        if session.unseen:
            session.specs.clear()  # those of the lost answer are lost, too
        return Offer(room(free), session.whole, min(units_max, UNITS_MAX))

    def _check(self, session: Session) -> None:
        """Raise Refusal if the pilot must announce itself first."""
        session.seen_s = self._board.now_s()
        if session.stale:
            raise Refusal(
                401,
                "announce yourself",
                "POST /pilot/v1/announce with your session and what you hold",
                "announce",
            )

    async def _wait(self, session: Session, offer: Offer) -> None:
        """Until there is work or an order, a newer poll, or POLL_S are over."""
        parked = self.leases.park(session, offer)
        timer = self._board.reactor.callLater(POLL_S, self.leases.unpark, session)
        try:
            await parked.answer
        finally:
            if timer.active():
                timer.cancel()
        if session.stale:
            self._check(session)

    def hung_up(self, session: Session) -> None:
        """The connection of a waiting poll is gone."""
        self.leases.unpark(session)

    def unread(self, session: Session) -> None:
        """The answer to a poll did not reach its pilot: the next one says it again."""
        session.unread = True

    def _cannot_run(self, session: Session, lease_no: int, jobs: list[int], why: str) -> None:
        """Inputs of these units are not to be had: an attempt that was lost before it began."""
        lease = session.leases.get(lease_no)
        if lease is not None and (lost := sorted(lease.left & set(jobs))):
            self._intake.record_loss(session, lease, lost, why, "input-fetch")

    async def report(self, session: Session, body: Mapping[str, Any]) -> dict[str, Any]:
        """Results, heartbeats, units given back; answered when the results are durable."""
        self._check(session)
        self._tails.take(session, body.get("logs"))
        acked = await self._intake.take(session, body)
        if body.get("leaving") is True:
            await self.arrivals.left(session, body)
        return {"acked": acked, "orders": session.due_orders(self._board.now_s())}

    async def may_read(self, session: Session, digest: bytes) -> bool:
        """Whether a pilot has a use for that blob."""
        if session.may_read(digest):
            return True
        await self._answers.learn_blobs(session)
        return session.may_read(digest)

    def session(self, token: str) -> Session | None:
        """The pilot of a bearer token."""
        return self.sessions.find(token)

    def knows(self, token: str) -> bool:
        """Whether this bearer token is a pilot's."""
        return self.sessions.find(token) is not None

    async def write(self, statement: Statement) -> None:
        """Run a statement on the site-local tables."""
        await self._board.journal.local(statement)

    # -- people

    def running(self, task: int) -> int:
        """How many units of a task (local number) run now; what a pilot holds ahead does not."""
        state = self.dispatch.ready.tasks.get(task)
        if state is None or not state.leased.count:
            return 0
        return sum(
            count
            for session in self.sessions
            for lease, count in session.started()
            if lease.task is state
        )

    def live(self, task: int, job: int) -> dict[str, Any] | None:
        """Where a unit is out at the moment; None if it is not."""
        found = self._holder(task, job)
        if found is None:
            return None
        session, lease = found
        return {
            "pilot": session.tag,
            "host": session.host,
            "started_ms": session.running.get((lease.no, job)),
            "heard_s_ago": round(self._board.now_s() - session.seen_s, 1),
            "lost": session.stale,
        }

    def _holder(self, task: int, job: int) -> tuple[Session, Lease] | None:
        state = self.dispatch.ready.tasks.get(task)
        if state is None or job not in state.leased:
            return None
        holders = self.sessions.leases_of(state)
        return next((found for found in holders if job in found[1].left), None)

    async def tail(self, task: int, job: int, offset: int) -> tuple[int, bytes] | None:
        """(when the attempt began, what it has printed from a byte on); None: not to be had."""
        found = self._holder(task, job)
        if found is None:
            return None
        session, lease = found
        began_ms = session.running.get((lease.no, job))
        if began_ms is None or session.stale:
            return None
        part = await self._tails.read(session, Tail(lease.no, job, offset))
        return None if part is None else (began_ms, part)

    def pilots(self) -> list[dict[str, Any]]:
        """What `floe pilots` shows."""
        now_s = self._board.now_s()
        return [
            {
                "pilot": session.pilot,
                "tag": session.tag,
                "host": session.host,
                "pid": session.pid,
                "isolation": session.isolation,
                "resources": dict(session.resources),
                "units": sum(count for _, count in session.started()),
                "idle_slots": session.idle_now(),
                "heard_s_ago": round(now_s - session.seen_s, 1),
                "state": session.state,
                "idle_s": self._idle_s(session, now_s),
                "job": session.job,
                "note": self._note(session),
            }
            for session in self.sessions
        ]

    def _idle_s(self, session: Session, now_s: float) -> float | None:
        """How long it has had nothing to do; None while it has."""
        since_s = session.idle_since_s
        return None if session.leases or since_s is None else round(now_s - since_s, 1)

    def _note(self, session: Session) -> str:
        left_s = session.rests_until_s - self._board.now_s()
        if left_s > 0:
            return f"lost unit after unit: no work for {left_s:.0f} s"
        return "lost unit after unit" if session.rests else ""

    def explain(self, task: int, job: int) -> dict[str, Any]:
        """Facts about why a unit runs or does not, for `floe why`."""
        state = self.dispatch.ready.tasks.get(task)
        if state is None or state.dataset is None:
            return {"here": False}
        needs = state.needs_of(job, self.dispatch.ready.most)
        rivals = self.dispatch.ready.active
        own = state.dataset.account
        return {
            "here": True,
            "owned": job in state.owned,
            "done": job in state.done,
            "shut": job in state.shut,
            "held": job in state.held,
            "leased": job in state.leased,
            "ready": any(job in queue for queue in state.queues.values()),
            "paused": state.dataset.paused,
            "draining": self.leases.draining,
            "waits": [
                {"task": wait.task, "whole": wait.whole}
                for wait in state.waits
                if not self.dispatch.ready.met(wait, job)
            ],
            "needs": needs,
            "fits": sum(1 for session in self.sessions if session.whole.units(needs) > 0),
            "pilots": len(self.sessions),
            "ready_before": sum(
                len(datasets)
                for account, datasets in rivals.items()
                if account is not own
                and self.dispatch.shares.standing(account) < self.dispatch.shares.standing(own)
            ),
            "expected_s": state.wall_s,
        }

    def reserve(self, dataset: bytes, tag: str) -> None:
        """Let one pilot alone have the units of a dataset, which need not be here yet."""
        self.leases.reserved[dataset] = tag
        self.leases.kick()

    def unreserve(self, dataset: bytes) -> None:
        """All may have them again."""
        self.leases.reserved.pop(dataset, None)
        if not self.leases.reserved:
            self.dispatch.reserved.clear()
        self.leases.kick()

    def drain(self, on: bool = True) -> None:
        """Give nothing new out (or do so again)."""
        self.leases.draining = on
        self.leases.kick()

    def send_away(self) -> list[Session]:
        """Have every pilot finish what it holds and leave; those that are still here."""
        here = [session for session in self.sessions if not session.lost]
        for session in here:
            if not session.draining:
                session.draining = True
                self.leases.unpark(session)
        return here

    def busy(self) -> bool:
        """Whether more results will come without anybody's help."""
        return any(session.leases for session in self.sessions.by_pilot.values())
