"""Giving units out to pilots that ask, waking those that wait, taking units back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import apsw
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from node.dispatch import Dispatch, Offer, Pick, Room
from node.ranges import jobs_of, ranges_of
from node.store import pilots as store
from node.unitstate import TaskState
from node.work.hosts import Hosts
from node.work.ports import Journal
from node.work.sessions import Lease, Parked, Session, Sessions, Stop, Tail

_log = Logger()

LEAP_MAX = 1 << 32  # numbers of leases that one look at a pilot may pass over
BRISK_S = 1.0  # units that take no longer do not hold up one that waits behind them


@dataclass(slots=True, eq=False)
class Leases:
    """All leases of the site, and the polls that wait for one."""

    reactor: IReactorTime
    dispatch: Dispatch
    sessions: Sessions
    journal: Journal
    hosts: Hosts = field(default_factory=Hosts)
    next_no: int = 1
    draining: bool = False  # nothing new goes out
    reserved: dict[bytes, str] = field(default_factory=dict)  # datasets by id: a pilot's tag
    number_of: Callable[[bytes], int | None] = lambda dataset: None  # of a dataset that is here
    on_ready: Callable[[], None] | None = None  # told when units wait and no pilot does
    _parked: dict[Session, Parked] = field(default_factory=dict)
    _gone: list[int] = field(default_factory=list)  # rows to delete with the next write
    _wake: IDelayedCall | None = None

    # -- out

    def above(self, no: int) -> None:
        """A pilot knows a lease of this number: a store that was put back may have forgotten it.

        A number far beyond our own is not ours, and would use up those that a row can hold.
        """
        if self.next_no <= no < self.next_no + LEAP_MAX:
            self.next_no = no + 1

    def take(self, session: Session, offer: Offer) -> list[Lease]:
        """Lease what suits; not durable before `write`."""
        if self.draining or session.draining or session.leaving:
            return []
        if session.rests_until_s > self.reactor.seconds():
            return []
        if session.rests:
            offer = replace(offer, units_max=min(offer.units_max, max(1, offer.whole.cpu)))
        most = self._most_units(session)
        if most is not None:
            offer = replace(offer, units_max=min(offer.units_max, most))
        if offer.units_max <= 0:
            return []
        offer = self._as_of_now(session, offer)
        if self.reserved:
            offer = replace(offer, reserved=self._reserved_for(session))
        return [self._lease(session, pick) for pick in self.dispatch.take(offer)]

    def _reserved_for(self, session: Session) -> str:
        """The pilot's tag if datasets are reserved for it; "" for all others."""
        self.dispatch.reserved = {
            no: tag
            for dataset, tag in self.reserved.items()
            if (no := self.number_of(dataset)) is not None
        }
        return session.tag if session.tag in self.reserved.values() else ""

    def _most_units(self, session: Session) -> int | None:
        """What may go to the worker of a pilot, which may swallow units; None: no limit."""
        if not session.in_batch_system:
            return None
        host = self.hosts.known.get(session.host)
        if host is not None and host.good and self.reactor.seconds() >= host.until_s:
            return None
        there = self.sessions.at(session.host)
        out = sum(len(lease.left) for each in there for lease in each.leases.values())
        others = self.sessions.other_hosts(session.host)
        return self.hosts.allows(session.host, out, self.reactor.seconds(), others=others)

    def _lease(self, session: Session, pick: Pick) -> Lease:
        no = self.next_no
        self.next_no += 1
        left = set(jobs_of(pick.flat))
        lease = Lease(no, session.pilot, pick.task, left, pick.needs, pick.cost_s)
        session.leases[no] = lease
        session.unseen.append(no)
        session.idle_slots = max(0, session.idle_slots - pick.units)
        return lease

    async def write(self, leases: list[Lease]) -> None:
        """Make new leases durable; if that fails their units are ready again."""
        rows = [
            store.LeaseRow(each.no, each.pilot, each.task.no, ranges_of(each.left))
            for each in leases
        ]
        gone = self.take_gone()
        # What a unit waited for may have been reported a moment ago, and not be stored yet.
        in_order = any(lease.task.waits for lease in leases)
        try:
            await self.journal.local(partial(_write, rows, gone), in_order=in_order)
        except Exception:
            self._gone += gone
            for lease in leases:
                self.give_back(lease, set(lease.left))
            raise

    def take_gone(self) -> list[int]:
        """Numbers of leases whose rows should go with the next write."""
        gone, self._gone = self._gone, []
        return gone

    def drop(self, numbers: list[int]) -> None:
        """Let these rows go with the next write."""
        self._gone += numbers

    def _as_of_now(self, session: Session, offer: Offer) -> Offer:
        """The offer with what became free since the poll came, as far as reports tell."""
        free = session.whole
        brisk = bool(session.leases)
        for lease in session.leases.values():
            free = free.less(lease.needs, len(lease.left))
            wall_s = lease.task.wall_s
            brisk = brisk and wall_s is not None and wall_s <= BRISK_S
        offer = replace(offer, brisk=brisk, pilot=session.pilot, now_s=self.reactor.seconds())
        if free.cpu <= 0:
            return offer  # units wait there: only the pilot knows what runs
        return replace(offer, free=replace(free, time_left_s=offer.free.time_left_s))

    # -- waiting polls

    def idle_rooms(self) -> list[Room]:
        """What is free at pilots that wait for work."""
        now = [(session, self._parked[session].offer) for session in self._parked]
        return [
            self._as_of_now(session, offer).free
            for session, offer in now
            if not (session.stale or session.draining or session.leaving or session.rests)
            and not self.hosts.barred(session.host, self.reactor.seconds())
        ]

    def park(self, session: Session, offer: Offer) -> Parked:
        """Let a poll wait; `answer` fires when it should look again."""
        self.unpark(session)
        parked = Parked(offer)
        session.parked = self._parked[session] = parked
        if self.dispatch.ready.active and self.on_ready is not None:
            self.on_ready()
        return parked

    def unpark(self, session: Session) -> None:
        """Answer a waiting poll with what there is."""
        parked = self._parked.pop(session, None)
        session.parked = None
        if parked is not None and not parked.answer.called:
            parked.answer.callback(None)

    def kick(self) -> None:
        """Something may have become ready: look once this turn is over."""
        if not self.dispatch.ready.active:
            return
        if self._wake is None:
            self._wake = self.reactor.callLater(0, self._serve)

    def _serve(self) -> None:
        self._wake = None
        if self.on_ready is not None:
            self.on_ready()
        hopeless: set[Offer] = set()
        for session in list(self._parked):
            if not self.dispatch.ready.active:
                break
            parked = self._parked.get(session)
            if parked is None:
                continue
            offer = self._as_of_now(session, parked.offer)
            if offer in hopeless and not self.reserved:
                continue
            if self.take(session, offer):
                # The poll finds its new leases in `unseen`.
                self.unpark(session)
            elif not (session.rests or self.dispatch.keeps(session.pilot)):
                hopeless.add(offer)

    def stop(self) -> None:
        """Answer everybody who waits."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        for session in list(self._parked):
            self.unpark(session)

    # -- back

    def give_back(self, lease: Lease, jobs: set[int]) -> None:
        """Units of a lease came back untried."""
        back = jobs & lease.left
        lease.left -= back
        if back:
            self.dispatch.give_back(lease.task, ranges_of(back), lease.cost_s)
        self.settle(lease)
        self.kick()

    def settle(self, lease: Lease) -> None:
        """Forget a lease of which nothing is out any more."""
        if lease.left:
            return
        session = self.sessions.by_pilot.get(lease.pilot)
        if session is not None and session.leases.pop(lease.no, None) is not None:
            self._gone.append(lease.no)

    def void(self, lease: Lease) -> None:
        """Forget a lease without touching its units; they were dealt with."""
        lease.left = set()
        self.settle(lease)

    # -- orders

    def order_stop(self, task: TaskState, jobs: set[int], why: str) -> None:
        """Stop units wherever they are out."""
        for session, lease in self.sessions.leases_of(task):
            if not lease.left.isdisjoint(jobs):
                self.stop_at(session, lease.no, lease.left & jobs, why)

    def stop_at(
        self, session: Session, lease: int, jobs: set[int], why: str, *, strange: bool = False
    ) -> None:
        """Stop units at one pilot, at once if it waits at the door."""
        session.stops.append(Stop(lease, set(jobs), why, strange))
        self.unpark(session)

    def order_tail(self, session: Session, tail: Tail) -> None:
        """Ask a pilot for a part of a running log."""
        session.tails_due.append(tail)
        self.unpark(session)


def _write(rows: list[store.LeaseRow], gone: list[int], conn: apsw.Connection) -> None:
    store.add_leases(conn, rows)
    if gone:
        store.drop_leases(conn, gone)
