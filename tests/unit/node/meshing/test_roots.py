"""State roots of two sites, compared where both know one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from federation.errors import RemoteRefused
from federation.ids import ShardID, SiteID
from node.fold.roots import VERSION
from node.meshing.roots import (
    ANSWER_S_MAX,
    ROOTS,
    SHARDS_MAX,
    Comparison,
    RootServer,
    compare,
    read_roots,
)
from node.store import shards
from tests.fakes.requests import Exchange
from tests.unit.node.fold.world import Log, database, document, fold_into
from tests.unit.node.work.house import result_of

HERE, THERE = SiteID(b"h" * 32), SiteID(b"t" * 32)
A, B = ShardID(b"a" * 32), ShardID(b"b" * 32)


def test_roots_are_compared_at_the_newest_common_position() -> None:
    ours = {A: {5: "x", 9: "y"}, B: {1: "z"}}
    [found] = compare(THERE, ours, {A: {5: "x", 9: "other", 12: "w"}})
    assert (found.shard, found.position, found.equal) == (A, 9, False)
    assert compare(THERE, ours, {A: {7: "x"}}) == []


def test_two_sites_that_folded_the_same_log_have_equal_roots() -> None:
    exchange, tables = Exchange(), {}
    log = Log.new()
    log.found()
    log.submit(document("d"))
    for site in (HERE, THERE):
        tables[site] = database()
        fold_into(tables[site], log.entries)

    def reader(site: SiteID) -> Any:
        return lambda fn: maybeDeferred(fn, tables[site])

    RootServer(reader(THERE)).serve(exchange.of(THERE))
    gone = SiteID(b"g" * 32)
    exchange.cut[gone] = 9
    mute = SiteID(b"m" * 32)
    exchange.of(mute).serve(ROOTS, lambda site, body: Deferred())
    clock = Clock()
    here = exchange.of(HERE)
    comparison = Comparison(clock, here, reader(HERE), lambda: [mute, THERE, gone])
    run = Deferred.fromCoroutine(comparison.run())
    clock.advance(ANSWER_S_MAX)
    found, silent = result_of(run)
    assert [(each.site, each.equal) for each in found] == [(THERE, True)]
    assert list(silent) == [mute, gone]
    assert silent[mute] == "no answer within 15 s"
    assert shards.roots(tables[HERE]) == shards.roots(tables[THERE]) != {}
    assert ROOTS == "roots"


@pytest.mark.parametrize(
    "answer", [b"", b"7", b"{}", b"[" * 9999, b'{"fold": -1, "roots": {}}', bytes(2 << 20)]
)
def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    with pytest.raises(RemoteRefused):
        read_roots(answer)


@pytest.mark.parametrize("places", [[1], [["1", "x"]], [[1, 2]], [[1, "x" * 129]], {"1": "x"}])
def test_a_root_that_is_none_is_refused(places: Any) -> None:
    with pytest.raises(RemoteRefused):
        read_roots(json.dumps({"fold": VERSION, "roots": {"ab" * 32: places}}).encode())


@pytest.mark.parametrize("count", [1, 300, SHARDS_MAX + 1])
def test_the_roots_of_any_number_of_shards_fit_into_one_answer(count: int) -> None:
    newest = 10**9
    roots = {
        ShardID(no.to_bytes(32, "big")): {newest - at: "f" * 64 for at in range(64)}
        for no in range(count)
    }
    server = RootServer(lambda fn: succeed(roots))
    answer = result_of(Deferred.fromCoroutine(server.answer(THERE, b"")))
    told = read_roots(answer)
    assert len(told) == min(count, SHARDS_MAX)
    assert all(newest in positions for positions in told.values())
