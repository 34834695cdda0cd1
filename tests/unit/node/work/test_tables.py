"""What dispatch and the leader read from tables that the real fold made."""

import pytest

from federation.ids import DatasetID, Lane
from federation.records import Grant, Reproduce
from node.model.siterules import allowed
from node.store import openwork, tasks
from node.unitstate import Tries, Wait
from node.work.tables import FoldedTables
from tests.unit.node.fold.world import (
    INFRASTRUCTURE,
    PAYLOAD,
    RESOURCES,
    Log,
    database,
    document,
    fold,
    fold_into,
    read_submission,
    results,
)

CHAIN = document("chain", [("a", ()), ("b", (0,))], jobs=10)


class World:
    """A log, and the tables that it folds to."""

    def __init__(self) -> None:
        self.log = Log.new()
        self.log.found()
        self.conn = database()
        self.fold = fold()
        self.documents: dict[int, bytes] = {}
        self.folded = 0

    def tables(self, generation: int = 1) -> FoldedTables:
        new = self.log.entries[self.folded :]
        self.folded += len(new)
        fold_into(self.conn, new, self.fold)
        return FoldedTables(
            self.conn,
            self.log.site,
            generation,
            lambda conn, no: read_submission(self.documents[no]),
        )

    def submit(self, text: bytes) -> bytes:
        self.documents[len(self.documents) + 1] = text
        return self.log.submit(text)


def test_a_new_dataset_is_granted_to_nobody() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    tables = world.tables()
    (free,) = tables.ungranted(1)
    assert (free.id, free.shard, free.tasks, free.ranges) == (
        dataset, world.log.shard, [0, 1], (0, 10),
    )  # fmt: skip
    facts = tables.facts(1, with_done=True)
    assert facts is not None
    assert [list(task.owned) for task in facts.tasks] == [[], []]
    assert facts.tasks[1].waits == (Wait(64),)


@pytest.mark.parametrize(
    ("sites", "here"),
    [
        ({}, True),
        ({"only": ("desy", "nersc")}, True),
        ({"only": ("nersc",)}, False),
        ({"only": ("d*",), "avoid": ("desy",)}, False),
        ({"avoid": ("nersc",)}, True),
        ({"prefer": ("nersc",)}, True),
    ],
)
def test_a_dataset_may_name_the_sites_that_run_it(
    sites: dict[str, tuple[str, ...]], here: bool
) -> None:
    assert allowed(sites, "desy") is here


def test_only_what_is_not_granted_is_left() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0], [0, 10])
    world.log.grant(dataset, [1], [0, 4])
    tables = world.tables()
    (free,) = tables.ungranted(1)
    assert (free.tasks, free.ranges) == ([1], (4, 10))
    world.log.grant(dataset, [1], [4, 10])
    assert world.tables().ungranted(1) == []


def test_results_of_before_are_read_as_ranges() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0, 1], [0, 10])
    world.log.results(results(dataset, 0, [0, 1, 2, 5, 7, 8]))
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    assert [list(task.done or ()) for task in facts.tasks] == [[0, 3, 5, 6, 7, 9], []]
    assert [list(task.owned) for task in facts.tasks] == [[0, 10], [0, 10]]
    again = world.tables().facts(1, with_done=False)
    assert again is not None
    assert again.tasks[0].done is None


def test_attempts_of_before_are_remembered_until_the_unit_is_settled() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0, 1], [0, 10])
    world.log.results(
        results(dataset, 0, [1], PAYLOAD, error="exit"),
        results(dataset, 0, [1, 2], RESOURCES, error="disk"),
        results(dataset, 0, [2], RESOURCES, error="memory"),
        results(dataset, 0, [3], INFRASTRUCTURE, error="pilot-lost"),
    )
    world.log.results(results(dataset, 0, [3]))
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    assert facts.tasks[0].tries == {1: Tries(2, disk=1), 2: Tries(2, memory=1, disk=1)}


def test_failed_and_cancelled_units_are_shut_until_they_are_retried() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0, 1], [0, 10])
    for _ in range(2):  # one retry
        world.log.results(results(dataset, 0, [4], PAYLOAD, error="exit"))
    world.log.order(dataset, "cancel", select={"tasks": ["a"], "jobs": [7, 9]})
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    shut = set(facts.tasks[0].shut[::2])
    assert {4, 7} <= shut
    world.log.order(dataset, "retry", 1)
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    assert 4 not in set(facts.tasks[0].shut[::2])


def test_edits_and_pauses_reach_dispatch() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.order(dataset, "edit", needs={"b": {"cpu": 4}}, priority=90)
    world.log.order(dataset, "pause", 1)
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    assert (facts.priority, facts.paused) == (90, True)
    assert [task.needs.cpu for task in facts.tasks] == [1, 4]


def test_a_gate_on_another_dataset_brings_what_is_done_there() -> None:
    world = World()
    first = world.submit(document("first", jobs=3))
    world.submit(document("second", [("merge", ((first, 0, 3),))], jobs=1))
    world.log.grant(first, [0], [0, 3])
    world.log.results(results(first, 0, [0, 2]))
    facts = world.tables().facts(2, with_done=True)
    assert facts is not None
    assert facts.tasks[0].waits == (Wait(64, whole=3),)
    assert facts.sources == {64: [0, 1, 2, 3]}


def test_a_dataset_that_is_over_is_not_open() -> None:
    world = World()
    dataset = world.submit(document("one", jobs=2))
    world.log.grant(dataset, [0], [0, 2])
    assert list(world.tables().open_datasets()) == [1]
    world.log.results(results(dataset, 0, [0, 1]))
    assert list(world.tables().open_datasets()) == []
    assert world.tables().number(dataset) == 1
    assert world.tables().number(bytes(32)) is None


def test_results_that_no_accept_covers_are_found() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0], [0, 10])
    assert world.tables().unaccepted() == []
    world.log.results(results(dataset, 0, [0]), accept=False)
    last = world.log.results(results(dataset, 0, [1]), accept=False)
    (ref,) = world.tables().unaccepted()
    assert ref == last.ref
    assert ref.feed.lane is Lane.RESULTS
    world.log.accept()
    assert world.tables().unaccepted() == []


def test_what_stands_still_is_named_with_the_cut_and_what_is_left() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    done = world.submit(document("done", jobs=1))
    for id_ in (dataset, done):
        world.log.grant(id_, [0], [0, 1])
    world.log.results(results(dataset, 0, [0]), results(done, 0, [0]))
    world.tables()
    assert openwork.still_shards(world.conn, world.log.site, 1) == []
    (still,) = openwork.still_shards(world.conn, world.log.site, 2)
    assert (still.id, still.term, still.datasets) == (world.log.shard, 0, 2)
    assert still.open == [(dataset, "chain", 19)]
    assert (still.cut.feed.generation, still.cut.seq, still.cut.id) == (
        1, *world.log.tips[Lane.CONTROL],
    )  # fmt: skip


def test_another_generation_leads_nothing_of_before() -> None:
    world = World()
    world.submit(CHAIN)
    tables = world.tables(generation=2)
    assert tables.shards() == []
    assert list(tables.open_datasets()) == []
    assert tables.ungranted(1) == []
    facts = tables.facts(1, with_done=True)
    assert facts is not None
    assert facts.paused  # what is out goes on, nothing else starts
    assert tables.still_datasets() == [1]
    assert world.tables().still_datasets() == []
    assert world.tables().shards() == [world.log.shard]
    assert tasks.TASKS_PER_DATASET == 64


def test_what_ran_here_counts_as_done_before_another_sites_log_accepts_it() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    owner = Log.new(b"o" * 32)
    world.log.control(Grant(world.log.shard, DatasetID(dataset), [0, 1], [0, 6], owner.site))
    world.tables()
    owner.results(results(dataset, 0, [0, 1, 2]), results(dataset, 1, [0]), accept=False)
    world.log.entries += owner.entries
    owner.accept(by=world.log)
    owner.results(results(dataset, 0, [3, 4], [0, PAYLOAD]), accept=False)
    world.log.entries.append(owner.entries[-1])
    world.tables()
    there = FoldedTables(world.conn, owner.site, 1, lambda conn, no: read_submission(CHAIN))
    facts = there.facts(1, with_done=True)
    assert facts is not None
    assert [sorted(task.done or ()) for task in facts.tasks] == [[0, 3, 3, 4], [0, 1]]
    assert [list(task.owned) for task in facts.tasks] == [[0, 6], [0, 6]]
    assert there.owned_datasets() == [1]
    assert there.shards() == []


def test_a_log_that_is_folded_anew_is_not_acted_on() -> None:
    world = World()
    dataset = world.submit(CHAIN)
    world.log.grant(dataset, [0, 1], [0, 10])
    tables = world.tables()
    assert tables.shards() == [world.log.shard]
    world.conn.execute("UPDATE shard SET anew = 1")
    assert tables.shards() == []
    assert tables.owned_datasets() == list(tables.open_datasets()) == []
    assert tables.facts(1, with_done=True) is None
    assert tables.ungranted(1) == []


def test_a_unit_that_runs_again_is_not_done() -> None:
    world = World()
    dataset = DatasetID(world.submit(CHAIN))
    world.log.grant(dataset, [0, 1], [0, 10])
    world.log.results(results(dataset, 0, range(10)))
    world.log.control(Reproduce(world.log.shard, dataset, [0], [3, 5]))
    facts = world.tables().facts(1, with_done=True)
    assert facts is not None
    assert facts.tasks[0].done == [0, 3, 5, 10]
