"""Logs that go through several leaders' feeds: any order of arrival gives what they say."""

from __future__ import annotations

from random import Random
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.entry import Entry
from federation.ids import DatasetID, Lane, SiteID
from federation.records import Reproduce
from node.changes import DatasetChanged, ShardSettled, TermOpened
from node.fold import Fold, digest, roots, state_root
from node.store import settling
from tests.unit.node.fold.mesh import JOBS, NAMES, SEATS, Mesh
from tests.unit.node.fold.world import (
    PAYLOAD,
    SUCCESS,
    counts,
    database,
    insert,
    read_command,
    read_submission,
    some,
)

site = st.integers(0, len(NAMES) - 1)
seat = st.integers(0, SEATS - 1)
small = st.integers(0, 5)
job = st.integers(0, JOBS - 1)
steps = st.one_of(
    st.tuples(st.just("submit"), small),
    st.tuples(st.just("grant"), small, small, site, st.sampled_from([[0], [1], [0, 1]]), job),
    st.tuples(st.just("grant"), small, small, site, st.just([0, 1]), st.just(0)),
    st.tuples(
        st.just("run"), site, small, st.integers(0, 1), job, st.sampled_from([SUCCESS, PAYLOAD])
    ),
    st.tuples(st.just("run"), site, small, st.just(0), st.just(0), st.just(SUCCESS)),
    st.tuples(st.just("accept"), small, site, st.integers(0, 1)),
    st.tuples(st.just("order"), small, small, st.sampled_from(["cancel", "retry"]), job),
    st.tuples(st.just("ack"), seat, small, small),
    st.tuples(
        st.just("take over"), seat, small, small, st.booleans(), st.sampled_from([True, True, 0])
    ),
)


@pytest.fixture
def close_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short logs keep some roots too, and drop some."""
    monkeypatch.setattr(roots, "_LEVELS", (1, 4, 8))
    monkeypatch.setattr(roots, "_KEPT", 2)


def tell(mesh: Mesh, step: Any) -> None:
    kind, *how = step
    if kind == "take over":
        by, base, cut, lower, honest = how
        # The newest terms and entries are the likely ones.
        mesh.take_over(by, len(mesh.terms) - 1 - base, -1 - cut, lower, bool(honest))
    elif kind == "ack":
        by, term, own = how
        mesh.ack(by, len(mesh.terms) - 1 - term, -1 - own)
    elif kind == "run":
        by, dataset, task, lo, outcome = how
        if mesh.datasets:
            id_ = mesh.datasets[dataset % len(mesh.datasets)]
            mesh.run(by, id_, task, range(lo, JOBS), outcome)
    else:
        leaders = mesh.leaders()
        by = leaders[-1 - how[0] % len(leaders)] if how[0] else mesh.newest.leader
        if kind == "submit":
            mesh.submit(by)
        elif kind == "accept":
            mesh.accept(by, how[1], how[2])
        elif mesh.datasets:
            id_ = mesh.datasets[how[1] % len(mesh.datasets)]
            if kind == "grant":
                mesh.grant(by, id_, how[2], how[3], how[4], JOBS)
            else:
                mesh.order(by, id_, how[2], how[3], JOBS)


@st.composite
def meshes(draw: Any) -> Mesh:
    mesh = Mesh()
    mesh.submit(0)
    mesh.grant(0, mesh.datasets[0], 1, [0, 1], 0, JOBS)
    for step in draw(st.lists(steps, max_size=16)):
        tell(mesh, step)
    return mesh


def small_fold(at_once: int) -> Fold:
    return Fold(SiteID(b""), read_submission, read_command, lambda _, key: key, at_once=at_once)


@pytest.mark.parametrize("late", [Lane.RESULTS, Lane.CONTROL])
def test_results_that_are_accepted_before_their_dataset_is_in_the_log_count_nowhere(
    late: Lane,
) -> None:
    """As when a dataset that was cut off is submitted again behind an accept."""
    mesh = Mesh()
    other = Mesh()
    other.submit(0)
    (dataset,) = other.datasets
    mesh.run(3, dataset, 0, range(3), SUCCESS)
    mesh.accept(0, 3, 0)
    mesh.submit(0)
    assert mesh.datasets == [dataset]
    entries = sorted(mesh.entries, key=lambda entry: entry.header.lane is late)
    node = Node()
    for entry in entries:
        node.take(entry)
    assert node.conn.execute("SELECT why FROM refused").fetchall() == []
    assert node.conn.execute("SELECT settled FROM task").fetchall() == [(0,), (0,)]


class Node:
    """A site that keeps the feeds of all, and may be started again at any time."""

    def __init__(self, at_once: int = 20_000) -> None:
        self.conn = database()
        self.at_once = at_once
        self.fold = small_fold(at_once)
        self.changes: list[Any] = []

    def take(self, entry: Entry) -> None:
        with self.conn:
            no = insert(self.conn, entry)
            self.changes += self.fold.apply(self.conn, entry.ref, no, entry.records())

    def go_on(self) -> None:
        with self.conn:
            self.changes += self.fold.go_on(self.conn)

    def catch_up(self) -> None:
        for _ in range(10_000):
            if not self.fold.behind(self.conn):
                return
            self.go_on()
        raise AssertionError("the fold never comes to an end")

    def restart(self) -> None:
        self.fold = small_fold(self.at_once)


def in_some_order(mesh: Any, rng: Random) -> list[Entry]:
    """Feeds interleaved in any way, each in its own order."""
    feeds: dict[Any, list[Entry]] = {}
    for entry in mesh.entries:
        feeds.setdefault(entry.header.feed, []).append(entry)
    found = []
    while left := [name for name in feeds if feeds[name]]:
        feed = feeds[rng.choice(left)]
        count = rng.choice((1, 1, 2, 9))
        found += feed[:count]
        del feed[:count]
    return found


def check(conn: apsw.Connection, mesh: Mesh) -> None:
    """The tables say what a naive reader makes of the newest log."""
    oracle, order = mesh.oracle()
    rows = conn.execute("SELECT id, no FROM dataset ORDER BY pos").fetchall()
    assert [id_ for id_, _ in rows] == order
    for id_, no in rows:
        for index in range(2):
            seen = some(counts(conn, no * 64 + index))
            seen.pop("early", None)
            assert seen == oracle.counts(id_, index)
    newest = mesh.newest
    leader = mesh.sites[newest.leader].site
    assert conn.execute("SELECT term, leader FROM shard").get == (newest.number, leader)
    assert conn.execute("SELECT term, seq FROM settlement").get == mesh.settled()
    assert settling.settled_pos(conn, 1) == mesh.settled_pos()


@pytest.mark.usefixtures("close_roots")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(meshes(), st.integers(0, 2**32))
def test_any_order_of_arrival_gives_the_tables_of_a_naive_reading(mesh: Mesh, seed: int) -> None:
    rng = Random(seed)
    node = Node(rng.choice((1, 30, 20_000)))
    for entry in in_some_order(mesh, rng):
        node.take(entry)
        if rng.random() < 0.1:
            node.restart()
        if rng.random() < 0.5:
            node.go_on()
    node.catch_up()
    check(node.conn, mesh)
    other = Node()
    for entry in in_some_order(mesh, rng):
        other.take(entry)
    other.catch_up()
    assert state_root(other.conn) == state_root(node.conn)
    assert digest(other.conn) == digest(node.conn)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(meshes(), st.integers(0, 2**32))
def test_roots_of_equal_positions_of_one_log_are_equal(mesh: Mesh, seed: int) -> None:
    """Two nodes that hold different parts of the same entries stand at roots that agree."""
    rng = Random(seed)
    stood: dict[Any, set[bytes]] = {}
    for _ in range(2):
        node = Node(rng.choice((1, 20_000)))
        for entry in in_some_order(mesh, rng):
            node.take(entry)
            node.catch_up()
            for term, *place, own, results in node.conn.execute(
                "SELECT at_term, leader, own_pos, results_pos, own_root, results_root FROM shard"
                " WHERE at_term = term"
            ):
                stood.setdefault(("own", term, *place[:2]), set()).add(own)
                stood.setdefault(("results", term, place[0], place[2]), set()).add(results)
    assert all(len(roots) == 1 for roots in stood.values())


def test_a_shard_is_folded_anew_only_when_it_stands_beyond_a_cut() -> None:
    mesh = Mesh()
    mesh.submit(0)
    mesh.submit(0)
    node = Node()
    for entry in mesh.entries:
        node.take(entry)
    mesh.take_over(1, 0, -1, lower=False, honest=True)
    mesh.submit(1)
    for entry in [*mesh.sites[2].entries, *mesh.sites[1].entries]:
        node.take(entry)
    assert [each for each in node.changes if isinstance(each, DatasetChanged)] == []
    assert node.conn.execute("SELECT count(*) FROM dataset").get == 3
    node.changes.clear()

    known = len(mesh.sites[2].entries), len(mesh.sites[0].entries)
    mesh.take_over(2, 0, 1, lower=False, honest=True)  # behind the first submission, bypassing B
    for entry in [*mesh.sites[0].entries[known[1] :], *mesh.sites[2].entries[known[0] :]]:
        node.take(entry)
    gone = [each for each in node.changes if isinstance(each, DatasetChanged)]
    assert gone == [DatasetChanged(no, "anew") for no in (1, 2, 3, 1)]
    opened = [each for each in node.changes if isinstance(each, TermOpened)]
    assert opened == [TermOpened(mesh.shard, 2, mesh.feed(2))]
    check(node.conn, mesh)


def test_units_whose_outputs_were_to_be_made_again_in_a_part_that_is_cut_off_do_not_run() -> None:
    mesh = Mesh()
    mesh.submit(0)
    (dataset,) = mesh.datasets
    mesh.grant(0, dataset, 3, [0], 0, JOBS)
    mesh.run(3, dataset, 0, range(JOBS), SUCCESS)
    mesh.accept(0, 3, 0)
    mesh.lead(0, Reproduce(mesh.shard, DatasetID(dataset), [0], [0, 1]))
    node = Node()
    for entry in [*mesh.sites[3].entries, *mesh.sites[0].entries]:
        node.take(entry)
    assert node.conn.execute("SELECT job FROM reproducing").fetchall() == [(0,)]
    mesh.take_over(1, 0, -2, lower=False, honest=True)
    for entry in [*mesh.sites[2].entries, *mesh.sites[1].entries]:
        node.take(entry)
    assert node.conn.execute("SELECT settled FROM task").fetchall() == [(JOBS,), (0,)]
    assert node.conn.execute("SELECT job FROM reproducing").fetchall() == []


def test_what_is_settled_is_told_as_acks_arrive() -> None:
    mesh = Mesh()
    mesh.submit(0)
    mesh.ack(1, 0, 1)
    mesh.ack(2, 0, 0)
    node = Node()
    for entry in [*mesh.sites[2].entries, *mesh.sites[0].entries, *mesh.sites[1].entries]:
        node.take(entry)
    told = [each for each in node.changes if isinstance(each, ShardSettled)]
    assert told == [ShardSettled(mesh.shard, 0, mesh.feed(0), seq) for seq in (1, 2)]


def test_a_long_log_is_folded_in_pieces() -> None:
    mesh = Mesh()
    mesh.submit(0)
    mesh.grant(0, mesh.datasets[0], 0, [0, 1], 0, JOBS)
    for _ in range(20):
        mesh.run(0, mesh.datasets[0], 0, range(JOBS), SUCCESS)
        mesh.accept(0, 0, 0)
    late = mesh.sites[0].entries.pop(0)
    assert late.header.lane is Lane.CONTROL
    results = [entry for entry in mesh.sites[0].entries if entry.header.lane is Lane.RESULTS]
    control = [entry for entry in mesh.sites[0].entries if entry.header.lane is Lane.CONTROL]
    node = Node(at_once=60)
    for entry in [late, *control]:
        node.take(entry)
    node.catch_up()
    assert node.conn.execute("SELECT own_pos, results_pos FROM shard").get == (22, 2)
    pieces = 0
    for entry in results:
        node.take(entry)
    while node.fold.behind(node.conn):
        node.go_on()
        pieces += 1
    assert node.conn.execute("SELECT results_pos FROM shard").get == 22
    mesh.sites[0].entries.insert(0, late)
    check(node.conn, mesh)


@pytest.mark.usefixtures("close_roots")
def test_the_same_roots_are_kept_whether_results_came_early_or_late() -> None:
    mesh = Mesh()
    mesh.submit(0)
    mesh.grant(0, mesh.datasets[0], 1, [0, 1], 0, JOBS)
    mesh.run(1, mesh.datasets[0], 0, range(JOBS), SUCCESS)
    mesh.accept(0, 1, 0)
    mesh.submit(0)
    mesh.submit(0)
    kept = []
    for order in ([0, 1], [1, 0]):
        node = Node()
        for site in order:
            for entry in mesh.sites[site].entries:
                node.take(entry)
        kept.append(node.conn.execute("SELECT cursor, pos, root FROM root_at").fetchall())
    assert kept[0] == kept[1]
    assert [pos for cursor, pos, _ in kept[0] if cursor == roots.RESULTS] == [4, 5]


def test_units_that_are_accepted_and_not_settled_are_told_apart() -> None:
    mesh = Mesh()
    mesh.submit(0)
    mesh.grant(0, mesh.datasets[0], 1, [0, 1], 0, JOBS)
    mesh.run(1, mesh.datasets[0], 0, [0, 1], SUCCESS)
    mesh.accept(0, 1, 0)
    mesh.ack(1, 0, -1)
    mesh.run(1, mesh.datasets[0], 0, [1, 2, 3], SUCCESS)  # one of them again
    mesh.run(1, mesh.datasets[0], 1, [0], SUCCESS)
    mesh.accept(0, 1, 0)
    node = Node()
    for entry in mesh.entries:
        node.take(entry)
    assert settling.unsettled(node.conn, 1) == {64: 2, 65: 1}
    settled = [settling.is_settled(node.conn, 64, job) for job in range(4)]
    assert settled == [True, True, False, False]
    mesh.ack(2, 0, -1)
    node.take(mesh.sites[2].entries[-1])
    assert settling.unsettled(node.conn, 1) == {}
