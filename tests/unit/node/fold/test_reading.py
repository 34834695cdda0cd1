"""What units read has to be what is settled; and settled units whose outputs are lost run again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.ids import DatasetID
from federation.records import Outcome, Reproduce
from node.changes import DatasetChanged, UnitsFaulted, UnitsSettled
from node.fold import digest, keeping
from node.fold.made import Made
from node.model.inputs import read_digest
from tests.unit.node.fold.test_fold import Site
from tests.unit.node.fold.world import counts, database, fold_into, results, some

A, B = b"A" * 32, b"B" * 32
CHAIN = (("make", ()), ("use", (0,)))
JOIN = (("x", ()), ("y", ()), ("use", (0, 1)))
INFRASTRUCTURE = int(Outcome.INFRASTRUCTURE)


@pytest.fixture
def site() -> Site:
    return Site()


def faults(site: Site, task: int = 65) -> list[Any]:
    sql = "SELECT job, outcome, error FROM fault WHERE task = ? ORDER BY job"
    return site.conn.execute(sql, (task,)).fetchall()


def test_a_success_that_read_what_is_settled_counts(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 1], outputs=[A, B]))
    site.results(results(id_, 1, [0, 1], inputs=[read_digest([A]), read_digest([B])]))
    assert site.counts(65) == {"settled": 2}


def test_a_success_that_read_something_else_is_a_loss_and_its_unit_runs_again(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 1], outputs=[A, B]))
    read = [read_digest([B]), read_digest([B])]
    changes = site.results(results(id_, 1, [0, 1], inputs=read))
    assert site.counts(65) == {"settled": 1, "ready": 1}
    assert faults(site) == [(0, INFRASTRUCTURE, "inputs-changed")]
    assert UnitsFaulted(65, (0,), (INFRASTRUCTURE,)) in changes
    site.results(results(id_, 1, [0], inputs=read_digest([A])))
    assert site.counts(65) == {"settled": 2}


def test_units_that_say_nothing_of_what_they_read_are_not_checked(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0], outputs=A), results(id_, 1, [0]))
    assert site.counts(65) == {"settled": 1}


def test_all_that_a_unit_waits_for_is_in_the_digest_in_the_order_of_tasks(site: Site) -> None:
    id_ = site.submit(tasks=JOIN)
    site.results(results(id_, 1, [0, 1], outputs=B), results(id_, 0, [0, 1], outputs=b""))
    right, wrong = read_digest([b"", B]), read_digest([B, b""])
    site.results(results(id_, 2, [0, 1], inputs=[right, wrong]))
    assert site.counts(66) == {"settled": 1, "ready": 1}


def test_the_attempt_that_settled_a_unit_decides_not_a_later_one_of_its_entry(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 0], outputs=[A, B]))
    site.results(results(id_, 1, [0], inputs=read_digest([B])))
    assert site.counts(65) == {"ready": 1}
    site.results(results(id_, 1, [0], inputs=read_digest([A])))
    assert site.counts(65) == {"settled": 1}


def test_a_success_before_what_it_waits_for_is_judged_when_that_is_settled(site: Site) -> None:
    id_ = site.submit(tasks=(*CHAIN, ("end", (1,))))
    early = [read_digest([A]), read_digest([B])]
    site.results(results(id_, 1, [0, 1], inputs=early, cpu_ms=[10, 30]))
    assert site.counts(65) == {"settled": 2, "early": 2}
    assert site.counts(66) == {"ready": 2}
    changes = site.results(results(id_, 0, [0, 1], outputs=A))
    assert site.counts(65) == {"settled": 1, "ready": 1}
    assert site.counts(66) == {"ready": 1}
    assert faults(site) == [(1, INFRASTRUCTURE, "inputs-changed")]
    assert DatasetChanged(1, "anew") in changes
    row = site.conn.execute("SELECT cpu_ms, lost_cpu_ms FROM task WHERE no = 65").get
    assert row == (10, 30)


def test_a_gate_shuts_again_when_a_unit_behind_it_is_withdrawn(site: Site) -> None:
    id_ = site.submit("first", tasks=CHAIN, jobs=2)
    site.submit("second", tasks=(("x", [(id_, 1, 2)]),), jobs=2)
    site.results(results(id_, 1, [0, 1], inputs=[read_digest([A]), read_digest([B])]))
    assert site.counts(128) == {"ready": 2}
    site.results(results(id_, 0, [0, 1], outputs=A))
    assert site.counts(128) == {}
    site.results(results(id_, 1, [1], inputs=read_digest([A])))
    assert site.counts(128) == {"ready": 2}


# Lost outputs


def lost(site: Site, *jobs: int) -> None:
    ranges = [bound for job in jobs for bound in (job, job + 1)]
    id_ = site.conn.execute("SELECT id FROM dataset").get
    site.log.control(Reproduce(site.log.shard, DatasetID(id_), [0], ranges))
    site.fold()


def surplus(site: Site) -> list[Any]:
    return site.conn.execute("SELECT job, why FROM surplus ORDER BY job").fetchall()


def settled_by(site: Site, job: int) -> int:
    sql = "SELECT e.seq FROM settled s JOIN entry e ON e.no = s.entry WHERE task = 64 AND job = ?"
    return int(site.conn.execute(sql, (job,)).get)


def test_the_same_outputs_restore_a_unit(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 1], outputs=A))
    lost(site, 0, 5)
    assert site.conn.execute("SELECT job FROM reproducing").fetchall() == [(0,)]  # 5 never ran
    changes = site.results(results(id_, 0, [0], outputs=A))
    assert UnitsSettled(64, [0]) in changes
    assert (surplus(site), settled_by(site, 0)) == ([(0, "reproduced")], 1)
    assert site.conn.execute("SELECT count(*) FROM reproducing").get == 0
    assert site.counts() == {"settled": 2, "ready": 8}


def test_other_outputs_take_the_place_of_those_that_nothing_has_read(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 1], outputs=A))
    lost(site, 0)
    site.results(results(id_, 0, [0], outputs=B))
    assert (surplus(site), settled_by(site, 0)) == ([(0, "superseded")], 2)
    site.results(results(id_, 1, [0, 1], inputs=[read_digest([B]), read_digest([A])]))
    assert site.counts(65) == {"settled": 2}


def test_other_outputs_are_shown_where_the_first_were_read(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0], outputs=A))
    site.results(results(id_, 1, [0], inputs=read_digest([A])))
    lost(site, 0)
    site.results(results(id_, 0, [0], outputs=B))
    assert (surplus(site), settled_by(site, 0)) == ([(0, "differs")], 1)
    assert site.conn.execute("SELECT count(*) FROM reproducing").get == 0


# Any story

row = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 0, 0, 1]), st.sampled_from([A, B]),
    st.lists(st.sampled_from([A, B]), min_size=2, max_size=2),
)  # fmt: skip
told = st.lists(
    st.one_of(
        st.lists(row, min_size=1, max_size=4).map(lambda rows: ("run", rows)),
        st.tuples(st.just("lost"), st.integers(0, 3)),
        st.tuples(st.just("renew"), st.integers(0, 3)),
    ),
    max_size=12,
)


def tell(site: Site, id_: bytes, stories: list[Any]) -> None:
    for nonce, (kind, what) in enumerate(stories):
        if kind == "lost":
            site.log.control(Reproduce(site.log.shard, DatasetID(id_), [0, 1], [what, what + 1]))
            continue
        if kind == "renew":
            site.log.order(id_, "renew", nonce, select={"jobs": [what, what + 1]})
            continue
        records = []
        for task, job, outcome, made, read in what:
            inputs = read_digest(read) if task == 2 and not outcome else b""
            outputs = b"" if outcome else made
            records.append(results(id_, task, [job], outcome, outputs=outputs, inputs=inputs))
        site.log.results(*records)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(told)
def test_settled_units_read_what_is_settled_and_counters_stay_right(stories: list[Any]) -> None:
    site = Site()
    id_ = site.submit(tasks=JOIN, jobs=4, retry_max=9)
    tell(site, id_, stories)
    site.fold()
    made = {task: outputs_of(site, id_, task) for task in range(3)}
    for job, (_, read) in made[2].items():
        if job in made[0] and job in made[1] and not read_in_place_of(site, job):
            assert read == read_digest([made[0][job][0], made[1][job][0]])
    before = [counts(site.conn, 64 + index) for index in range(3)]
    keeping.recount(site.conn, [64, 65, 66])
    after = [counts(site.conn, 64 + index) for index in range(3)]
    assert [some(each) for each in before] == [some(each) for each in after]
    again = database()
    fold_into(again, sorted(site.log.entries, key=lambda entry: -entry.header.lane))
    assert digest(again) == digest(site.conn)


def outputs_of(site: Site, id_: bytes, index: int) -> dict[int, tuple[bytes, bytes]]:
    """(outputs, inputs) of the attempts that settled a task's units, straight from the entries."""
    found = Made().of(site.conn, id_, 64 + index, range(4))
    return {job: (success.outputs, success.inputs) for job, success in found.items()}


def read_in_place_of(site: Site, job: int) -> bool:
    """Whether outputs that were read differ from those that were made again."""
    sql = "SELECT 1 FROM surplus WHERE job = ? AND why = 'differs'"
    return bool(site.conn.execute(sql, (job,)).fetchall())
