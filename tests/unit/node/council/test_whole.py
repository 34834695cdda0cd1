"""Councils over real stores: journal, fold and tables, with links in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from federation.election import Pace
from federation.entry import Entry
from federation.errors import Unreachable
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.ports import Handler
from federation.records import Ack, Grant, Record
from federation.settle import settled
from federation.shard import found
from keys.identity import SiteKey
from node.council.service import Council
from node.council.tables import FoldedFacts
from node.fold import Fold
from node.model.commands import read_command
from node.model.validate import read_submission
from tests.fakes.store import Store
from tests.unit.federation.builders import DATASET

PACE = Pace(12.0)


class Node:
    """One site with a store of its own."""

    def __init__(self, net: Net, number: int, home: Path) -> None:
        self.net = net
        key = SiteKey(bytes([number + 1]) * 32)
        self.id = SiteID(key.site)
        fold = Fold(self.id, read_submission, read_command)
        self.store = Store(home, key=key, fold=fold, clock=net.clock)
        self.conn = self.store.database.reader()
        self.me = FeedID(self.id, self.store.found.generation, Lane.CONTROL)
        self.facts = FoldedFacts(self.conn, self.id, fold.acts())
        self.on = True
        self.boot = 1
        self.handlers: dict[str, Handler] = {}
        self.heard: list[Callable[[SiteID, bytes], None]] = []
        self.council = Council(
            net.clock, self.me, self.facts, self.store.journal, self, net, PACE, Random(number)
        )
        self.store.journal.subscribe_durable(self.arrived)

    def write(self, record: Record) -> None:
        self.store.journal.control(record)

    def arrived(self, entries: Sequence[Entry]) -> None:
        self.council.arrived(entries)
        for other in self.net.nodes:
            if other is not self:
                self.net.clock.callLater(0.02, self.net.give, self, other)

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        other = next(node for node in self.net.nodes if node.id == site)
        if not (self.on and other.on):
            return fail(Unreachable("no link"))
        return succeed(None).addCallback(
            lambda _: Deferred.fromCoroutine(other.handlers[kind](self.id, body))  # type: ignore[arg-type]
        )

    def serve(self, kind: str, handler: Handler) -> None:
        self.handlers[kind] = handler

    def flood(self, kind: str, document: bytes) -> None:
        for other in self.net.nodes:
            if other is not self and self.on and other.on:
                for fn in other.heard:
                    fn(self.id, document)

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        self.heard.append(fn)

    def close(self) -> None:
        self.council.stop()
        self.conn.close()
        self.store.close()


class Net:
    """Three nodes on one clock; nobody is revoked."""

    def __init__(self, home: Path) -> None:
        self.clock = Clock()
        self.nodes: list[Node] = []
        for number in range(3):
            self.nodes.append(Node(self, number, home / str(number)))
        record = found(self.nodes[0].me, bytes(16), [node.me for node in self.nodes])
        self.shard: ShardID = record.shard
        for node in self.nodes:
            node.council.start()
        self.nodes[0].write(record)
        self.run(3)

    def revoked(self, site: SiteID) -> bool:
        return False

    def subscribe(self, fn: Callable[[], None]) -> None:
        pass

    def give(self, giver: Node, taker: Node) -> None:
        if not (giver.on and taker.on):
            return
        for tip in giver.store.feeds.tips():
            held = taker.store.feeds.tip(tip.feed).seq
            entries = giver.store.feeds.entries(tip.feed, held, tip.seq)
            if entries and tip.feed.site != taker.id:
                taker.store.journal.ingest(entries)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        began_s = self.clock.seconds()
        while self.clock.seconds() < began_s + seconds and not until():
            self.clock.advance(0.02)
        return self.clock.seconds() - began_s

    def leaders(self) -> list[Node]:
        return [
            node
            for node in self.nodes
            if node.on and (shard := node.facts.shard(self.shard)) and shard.leads(node.me)
        ]

    def settles(self, node: Node) -> bool:
        """Whether the last record of a leader's log is settled, as it sees it."""
        shard = node.facts.shard(self.shard)
        assert shard is not None
        seats = node.facts.seats(self.shard)
        own = seats[node.me].acked.get((shard.newest.number, node.me)) if node.me in seats else None
        position = settled(shard, seats)
        return own is not None and position == (shard.newest, own.entry.seq)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    net = Net(tmp_path)
    yield net
    for node in net.nodes:
        node.close()


def grant(net: Net, node: Node) -> Grant:
    return Grant(net.shard, DATASET, [0], [0, 1], node.id)


def control_records(node: Node) -> list[Record]:
    entries = node.store.feeds.entries(node.me, 0, 1000)
    return [each for entry in entries for each in entry.records()]  # type: ignore[misc]


def test_what_a_leader_writes_is_acked_and_settled_by_others_stores(net: Net) -> None:
    leader = net.nodes[0]
    leader.write(grant(net, leader))
    assert net.run(5, lambda: net.settles(leader)) < 2
    assert any(isinstance(each, Ack) for each in control_records(net.nodes[1]))


def test_a_lost_leader_is_replaced_and_follows_when_it_is_back(net: Net) -> None:
    net.nodes[0].on = False
    net.nodes[0].council.stop()
    took = net.run(2 * PACE.patience_s, lambda: bool(net.leaders()))
    [leader] = net.leaders()
    assert took < 2 * PACE.patience_s
    leader.write(grant(net, leader))
    assert net.run(5, lambda: net.settles(leader)) < 5
    net.nodes[0].on = True
    net.give(leader, net.nodes[0])
    for node in net.nodes[1:]:
        net.give(node, net.nodes[0])
    net.run(3)
    assert net.leaders() == [leader]


def test_an_idle_council_writes_nothing_but_its_pulse(net: Net) -> None:
    net.run(3)
    before = [len(control_records(node)) for node in net.nodes]
    net.run(5 * PACE.patience_s)
    assert [len(control_records(node)) for node in net.nodes] == before
    beats = [node.conn.execute("SELECT max(count) FROM pulse").get for node in net.nodes]
    assert beats[0] > 5
    assert beats[1:] == [None, None]
