"""Datasets that move between logs, and units of other logs that serve in one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.entry import Entry
from federation.ids import DatasetID, Lane
from federation.records import (
    Accept,
    Ack,
    Adopt,
    Dataset,
    Found,
    FoundCouncil,
    Grant,
    Holds,
    Import,
    Move,
    Record,
)
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node import fold as folding
from node.changes import DatasetChanged, UnitsSettled
from tests.unit.node.fold.mesh import Mesh
from tests.unit.node.fold.oracle import Oracle
from tests.unit.node.fold.test_terms import Node, in_some_order
from tests.unit.node.fold.world import (
    ANA,
    PAYLOAD,
    SUCCESS,
    Log,
    counts,
    document,
    results,
    some,
)

JOBS = 5
CHAIN = (("a", ()), ("b", (0,)))


def ref_of(entry: Entry) -> list[Any]:
    feed = entry.ref.feed
    return [feed.site, feed.generation, entry.ref.seq, entry.ref.id]


class Logs:
    """Three sites; the first two lead a shard each, alone."""

    def __init__(self) -> None:
        self.sites = [Log(SiteKey(name * 32)) for name in (b"a", b"b", b"c")]
        for leader in self.sites[:2]:
            leader.found()
        self.told: list[tuple[int, Record]] = []  # (whose log, record), as both logs have it
        self.moves: dict[bytes, Entry] = {}

    @property
    def entries(self) -> list[Entry]:
        return [entry for site in self.sites for entry in site.entries]

    def lead(self, by: int, record: Record) -> Entry:
        self.told.append((by, record))
        return self.sites[by].control(record)

    def submit(self, by: int, name: str, tasks: Sequence[Any] = CHAIN) -> bytes:
        text = document(name, tasks, JOBS, retry_max=1)
        self.lead(by, Dataset(self.sites[by].shard, zlib.compress(text), ANA, ANA))
        return digest(Purpose.DATASET, text)

    def grant(self, by: int, dataset: bytes, to: int, lo: int = 0, hi: int = JOBS) -> None:
        site = self.sites[to].site
        tasks = [0, 1]
        self.lead(by, Grant(self.sites[by].shard, DatasetID(dataset), tasks, [lo, hi], site))

    def run(
        self, by: int, dataset: bytes, task: int, jobs: Sequence[int], outcome: int = 0
    ) -> Entry:
        return self.sites[by].write(Lane.RESULTS, [results(dataset, task, jobs, outcome)])

    def accept(self, by: int, of: int, back: int = 0) -> None:
        held = [e for e in self.sites[of].entries if e.header.lane is Lane.RESULTS]
        if len(held) > back:
            ref = held[len(held) - 1 - back].ref
            self.lead(by, Accept(self.sites[by].shard, ref.feed.site, 1, ref.seq, ref.id))

    def move(self, dataset: bytes, by: int = 0, to: int = 1) -> None:
        record = Move(self.sites[by].shard, DatasetID(dataset), self.sites[to].shard)
        self.moves[dataset] = self.lead(by, record)

    def adopt(self, dataset: bytes, source: int = 0, by: int = 1, acks: Any = None) -> None:
        move = self.moves[dataset]
        shards = self.sites[by].shard, DatasetID(dataset), self.sites[source].shard
        self.lead(by, Adopt(*shards, ref_of(move), acks or [ref_of(move)]))


def folded(logs: Logs, seed: int = 0) -> Node:
    node = Node()
    for entry in in_some_order(logs, Random(seed)):
        node.take(entry)
    node.catch_up()
    return node


def number(node: Node, dataset: bytes) -> int:
    return int(node.conn.execute("SELECT no FROM dataset WHERE id = ?", (dataset,)).get)


def seen(node: Node, dataset: bytes, index: int = 0) -> dict[str, int]:
    return some(counts(node.conn, number(node, dataset) * 64 + index))


def refused(node: Node) -> list[str]:
    return [why for (why,) in node.conn.execute("SELECT why FROM refused ORDER BY entry, idx")]


# Moves


def moved() -> tuple[Logs, bytes]:
    """A dataset whose first unit was accepted by the first log before it left."""
    logs = Logs()
    dataset = logs.submit(0, "d")
    logs.grant(0, dataset, 2)
    logs.run(2, dataset, 0, [0])
    logs.accept(0, 2)
    logs.move(dataset)
    return logs, dataset


@pytest.mark.parametrize("seed", range(8))
def test_a_dataset_goes_on_in_the_log_that_adopts_it(seed: int) -> None:
    logs, dataset = moved()
    logs.adopt(dataset)
    logs.run(2, dataset, 0, [1, 2])
    logs.accept(1, 2)
    logs.grant(1, dataset, 1, 3, 5)
    logs.run(1, dataset, 0, [3])
    logs.accept(1, 1)
    node = folded(logs, seed)
    assert seen(node, dataset) == {"settled": 4, "ready": 1}
    sql = "SELECT s.id FROM dataset d JOIN shard s ON s.no = d.shard"
    assert node.conn.execute(sql).get == logs.sites[1].shard
    assert refused(node) == []


def test_behind_the_move_its_old_log_says_nothing_of_it() -> None:
    logs, dataset = moved()
    logs.grant(0, dataset, 1)
    logs.run(2, dataset, 0, [1])
    logs.accept(0, 2)
    logs.sites[0].order(dataset, "cancel")
    node = folded(logs)
    assert seen(node, dataset) == {"settled": 1, "ready": 4}
    assert refused(node) == ["no such dataset in this log"] * 2
    sql = "SELECT DISTINCT s.key FROM owner o JOIN site s ON s.no = o.site"
    assert node.conn.execute(sql).get == logs.sites[2].site


def test_results_that_its_old_log_lacked_count_where_the_new_one_had_accepted_them() -> None:
    logs, dataset = moved()
    logs.run(2, dataset, 0, [1, 2])
    logs.run(2, dataset, 1, [0])
    logs.accept(1, 2)  # nothing of this log is in it as yet
    logs.adopt(dataset)
    node = folded(logs)
    assert seen(node, dataset) == {"settled": 3, "ready": 2}
    assert seen(node, dataset, 1) == {"settled": 1, "ready": 2}


def test_results_that_its_old_log_had_counted_do_not_count_again() -> None:
    logs, dataset = moved()
    logs.adopt(dataset)
    logs.run(2, dataset, 0, [1])
    logs.accept(1, 2)  # from the first on, which the old log accepted
    node = folded(logs)
    assert seen(node, dataset) == {"settled": 2, "ready": 3}


def test_an_adopt_without_what_settles_the_move_is_void() -> None:
    logs, dataset = moved()
    early = next(e for e in logs.sites[0].entries if e.header.seq == 2)
    logs.adopt(dataset, acks=[ref_of(early)])
    node = folded(logs)
    assert refused(node) == ["the acks that are named do not settle the place"]
    logs.adopt(dataset)
    logs.adopt(dataset)
    node = folded(logs)
    assert refused(node)[1:] == ["the dataset is in this log already"]
    assert seen(node, dataset) == {"settled": 1, "ready": 4}


def test_a_majority_of_a_council_has_to_settle_the_move() -> None:
    logs = Logs()
    a, b, c = logs.sites
    council = FoundCouncil(digest(Purpose.SHARD, a.site + bytes([1] * 16)), bytes([1] * 16),  # type: ignore[arg-type]
                           [a.site, b.site, c.site], [1, 1, 1])  # fmt: skip
    shard = council.shard
    text = document("d", CHAIN, JOBS)
    dataset = DatasetID(digest(Purpose.DATASET, text))
    a.control(council, Dataset(shard, zlib.compress(text), ANA, ANA))
    move = a.control(Move(shard, dataset, b.shard))
    ack = c.control(Ack(shard, 0, a.site, 1, move.ref.seq, move.ref.id))
    b.control(Adopt(b.shard, dataset, shard, ref_of(move), [ref_of(move)]))
    b.control(Adopt(b.shard, dataset, shard, ref_of(move), [ref_of(move), ref_of(ack)]))
    node = folded(logs)
    assert refused(node) == ["the acks that are named do not settle the place"]
    sql = "SELECT s.id FROM dataset d JOIN shard s ON s.no = d.shard"
    assert node.conn.execute(sql).get == b.shard


def test_a_log_waits_at_an_adopt_for_the_log_that_the_dataset_left() -> None:
    logs, dataset = moved()
    logs.adopt(dataset)
    other = logs.submit(1, "other")
    held = [e for e in logs.sites[2].entries if e.header.lane is Lane.RESULTS]
    node = Node()
    for entry in [*logs.sites[1].entries, *logs.sites[0].entries]:
        node.take(entry)
    assert node.conn.execute("SELECT count(*) FROM dataset WHERE id = ?", (other,)).get == 0
    for entry in held:
        node.take(entry)
    assert seen(node, dataset) == {"settled": 1, "ready": 4}
    assert seen(node, other) == {"ready": 5}
    told = [each for each in node.changes if isinstance(each, DatasetChanged)]
    assert [each.verb for each in told] == ["move", "adopt", "adopt"]


def test_a_log_that_waits_in_the_middle_of_an_entry_goes_on_there() -> None:
    logs, dataset = moved()
    leader, move = logs.sites[1], logs.moves[dataset]
    texts = [document(name, CHAIN, JOBS) for name in ("before", "behind")]
    before, behind = (Dataset(leader.shard, zlib.compress(text), ANA, ANA) for text in texts)
    adopt = Adopt(
        leader.shard, DatasetID(dataset), logs.sites[0].shard, ref_of(move), [ref_of(move)]
    )
    leader.control(before, adopt, behind)
    node = Node()
    for entry in [*leader.entries, *logs.sites[2].entries]:
        node.take(entry)
    assert node.conn.execute("SELECT name FROM dataset").fetchall() == [("before",)]
    for entry in logs.sites[0].entries:
        node.take(entry)
    names = node.conn.execute("SELECT name FROM dataset ORDER BY pos").fetchall()
    assert names == [("before",), ("d",), ("behind",)]
    assert refused(node) == []


def test_a_log_that_is_folded_anew_takes_those_along_that_adopted_from_it() -> None:
    mesh = Mesh()
    other = mesh.sites[3]
    other.found()
    mesh.submit(0)
    dataset = DatasetID(mesh.datasets[0])
    mesh.grant(0, dataset, 1, [0, 1], 0, 3)
    mesh.run(1, dataset, 0, [0], SUCCESS)
    mesh.accept(0, 1, 0)
    mesh.lead(0, Move(mesh.shard, dataset, other.shard))
    move = mesh.terms[0].own[-1]
    mesh.ack(1, 0, -1)
    ack = mesh.sites[1].entries[-1]
    proof = [ref_of(mesh.sites[0].entries[-1]), ref_of(ack)]
    other.control(Adopt(other.shard, dataset, mesh.shard, proof[0], proof))
    mesh.run(1, dataset, 0, [1, 2], SUCCESS)
    other.control(Accept(other.shard, mesh.sites[1].site, 1, 2, mesh.sites[1].entries[-1].id))
    mesh.submit(0)
    node = Node()
    for entry in mesh.entries:
        node.take(entry)
    assert node.conn.execute("SELECT count(*) FROM dataset").get == 2
    node.changes.clear()
    known = {entry.id for entry in mesh.entries}
    mesh.take_over(2, 0, -2, lower=False, honest=True)  # the move stands, what follows does not
    assert mesh.terms[0].own[-2] == move
    for entry in mesh.entries:
        if entry.id not in known:
            node.take(entry)
    node.catch_up()
    assert {each.dataset for each in node.changes if isinstance(each, DatasetChanged)} == {1, 2}
    assert seen(node, dataset) == {"settled": 3, "ready": 3}
    assert node.conn.execute("SELECT count(*) FROM dataset").get == 1
    again = Node()
    for entry in in_some_order(mesh, Random(1)):
        again.take(entry)
    again.catch_up()
    assert folding.digest(again.conn) == folding.digest(node.conn)


def test_a_dataset_may_move_on_and_come_back() -> None:
    logs, dataset = moved()
    logs.adopt(dataset)
    logs.run(2, dataset, 0, [1])
    logs.accept(1, 2)
    logs.move(dataset, by=1, to=0)
    logs.adopt(dataset, source=1, by=0)
    logs.run(2, dataset, 0, [2])
    logs.accept(0, 2)
    for seed in range(4):
        node = folded(logs, seed)
        assert seen(node, dataset) == {"settled": 3, "ready": 2}


def on_a_detour() -> tuple[Logs, bytes]:
    """A dataset that went through a log which has accepted less of a feed than the first had: two
    attempts at its second unit were counted there, one of them a duplicate."""
    logs = Logs()
    dataset = logs.submit(0, "d")
    logs.grant(0, dataset, 2)
    logs.run(2, dataset, 0, [0], PAYLOAD)
    logs.run(2, dataset, 0, [1])
    logs.run(2, dataset, 0, [1])
    logs.accept(0, 2)
    logs.move(dataset)
    logs.adopt(dataset)
    return logs, dataset


@pytest.mark.parametrize("seen_between", [0, 1, 3, 4])
def test_attempts_count_once_after_a_detour_through_a_log_that_saw_less(seen_between: int) -> None:
    logs, dataset = on_a_detour()
    logs.run(2, dataset, 0, [2])
    if seen_between:
        logs.accept(1, 2, back=4 - seen_between)
    logs.move(dataset, by=1, to=0)
    logs.adopt(dataset, source=1, by=0)
    logs.accept(0, 2)
    for seed in range(3):
        node = folded(logs, seed)
        assert seen(node, dataset) == {"settled": 2, "ready": 3, "duplicates": 1}
        assert node.conn.execute("SELECT sum(payload) FROM task").get == 1


def test_attempts_count_once_where_a_third_log_had_accepted_them_before() -> None:
    logs, dataset = on_a_detour()
    third = logs.sites[2]
    third.found()
    logs.accept(2, 2)
    logs.move(dataset, by=1, to=2)
    logs.adopt(dataset, source=1, by=2)
    node = folded(logs)
    assert seen(node, dataset) == {"settled": 1, "ready": 4, "duplicates": 1}
    assert node.conn.execute("SELECT sum(payload) FROM task").get == 1


# Imports


def linked(whole: bool) -> tuple[Logs, bytes, bytes]:
    """A dataset of the second log whose first task waits for one of the first log."""
    logs = Logs()
    first = logs.submit(0, "first")
    logs.grant(0, first, 2)
    second = logs.submit(1, "second", [("x", [(first, 0, JOBS if whole else 0)])])
    logs.run(2, first, 0, [0, 1])
    logs.accept(0, 2)
    return logs, first, second


def bring(logs: Logs, dataset: bytes, *ranges: int, acks: Any = None) -> Import:
    place = [e for e in logs.sites[0].entries if e.header.lane is Lane.CONTROL][-1]
    record = Import(
        logs.sites[1].shard, DatasetID(dataset), 0, list(ranges), logs.sites[0].shard,
        ref_of(place), acks or [ref_of(place)],
    )  # fmt: skip
    logs.lead(1, record)
    return record


@pytest.mark.parametrize("seed", range(4))
def test_units_of_another_log_serve_once_they_are_imported(seed: int) -> None:
    logs, first, second = linked(whole=False)
    assert seen(folded(logs, seed), second) == {}
    bring(logs, first, 0, 2)
    node = folded(logs, seed)
    assert seen(node, second) == {"ready": 2}
    assert refused(node) == []
    assert any(isinstance(each, UnitsSettled) and each.jobs == [0, 1] for each in node.changes)
    bring(logs, first, 0, 3)
    assert seen(folded(logs, seed), second) == {"ready": 3}


def test_a_task_that_waits_for_all_of_another_log_is_ready_when_all_are_imported() -> None:
    logs, first, second = linked(whole=True)
    bring(logs, first, 0, 4)
    assert seen(folded(logs), second) == {}
    bring(logs, first, 4, 5)
    assert seen(folded(logs), second) == {"ready": 5}


def test_an_import_that_nobody_waits_for_or_that_shows_nothing_is_refused() -> None:
    logs, first, _ = linked(whole=False)
    logs.lead(1, Import(logs.sites[1].shard, DatasetID(first), 1, [0, 2], logs.sites[0].shard,
                        ref_of(logs.sites[0].entries[-1]),
                        [ref_of(logs.sites[0].entries[-1])]))  # fmt: skip
    early = ref_of(logs.sites[0].entries[0])
    bring(logs, first, 0, 2, acks=[early])
    node = folded(logs)
    assert refused(node) == [
        "nothing in this log waits for these units",
        "the acks that are named do not settle the place",
    ]


def test_what_was_settled_before_a_dataset_left_still_serves_in_its_old_log() -> None:
    logs = Logs()
    first = logs.submit(0, "first")
    logs.grant(0, first, 2)
    second = logs.submit(0, "second", [("x", [(first, 0, 0)])])
    logs.run(2, first, 0, [0, 1])
    logs.accept(0, 2)
    logs.move(first)
    logs.adopt(first)
    logs.run(2, first, 0, [2])
    logs.accept(1, 2)
    for seed in range(4):
        node = folded(logs, seed)
        assert seen(node, first) == {"settled": 3, "ready": 2}
        assert seen(node, second) == {"ready": 2}


# Copies


def test_sites_that_keep_second_copies_are_known() -> None:
    logs = Logs()
    logs.sites[1].write(Lane.RESULTS, [Holds(DatasetID(b"d" * 32), 0, [3, 4, 9], b"x" * 32)])
    logs.sites[1].write(Lane.RESULTS, [Holds(DatasetID(b"d" * 32), 0, [5, 8], b"x" * 32)])
    node = folded(logs)
    assert node.conn.execute("SELECT idx, lo, hi FROM copy ORDER BY lo").fetchall() == [
        (0, 3, 6),
        (0, 8, 10),
    ]


# Any story of two logs

step = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 1)),
    st.tuples(st.just("grant"), st.integers(0, 1), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(
        st.just("run"),
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 1),
        st.integers(0, JOBS - 1),
        st.sampled_from([SUCCESS, PAYLOAD]),
    ),
    st.tuples(st.just("accept"), st.integers(0, 1), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("accept"), st.integers(0, 1), st.just(2), st.just(0)),
    st.tuples(st.just("move"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("adopt"), st.integers(0, 3)),
)


class Story(Logs):
    """Two logs, and where each dataset is by what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.datasets: list[bytes] = []
        self.where: dict[bytes, int | None] = {}  # None: it left and was not adopted yet
        self.source: dict[bytes, int] = {}

    def tell(self, step: Any) -> None:
        kind, *how = step
        if kind == "submit":
            self.datasets.append(self.submit(how[0], f"d{len(self.datasets)}"))
            self.where[self.datasets[-1]] = how[0]
        elif kind == "accept":
            self.accept(*how)
        elif self.datasets:
            which = how[1] if kind in ("grant", "run") else how[0]
            dataset = self.datasets[which % len(self.datasets)]
            self._about(kind, dataset, how)

    def _about(self, kind: str, dataset: bytes, how: Any) -> None:
        here = self.where[dataset]
        if kind == "grant":
            self.grant(how[0], dataset, how[2])
        elif kind == "run":
            self.run(how[0], dataset, how[2], range(how[3], JOBS), how[4])
        elif kind == "move" and here is not None:
            self.move(dataset, by=here, to=1 - here)
            self.source[dataset], self.where[dataset] = here, None
        elif kind == "adopt" and dataset in self.moves:
            source = self.source[dataset]
            self.adopt(dataset, source=source, by=1 - source)
            if here is None:
                self.where[dataset] = 1 - source

    def oracle(self) -> Oracle:
        """Both logs read as one: they were told in an order in which neither looks ahead."""
        oracle = Oracle()
        at: dict[bytes, int | None] = {}
        granted: set[Any] = set()
        through: list[dict[bytes, int]] = [{}, {}]
        counted: dict[bytes, dict[bytes, int]] = {}
        for by, record in self.told:
            match record:
                case Found():
                    pass
                case Dataset(doc=doc):
                    text = zlib.decompress(doc)
                    id_ = digest(Purpose.DATASET, text)
                    oracle.submit(id_, [waits for _, waits in json.loads(text)[1]], JOBS, 1)
                    at[id_], counted[id_] = by, dict(through[by])
                case Grant() as grant if at.get(grant.dataset) == by:
                    units = [(bytes(grant.to), grant.dataset, job) for job in range(JOBS)]
                    granted.update(units)
                case Accept() as accept:
                    before = through[by].get(accept.site, 0)
                    through[by][accept.site] = max(before, accept.through)
                    for id_, place in at.items():
                        if place == by:
                            self._count(oracle, granted, id_, counted[id_], through[by])
                case Move() as move if at.get(move.dataset) == by:
                    at[move.dataset] = None
                case Adopt() as adopt if at.get(adopt.dataset, 0) is None:
                    at[adopt.dataset] = by
                    self._count(oracle, granted, adopt.dataset, counted[adopt.dataset], through[by])
                case _:
                    pass
        return oracle

    def _count(
        self,
        oracle: Oracle,
        granted: set[Any],
        id_: bytes,
        counted: dict[bytes, int],
        through: dict[bytes, int],
    ) -> None:
        """Results of one dataset up to here, feed by feed in the order of their keys."""
        for site in sorted(through):
            author = next(log for log in self.sites if log.site == site)
            held = [e for e in author.entries if e.header.lane is Lane.RESULTS]
            for entry in held[counted.get(site, 0) : through[site]]:
                for record in entry.records():
                    jobs: Any = getattr(record, "jobs", ())
                    if getattr(record, "dataset", None) != id_:
                        continue
                    if all((site, id_, job) in granted for job in jobs):
                        for job in jobs:
                            oracle.attempt(id_, record.task, job, record.outcome, "a1")  # type: ignore[union-attr, arg-type]
            counted[site] = max(counted.get(site, 0), through[site])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(step, max_size=18), st.integers(0, 2**32))
def test_any_story_of_two_logs_is_read_alike_in_any_order(told: list[Any], seed: int) -> None:
    story = Story()
    story.tell(("submit", 0))
    story.tell(("grant", 0, 0, 2))
    for each in told:
        story.tell(each)
    rng = Random(seed)
    nodes = []
    for at_once in (rng.choice((1, 25)), 20_000):
        node = Node(at_once)
        for entry in in_some_order(story, rng):
            node.take(entry)
            if rng.random() < 0.1:
                node.restart()
            if rng.random() < 0.4:
                node.go_on()
        node.catch_up()
        nodes.append(node)
    one, two = nodes
    assert folding.state_root(one.conn) == folding.state_root(two.conn)
    assert folding.digest(one.conn) == folding.digest(two.conn)
    oracle = story.oracle()
    for dataset in story.datasets:
        for index in range(2):
            found = seen(one, dataset, index)
            found.pop("early", None)
            assert found == oracle.counts(dataset, index)
