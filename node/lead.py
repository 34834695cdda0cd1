"""What the leader of a shard writes: grants and accepts.

Accepts. Every new results entry is offered to the leader while the journal builds its transaction,
so that its accept can stand in the control entry of the same commit. The first one after a quiet
second is accepted at once; then one accept a second covers all that came (it names the newest entry
of a feed, and means all before it). A shard accepts the feeds of sites that it granted units to.
What comes while nobody can say so (a log is folded anew, or lags behind) is found on looking later.

Grants. A site that is alone in its mesh takes everything at once, because nobody else could; with
other members there, all of them claim, this site too: see `leading/granting.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation import limits
from federation.ids import EntryRef, FeedID, ShardID, SiteID
from federation.records import Accept, Grant, Record
from node.changes import READ_AGAIN, Change, DatasetAdded, DatasetChanged, TermOpened, UnitsGranted
from node.leading.granting import Granting
from node.leading.ledger import Ungranted
from node.ports import Control

_log = Logger()

ACCEPT_GATHER_S = 1.0
ADOPTED = "adopt"
GRANTED_AGAIN = frozenset({"extend", "retry", "renew", "force", ADOPTED})


class LeadTables(Protocol):
    """What the leader reads from the folded tables."""

    def ungranted(self, dataset: int) -> Sequence[Ungranted]:
        """Empty when the shard is not led here, or nothing is left to grant."""

    def open_datasets(self) -> Iterable[int]:
        """Datasets of this site's shards that are not finished."""

    def unaccepted(self) -> Iterable[EntryRef]:
        """The newest entry of each results feed that has entries beyond the accepted ones."""

    def was_granted(self, shard: ShardID, site: SiteID) -> bool:
        """Whether the site was ever granted units of this shard: its results may count there."""

    def shard_of(self, dataset: int) -> ShardID | None:
        """In whose log a dataset stands."""

    def unaccepted_by(self, shard: ShardID) -> Iterable[EntryRef]:
        """The same for one shard, whoever leads it."""


class Lead:
    """The leader's pen. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        journal: Control,
        tables: LeadTables,
        shards: Callable[[], Sequence[ShardID]],
        busy: Callable[[], bool] = lambda: True,
        granting: Granting | None = None,
    ) -> None:
        """shards: those that this site leads, the newest last.

        busy: whether more results will come soon; if not, nothing is gathered.
        granting: who answers claims once there are other members.
        """
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._tables = tables
        self._shards = shards
        self._busy = busy
        self._granting = granting
        self._granted: dict[tuple[ShardID, SiteID], bool] = {}  # what is known
        self._taken: dict[tuple[ShardID, FeedID], int] = {}  # accepted, or about to be: through
        self._waiting: dict[FeedID, EntryRef] = {}  # newest results entry not accepted yet
        self._accepted_s = float("-inf")
        self._timer: IDelayedCall | None = None

    async def start(self) -> None:
        """Accept what a crash left, grant what is not granted. Call before units are leased."""
        for ref in self._tables.unaccepted():
            self._waiting[ref.feed] = ref
        for record in self._accepts():
            await self._journal.control(record)
        if self._granting is not None and self._granting.start():
            return
        for dataset in self._tables.open_datasets():
            await self._grant(dataset)

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def accept(self, entries: list[EntryRef]) -> list[Record]:
        """The journal's hook: accepts that join the control entry of this very commit."""
        for ref in entries:
            self._waiting[ref.feed] = ref
        due_s = self._accepted_s + ACCEPT_GATHER_S - self._reactor.seconds()
        # A clock that was set back must not hold accepts up.
        if due_s <= 0 or due_s > ACCEPT_GATHER_S or not self._more_will_come():
            return self._accepts()
        if self._timer is None:
            self._timer = self._reactor.callLater(due_s, self._accept_late)
        return []

    def _more_will_come(self) -> bool:
        return self._busy() or (self._granting is not None and self._granting.awaits)

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: new work is granted, what came before it is accepted."""
        changes = list(changes)
        self._forget(changes)
        for shard in self._adopted_by(changes):
            self.take_over(shard)  # what ran while the dataset was between two logs
        for change in changes:
            if isinstance(change, TermOpened):
                self._opened(change.shard)
            if isinstance(change, DatasetAdded) or (
                isinstance(change, DatasetChanged) and change.verb in GRANTED_AGAIN
            ):
                done = Deferred.fromCoroutine(self._grant(change.dataset))
                done.addErrback(lambda failure: _log.failure("lead: a grant failed", failure))

    def _adopted_by(self, changes: Iterable[Change]) -> set[ShardID]:
        """The shards led here to which datasets have come."""
        found = {
            self._tables.shard_of(change.dataset)
            for change in changes
            if isinstance(change, DatasetChanged) and change.verb == ADOPTED
        }
        return {shard for shard in self._shards() if shard in found}

    def _opened(self, shard: ShardID) -> None:
        """A new term: what the log before had accepted, it may lack."""
        self._taken = {key: seq for key, seq in self._taken.items() if key[0] != shard}
        if shard in self._shards():
            self.take_over(shard)

    def look(self) -> None:
        """Accept what fell between two terms, or came while a log was folded again. Call once in a
        while."""
        for shard in self._shards():
            self.take_over(shard)

    def take_over(self, shard: ShardID) -> None:
        """Accept what the log of a shard lacks. Call in the turn in which its force is written:
        what ran while nobody led is then counted before anything of it starts again. A term that
        others voted for is taken over once it is open."""
        for ref in self._tables.unaccepted_by(shard):
            if self._may_accept(shard, ref):
                self._write(self._accept(shard, ref))

    def _accept_late(self) -> None:
        self._timer = None
        for record in self._accepts():
            self._write(record)

    def _write(self, record: Record) -> None:
        done = self._journal.control(record)
        done.addErrback(lambda failure: _log.failure("lead: an accept failed", failure))

    def _accepts(self) -> list[Record]:
        self.stop()
        self._accepted_s = self._reactor.seconds()
        led = self._shards()
        pairs = [(shard, ref) for ref in self._waiting.values() for shard in led]
        due = [(shard, ref) for shard, ref in pairs if self._may_accept(shard, ref)]
        self._waiting.clear()
        return [self._accept(shard, ref) for shard, ref in due]

    def _accept(self, shard: ShardID, ref: EntryRef) -> Accept:
        self._taken[shard, ref.feed] = ref.seq
        return Accept(shard, ref.feed.site, ref.feed.generation, ref.seq, ref.id)

    def _may_accept(self, shard: ShardID, ref: EntryRef) -> bool:
        """Not what is in the log, or on its way there, or would not count."""
        new = ref.seq > self._taken.get((shard, ref.feed), 0)
        return new and self._may_count(shard, ref.feed.site)

    def _may_count(self, shard: ShardID, site: SiteID) -> bool:
        """Found in the tables once: that looks at every task of the shard."""
        known = self._granted.get((shard, site))
        if known is None:
            known = self._granted[shard, site] = self._tables.was_granted(shard, site)
        return known

    def _forget(self, changes: Iterable[Change]) -> None:
        """What is known of who was granted units may not be so any more."""
        granted = {change.to for change in changes if isinstance(change, UnitsGranted)}
        for pair in [pair for pair, known in self._granted.items() if not known]:
            if pair[1] in granted:
                del self._granted[pair]
        if any(isinstance(each, DatasetChanged) and each.verb in READ_AGAIN for each in changes):
            self._granted.clear()

    async def _grant(self, dataset: int) -> None:
        """Give this site what nobody owns of a dataset, unless there are others to ask for it."""
        if self._granting is not None and self._granting.active:
            return
        for free in self._tables.ungranted(dataset):
            for at in range(0, len(free.ranges), limits.RANGES_MAX):
                piece = free.ranges[at : at + limits.RANGES_MAX]
                await self._write_grant(
                    dataset, Grant(free.shard, free.id, free.tasks, piece, self._site)
                )

    async def _write_grant(self, dataset: int, grant: Grant) -> None:
        if self._granting is None:
            await self._journal.control(grant)
            return
        promise = self._granting.promise(dataset, grant)
        try:
            await self._journal.control(grant)
        finally:
            self._granting.kept(promise)
