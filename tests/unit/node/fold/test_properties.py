"""Any log: the tables equal a naive reading of the rules, however its entries are cut and come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.entry import Entry
from federation.ids import Lane
from federation.records import Record, Results
from node.fold import digest, state_root
from tests.unit.node.fold.oracle import Oracle
from tests.unit.node.fold.world import (
    INFRASTRUCTURE,
    PAYLOAD,
    RESOURCES,
    STOPPED,
    SUCCESS,
    Log,
    counts,
    database,
    document,
    fold,
    fold_into,
    insert,
    results,
    some,
)

JOBS = 6
SHAPES = {
    "flat": [[]],
    "chain": [[], [0], [1]],
    "diamond": [[], [0], [0], [1, 2]],
}
# What a second dataset may wait for in the first: its last task job by job, or all of it.
OUTCOMES = [SUCCESS] * 6 + [PAYLOAD] * 3 + [RESOURCES, INFRASTRUCTURE, INFRASTRUCTURE, STOPPED]

dataset_index = st.integers(0, 1)
steps = st.one_of(
    st.tuples(
        st.just("results"),
        dataset_index,
        st.integers(0, 3),
        st.lists(
            st.tuples(
                st.integers(0, JOBS - 1), st.sampled_from(OUTCOMES), st.sampled_from("abcdef")
            ),
            min_size=1,
            max_size=8,
        ),
    ),
    st.tuples(st.just("settle"), dataset_index, st.integers(0, 3), st.integers(0, JOBS - 1)),
    st.tuples(
        st.sampled_from(["cancel", "retry"]),
        dataset_index,
        st.one_of(st.none(), st.integers(0, 3)),
        st.tuples(st.integers(0, JOBS - 1), st.integers(1, JOBS + 2)),
    ),
    st.tuples(st.just("extend"), dataset_index, st.just(1), st.none()),
)
shapes = st.sampled_from(sorted(SHAPES))
links = st.sampled_from(["none", "each", "all"])


class Story:
    """Writes steps to a log, and tells them to the oracle."""

    def __init__(self, first: str, second: str, link: str, retry_max: int) -> None:
        self.log = Log.new()
        self.oracle = Oracle()
        self.log.found()
        self.sets: list[tuple[bytes, int]] = []
        self._nonce = 0
        self._submit(SHAPES[first], retry_max)
        one, size = self.sets[0]
        waits: list[list[Any]] = [list(waits) for waits in SHAPES[second]]
        if link != "none":
            waits[0].append((one, size - 1, JOBS if link == "all" else 0))
        self._submit(waits, retry_max)

    def _submit(self, waits: Sequence[Sequence[Any]], retry_max: int) -> None:
        tasks = [(f"t{index}", wait) for index, wait in enumerate(waits)]
        id_ = self.log.submit(document(f"d{len(self.sets)}", tasks, JOBS, retry_max=retry_max))
        self.oracle.submit(id_, [list(wait) for wait in waits], JOBS, retry_max)
        self.sets.append((id_, len(waits)))
        self.log.grant(id_, range(len(waits)), [0, JOBS])

    def tell(self, step: Any) -> None:
        kind, which, task, what = step
        id_, size = self.sets[which]
        if kind == "settle":
            self._results(id_, task % size, [(job, SUCCESS, "a") for job in range(what + 1)])
        elif kind == "results":
            self._results(id_, task % size, what)
        elif kind == "extend":
            self._nonce += 1
            self.log.order(id_, "extend", self._nonce, jobs=1)
            self.oracle.extend(id_, 1)
        else:
            self._order(id_, kind, size, task, what)

    def _results(self, id_: bytes, task: int, rows: Sequence[tuple[int, int, str]]) -> None:
        outcomes = [outcome for _, outcome, _ in rows]
        record = results(id_, task, [job for job, _, _ in rows], outcomes)
        hosts = sorted({host for _, _, host in rows})
        object.__setattr__(record, "hosts", hosts)
        object.__setattr__(record, "host", [hosts.index(host) for _, _, host in rows])
        self.log.results(record)
        for job, outcome, host in rows:
            self.oracle.attempt(id_, task, job, outcome, host)

    def _order(self, id_: bytes, verb: str, size: int, task: int | None, jobs: Any) -> None:
        lo, hi = sorted((jobs[0], max(jobs[1], jobs[0] + 1)))
        select: dict[str, Any] = {"jobs": [lo, hi]}
        if task is not None:
            select["tasks"] = [f"t{task % size}"]
        self._nonce += 1
        self.log.order(id_, verb, self._nonce, select=select)
        chosen = range(size) if task is None else [task % size]
        self.oracle.order(id_, verb, list(chosen), range(lo, hi))


stories = st.builds(Story, shapes, shapes, links, st.integers(0, 2))


def check(conn: apsw.Connection, story: Story) -> None:
    for number, (id_, size) in enumerate(story.sets, 1):
        for index in range(size):
            seen = some(counts(conn, number * 64 + index))
            seen.pop("early", None)
            assert seen == story.oracle.counts(id_, index), f"dataset {number} task {index}"


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories, st.lists(steps, max_size=14))
def test_counters_equal_a_naive_reading_of_the_rules(story: Story, told: list[Any]) -> None:
    for step in told:
        story.tell(step)
    conn = database()
    fold_into(conn, story.log.entries)
    check(conn, story)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories, st.lists(steps, max_size=10), st.data())
def test_any_order_of_arrival_gives_the_same_tables_and_root(
    story: Story, told: list[Any], data: st.DataObject
) -> None:
    for step in told:
        story.tell(step)
    once = database()
    fold_into(once, story.log.entries)
    again = database()
    for entry in shuffled(story.log.entries, data):
        fold_into(again, [entry])  # with a fresh fold each time: it remembers nothing
    assert state_root(again) == state_root(once)
    assert digest(again) == digest(once)
    check(again, story)


def shuffled(entries: Sequence[Entry], data: st.DataObject) -> list[Entry]:
    """The feeds interleaved in another way, each in its own order."""
    lanes = [[entry for entry in entries if entry.header.lane is lane] for lane in Lane]
    found = []
    while any(lanes):
        lane = data.draw(st.sampled_from([lane for lane in lanes if lane]))
        found.append(lane.pop(0))
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories, st.lists(steps, max_size=10), st.data())
def test_any_chunking_of_the_same_records_gives_the_same_tables_and_root(
    story: Story, told: list[Any], data: st.DataObject
) -> None:
    """Records of the control feed cut into other entries: same roots, same facts about units."""
    for step in told:
        story.tell(step)
    once, again = database(), database()
    fold_into(once, story.log.entries)
    fold_into(again, rechunked(story.log, data))
    assert roots(again) == roots(once)
    assert facts(again) == facts(once)


def rechunked(log: Log, data: st.DataObject) -> list[Entry]:
    """The same records, the control feed's in entries of other sizes."""
    other = Log(log.key)
    waiting: list[Record] = []
    for entry in log.entries:
        records = [record for record in entry.records() if not isinstance(record, Exception)]
        if entry.header.lane is Lane.RESULTS:
            assert all(isinstance(record, Results) for record in records)
            other.write(Lane.RESULTS, records)
        else:
            waiting += records
            if data.draw(st.booleans()):
                other.control(*waiting)
                waiting = []
    if waiting:
        other.control(*waiting)
    # The results feed has the same entries; only their ids differ if times do.
    return renamed(other, log)


def renamed(other: Log, log: Log) -> list[Entry]:
    """`other` with the results entries of `log`, which the accepts name."""
    original = iter([entry for entry in log.entries if entry.header.lane is Lane.RESULTS])
    return [
        next(original) if entry.header.lane is Lane.RESULTS else entry for entry in other.entries
    ]


def roots(conn: apsw.Connection) -> list[Any]:
    sql = "SELECT id, own_pos, results_pos, own_root, results_root FROM shard ORDER BY id"
    return conn.execute(sql).fetchall()


def facts(conn: apsw.Connection) -> dict[str, list[Any]]:
    """All tables, without the numbers and times of entries."""
    found: dict[str, list[Any]] = {}
    for table, columns in {
        "task": "*",
        "settled": "task, job",
        "fault": "task, job, row, outcome, error",
        "surplus": "task, job, row, why",
        "troubled": "*",
        "cancelled": "*",
        "granted": "*",
        "owner": "*",
        "usage": "*",
        "position": "*",
        "command": "id, pos, verb",
        "dependency": "*",
    }.items():
        rows = conn.execute(f"SELECT {columns} FROM {table}").fetchall()
        found[table] = sorted(rows, key=repr)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories, st.lists(steps, max_size=10), st.integers(0, 40))
def test_a_rollback_leaves_no_trace_in_the_fold(story: Story, told: list[Any], broken: int) -> None:
    for step in told:
        story.tell(step)
    once, again = database(), database()
    fold_into(once, story.log.entries)
    same = fold()
    for at, entry in enumerate(story.log.entries):
        if at == broken % len(story.log.entries):
            try:
                with again:
                    same.apply(again, entry.ref, insert(again, entry), entry.records())
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                pass
        fold_into(again, [entry], same)
    assert digest(again) == digest(once)


def test_an_accept_may_come_long_before_its_results() -> None:
    log = Log.new()
    log.found()
    id_ = log.submit(document("d", (("a", ()), ("b", (0,))), retry_max=0))
    log.grant(id_, [0, 1], [0, 10])
    log.results(results(id_, 0, [0, 1]))
    log.results(results(id_, 0, [2, 3], PAYLOAD))
    log.order(id_, "retry", select={"jobs": [2, 3]})
    log.order(id_, "cancel", select={"jobs": [1, 10]})
    control = [entry for entry in log.entries if entry.header.lane is Lane.CONTROL]
    held = [entry for entry in log.entries if entry.header.lane is Lane.RESULTS]
    conn = database()
    fold_into(conn, control)
    assert some(counts(conn)) == {"ready": 10}
    assert conn.execute("SELECT count(*) FROM command").get == 2
    fold_into(conn, held[:1])
    assert some(counts(conn)) == {"settled": 2, "ready": 8}
    fold_into(conn, held[1:])
    assert some(counts(conn)) == {"settled": 2, "cancelled": 8}
    assert some(counts(conn, 65)) == {"ready": 1, "cancelled": 9}


def test_a_cancel_that_has_to_wait_spares_the_jobs_that_were_appended_after_it() -> None:
    log = Log.new()
    log.found()
    id_ = log.submit(document("d", jobs=4))
    log.grant(id_, [0], [0, 4])
    late = log.results(results(id_, 0, [0]))
    log.order(id_, "cancel")
    log.order(id_, "extend", jobs=2)
    log.grant(id_, [0], [4, 6])
    conn = database()
    fold_into(conn, [entry for entry in log.entries if entry is not late])
    assert conn.execute("SELECT jobs FROM dataset").get == 6
    fold_into(conn, [late])
    assert some(counts(conn)) == {"settled": 1, "cancelled": 3, "ready": 2}
