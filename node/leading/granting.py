"""The leader's answers to claims, in a mesh: the book kept up with the log, grants in the journal.

While this site is alone in its mesh nothing here runs: then `Lead` grants everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation import claims, limits
from federation.asking import Asking
from federation.beacon import Want
from federation.claims import Answer, Recall
from federation.errors import PeerError, RemoteRefused
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.portions import ASKED_S
from federation.ports import Requests
from federation.records import Grant
from federation.shapes import Workers
from node.changes import (
    READ_AGAIN,
    Change,
    DatasetAdded,
    DatasetChanged,
    TermOpened,
    UnitsFailed,
    UnitsGranted,
    UnitsReleased,
    UnitsSettled,
)
from node.leading.book import Ask, Book, Give, Peer
from node.leading.desk import Desk, recall_key
from node.leading.ledger import DatasetFacts
from node.ports import Control
from node.ranges import ranges_of
from node.store.highwater import Heads

_log = Logger()

LOST_S: Final = 3600.0  # without a word of a site, before its units go to others
LEARN_S: Final = 60.0  # usage and times of units are read anew so often
Used = Callable[[], Mapping[tuple[bytes, str], float]]
"""Normalised seconds that people used, by (person, group)."""


class Tables(Protocol):
    """What the leader's book is read from."""

    def open_datasets(self) -> Iterable[int]:
        """Datasets of shards that are led here and that are not finished."""

    def ledger(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        """None when the dataset's shard is not led here.

        with_done: read what is settled, too (long for large datasets).
        """

    def unit_times(self, dataset: int) -> Iterable[tuple[int, float]]:
        """(task, mean wall time in seconds) of tasks with settled units."""


class Sites(Protocol):
    """Who is there, as this site sees it; see node/beacon/sites.py."""

    def alone(self) -> bool:
        """Whether there is no other member."""

    def able(self) -> Sequence[Peer]:
        """Sites that may be granted units now: heard of lately, not drained; this one included."""

    def peer(self, site: SiteID, workers: Sequence[Workers]) -> Peer | None:
        """A site that claims; None if it may be granted nothing: no member, or drained."""

    def heard(self, site: SiteID) -> None:
        """There was a word of a site."""

    def silent_s(self, site: SiteID) -> float:
        """Since the last word of a site, or since the start; inf for one that is no member."""


class Feed(Control, Protocol):
    """The part of the journal that grants go to."""

    @property
    def heads(self) -> Heads: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """lost_s: silence after which a site's units go to others. asked_s: work that this site wants
    to hold."""

    lost_s: float = LOST_S
    asked_s: float = ASKED_S


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """A grant on its way into the log. dataset: local number."""

    dataset: int
    grant: Grant


class Granting:
    """Claims in, grants out. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        journal: Feed,
        tables: Tables,
        shards: Callable[[], Sequence[ShardID]],
        sites: Sites,
        requests: Requests,
        used: Used,
        random: Random,
        rules: Rules | None = None,
    ) -> None:
        """shards: those that this site leads. requests: reach this site itself, too."""
        self.book = Book()
        self.active = False  # units are claimed, by this site like by the others
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._tables = tables
        self._shards = shards
        self._sites = sites
        self._requests = requests
        self._used = used
        self._rules = rules or Rules()
        self._desk = Desk(self.book, Asking(random))
        self._led: frozenset[ShardID] = frozenset()
        self._learnt_s = float("-inf")
        self._promises: list[Promise] = []
        self._look: IDelayedCall | None = None
        self._stopped = False
        requests.serve(claims.CLAIM, self.claim)

    # Keeping up

    def start(self) -> bool:
        """Open the book if there are other members; whether there are."""
        if not self.active and not self._sites.alone():
            self.active = True
            self._led = frozenset(self._shards())
            for dataset in self._tables.open_datasets():
                self._load(dataset)
            self._learn()
        return self.active

    def stop(self) -> None:
        self._stopped = True
        if self._look is not None and self._look.active():
            self._look.cancel()
        self._look = None

    def tick(self) -> None:
        """Call every few seconds."""
        if not self.start():
            return
        self._look_who_leads()
        if self._reactor.seconds() - self._learnt_s >= LEARN_S:
            self._learn()
        self._find_lost()
        if self._desk.waiting:
            self._again()

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber."""
        if not self.active:
            return
        for change in changes:
            try:
                self._apply(change)
            except Exception:
                _log.failure("lead: a change could not be taken into the book; it is read anew")
                self._led = frozenset()
        if self._desk.waiting and self._look is None and not self._stopped:
            self._look = self._reactor.callLater(0, self._again)

    def _apply(self, change: Change) -> None:
        match change:
            case UnitsGranted(tasks=tasks, ranges=ranges, to=to):
                self.book.granted(tasks, ranges, to)
            case UnitsReleased(tasks=tasks, ranges=ranges, by=by):
                self.book.released(tasks, ranges, by)
                for task in tasks:
                    self._desk.recalling.arrived((by, change.dataset, task % limits.TASKS_MAX))
            case UnitsSettled(task=task, jobs=jobs):
                self.book.settled(task, ranges_of(jobs))
                if self.book.unmeasured(task):  # until then everybody gets samples only
                    self._learn_times(task // limits.TASKS_MAX)
            case UnitsFailed(task=task, jobs=jobs):
                self.book.ended(task, ranges_of(jobs))
            case DatasetChanged(dataset=dataset, verb=verb) if verb in READ_AGAIN:
                self.book.drop(dataset)
                self._load(dataset)
            case DatasetAdded(dataset=dataset) | DatasetChanged(dataset=dataset):
                self._load(dataset)
            case TermOpened():
                self._look_who_leads()
            case _:
                pass

    def _load(self, dataset: int) -> None:
        facts = self._tables.ledger(dataset, with_done=dataset not in self.book.datasets)
        if facts is None:
            self.book.drop(dataset)
            return
        self.book.load(facts)
        for promise in self._promises:
            if promise.dataset == dataset:
                self._note(promise)

    def promise(self, dataset: int, grant: Grant) -> Promise:
        """A grant that is being written: nobody else may get these units meanwhile."""
        promise = Promise(dataset, grant)
        self._promises.append(promise)
        self._note(promise)
        return promise

    def kept(self, promise: Promise) -> None:
        """The grant stands in the log, or its dataset was read anew."""
        self._promises.remove(promise)

    def _note(self, promise: Promise) -> None:
        grant = promise.grant
        tasks = [promise.dataset * limits.TASKS_MAX + index for index in grant.tasks]
        self.book.granted(tasks, grant.ranges, grant.to)

    def _look_who_leads(self) -> None:
        """Read all anew if this site leads other shards than before."""
        led = frozenset(self._shards())
        if led == self._led:
            return
        self._led = led
        for dataset in list(self.book.datasets):
            self.book.drop(dataset)
        for dataset in self._tables.open_datasets():
            self._load(dataset)

    def _learn(self) -> None:
        self._learnt_s = self._reactor.seconds()
        self.book.set_used(self._used())
        for dataset in self.book.datasets:
            self._learn_times(dataset)

    def _learn_times(self, dataset: int) -> None:
        for task, unit_s in self._tables.unit_times(dataset):
            self.book.learn_unit_s(task, unit_s)

    def _find_lost(self) -> None:
        """Owners that were not heard of for too long."""
        lost = {
            site
            for site in self.book.owners()
            if site != self._site and self._sites.silent_s(site) > self._rules.lost_s
        }
        for site in lost - self.book.lost:
            _log.warn(
                "lead: no word of site {site} for {s:.0f} s; its units go to others",
                site=site.hex()[:8],
                s=self._rules.lost_s,
            )
        self.book.set_lost(lost)

    @property
    def awaits(self) -> bool:
        """Whether sites will report more results of datasets that are led here."""
        return self.active and bool(self.book.datasets)

    # Claims

    def wants(self) -> list[Want]:
        """What the beacon says."""
        return self.book.wants() if self.active else []

    async def claim(self, asking: SiteID, body: bytes) -> bytes:
        """Handle a claim. Raises RemoteRefused."""
        try:
            claim = claims.read_claim(body)
        except PeerError as error:
            raise RemoteRefused(f"not a claim: {error}") from None
        asker = self._sites.peer(asking, claim.workers)
        if asker is None:
            raise RemoteRefused("a site that is drained, or no member, is granted nothing")
        self._sites.heard(asking)
        self.start()
        self._find_lost()
        now_s = self._reactor.seconds()
        decision = self._desk.claim(asker, claim, self._sites.able(), now_s)
        self._recall(decision.asks)
        entries = await self._write(asking, decision.gives)
        return claims.write_answer(
            Answer(decision.verdict, entries, decision.units, decision.retry_s)
        )

    def _again(self) -> None:
        """Serve claims that wait."""
        self._look = None
        served, asks = self._desk.again(self._sites.able(), self._reactor.seconds())
        self._recall(asks)
        for site, gives in served:
            _watch(Deferred.fromCoroutine(self._write(site, gives)), "a grant")

    async def _write(self, to: SiteID, gives: Sequence[Give]) -> list[EntryRef]:
        """Write grants; the entries that hold them. Raises RemoteRefused if that fails."""
        promises = [
            self.promise(give.dataset, piece) for give in gives for piece in _pieces(give, to)
        ]
        entries: list[EntryRef] = []

        def note(_: None) -> None:
            if (head := self._head()) not in entries:
                entries.append(head)

        writing = [self._journal.control(each.grant).addCallback(note) for each in promises]
        written = await DeferredList(writing, consumeErrors=True)
        for promise in promises:
            self.kept(promise)
        if not all(done for done, _ in written):
            for dataset in {give.dataset for give in gives}:
                self._load(dataset)
            raise RemoteRefused("the grant could not be written; ask again")
        return entries[: limits.ANSWER_ENTRIES_MAX]

    def _head(self) -> EntryRef:
        """The newest own control entry that is durable."""
        heads = self._journal.heads
        feed = FeedID(self._site, heads.generation, Lane.CONTROL)
        return EntryRef(feed, heads.control.seq, EntryID(heads.control.id))

    # Recalls

    def _recall(self, asks: Iterable[Ask]) -> None:
        for ask in asks:
            _watch(Deferred.fromCoroutine(self._ask(ask)), "a recall")

    async def _ask(self, ask: Ask) -> None:
        key, recalling = recall_key(ask), self._desk.recalling
        recall = Recall(ask.shard, ask.id, ask.task, ask.beside, ask.units)
        try:
            body = await self._requests.request(
                ask.owner, claims.RECALL, claims.write_recall(recall)
            )
            units = claims.read_recalled(body).units
        except Exception as error:
            recalling.failed(key, self._reactor.seconds())
            _log.info(
                "lead: site {site} gave nothing back: {why}",
                site=ask.owner.hex()[:8],
                why=str(error),
            )
            return
        if not units:
            recalling.refused(key, self._reactor.seconds())
        elif recalling.waits(key, self._reactor.seconds()):
            recalling.granted(key, self._reactor.seconds())  # until the release is here


def _pieces(give: Give, to: SiteID) -> list[Grant]:
    """Records that can hold it."""
    step = limits.RANGES_MAX
    return [
        Grant(give.shard, give.id, list(give.tasks), list(give.ranges[at : at + step]), to)
        for at in range(0, len(give.ranges), step)
    ]


def _watch(done: Deferred[object], what: str) -> None:
    """Log what fails with nobody waiting for it."""
    done.addErrback(lambda failure: _log.failure("lead: {what} failed", failure, what=what))
