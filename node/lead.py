"""What the leader of a shard writes: grants and accepts. Here for a council of one.

Accepts. Every new results entry is offered to the leader while the journal builds its transaction,
so that its accept can stand in the control entry of the same commit. The first one after a quiet
second is accepted at once; then one accept a second covers all that came (it names the newest entry
of a feed, and means all before it).

Grants. Sized by `grant_jobs`: a site that is alone in its mesh takes everything, because nobody
else could; with others able to do the work it would take what its own throughput justifies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation import limits
from federation.ids import DatasetID, EntryRef, FeedID, ShardID, SiteID
from federation.records import Accept, Grant, Record
from node.changes import Change, DatasetAdded, DatasetChanged
from node.ranges import Flat, JobRanges, size

_log = Logger()

ACCEPT_GATHER_S = 1.0
GRANT_S_MIN = 300  # of the site's own throughput
GRANT_S_ASKED = 2 * 3600  # what a site asks for by default, to outlive an outage
GRANTED_AGAIN = frozenset({"extend", "retry", "force"})


@dataclass(frozen=True, slots=True)
class Ungranted:
    """Jobs that nobody owns of some tasks of a dataset, whose shard this site leads."""

    dataset: int  # local number
    id: DatasetID
    shard: ShardID
    tasks: Sequence[int]  # indices
    ranges: Flat


class LeadTables(Protocol):
    """What the leader reads from the folded tables."""

    def ungranted(self, dataset: int) -> Sequence[Ungranted]:
        """Empty when the shard is not led here, or nothing is left to grant."""

    def open_datasets(self) -> Iterable[int]:
        """Datasets of this site's shards that are not finished."""

    def unaccepted(self) -> Iterable[EntryRef]:
        """The newest entry of each results feed that has entries beyond the accepted ones."""

    def unaccepted_by(self, shard: ShardID) -> Iterable[EntryRef]:
        """The same for one shard, whoever leads it."""


class Control(Protocol):
    """The part of the journal that the leader writes to."""

    def control(self, record: Record, intake: bool = False) -> Deferred[None]: ...


def grant_jobs(remaining: int, able_sites: int, jobs_per_s: float, asked_s: float) -> int:
    """How many jobs of a dataset to give to a site that asks: guided self-scheduling.

    remaining: jobs nobody owns. able_sites: sites that could run them, the asking one included.
    jobs_per_s: the asking site's own throughput. asked_s: how much work it wants to hold.
    """
    if able_sites <= 1:
        return remaining
    least = max(1, round(jobs_per_s * GRANT_S_MIN))
    most = max(least, round(jobs_per_s * asked_s))
    return min(remaining, max(least, min(most, remaining // (2 * able_sites))))


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
    ) -> None:
        """shards: those that this site leads, the newest last.

        busy: whether more results will come soon; if not, nothing is gathered.
        """
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._tables = tables
        self._shards = shards
        self._busy = busy
        self._waiting: dict[FeedID, EntryRef] = {}  # newest results entry not accepted yet
        self._accepted_s = float("-inf")
        self._timer: IDelayedCall | None = None

    async def start(self) -> None:
        """Accept what a crash left, grant what is not granted. Call before units are leased."""
        for ref in self._tables.unaccepted():
            self._waiting[ref.feed] = ref
        for record in self._accepts():
            await self._journal.control(record)
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
        if due_s <= 0 or due_s > ACCEPT_GATHER_S or not self._busy():
            return self._accepts()
        if self._timer is None:
            self._timer = self._reactor.callLater(due_s, self._accept_late)
        return []

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: new work is granted."""
        for change in changes:
            if isinstance(change, DatasetAdded) or (
                isinstance(change, DatasetChanged) and change.verb in GRANTED_AGAIN
            ):
                done = Deferred.fromCoroutine(self._grant(change.dataset))
                done.addErrback(lambda failure: _log.failure("lead: a grant failed", failure))

    def take_over(self, shard: ShardID) -> None:
        """Accept what the log of a shard lacks. Call in the turn in which its force is written:
        what ran while nobody led is then counted before anything of it starts again."""
        for ref in self._tables.unaccepted_by(shard):
            feed = ref.feed
            self._write(Accept(shard, feed.site, feed.generation, ref.seq, ref.id))

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
        records: list[Record] = [
            Accept(shard, ref.feed.site, ref.feed.generation, ref.seq, ref.id)
            for ref in self._waiting.values()
            for shard in self._shards()
        ]
        if records:
            self._waiting.clear()
        return records

    async def _grant(self, dataset: int) -> None:
        """Give this site what nobody owns of a dataset."""
        for free in self._tables.ungranted(dataset):
            flat = JobRanges(free.ranges).take(grant_jobs(size(free.ranges), 1, 0.0, GRANT_S_ASKED))
            for at in range(0, len(flat), limits.RANGES_MAX):
                piece = flat[at : at + limits.RANGES_MAX]
                await self._journal.control(
                    Grant(free.shard, free.id, free.tasks, piece, self._site)
                )
