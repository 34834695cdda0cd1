"""The journal: every change of the store goes through one cycle after another of this writer.

    gather ── build (reactor thread) ── COMMIT, high-water (their own thread) ── tell
       ^                                                                          |
       +----------- what arrives meanwhile waits for the next cycle --------------+

A cycle makes at most one entry and one signature a lane, takes in a bounded amount of entries of
other sites, folds them all, runs the site-local statements, and commits all of it together. Only
when the commit *and* the high-water file are on disk do subscribers and waiting callers hear of
it: nothing leaves the process before.

When a cycle starts. Control records, local statements and entries of others: at the end of the
reactor's turn. Results: the same if none were written lately, else `gather_s` after the last ones.
Cycles begin at least `spacing_s` apart, so that a quick disk does not turn every request into a
commit of its own.

When the disk is full (or a commit fails otherwise) the cycle is kept as it was sealed and tried
again with back-off; only records marked `intake` are given up at once, with DiskFull. A sealed
results entry keeps its id over such retries, because the accept beside it names it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import apsw
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from federation.entry import Entry
from federation.feed import FeedTip, ForkProof
from federation.ids import FeedID, Lane, SiteID
from federation.records import Forked, Record, encode
from keys.identity import SiteKey
from node.changes import Change
from node.store.cycle import Builder, Clock, Cycle, Leader
from node.store.database import Database, DiskFull, InThread, StoreError, in_pool, stop_pool
from node.store.feeds import Feeds
from node.store.folding import Fold
from node.store.highwater import Head, Heads, HighWater, leap_generations
from node.store.outliving import Outliving
from node.store.queues import Queues
from node.store.taking import Taking
from node.store.waiting import (
    Compose,
    JournalClosed,
    JournalFull,
    JournalLimits,
    OwnLane,
    Statement,
    Waiting,
)

__all__ = ["Journal", "JournalClosed", "JournalFull", "JournalLimits"]

_log = Logger()


Subscriber = Callable[[list[Change]], None]
Hears = Callable[[Sequence[Entry]], None]


class Journal:
    """The one writer of the database. All methods belong to the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        database: Database,
        key: SiteKey,
        generation: int,
        fold: Fold,
        highwater: HighWater,
        leader: Leader | None = None,
        commit: InThread | None = None,
        *,
        wall_ms: Callable[[], int] | None = None,
        free_bytes: Callable[[], int] | None = None,
        bounds: JournalLimits | None = None,
        leap: Callable[[], int] = leap_generations,
        held: str = "",
    ) -> None:
        """generation: where `highwater.check` said to author; `highwater.begin` was called.

        held: why nothing of our own is written in this life, though entries of others and
        site-local statements are; "" if it is.
        commit: runs a blocking function in a thread; by default one thread of its own.
        wall_ms: wall clock for entries; free_bytes: free space of the home's disk. leap: how many
        generations to skip when this store turns out to be an old copy.
        """
        self.trouble = ""  # why nothing can be written at the moment, for people
        self.held = held
        self._reactor = reactor
        self._db = database.writer
        self._highwater = highwater
        self._bounds = bounds or JournalLimits()
        self._free_bytes = free_bytes or _free_bytes_of(database)
        self._pool: ThreadPool | None = None
        self._commit = commit or self._own_thread
        self._site = SiteID(key.site)
        self._generation = generation
        self._lanes = {lane: self._load_lane(generation, lane) for lane in Lane}
        clock = Clock(wall_ms or (lambda: time.time_ns() // 1_000_000))
        self._taking = Taking(
            database,
            self._site,
            generation,
            clock,
            self._bounds.arrived_bytes_max,
            self._prove_fork,
            self.outlive,
        )
        self._outliving = Outliving(reactor, highwater, self._bounds.retry_s_max, leap)
        self._arrivals = self._taking.arrivals
        self._queues = Queues(self._lanes, self._arrivals, self._bounds)
        self._builder = Builder(reactor, self._db, key, fold, self._lanes, clock)
        self.leader = leader
        self._cycle: Cycle | None = None  # under way, or to be tried again
        self._running = False
        self._call: IDelayedCall | None = None
        self._started_s = float("-inf")
        self._subscribers: list[Subscriber] = []
        self._hearing: list[Hears] = []
        self._closing: Deferred[None] | None = None
        self._queues.behind = fold.behind(self._db)
        if self._queues.behind:
            self._schedule()

    def _load_lane(self, generation: int, lane: Lane) -> OwnLane:
        feed = FeedID(self._site, generation, lane)
        tip = Feeds(self._db).tip(feed)
        return OwnLane(feed, Head(tip.seq, tip.id))

    @property
    def leader(self) -> Leader | None:
        """The hook that accepts new results entries."""
        return self._builder.leader

    @leader.setter
    def leader(self, leader: Leader | None) -> None:
        self._builder.leader = None if self.held else leader

    # What others call

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        """Write a record of authority; fires when it is durable.

        intake: new work, which is refused rather than kept when there is no room.
        Fails with DiskFull or JournalFull (intake only), JournalClosed, LocalError (no record).
        """
        refusal = self._intake_refusal() if intake else None
        if refusal is not None:
            return fail(refusal)
        return self._put(self._lanes[Lane.CONTROL], record, intake, None)

    def results(self, record: Record, local: Statement | None = None) -> Deferred[None]:
        """Write results; fires when they are durable. Look at `full` before taking a batch.

        local: site-local statements for the same transaction; if they fail, the results stay.
        Fails with JournalClosed; at once with LocalError for what can be no record.
        """
        return self._put(self._lanes[Lane.RESULTS], record, False, local)

    def local(self, fn: Statement, *, in_order: bool = False) -> Deferred[None]:
        """Run site-local statements in the next transaction; fires when they are durable.

        in_order: not before the results that were put earlier, which then wait for no others.
        An exception of `fn` undoes its own statements only and is what the Deferred fails with.
        When the transaction has to be tried again, so is `fn`.
        """
        if (closed := self._closed()) is not None:
            return fail(closed)
        waiting = Waiting(b"", False, fn)
        self._queues.put_local(waiting, in_order=in_order)
        self._schedule()
        return waiting.waiter

    def compose(self, make: Compose) -> Deferred[None]:
        """Write control records that are made when their entry is sealed, behind all others in it.

        make: called once, in the reactor's thread, when every earlier entry of ours is durable; []
        for nothing. Fires when what it made is durable. Fails with JournalClosed.
        """
        if (closed := self._closed() or self._withheld()) is not None:
            return fail(closed)
        waiting = Waiting(b"", False, compose=make)
        self._queues.put_late(waiting)
        self._schedule()
        return waiting.waiter

    def ingest(self, entries: Sequence[Entry]) -> Deferred[None]:
        """Take entries of other sites into the store; fires once they are durable and folded.

        Implements the Ingest port. Entries that do not fit keep no others from being taken: the
        Deferred fails when the others are durable, with Fork, Gap, or OwnFeedAhead. Entries that
        are here already are no error. While the disk has little room, results are refused with
        JournalFull, and beyond a bound of waiting bytes everything is, at once.
        """
        if (closed := self._closed()) is not None:
            return fail(closed)
        scarce = self._free_bytes() < self._bounds.free_bytes_min
        try:
            call = self._taking.take(entries, scarce=scarce)
        except JournalFull as error:
            return fail(error)
        call.end_if_done()
        self._schedule()
        return call.waiter

    def subscribe(self, fn: Subscriber) -> None:
        """Call `fn` with what changed, after each durable commit and before its waiters fire."""
        self._subscribers.append(fn)

    def subscribe_durable(self, fn: Hears) -> None:
        """Call `fn` with every entry, own or taken in, once it is durable and may be passed on."""
        self._hearing.append(fn)

    def note_fork(self, proof: ForkProof) -> None:
        """Write a proof of a fork that links found, if none is in the log.

        Raises PeerError for what proves none.
        """
        self._taking.note(proof)

    def outlive(self, feed: FeedID, seq: int, why: str = "") -> None:
        """A peer shows an entry of our own feeds that is not here: nothing more is written.

        Entries of earlier generations are no news. why: what else tells that the generation is in
        use elsewhere. See node/store/outliving.py.
        """
        if feed.generation >= self._generation:
            self._outliving.show(feed, seq, why)
            if not self._running:
                self._retire()

    def on_outlived(self, fn: Callable[[str], None]) -> None:
        """Call `fn` once with the reason when this store turned out to be an old copy.

        By then the next start is sure to go on under a later generation.
        """
        self._outliving.hear(fn)

    @property
    def outlived(self) -> str:
        """Why nothing is written any more: this store is an old copy; "" if it is not."""
        return self._outliving.why

    @property
    def backlog(self) -> int:
        """Records and statements that are not durable yet."""
        return self._queues.backlog + (len(self._cycle.waiting) if self._cycle else 0)

    @property
    def full(self) -> bool:
        """True while so much waits that more should not be taken in."""
        bounds = self._bounds
        queued_bytes = self._queues.queued_bytes
        return queued_bytes >= bounds.waiting_bytes_max or self.backlog >= bounds.waiting_max

    @property
    def heads(self) -> Heads:
        """Heads of the site's own feeds, as far as they are durable."""
        return Heads(
            self._generation,
            self._lanes[Lane.CONTROL].head,
            self._lanes[Lane.RESULTS].head,
        )

    def close(self) -> Deferred[None]:
        """Write what waits, then stop. What cannot be written fails with JournalClosed."""
        if self._closing is None:
            self._closing = Deferred()
            # A peer sends them again.
            self._arrivals.give_up(JournalClosed("the node is stopping"))
            if self._cycle is not None and not self._running:
                self._retry()  # once more, instead of waiting for the back-off
            else:
                self._schedule()
            self._finish_closing()
        return self._closing

    # Taking in

    def _closed(self) -> JournalClosed | None:
        """Why nothing is written any more; None if it is."""
        if self.outlived:
            return JournalClosed(self.outlived)
        return None if self._closing is None else JournalClosed("the node is stopping")

    def _withheld(self) -> JournalClosed | None:
        """Why nothing of our own is written in this life; None if it is."""
        return JournalClosed(self.held) if self.held else None

    def _put(
        self, lane: OwnLane, record: Record, intake: bool, statement: Statement | None
    ) -> Deferred[None]:
        if (closed := self._closed() or self._withheld()) is not None:
            return fail(closed)
        try:
            waiting = Waiting(encode(record), intake, statement)
        except Exception as error:
            return fail(error)
        lane.put(waiting, self._reactor.seconds())
        self._schedule()
        return waiting.waiter

    def _intake_refusal(self) -> StoreError | None:
        """Why new work is not taken in; None if it is."""
        if self.trouble:
            return DiskFull(self.trouble)
        if self._free_bytes() < self._bounds.free_bytes_min:
            return DiskFull(
                f"less than {self._bounds.free_bytes_min // 1_000_000} MB are free on the disk of "
                "the node's home: no new work is taken in until there is room"
            )
        if self.full:
            return JournalFull(f"{self.backlog} records wait for the disk: try again in a moment")
        return None

    def _prove_fork(self, record: Forked) -> None:
        def unwritten(failure: Failure) -> None:
            if not isinstance(
                failure.value, JournalClosed
            ):  # else whoever shows it again finds another
                _log.failure("journal: no proof written", failure)

        self.control(record).addErrback(unwritten)

    # When

    def _schedule(self) -> None:
        """See to it that a cycle starts when the first of what waits is due."""
        if self._running or self._cycle is not None or self.outlived:
            return
        delay_s = self._delay_s()
        if delay_s is None:
            return
        if self._call is not None and self._call.active():
            if self._call.getTime() <= self._reactor.seconds() + delay_s:
                return
            self._call.cancel()
        self._call = self._reactor.callLater(delay_s, self._start)

    def _delay_s(self) -> float | None:
        """Seconds until a cycle should start; None when nothing waits."""
        now_s = self._reactor.seconds()
        self._started_s = min(self._started_s, now_s)
        closing = self._closing is not None
        due_s = self._queues.due_s(now_s, closing=closing)
        if due_s is None or closing:
            return due_s
        return max(due_s, self._started_s + self._bounds.spacing_s - now_s, 0.0)

    # One cycle

    def _start(self) -> None:
        self._call = None
        if self._running:
            return
        now_s = self._reactor.seconds()
        self._started_s = now_s
        self._cycle = self._queues.gather(now_s, closing=self._closing is not None)
        if self._cycle.empty and not self._queues.behind:
            self._cycle = None
            self._finish_closing()
        else:
            self._attempt()

    def _attempt(self) -> None:
        """Build and commit the current cycle; called again after a failure."""
        cycle = self._cycle
        assert cycle is not None
        self._running = True
        cycle.attempts += 1
        try:
            if not cycle.committed:
                self._builder.build(cycle)
        except Exception as error:
            self._failed(error)
            return
        done = self._commit(lambda: self._make_durable(cycle))
        done.addCallbacks(
            lambda _: self._durable(cycle), lambda failure: self._failed(failure.value)
        )
        done.addErrback(lambda failure: _log.failure("journal: lost a cycle", failure))

    def _make_durable(self, cycle: Cycle) -> None:
        """In the commit's thread. Raises when the disk does; then see `committed`."""
        if not cycle.committed:
            self._db.execute("COMMIT")
            cycle.committed = True
        if cycle.own:
            self._highwater.write(self._heads_after(cycle))

    def _heads_after(self, cycle: Cycle) -> Heads:
        results = _head_of(cycle.results_entry, self._lanes[Lane.RESULTS].head)
        control = _head_of(cycle.control_entry, self._lanes[Lane.CONTROL].head)
        return Heads(self._generation, control, results)

    def _durable(self, cycle: Cycle) -> None:
        for entry in cycle.own:
            header = entry.header
            self._lanes[header.lane].head = Head(header.seq, entry.id)
            self._arrivals.own(FeedTip(header.feed, header.seq, entry.id, header.hlc))
        if self.trouble:
            _log.info("journal: writing again; {n} records were kept", n=len(cycle.waiting))
        self.trouble = ""
        self._cycle, self._running = None, False
        self._queues.behind = cycle.behind
        _tell(self._hearing, cycle.entries)
        _tell(self._subscribers, cycle.changes)
        for waiting in cycle.waiting:
            waiting.waiter.callback(None)
        self._arrivals.durable(cycle.arrived)
        self._retire()
        self._schedule()
        self._finish_closing()

    def _retire(self) -> None:
        """Stop writing for good, if a peer showed entries of ours that are not here."""
        if not self._outliving.due:
            return
        closed = JournalClosed(self._outliving.retire(self.heads))
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._give_up(closed)

    # When the disk refuses

    def _failed(self, error: BaseException) -> None:
        """Undo, give up what may be given up, try the rest again later."""
        cycle = self._cycle
        assert cycle is not None
        self._running = False
        if not cycle.committed:
            self._builder.undo()
            self._give_up_intake(cycle, error)
        self._note_trouble(error)
        self._retire()
        if self.outlived:
            self._finish_closing()
        elif self._closing is not None:
            self._give_up(JournalClosed(f"the node stopped: {self.trouble}"))
            self._finish_closing()
        elif cycle.empty and not self._queues.behind:
            self._cycle, self.trouble = None, ""
            self._schedule()
        else:
            exponent = min(cycle.attempts - 1, 16)
            delay_s = min(self._bounds.retry_s_min * 2**exponent, self._bounds.retry_s_max)
            self._call = self._reactor.callLater(delay_s, self._retry)

    def _retry(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if not self._running and self._cycle is not None:
            self._attempt()

    def _give_up_intake(self, cycle: Cycle, error: BaseException) -> None:
        """Refuse new work, of this cycle and waiting; the control entry is sealed anew."""
        reason = DiskFull(f"the record was not taken in: {_disk_says(error)}")
        refused = [waiting for waiting in cycle.control if waiting.intake]
        if refused:
            cycle.control = [waiting for waiting in cycle.control if not waiting.intake]
            cycle.control_entry = None
        for waiting in (*refused, *self._lanes[Lane.CONTROL].give_up_intake()):
            self._reactor.callLater(0, waiting.waiter.errback, reason)

    def _note_trouble(self, error: BaseException) -> None:
        first = not self.trouble
        self.trouble = (
            f"the store cannot write: {_disk_says(error)}. Work under way is kept and written "
            "once that is mended; no new work is taken in."
        )
        if first:
            _log.failure("journal: {trouble}", Failure(error), trouble=self.trouble)  # type: ignore[no-untyped-call]

    def _give_up(self, closed: JournalClosed) -> None:
        """What waits will not be written; it was never acknowledged."""
        cycle, self._cycle = self._cycle, None
        for waiting in [*(cycle.waiting if cycle else ()), *self._queues.clear()]:
            waiting.waiter.errback(closed)
        self._arrivals.abandon(cycle.arrived if cycle else (), closed)

    # Threads

    def _own_thread(self, fn: Callable[[], Any]) -> Deferred[Any]:
        if self._pool is None:
            self._pool = ThreadPool(1, 1, name="store-commit")
            self._pool.start()
        return in_pool(self._pool, fn)

    def _finish_closing(self) -> None:
        if self._closing is None or self._closing.called or self._cycle is not None or self.backlog:
            return
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._outliving.stop()
        if self._pool is not None:
            stop_pool(self._pool)
        self._closing.callback(None)


def _head_of(entry: Entry | None, otherwise: Head) -> Head:
    return otherwise if entry is None else Head(entry.header.seq, entry.id)


def _disk_says(error: BaseException) -> str:
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    return f"{type(error).__name__}: {error}"


def _free_bytes_of(database: Database) -> Callable[[], int]:
    def free_bytes() -> int:
        found = os.statvfs(database.path.parent)
        return found.f_bavail * found.f_frsize

    return free_bytes


def _tell(subscribers: Sequence[Callable[[Any], None]], news: Sequence[Any]) -> None:
    if not news:
        return
    for fn in subscribers:
        try:
            fn(news)
        except Exception:
            _log.failure("journal: a subscriber failed")
