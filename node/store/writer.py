"""The journal: every change of the store goes through one cycle after another of this writer.

    gather ── build (reactor thread) ── COMMIT, high-water (their own thread) ── tell
       ^                                                                          |
       +----------- what arrives meanwhile waits for the next cycle --------------+

A cycle makes at most one entry and one signature a lane, folds them, runs the site-local
statements, and commits all of it together. Only when the commit *and* the high-water file are on
disk do subscribers and waiting callers hear of it: nothing leaves the process before.

When a cycle starts. Control records and local statements: at the end of the reactor's turn.
Results: the same if none were written lately, else `gather_s` after the last ones. Cycles begin at
least `spacing_s` apart, so that a quick disk does not turn every request into a commit of its own.

When the disk is full (or a commit fails otherwise) the cycle is kept as it was sealed and tried
again with back-off; only records marked `intake` are given up at once, with DiskFull. A sealed
results entry keeps its id over such retries, because the accept beside it names it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from federation import hlc, limits
from federation.entry import Entry, seal_encoded
from federation.ids import EntryRef, FeedID, Lane, SiteID
from federation.records import Record, Refused, encode
from keys.identity import SiteKey
from node.changes import Change
from node.store.database import Database, DiskFull, InThread, StoreError, in_pool, stop_pool
from node.store.feeds import Feeds
from node.store.highwater import Head, Heads, HighWater

_log = Logger()


class JournalFull(StoreError):
    """Too much is waiting for the disk: ask again later. Nothing was taken in."""


class JournalClosed(StoreError):
    """The node is stopping; the record was not written."""


class Fold(Protocol):
    """What entries mean. Runs inside the journal's transaction."""

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        """Change the shared tables by one entry."""


Leader = Callable[[list[EntryRef]], list[Record]]
"""Told of new results entries; the records it returns join this cycle's control entry."""

Subscriber = Callable[[list[Change]], None]
Statement = Callable[[apsw.Connection], None]


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Bounds of the journal. Raising a wait saves commits and signatures, and costs latency."""

    gather_s: float = 0.2
    spacing_s: float = 0.004
    retry_s_min: float = 0.5
    retry_s_max: float = 10.0
    waiting_bytes_max: int = 8 << 20
    waiting_max: int = 20_000
    free_bytes_min: int = 100_000_000  # below it no new work is taken in


@dataclass(slots=True, eq=False)
class _Waiting:
    """One record or statement and whoever waits for it."""

    encoded: bytes
    intake: bool
    statement: Statement | None = None
    behind: int = 0  # results records, counted from the start, that go before it
    waiter: Deferred[None] = field(default_factory=Deferred)


@dataclass(slots=True)
class _Lane:
    """Records on their way into one feed."""

    feed: FeedID
    head: Head
    hlc: int
    queue: deque[_Waiting] = field(default_factory=deque)
    queued_bytes: int = 0
    since_s: float = 0.0  # when the oldest of the queue came
    written_s: float = float("-inf")  # when a cycle last took records
    taken: int = 0  # records that cycles took so far

    def put(self, waiting: _Waiting, now_s: float) -> None:
        if not self.queue:
            self.since_s = now_s
        self.queue.append(waiting)
        self.queued_bytes += len(waiting.encoded)

    def take(self, bytes_max: int, count_max: int) -> list[_Waiting]:
        """Records for one entry, oldest first."""
        taken: list[_Waiting] = []
        room = bytes_max
        while self.queue and len(taken) < count_max and len(self.queue[0].encoded) <= room:
            taken.append(self.queue.popleft())
            room -= len(taken[-1].encoded)
        self.taken += len(taken)
        self.queued_bytes -= sum(len(waiting.encoded) for waiting in taken)
        return taken


@dataclass(slots=True)
class _Cycle:
    """What one transaction holds. Entries stay as they were sealed when it is tried again."""

    results: list[_Waiting]
    control: list[_Waiting]
    local: list[_Waiting]
    results_entry: Entry | None = None
    control_entry: Entry | None = None
    asked_leader: bool = False
    changes: list[Change] = field(default_factory=list)
    committed: bool = False  # the database has it; the high-water file may not
    attempts: int = 0

    @property
    def waiting(self) -> list[_Waiting]:
        return [*self.results, *self.control, *self.local]

    @property
    def empty(self) -> bool:
        return not (self.results or self.control or self.local)


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
    ) -> None:
        """generation: where `highwater.check` said to author; `highwater.begin` was called.

        commit: runs a blocking function in a thread; by default one thread of its own.
        wall_ms: wall clock for entries; free_bytes: free space of the home's disk.
        """
        self.leader = leader
        self.trouble = ""  # why nothing can be written at the moment, for people
        self._reactor = reactor
        self._db = database.writer
        self._feeds = Feeds(database.writer)
        self._key = key
        self._fold = fold
        self._highwater = highwater
        self._bounds = bounds or JournalLimits()
        self._wall_ms = wall_ms or (lambda: time.time_ns() // 1_000_000)
        self._free_bytes = free_bytes or _free_bytes_of(database)
        self._pool: ThreadPool | None = None
        self._commit = commit or self._own_thread
        self._generation = generation
        self._lanes = {lane: self._load_lane(generation, lane) for lane in Lane}
        self._local: deque[_Waiting] = deque()
        self._results_wanted = 0  # so many results records must not wait for others
        self._cycle: _Cycle | None = None  # under way, or to be tried again
        self._running = False
        self._call: IDelayedCall | None = None
        self._started_s = float("-inf")
        self._subscribers: list[Subscriber] = []
        self._closing: Deferred[None] | None = None

    def _load_lane(self, generation: int, lane: Lane) -> _Lane:
        feed = FeedID(SiteID(self._key.site), generation, lane)
        tip = self._feeds.tip(feed)
        return _Lane(feed, Head(tip.seq, tip.id), tip.hlc)

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
        if self._closing is not None:
            return fail(JournalClosed("the node is stopping"))
        waiting = _Waiting(b"", False, fn)
        if in_order:
            lane = self._lanes[Lane.RESULTS]
            waiting.behind = self._results_wanted = lane.taken + len(lane.queue)
        self._local.append(waiting)
        self._schedule()
        return waiting.waiter

    def subscribe(self, fn: Subscriber) -> None:
        """Call `fn` with what changed, after each durable commit and before its waiters fire."""
        self._subscribers.append(fn)

    @property
    def backlog(self) -> int:
        """Records and statements that are not durable yet."""
        waiting = sum(len(lane.queue) for lane in self._lanes.values()) + len(self._local)
        return waiting + (len(self._cycle.waiting) if self._cycle else 0)

    @property
    def full(self) -> bool:
        """True while so much waits that more should not be taken in."""
        queued_bytes = sum(lane.queued_bytes for lane in self._lanes.values())
        bounds = self._bounds
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
            if self._cycle is not None and not self._running:
                self._retry()  # once more, instead of waiting for the back-off
            else:
                self._schedule()
            self._finish_closing()
        return self._closing

    # Taking in

    def _put(
        self, lane: _Lane, record: Record, intake: bool, statement: Statement | None
    ) -> Deferred[None]:
        if self._closing is not None:
            return fail(JournalClosed("the node is stopping"))
        try:
            waiting = _Waiting(encode(record), intake, statement)
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

    # When

    def _schedule(self) -> None:
        """See to it that a cycle starts when the first of what waits is due."""
        if self._running or self._cycle is not None:
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
        bounds = self._bounds
        now_s = self._reactor.seconds()
        self._started_s = min(self._started_s, now_s)
        if self._local or self._lanes[Lane.CONTROL].queue or self._results_due(now_s) <= 0:
            delay_s = 0.0
        elif self._lanes[Lane.RESULTS].queue:
            delay_s = self._results_due(now_s)
        else:
            return None
        spacing_s = self._started_s + bounds.spacing_s - now_s
        return 0.0 if self._closing is not None else max(delay_s, spacing_s, 0.0)

    def _results_due(self, now_s: float) -> float:
        """Seconds until the waiting results should be written; inf when there are none."""
        lane = self._lanes[Lane.RESULTS]
        lane.written_s = min(lane.written_s, now_s)  # the reactor's clock may jump back
        if not lane.queue:
            return float("inf")
        if self._closing is not None or lane.queued_bytes >= limits.RECORD_BYTES_MAX:
            return 0.0
        if self._results_wanted > lane.taken:
            return 0.0
        return lane.written_s + self._bounds.gather_s - now_s

    # One cycle

    def _start(self) -> None:
        self._call = None
        if self._running:
            return
        now_s = self._reactor.seconds()
        self._started_s = now_s
        self._cycle = self._gather(now_s)
        if self._cycle.empty:
            self._cycle = None
            self._finish_closing()
        else:
            self._attempt()

    def _gather(self, now_s: float) -> _Cycle:
        room, count = limits.RECORD_BYTES_MAX, limits.ENTRY_RECORDS_MAX
        results: list[_Waiting] = []
        lane = self._lanes[Lane.RESULTS]
        if self._results_due(now_s) <= 0:
            results, lane.written_s = lane.take(room, count), now_s
        control = self._lanes[Lane.CONTROL].take(room, count)
        local = [waiting for waiting in self._local if waiting.behind <= lane.taken]
        self._local = deque(waiting for waiting in self._local if waiting.behind > lane.taken)
        return _Cycle(results, control, local)

    def _attempt(self) -> None:
        """Build and commit the current cycle; called again after a failure."""
        cycle = self._cycle
        assert cycle is not None
        self._running = True
        cycle.attempts += 1
        try:
            if not cycle.committed:
                self._build(cycle)
        except Exception as error:
            self._failed(error)
            return
        done = self._commit(lambda: self._make_durable(cycle))
        done.addCallbacks(
            lambda _: self._durable(cycle), lambda failure: self._failed(failure.value)
        )
        done.addErrback(lambda failure: _log.failure("journal: lost a cycle", failure))

    def _build(self, cycle: _Cycle) -> None:
        """Everything of the transaction but its COMMIT."""
        cycle.changes = []
        self._db.execute("BEGIN IMMEDIATE")
        if cycle.results:
            lane = self._lanes[Lane.RESULTS]
            entry = cycle.results_entry or self._seal(lane, cycle.results)
            cycle.results_entry = entry
            self._store(entry, cycle)
            self._ask_leader(cycle, entry)
        if cycle.control:
            entry = cycle.control_entry or self._seal(self._lanes[Lane.CONTROL], cycle.control)
            cycle.control_entry = entry
            self._store(entry, cycle)
        for waiting in cycle.results:
            self._run_beside(waiting)
        cycle.local = [waiting for waiting in cycle.local if self._run_local(waiting)]

    def _seal(self, lane: _Lane, records: list[_Waiting]) -> Entry:
        now = hlc.tick(lane.hlc, self._wall_ms())
        encoded = [waiting.encoded for waiting in records]
        return seal_encoded(self._key, lane.feed, lane.head.seq + 1, lane.head.id, now, encoded)

    def _store(self, entry: Entry, cycle: _Cycle) -> None:
        """Insert and fold one entry. A fold that breaks leaves the entry, marked, unfolded."""
        no = self._feeds.insert(entry)
        # Folded as decoded: what the tables hold must be a function of the log alone.
        cycle.changes += fold_entry(self._db, self._fold, entry, no)

    def _ask_leader(self, cycle: _Cycle, entry: Entry) -> None:
        if self.leader is None or cycle.asked_leader:
            return
        cycle.asked_leader = True
        try:
            more = [_Waiting(encode(record), False) for record in self.leader([entry.ref])]
        except Exception:
            _log.failure("journal: the leader's hook failed; its records come later")
            return
        lane = self._lanes[Lane.CONTROL]
        room = limits.RECORD_BYTES_MAX - sum(len(waiting.encoded) for waiting in cycle.control)
        for waiting in more:
            room -= len(waiting.encoded)
            if room >= 0 and len(cycle.control) < limits.ENTRY_RECORDS_MAX:
                cycle.control.append(waiting)
            else:
                lane.put(waiting, self._reactor.seconds())

    def _run_beside(self, waiting: _Waiting) -> None:
        """Run the statements that came with a record; the record stays whatever they do."""
        error = self._run(waiting.statement) if waiting.statement is not None else None
        if error is not None:
            failure = Failure(error)  # type: ignore[no-untyped-call]
            _log.failure("journal: site-local statements beside results failed", failure)

    def _run_local(self, waiting: _Waiting) -> bool:
        """Run site-local statements; False if they failed and were undone."""
        assert waiting.statement is not None
        error = self._run(waiting.statement)
        if error is not None:
            self._reactor.callLater(0, waiting.waiter.errback, error)
        return error is None

    def _run(self, statement: Statement) -> Exception | None:
        """Run statements; what they raised, after undoing them alone. Raises for the disk."""
        self._db.execute("SAVEPOINT local")
        try:
            statement(self._db)
        except _OF_THE_DISK:
            raise
        except Exception as error:
            self._db.execute("ROLLBACK TO local; RELEASE local")
            return error
        self._db.execute("RELEASE local")
        return None

    def _make_durable(self, cycle: _Cycle) -> None:
        """In the commit's thread. Raises when the disk does; then see `committed`."""
        if not cycle.committed:
            self._db.execute("COMMIT")
            cycle.committed = True
        if cycle.results_entry is not None or cycle.control_entry is not None:
            self._highwater.write(self._heads_after(cycle))

    def _heads_after(self, cycle: _Cycle) -> Heads:
        results = _head_of(cycle.results_entry, self._lanes[Lane.RESULTS].head)
        control = _head_of(cycle.control_entry, self._lanes[Lane.CONTROL].head)
        return Heads(self._generation, control, results)

    def _durable(self, cycle: _Cycle) -> None:
        for entry in (cycle.results_entry, cycle.control_entry):
            if entry is not None:
                lane = self._lanes[entry.header.lane]
                lane.head, lane.hlc = Head(entry.header.seq, entry.id), entry.header.hlc
        if self.trouble:
            _log.info("journal: writing again; {n} records were kept", n=len(cycle.waiting))
        self.trouble = ""
        self._cycle, self._running = None, False
        self._tell(cycle.changes)
        for waiting in cycle.waiting:
            waiting.waiter.callback(None)
        self._schedule()
        self._finish_closing()

    def _tell(self, changes: list[Change]) -> None:
        if not changes:
            return
        for fn in self._subscribers:
            try:
                fn(changes)
            except Exception:
                _log.failure("journal: a subscriber failed")

    # When the disk refuses

    def _failed(self, error: BaseException) -> None:
        """Undo, give up what may be given up, try the rest again later."""
        cycle = self._cycle
        assert cycle is not None
        self._running = False
        if not cycle.committed:
            self._roll_back()
            self._give_up_intake(cycle, error)
        self._note_trouble(error)
        if self._closing is not None:
            self._abandon(cycle)
        elif cycle.empty:
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

    def _roll_back(self) -> None:
        # SQLite may have ended the transaction by itself.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _give_up_intake(self, cycle: _Cycle, error: BaseException) -> None:
        """Refuse new work, of this cycle and waiting; the control entry is sealed anew."""
        reason = DiskFull(f"the record was not taken in: {_disk_says(error)}")
        lane = self._lanes[Lane.CONTROL]
        refused = [waiting for waiting in (*cycle.control, *lane.queue) if waiting.intake]
        if any(waiting.intake for waiting in cycle.control):
            cycle.control = [waiting for waiting in cycle.control if not waiting.intake]
            cycle.control_entry = None
        for waiting in refused:
            if waiting in lane.queue:
                lane.queue.remove(waiting)
                lane.queued_bytes -= len(waiting.encoded)
            self._reactor.callLater(0, waiting.waiter.errback, reason)

    def _note_trouble(self, error: BaseException) -> None:
        first = not self.trouble
        self.trouble = (
            f"the store cannot write: {_disk_says(error)}. Work under way is kept and written "
            "once that is mended; no new work is taken in."
        )
        if first:
            _log.failure("journal: {trouble}", Failure(error), trouble=self.trouble)  # type: ignore[no-untyped-call]

    def _abandon(self, cycle: _Cycle) -> None:
        """Stopping with a disk that does not write: what waits was never acknowledged."""
        queues = [lane.queue for lane in self._lanes.values()]
        left = [*cycle.waiting, *(waiting for queue in queues for waiting in queue), *self._local]
        for queue in queues:
            queue.clear()
        self._local.clear()
        self._cycle = None
        for waiting in left:
            waiting.waiter.errback(JournalClosed(f"the node stopped: {self.trouble}"))
        self._finish_closing()

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
        if self._pool is not None:
            stop_pool(self._pool)
        self._closing.callback(None)


# What a disk does to any statement; the whole transaction is then tried again.
_OF_THE_DISK = (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.NoMemError, apsw.CantOpenError)


def fold_entry(connection: apsw.Connection, fold: Fold, entry: Entry, no: int) -> list[Change]:
    """Fold one stored entry; what changed.

    An unexpected exception undoes this entry's folding alone, quarantines the entry and is shouted
    about: a bug in the fold must lose neither records nor the node.
    """
    connection.execute("SAVEPOINT fold")
    try:
        changes = fold.apply(connection, entry.ref, no, entry.records())
    except _OF_THE_DISK:
        raise
    except Exception as error:
        _log.failure(
            "store: folding entry {no} failed; it is kept and quarantined on this node", no=no
        )
        connection.execute("ROLLBACK TO fold; RELEASE fold")
        connection.execute(
            "INSERT OR REPLACE INTO quarantine (entry, why) VALUES (?, ?)",
            (no, f"{type(error).__name__}: {error}"[:1000]),
        )
        return []
    connection.execute("RELEASE fold")
    return changes


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
