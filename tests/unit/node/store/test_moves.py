"""Where the move of a dataset stands, for the leader that adopts it."""

from __future__ import annotations

import pytest

from federation.ids import DatasetID
from federation.records import Grant, Move
from node.store import moves
from tests.unit.node.fold.test_moves import Logs, folded


@pytest.fixture
def logs() -> Logs:
    return Logs()


def shards(logs: Logs) -> list[bytes]:
    return [site.shard for site in logs.sites[:2]]


def test_a_move_is_found_wherever_it_stands_in_its_entry_and_its_log(logs: Logs) -> None:
    dataset = DatasetID(logs.submit(0, "d"))
    source, target = shards(logs)
    grant = Grant(logs.sites[0].shard, dataset, [0], [0, 1], logs.sites[2].site)
    entry = logs.sites[0].control(grant, Move(logs.sites[0].shard, dataset, logs.sites[1].shard))
    logs.submit(0, "another")
    node = folded(logs)
    assert moves.place(node.conn, source, dataset, target) == (entry.ref, 1)
    assert moves.leaving(node.conn, target) == [(dataset, source)]


def test_a_dataset_that_stands_in_a_log_has_not_left_it(logs: Logs) -> None:
    dataset = logs.submit(0, "d")
    source, target = shards(logs)
    node = folded(logs)
    assert moves.place(node.conn, source, dataset, target) is None
    logs.move(dataset)
    node = folded(logs)
    assert moves.place(node.conn, source, dataset, target) is not None
    assert moves.place(node.conn, target, dataset, source) is None
    logs.adopt(dataset)
    node = folded(logs)
    assert moves.place(node.conn, source, dataset, target) is None


def test_of_two_moves_the_one_that_counted_is_named(logs: Logs) -> None:
    dataset = logs.submit(0, "d")
    logs.move(dataset)
    counted = logs.moves[dataset]
    logs.move(dataset)  # void: it has left already
    source, target = shards(logs)
    assert moves.place(folded(logs).conn, source, dataset, target) == (counted.ref, 0)


def test_after_it_came_back_the_newest_move_is_found(logs: Logs) -> None:
    dataset = logs.submit(0, "d")
    logs.move(dataset)
    logs.adopt(dataset)
    logs.move(dataset, by=1, to=0)
    logs.adopt(dataset, source=1, by=0)
    logs.move(dataset)
    source, target = shards(logs)
    found = moves.place(folded(logs).conn, source, dataset, target)
    assert found == (logs.moves[dataset].ref, 0)
