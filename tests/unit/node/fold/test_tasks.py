"""The questions that people ask, answered from folded tables."""

from __future__ import annotations

import pytest

from federation.records import Outcome
from node.store import results as attempts
from node.store import tasks
from tests.unit.node.fold.test_fold import CHAIN, Site
from tests.unit.node.fold.world import (
    ANA,
    BEN,
    INFRASTRUCTURE,
    PAYLOAD,
    RESOURCES,
    document,
    results,
)


@pytest.fixture
def site() -> Site:
    return Site()


def enrol(site: Site, key: bytes, name: str) -> None:
    site.conn.execute("INSERT OR IGNORE INTO site (no, key, name) VALUES (1, ?, 'desy')", (b"x",))
    sql = "INSERT INTO person VALUES (1, ?, ?, '[\"physics\"]', '[\"admin\"]', 1)"
    site.conn.execute(sql, (key, name))


def test_counts_add_up_to_the_units(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    site.results(results(id_, 0, [0, 1]), results(id_, 0, [2], PAYLOAD))
    shown = tasks.counts(site.conn, 1).shown(running=1)
    assert shown == {
        "units": 30, "settled": 2, "running": 1, "ready": 8, "waiting": 16, "failed": 1,
        "blocked": 2, "cancelled": 0, "duplicates": 0,
    }  # fmt: skip
    assert sum(shown[name] for name in shown if name not in ("units", "duplicates")) == 30
    rows = tasks.task_counts(site.conn, 1)
    assert [(row.name, row.counts.waiting, row.payload) for row in rows] == [
        ("gen", 0, 1), ("sim", 7, 0), ("reco", 9, 0),
    ]  # fmt: skip


def test_states_of_a_dataset(site: Site) -> None:
    id_ = site.submit(jobs=2, retry_max=0)
    states = [tasks.dataset(site.conn, 1).state]
    site.results(results(id_, 0, [0]), results(id_, 0, [1], PAYLOAD))
    states.append(tasks.dataset(site.conn, 1).state)
    site.log.order(id_, "retry")
    site.log.order(id_, "pause")
    site.fold()
    states.append(tasks.dataset(site.conn, 1).state)
    site.results(results(id_, 0, [1]))
    states.append(tasks.dataset(site.conn, 1).state)
    assert states == ["open", "stuck", "paused", "settled"]


def test_find_by_name_prefix_label_and_last(site: Site) -> None:
    enrol(site, ANA, "ana")
    enrol(site, BEN, "ben")
    one = site.submit("one")
    site.log.submit(document("one", jobs=3), BEN)
    site.log.submit(document("one", jobs=4), BEN)
    site.log.submit(document("two", jobs=3), BEN)
    site.fold()
    assert tasks.find(site.conn, "last", ANA).no == 1
    assert tasks.find(site.conn, "last").no == 4
    assert tasks.find(site.conn, "one", ANA).no == 1
    assert tasks.find(site.conn, "one", BEN).no == 3
    assert tasks.find(site.conn, "two", ANA).no == 4
    assert tasks.find(site.conn, one.hex()[:6]).user == "ana"
    assert tasks.find(site.conn, "ben@desy:one", ANA).no == 3
    assert tasks.find(site.conn, "ana:one", BEN).no == 1
    with pytest.raises(tasks.Ambiguous) as several:
        tasks.find(site.conn, "one")
    assert several.value.choices == ("ana@desy:one", "ben@desy:one")
    for wrong in ("three", one.hex()[:5], "ana@cern:one", "dead00"):
        with pytest.raises(tasks.NotFound):
            tasks.find(site.conn, wrong)


def test_datasets_are_listed_newest_first_in_pages(site: Site) -> None:
    for name in "abcd":
        site.submit(name)
    page = tasks.datasets(site.conn, limit=2)
    assert [row.name for row in page] == ["d", "c"]
    assert [row.name for row in tasks.datasets(site.conn, before=page[-1].no)] == ["b", "a"]
    assert tasks.datasets(site.conn, person=BEN) == []


def test_a_unit_tells_all_its_attempts_in_the_order_of_the_log(site: Site) -> None:
    id_ = site.submit()
    lost = results(id_, 0, [7, 8], INFRASTRUCTURE, "a1", "pilot-lost")
    failed = results(id_, 0, [8], PAYLOAD, "b1", "exit", exit=3)
    object.__setattr__(failed, "tails", [[0, "no such file"]])
    site.results(lost, failed)
    good = results(id_, 0, [6, 8], host="c1", cpu_ms=[1, 2], outputs=[b"", b"o" * 32])
    site.results(good)
    site.results(results(id_, 0, [8], host="d1"))
    unit = attempts.unit(site.conn, 64, 8)
    assert unit.state == "settled"
    assert [
        (a.number, a.host, a.outcome, a.error, a.exit, a.accepted, a.duplicate)
        for a in unit.attempts
    ] == [
        (1, "a1", Outcome.INFRASTRUCTURE, "pilot-lost", 0, False, False),
        (2, "b1", Outcome.PAYLOAD, "exit", 3, False, False),
        (3, "c1", Outcome.SUCCESS, "", 0, True, False),
        (4, "d1", Outcome.SUCCESS, "", 0, False, True),
    ]
    assert unit.attempts[1].tail == "no such file"
    assert unit.attempts[2].cpu_ms == 2
    assert attempts.outputs_of(site.conn, 64, 8) == b"o" * 32
    assert attempts.outputs_of(site.conn, 64, 6) == b""
    assert attempts.outputs_of(site.conn, 64, 5) is None


def test_a_fault_and_a_success_in_one_entry_are_told_apart(site: Site) -> None:
    id_ = site.submit()
    site.results(
        results(id_, 0, [3], PAYLOAD, "a1"), results(id_, 0, [2, 3, 3], host="b1", exit=[0, 1, 2])
    )
    told = attempts.unit(site.conn, 64, 3).attempts
    assert [(a.host, a.exit, a.accepted) for a in told] == [
        ("a1", 0, False), ("b1", 1, True), ("b1", 2, False),
    ]  # fmt: skip


def test_unknown_units_are_not_found(site: Site) -> None:
    site.submit()
    for task, job in ((64, 10), (65, 0), (64, -1)):
        with pytest.raises(tasks.NotFound):
            attempts.unit(site.conn, task, job)


def test_units_are_listed_by_state_in_pages(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, jobs=5000, retry_max=0)
    site.results(results(id_, 0, [0, 1]), results(id_, 0, [2, 4000, 4999], PAYLOAD))
    failed = attempts.units(site.conn, 1, state="failed")
    assert [(ref.job, ref.index) for ref in failed] == [(2, 0), (4000, 0), (4999, 0)]
    blocked = attempts.units(site.conn, 1, state="blocked", limit=3)
    assert [(ref.job, ref.index) for ref in blocked] == [(2, 1), (2, 2), (4000, 1)]
    rest = attempts.units(site.conn, 1, state="blocked", after=(4000, 1))
    assert [(ref.job, ref.index) for ref in rest] == [(4000, 2), (4999, 1), (4999, 2)]
    assert [
        (ref.job, ref.index, ref.state) for ref in attempts.units(site.conn, 1, jobs=[1, 3])
    ] == [
        (1, 0, "settled"), (1, 1, "ready"), (1, 2, "waiting"),
        (2, 0, "failed"), (2, 1, "blocked"), (2, 2, "blocked"),
    ]  # fmt: skip
    assert len(attempts.units(site.conn, 1, state="waiting", task=2, limit=5000)) == 4997


def test_pages_of_units_are_complete_and_without_repeats(site: Site) -> None:
    site.submit(tasks=CHAIN, jobs=100)
    listed: list[attempts.UnitRef] = []
    after = None
    while page := attempts.units(site.conn, 1, limit=7, after=after):
        listed += page
        after = (page[-1].job, page[-1].index)
    assert [(ref.job, ref.index) for ref in listed] == [
        (j, i) for j in range(100) for i in range(3)
    ]


def test_outputs_are_listed_in_pages(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    digests = [bytes([job]) * 32 for job in range(5)]
    site.results(results(id_, 0, range(5), outputs=digests), results(id_, 1, [3]))
    first = attempts.outputs(site.conn, 1, limit=3)
    assert [(row.index, row.job, row.outputs) for row in first] == [
        (0, job, digests[job]) for job in range(3)
    ]
    rest = attempts.outputs(site.conn, 1, after=(0, 2))
    assert [(row.index, row.job) for row in rest] == [(0, 3), (0, 4), (1, 3)]
    assert [row.job for row in attempts.outputs(site.conn, 1, task=0, jobs=[1, 2, 4, 9])] == [1, 4]


def test_errors_are_grouped_with_samples(site: Site) -> None:
    id_ = site.submit(retry_max=0)
    site.results(results(id_, 0, [1, 2], PAYLOAD, "a1", "exit", exit=3))
    site.results(results(id_, 0, [3], RESOURCES, "b1", "memory"))
    groups = attempts.errors(site.conn, 1)
    assert [(g.task, g.error, g.exit, g.count, g.failed, g.samples) for g in groups] == [
        ("main", "exit", 3, 2, 2, ((1, 1), (2, 1))),
        ("main", "memory", 0, 1, 0, ((3, 1),)),
    ]
    assert groups[1].hosts == ("b1",)


def test_usage_counts_half_after_a_week(site: Site) -> None:
    id_ = site.submit()
    day = 86_400_000
    site.results(results(id_, 0, [0], start_ms=10 * day, cpu_ms=4000))
    site.results(results(id_, 0, [1], start_ms=17 * day, cpu_ms=4000, gpu_ms=100))
    assert tasks.usage(site.conn, 17) == {(bytes(ANA), "physics"): pytest.approx(2 + 4 + 1)}
    assert tasks.usage(site.conn, 3) == {(bytes(ANA), "physics"): pytest.approx(9)}
    assert tasks.usage(site.conn, 17 + 7 * 19) != {}
    assert tasks.usage(site.conn, 17 + 7 * 21) == {}


def test_order_heads_are_what_nobody_follows(site: Site) -> None:
    id_ = site.submit()
    site.log.order(id_, "pause")
    site.log.order(id_, "resume", 1)
    site.fold()
    known = tasks.orders(site.conn, 1)
    assert [order.verb for order in known] == ["pause", "resume"]
    assert tasks.order_heads(site.conn, 1) == [order.id for order in known]
    site.conn.execute("UPDATE command SET follows = ? WHERE verb = 'resume'", (known[0].id,))
    assert tasks.order_heads(site.conn, 1) == [known[1].id]
    assert tasks.seen(site.conn, known[0].id)
    assert not tasks.seen(site.conn, bytes(32))


def test_settled_and_open_ranges(site: Site) -> None:
    id_ = site.submit(jobs=200_000, retry_max=0)
    site.results(results(id_, 0, [*range(5), *range(100_000, 104_000), 199_999]))
    site.results(results(id_, 0, [7], PAYLOAD))
    site.log.order(id_, "cancel", select={"jobs": [8, 10]})
    site.fold()
    settled = [0, 5, 100_000, 104_000, 199_999, 200_000]
    assert tasks.settled_ranges(site.conn, 64) == settled
    open_ = [5, 7, 10, 100_000, 104_000, 199_999]
    assert tasks.open_ranges(site.conn, 64) == open_
    assert tasks.granted(site.conn, site.log.site) == {64: [0, 200_000]}
    assert tasks.sites(site.conn, 1) == [(site.log.site, "", 200_000)]


def test_what_failed_attempts_used_is_known_though_nothing_settled(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    assert attempts.failed_memory_kib(site.conn, 64) == 0
    site.results(
        results(id_, 0, [0, 1], [Outcome.SUCCESS, PAYLOAD], memory_kib=[9000, 1700]),
        results(id_, 0, [2], PAYLOAD, memory_kib=1600),
    )
    assert attempts.failed_memory_kib(site.conn, 64) == 1700
    assert attempts.failed_memory_kib(site.conn, 65) == 0


def test_a_success_that_came_after_a_cancel_says_so(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.log.order(id_, "cancel", select={"jobs": [1, 2]})
    site.results(results(id_, 0, [0, 1]), results(id_, 0, [0]))
    assert [each.surplus for each in attempts.attempts(site.conn, 64, 1)] == ["cancelled"]
    assert [each.surplus for each in attempts.attempts(site.conn, 64, 0)] == ["", "duplicate"]
