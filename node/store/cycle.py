"""One transaction: what it holds, and how it is built up to its COMMIT.

First the entries of other sites, then our own results, then our own control records, among them
the accepts that the leader adds for all these results; then the site-local statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import apsw
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation import hlc, limits
from federation.entry import Entry, seal_encoded
from federation.feed import FeedTip
from federation.ids import EntryRef, Lane, SiteID
from federation.records import Record, encode
from keys.identity import SiteKey
from node.changes import Change
from node.store.arrivals import Arrived
from node.store.feeds import Feeds
from node.store.folding import OF_THE_DISK, Fold, fold_entry
from node.store.waiting import OwnLane, Statement, Waiting

_log = Logger()

Leader = Callable[[list[EntryRef]], list[Record]]
"""Told of new results entries; the records it returns join this cycle's control entry."""


# Kept free in a control entry for records that are composed when it is sealed: the votes, acks and
# opens of a few dozen shards. The largest, an open that names fifteen votes, takes 1.3 KiB.
COMPOSED_BYTES_MAX: Final = 8 << 10
COMPOSED_MAX: Final = 64


@dataclass(slots=True)
class Cycle:
    """What one transaction holds. Entries stay as they were sealed when it is tried again."""

    results: list[Waiting]
    control: list[Waiting]
    local: list[Waiting]
    arrived: list[Arrived]
    late: list[Waiting] = field(default_factory=list)  # composers of control records
    composed: bool = False
    results_entry: Entry | None = None
    control_entry: Entry | None = None
    asked_leader: bool = False
    changes: list[Change] = field(default_factory=list)
    behind: bool = False  # the fold has left something for the next cycle
    committed: bool = False  # the database has it; the high-water file may not
    attempts: int = 0

    @property
    def waiting(self) -> list[Waiting]:
        return [*self.results, *self.control, *self.local, *self.late]

    @property
    def empty(self) -> bool:
        return not (self.results or self.control or self.local or self.arrived or self.late)

    @property
    def own(self) -> list[Entry]:
        """The entries that we wrote, in the order of folding."""
        return [entry for entry in (self.results_entry, self.control_entry) if entry is not None]

    @property
    def entries(self) -> list[Entry]:
        """Every entry, in the order of folding."""
        return [*(arrived.entry for arrived in self.arrived), *self.own]


class Clock:
    """The newest time that this site wrote or merged."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._newest = 0

    def tick(self) -> int:
        """The time of the next entry."""
        self._newest = hlc.tick(self._newest, self._wall_ms())
        return self._newest

    def merge(self, remote: int) -> None:
        """An entry of this time arrived."""
        self._newest = hlc.merge(self._newest, remote, self._wall_ms())

    def resume(self, tips: Iterable[FeedTip], site: SiteID) -> None:
        """Go on behind what the store holds; behind our own entries whatever the wall clock says.

        site: this one.
        """
        for tip in tips:
            if tip.feed.site == site:
                self._newest = max(self._newest, tip.hlc)
            else:
                self.merge(tip.hlc)


class Builder:
    """Fills transactions. Knows nothing of when, and commits nothing."""

    def __init__(
        self,
        reactor: IReactorTime,
        connection: apsw.Connection,
        key: SiteKey,
        fold: Fold,
        lanes: Mapping[Lane, OwnLane],
        clock: Clock,
    ) -> None:
        self.leader: Leader | None = None
        self._reactor = reactor
        self._db = connection
        self._feeds = Feeds(connection)
        self._key = key
        self._fold = fold
        self._lanes = lanes
        self._clock = clock

    def build(self, cycle: Cycle) -> None:
        """Everything of the transaction but its COMMIT."""
        cycle.changes, cycle.behind = [], False
        self._db.execute("BEGIN IMMEDIATE")
        for arrived in cycle.arrived:
            self._store(arrived.entry, cycle)
        if cycle.results:
            entry = cycle.results_entry or self._seal(Lane.RESULTS, cycle.results)
            cycle.results_entry = entry
            self._store(entry, cycle)
        self._ask_leader(cycle)
        self._compose(cycle)
        if cycle.control:
            entry = cycle.control_entry or self._seal(Lane.CONTROL, cycle.control)
            cycle.control_entry = entry
            self._store(entry, cycle)
        if self._fold.behind(self._db):
            cycle.changes += self._fold.go_on(self._db)
            cycle.behind = self._fold.behind(self._db)
        for waiting in cycle.results:
            self._run_beside(waiting)
        cycle.local = [waiting for waiting in cycle.local if self._run_local(waiting)]

    def undo(self) -> None:
        """Roll back what was built."""
        # SQLite may have ended the transaction by itself.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._fold.forget()

    def _seal(self, lane: Lane, records: list[Waiting]) -> Entry:
        own = self._lanes[lane]
        encoded = [waiting.encoded for waiting in records]
        seq, prev = own.head.seq + 1, own.head.id
        return seal_encoded(self._key, own.feed, seq, prev, self._clock.tick(), encoded)

    def _store(self, entry: Entry, cycle: Cycle) -> None:
        """Insert and fold one entry. A fold that breaks leaves the entry, marked, unfolded."""
        no = self._feeds.insert(entry)
        if entry.body is not None:
            # Folded as decoded: what the tables hold must be a function of the log alone.
            cycle.changes += fold_entry(self._db, self._fold, entry, no)

    def _ask_leader(self, cycle: Cycle) -> None:
        if self.leader is None or cycle.asked_leader:
            return
        refs = [e.ref for e in cycle.entries if e.header.lane is Lane.RESULTS]
        if not refs:
            return
        cycle.asked_leader = True
        try:
            more = [Waiting(encode(record), False) for record in self.leader(refs)]
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

    def _compose(self, cycle: Cycle) -> None:
        """Have records made that must know all of ours before them; the last of their entry."""
        if cycle.composed:
            return
        cycle.composed = True
        room = limits.RECORD_BYTES_MAX - sum(len(waiting.encoded) for waiting in cycle.control)
        for waiting in cycle.late:
            assert waiting.compose is not None
            try:
                made = [Waiting(encode(record), False) for record in waiting.compose()]
            except Exception:
                _log.failure("journal: nothing was composed; whoever asked has to ask again")
                continue
            size = sum(len(each.encoded) for each in made)
            if size <= room and len(cycle.control) + len(made) <= limits.ENTRY_RECORDS_MAX:
                cycle.control += made
                room -= size

    def _run_beside(self, waiting: Waiting) -> None:
        """Run the statements that came with a record; the record stays whatever they do."""
        error = self._run(waiting.statement) if waiting.statement is not None else None
        if error is not None:
            failure = Failure(error)  # type: ignore[no-untyped-call]
            _log.failure("journal: site-local statements beside results failed", failure)

    def _run_local(self, waiting: Waiting) -> bool:
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
        except OF_THE_DISK:
            raise
        except Exception as error:
            self._db.execute("ROLLBACK TO local; RELEASE local")
            return error
        self._db.execute("RELEASE local")
        return None
