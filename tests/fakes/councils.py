"""Councils of several sites in one process: the real service, stores and links in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from federation.canvass import read_lead
from federation.election import Pace
from federation.entry import Entry, seal
from federation.errors import Unreachable
from federation.feed import ForkProof, check_fork
from federation.ids import EntryRef, FeedID, Lane, ShardID, SiteID
from federation.ledger import Ledger
from federation.opening import Ballot
from federation.ports import Handler
from federation.records import Forked, Found, FoundCouncil, Record
from federation.settle import Seats, settled
from federation.shard import Shard, found
from keys.identity import SiteKey
from node.council.service import Council
from tests.fakes.feeds import MemoryFeeds

PACE = Pace(30.0)


class MemoryFacts:
    """The facts port, from entries in memory. Passes tests/contract/test_council_facts.py."""

    def __init__(self, me: FeedID) -> None:
        self.feeds = MemoryFeeds()
        self._me = me
        self._ledgers: dict[ShardID, Ledger] = {}
        self._forked: set[FeedID] = set()

    def take(self, entries: Sequence[Entry]) -> None:
        """Hold and read entries that follow their feeds."""
        for entry in entries:
            self.feeds.append([entry])
            if entry.header.lane is Lane.CONTROL:
                self._read(entry)

    def _read(self, entry: Entry) -> None:
        records = entry.records()
        for record in records:
            if isinstance(record, Forked):
                proof = ForkProof(
                    record.first, record.first_signature, record.second, record.second_signature
                )
                self._forked.add(check_fork(proof)[0])
            shard = getattr(record, "shard", None)
            if shard is not None and shard not in self._ledgers:
                self._begin(shard)
        for ledger in self._ledgers.values():
            ledger.take(entry.ref, records)

    def _begin(self, shard: ShardID) -> None:
        self._ledgers[shard] = Ledger(shard, lambda ref: self.feeds.entry(ref) is not None)

    def councils(self) -> Sequence[ShardID]:
        return [
            shard
            for shard, ledger in self._ledgers.items()
            if ledger.shard is not None
            and len(ledger.shard.seats) > 1
            and self._me.site in ledger.shard.council
        ]

    def seated(self) -> Mapping[SiteID, int]:
        shards = [each.shard for each in self._ledgers.values() if each.shard is not None]
        return Counter(site for each in shards if len(each.seats) > 1 for site in each.council)

    def shard(self, shard: ShardID) -> Shard | None:
        ledger = self._ledgers.get(shard)
        return ledger.shard if ledger is not None else None

    def seats(self, shard: ShardID) -> Seats:
        ledger = self._ledgers.get(shard)
        return ledger.seats if ledger is not None else {}

    def votes(self, shard: ShardID) -> Sequence[Ballot]:
        ledger = self._ledgers.get(shard)
        return ledger.votes_above(-1) if ledger is not None else []

    def generations(self) -> Mapping[SiteID, int]:
        newest: dict[SiteID, int] = {}
        at_least = [(tip.feed.site, tip.feed.generation) for tip in self.feeds.tips()]
        at_least += [(feed.site, feed.generation + 1) for feed in self._forked]
        for site, generation in at_least:
            newest[site] = max(newest.get(site, 0), generation)
        return newest


class CouncilSite:
    """One site: what it holds, what it writes, and its council service."""

    def __init__(self, net: CouncilNet, number: int) -> None:
        self.net = net
        self.key = SiteKey(bytes([number + 1]) * 32)
        self.id = SiteID(self.key.site)
        self.me = FeedID(self.id, 1, Lane.CONTROL)
        self.facts = MemoryFacts(self.me)
        self.on = True
        self.disk = True  # whether commits end
        self.boot = 1
        self.locals: list[Deferred[None]] = []
        self.handlers: dict[str, Handler] = {}
        self.heard: list[Callable[[SiteID, bytes], None]] = []
        self.leads: list[bytes] = []
        self._queue: list[Record] = []
        self._composers: list[tuple[Callable[[], Sequence[Record]], Deferred[None]]] = []
        self._committing = False
        self.council: Council
        self.begin()

    def begin(self) -> None:
        """Start a process: only what is on disk is known."""
        self.council = Council(
            self.net.clock, self.me, self.facts, self, self, self.net, PACE,
            Random(f"{self.net.seed} {self.boot} {self.id.hex()}"),
        )  # fmt: skip

    def crash(self) -> None:
        self.council.stop()
        self.boot += 1
        self._queue.clear()
        self._composers.clear()
        self._committing = False
        self.begin()
        self.council.start()

    # The journal

    def control(self, record: Record) -> None:
        self._queue.append(record)
        self._commit_soon()

    def compose(self, make: Callable[[], Sequence[Record]]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._composers.append((make, done))
        self._commit_soon()
        return done

    def local(self, fn: Callable[[Any], None]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self.disk and self.on:
            self.net.clock.callLater(0.01, done.callback, None)
        return done

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            self.net.clock.callLater(0.01, self._commit, self.boot)

    def _commit(self, boot: int) -> None:
        if boot != self.boot or not (self.on and self.disk):
            return
        self._committing = False
        composers, self._composers = self._composers, []
        records, self._queue = self._queue, []
        for make, _ in composers:
            records += make()
        if records:
            self.write(records)
        for _, done in composers:
            done.callback(None)

    def write(self, records: Sequence[Record], lane: Lane = Lane.CONTROL) -> Entry:
        """One durable entry."""
        feed = FeedID(self.id, self.me.generation, lane)
        tip = self.facts.feeds.tip(feed)
        entry = seal(self.key, feed, tip.seq + 1, tip.id, tip.hlc + 1, records)
        self.take([entry])
        return entry

    def take(self, entries: Sequence[Entry]) -> None:
        self.facts.take(entries)
        self.council.arrived(entries)
        self.net.spread(self)

    # The mesh

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        other = self.net.site(site)
        if not self.net.linked(self, other) or kind not in other.handlers:
            return fail(Unreachable("no link"))
        done = succeed(None)
        return done.addCallback(
            lambda _: Deferred.fromCoroutine(other.handlers[kind](self.id, body))  # type: ignore[arg-type]
        )

    def serve(self, kind: str, handler: Handler) -> None:
        self.handlers[kind] = handler

    def flood(self, kind: str, document: bytes) -> None:
        self.leads.append(document)
        for other in self.net.sites:
            if other is not self and self.net.linked(self, other):
                for fn in other.heard:
                    fn(self.id, document)

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        self.heard = [fn]


class CouncilNet:
    """All sites, their clock, and who reaches whom. Implements the port of revocations."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.seed = seed
        self.clock = Clock()
        self.cut: set[frozenset[SiteID]] = set()
        self.gone: set[SiteID] = set()
        self.told: list[Callable[[], None]] = []
        self.sites = [CouncilSite(self, number) for number in range(count)]
        self.shard = ShardID(bytes(32))

    def found(self, seats: int | None = None) -> None:
        """Site 0 founds a shard with the first so many sites, or all; every service starts."""
        record: Found | FoundCouncil = found(
            self.sites[0].me, bytes(16), [site.me for site in self.sites[:seats]]
        )
        self.shard = record.shard
        self.sites[0].write([record])
        for site in self.sites:
            site.council.start()
        self.run(3)

    def site(self, site: SiteID) -> CouncilSite:
        return next(each for each in self.sites if each.id == site)

    def linked(self, one: CouncilSite, other: CouncilSite) -> bool:
        return one.on and other.on and frozenset({one.id, other.id}) not in self.cut

    def revoked(self, site: SiteID) -> bool:
        return site in self.gone

    def subscribe(self, fn: Callable[[], None]) -> None:
        self.told.append(fn)

    def revoke(self, site: CouncilSite) -> None:
        self.gone.add(site.id)
        for fn in self.told:
            fn()

    def split(self, *parts: set[int]) -> None:
        """Only sites of one part reach each other."""
        ids = [site.id for site in self.sites]
        self.cut = {
            frozenset({one, other})
            for a, one in enumerate(ids)
            for b, other in enumerate(ids)
            if not any({a, b} <= part for part in parts)
        }
        for site in self.sites:
            self.spread(site)

    def switch(self, number: int, on: bool) -> None:
        """Let a site stand still, like a stopped process, or go on."""
        site = self.sites[number]
        site.on = on
        if on:
            self.clock.callLater(0, self._wake, site)

    def _wake(self, site: CouncilSite) -> None:
        site.crash()
        for other in self.sites:
            self.spread(other)

    def spread(self, giver: CouncilSite) -> None:
        """After a moment the others that are linked hold what it holds."""
        for taker in self.sites:
            if taker is not giver:
                self.clock.callLater(0.03, self._give, giver, taker)

    def _give(self, giver: CouncilSite, taker: CouncilSite) -> None:
        if not self.linked(giver, taker):
            return
        for tip in giver.facts.feeds.tips():
            held = taker.facts.feeds.tip(tip.feed).seq
            entries = giver.facts.feeds.entries(tip.feed, held, tip.seq)
            if entries:
                taker.take(entries)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass; how much it took."""
        began_s = self.clock.seconds()
        while self.clock.seconds() < began_s + seconds and not until():
            self.clock.advance(0.05)
        return self.clock.seconds() - began_s

    def leaders(self) -> set[int]:
        """Who takes itself for the leader, of those that are on."""
        return {
            number
            for number, site in enumerate(self.sites)
            if site.on
            and (shard := site.facts.shard(self.shard)) is not None
            and shard.leads(site.me)
        }

    def settled_at(self, number: int) -> EntryRef | None:
        """How far site `number` finds the log settled."""
        site = self.sites[number]
        shard = site.facts.shard(self.shard)
        position = settled(shard, site.facts.seats(self.shard)) if shard is not None else None
        if position is None:
            return None
        term, seq = position
        return site.facts.feeds.entries(term.feed, seq - 1, 1)[0].ref

    def terms_said(self) -> list[int]:
        """The terms of all leads that were flooded."""
        return [read_lead(document).term for site in self.sites for document in site.leads]
