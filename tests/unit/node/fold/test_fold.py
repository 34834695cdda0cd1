"""What single records do to the tables."""

from __future__ import annotations

import apsw
import pytest

from federation.ids import DatasetID
from federation.records import Grant
from federation.records import Site as Named
from node.changes import (
    DatasetAdded,
    ResultsRefused,
    UnitsFailed,
    UnitsFaulted,
    UnitsGranted,
    UnitsSettled,
)
from node.fold import state_root
from tests.unit.node.fold.world import (
    INFRASTRUCTURE,
    PAYLOAD,
    RESOURCES,
    SUCCESS,
    Log,
    counts,
    database,
    document,
    fold_into,
    results,
    some,
)

CHAIN = (("gen", ()), ("sim", (0,)), ("reco", (1,)))


class Site:
    """One site: what is written is folded at once."""

    def __init__(self) -> None:
        self.conn = database()
        self.log = Log.new()
        self.log.found()
        self._folded = 0
        self.fold()

    def fold(self):
        new = self.log.entries[self._folded :]
        self._folded = len(self.log.entries)
        return fold_into(self.conn, new)

    def submit(self, name="d", grant=True, **how):
        id_ = self.log.submit(document(name, **how))
        if grant:
            tasks = how.get("tasks", (("main", ()),))
            self.log.grant(id_, range(len(tasks)), [0, how.get("jobs", 10)])
        self.fold()
        return id_

    def results(self, *records):
        self.log.results(*records)
        return self.fold()

    def counts(self, task=64):
        return some(counts(self.conn, task))

    def refused(self):
        return [why for (why,) in self.conn.execute("SELECT why FROM refused")]


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_submission_makes_one_row_and_one_a_task(site: Site) -> None:
    site.log.submit(document("d", CHAIN, jobs=1_000_000))
    assert site.fold() == [DatasetAdded(1)]
    assert site.counts(64) == {"ready": 1_000_000}
    assert site.counts(65) == {}
    assert site.conn.execute("SELECT count(*) FROM task").get == 3
    assert site.conn.execute("SELECT count(*) FROM settled").get == 0


def test_successes_make_the_next_task_ready(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    assert site.results(results(id_, 0, [0, 1, 2])) == [UnitsSettled(64, [0, 1, 2])]
    assert site.counts(64) == {"settled": 3, "ready": 7}
    assert site.counts(65) == {"ready": 3}
    site.results(results(id_, 1, [1]), results(id_, 2, [1]))
    assert site.counts(65) == {"settled": 1, "ready": 2}
    assert site.counts(66) == {"settled": 1}


def test_first_success_wins_and_later_ones_are_duplicates_with_their_cost(site: Site) -> None:
    id_ = site.submit()
    site.results(results(id_, 0, [0, 1]))
    assert site.results(results(id_, 0, [1, 2])) == [UnitsSettled(64, [2])]
    assert site.counts() == {"settled": 3, "ready": 7, "duplicates": 1}
    row = site.conn.execute("SELECT cpu_ms, duplicate_cpu_ms, duplicate_wall_ms FROM task").get
    assert row == (30, 10, 20)
    entries = site.conn.execute("SELECT job, entry FROM settled ORDER BY job").fetchall()
    assert entries[0][1] == entries[1][1] != entries[2][1]


def test_a_job_twice_in_one_record_settles_once(site: Site) -> None:
    id_ = site.submit()
    assert site.results(results(id_, 0, [4, 4])) == [UnitsSettled(64, [4])]
    assert site.counts() == {"settled": 1, "ready": 9, "duplicates": 1}


def test_too_many_payload_failures_fail_a_unit_and_block_what_is_behind(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=1)
    one = results(id_, 0, [3], PAYLOAD, error="exit", exit=3)
    assert site.results(one) == [UnitsFaulted(64, (3,), (PAYLOAD,))]
    assert site.counts() == {"ready": 10}
    assert site.results(one) == [UnitsFaulted(64, (3,), (PAYLOAD,)), UnitsFailed(64, [3])]
    assert site.counts() == {"ready": 9, "failed": 1}
    assert site.counts(65) == {"blocked": 1}
    assert site.counts(66) == {"blocked": 1}


def test_an_exit_that_no_retry_mends_fails_a_unit_at_once(site: Site) -> None:
    id_ = site.submit(retry_max=5)
    told = site.results(results(id_, 0, [3], PAYLOAD, error="exit-final", exit=3))
    assert told == [UnitsFaulted(64, (3,), (PAYLOAD,)), UnitsFailed(64, [3])]
    site.results(results(id_, 0, [4], PAYLOAD, error="exit", exit=3))
    assert site.counts() == {"ready": 9, "failed": 1}


def test_a_later_success_revises_failed_and_blocked(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    site.results(results(id_, 0, [3], PAYLOAD))
    assert site.results(results(id_, 0, [2, 3])) == [UnitsSettled(64, [2, 3])]
    assert site.counts() == {"ready": 8, "settled": 2}
    assert site.counts(65) == {"ready": 2}
    assert site.counts(66) == {}


def test_retry_makes_failed_units_ready_and_forgives_only_what_precedes_it(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    site.results(results(id_, 0, [3, 4], PAYLOAD))
    site.log.order(id_, "retry", select={"jobs": [4, 5]})
    site.fold()
    assert site.counts() == {"ready": 9, "failed": 1}
    assert site.counts(66) == {"blocked": 1}
    site.results(results(id_, 0, [4], PAYLOAD))
    assert site.counts() == {"ready": 8, "failed": 2}


def test_infrastructure_losses_cost_nothing_until_the_unit_is_poison(site: Site) -> None:
    id_ = site.submit(retry_max=0)
    for host in "abcd":
        site.results(results(id_, 0, [0], INFRASTRUCTURE, host, "pilot-lost"))
    assert site.counts() == {"ready": 10}
    told = site.results(results(id_, 0, [0], INFRASTRUCTURE, "e", "pilot-lost"))
    assert told == [UnitsFaulted(64, (0,), (PAYLOAD,)), UnitsFailed(64, [0])]
    assert site.counts() == {"ready": 9, "failed": 1}
    errors = [error for (error,) in site.conn.execute("SELECT error FROM fault")]
    assert sorted(errors) == ["pilot-lost"] * 4 + ["poison"]


def test_inputs_that_are_out_of_reach_never_make_a_unit_poison(site: Site) -> None:
    id_ = site.submit(retry_max=0)
    for number in range(12):
        site.results(results(id_, 0, [0], INFRASTRUCTURE, f"h{number}", "input-fetch"))
    assert site.counts() == {"ready": 10}


def test_one_host_alone_needs_ten_losses(site: Site) -> None:
    id_ = site.submit(retry_max=0)
    for _ in range(9):
        site.results(results(id_, 0, [0], INFRASTRUCTURE, "a"))
    assert site.counts() == {"ready": 10}
    site.results(results(id_, 0, [0], INFRASTRUCTURE, "a"))
    assert site.counts() == {"ready": 9, "failed": 1}


def test_resources_failures_count_after_three_boosts(site: Site) -> None:
    id_ = site.submit(retry_max=0)
    for _ in range(3):
        told = site.results(results(id_, 0, [0], RESOURCES, error="memory"))
        assert told == [UnitsFaulted(64, (0,), (RESOURCES,))]
    told = site.results(results(id_, 0, [0], RESOURCES, error="memory"))
    assert told[0] == UnitsFaulted(64, (0,), (PAYLOAD,))
    assert site.counts() == {"ready": 9, "failed": 1}


def test_mixed_outcomes_in_one_record(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    told = site.results(results(id_, 0, [0, 1, 2, 3], [SUCCESS, PAYLOAD, SUCCESS, INFRASTRUCTURE]))
    assert told == [
        UnitsSettled(64, [0, 2]),
        UnitsFaulted(64, (1, 3), (PAYLOAD, INFRASTRUCTURE)),
        UnitsFailed(64, [1]),
    ]
    assert site.counts() == {"settled": 2, "failed": 1, "ready": 7}
    assert site.counts(65) == {"ready": 2, "blocked": 1}


def test_a_success_after_a_cancel_is_kept_and_does_not_count(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.results(results(id_, 0, [0, 1]))
    site.log.order(id_, "cancel", select={"tasks": ["gen"], "jobs": [1, 4]})
    site.fold()
    assert site.counts() == {"settled": 2, "cancelled": 2, "ready": 6}
    assert site.counts(65) == {"ready": 2, "blocked": 2}
    assert site.results(results(id_, 0, [2, 5])) == [UnitsSettled(64, [5])]
    assert site.counts() == {"settled": 3, "cancelled": 2, "ready": 5}
    assert site.conn.execute("SELECT job, why FROM surplus").fetchall() == [(2, "cancelled")]


def test_cancel_of_everything_leaves_nothing_that_can_move(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, retry_max=0)
    site.results(results(id_, 0, [0]), results(id_, 0, [5], PAYLOAD))
    site.log.order(id_, "cancel")
    site.fold()
    assert site.counts() == {"settled": 1, "cancelled": 9}
    assert site.counts(65) == {"cancelled": 10}
    assert site.counts(66) == {"cancelled": 10}


def test_extend_appends_jobs(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN, cells=2)
    site.results(results(id_, 0, range(10)))
    site.log.order(id_, "extend", jobs=3)
    site.fold()
    assert site.counts() == {"settled": 10, "ready": 6}
    assert site.counts(65) == {"ready": 10}
    assert site.conn.execute("SELECT jobs FROM task WHERE no = 66").get == 16


def test_pause_resume_and_edit(site: Site) -> None:
    id_ = site.submit(tasks=CHAIN)
    site.log.order(id_, "pause")
    site.log.order(id_, "edit", needs={"sim": {"memory": "4GB", "cpu": 2}}, priority=70)
    site.log.order(id_, "edit", needs={"sim": {"memory": "8GB"}})
    site.fold()
    assert site.conn.execute("SELECT paused, priority FROM dataset").get == (1, 70)
    needs = site.conn.execute("SELECT needs FROM task WHERE no = 65").get
    assert needs == '{"cpu":2,"memory":"8GB"}'
    site.log.order(id_, "resume")
    site.fold()
    assert site.conn.execute("SELECT paused FROM dataset").get == 0


def test_an_order_counts_once(site: Site) -> None:
    id_ = site.submit()
    site.log.order(id_, "extend", jobs=1)
    site.log.order(id_, "extend", jobs=1)
    site.fold()
    assert site.counts() == {"ready": 11}
    assert site.refused() == ["the order was taken before"]


def test_orders_about_unknown_tasks_change_nothing(site: Site) -> None:
    id_ = site.submit()
    root = state_root(site.conn)
    site.log.order(id_, "cancel", select={"tasks": ["nope"]})
    site.fold()
    assert site.counts() == {"ready": 10}
    assert site.refused() == ["the dataset has no task 'nope'"]
    assert state_root(site.conn) != root  # its place in the log is taken


def test_results_count_only_for_units_that_the_site_was_granted(site: Site) -> None:
    id_ = site.submit(grant=False)
    site.log.grant(id_, [0], [0, 3, 5, 8])
    assert UnitsGranted(1, [64], [0, 3, 5, 8], site.log.site) in site.fold()
    site.results(results(id_, 0, [2, 3]))
    assert site.counts() == {"ready": 10}
    site.results(results(id_, 0, [2, 5]))
    assert site.counts() == {"settled": 2, "ready": 8}


def test_results_that_were_granted_later_do_not_count(site: Site) -> None:
    id_ = site.submit(grant=False)
    site.log.results(results(id_, 0, [2]))
    site.log.grant(id_, [0], [0, 10])
    assert ResultsRefused(1, site.log.site) in site.fold()
    assert site.counts() == {"ready": 10}


def test_results_wait_for_their_accept(site: Site) -> None:
    id_ = site.submit()
    site.log.results(results(id_, 0, [0]), accept=False)
    assert site.fold() == []
    assert site.counts() == {"ready": 10}
    site.log.results(results(id_, 0, [1]))
    assert site.fold() == [UnitsSettled(64, [0]), UnitsSettled(64, [1])]


def test_other_datasets_units_wait_job_by_job(site: Site) -> None:
    one = site.submit("one")
    two = site.submit("two", tasks=(("main", ((one, 0, 0),)),), jobs=4)
    assert site.counts(128) == {}
    site.results(results(one, 0, [1, 3, 7]))
    assert site.counts(128) == {"ready": 2}
    site.results(results(two, 0, [3]))
    assert site.counts(128) == {"ready": 1, "settled": 1}


def test_a_gate_opens_when_all_jobs_are_settled(site: Site) -> None:
    one = site.submit("one", jobs=3)
    two = site.submit("two", tasks=(("merge", ((one, 0, 3),)), ("plot", (0,))), jobs=1)
    site.results(results(one, 0, [0, 1]))
    assert site.counts(128) == {}
    site.results(results(one, 0, [2]))
    assert site.counts(128) == {"ready": 1}
    site.results(results(two, 0, [0]))
    assert site.counts(129) == {"ready": 1}


def test_a_gate_counts_the_jobs_that_were_there_at_submission(site: Site) -> None:
    one = site.submit("one", jobs=2)
    site.submit("two", tasks=(("merge", ((one, 0, 2),)),), jobs=1)
    site.log.order(one, "extend", jobs=2)
    site.log.grant(one, [0], [2, 4])
    site.results(results(one, 0, [3, 2, 0]))
    assert site.counts(128) == {}
    site.results(results(one, 0, [1]))
    assert site.counts(128) == {"ready": 1}


def test_a_failed_unit_blocks_what_waits_for_all(site: Site) -> None:
    one = site.submit("one", jobs=3, retry_max=0)
    site.submit("two", tasks=(("merge", ((one, 0, 3),)), ("plot", (0,))), jobs=1)
    site.results(results(one, 0, [1], PAYLOAD))
    assert site.counts(128) == site.counts(129) == {"blocked": 1}
    site.log.order(one, "retry")
    site.fold()
    assert site.counts(128) == site.counts(129) == {}


def test_a_dataset_that_comes_after_its_source_ran_is_ready_at_once(site: Site) -> None:
    one = site.submit("one", jobs=3)
    site.results(results(one, 0, [0, 1, 2]))
    waits = (("merge", ((one, 0, 3),)), ("each", ((one, 0, 0),)))
    site.submit("two", tasks=waits, jobs=5)
    assert site.counts(128) == {"ready": 5}
    assert site.counts(129) == {"ready": 3}


def test_usage_is_booked_by_day_and_spares_losses_and_duplicates(site: Site) -> None:
    id_ = site.submit()
    day = 86_400_000
    late = results(id_, 0, [0, 1], start_ms=2 * day - 5, offset_ms=[0, 10], cpu_ms=[7, 9])
    site.results(late, results(id_, 0, [2, 3], [PAYLOAD, INFRASTRUCTURE], start_ms=2 * day))
    site.results(results(id_, 0, [0], start_ms=2 * day))
    usage = site.conn.execute("SELECT day, cpu_us FROM usage ORDER BY day").fetchall()
    assert usage == [(1, 7000), (2, 9000 + 10_000)]


def test_an_unforeseen_exception_sets_one_dataset_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = site.submit("one"), site.submit("two")

    def broken(*_: object) -> bool:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("node.fold.owners.ever_granted", broken)
        site.results(results(one, 0, [0]))
    site.results(results(one, 0, [1]), results(two, 0, [1]))
    assert site.counts(64) == {"ready": 10}
    assert site.counts(128) == {"settled": 1, "ready": 9}
    assert "a bug" in site.conn.execute("SELECT quarantined FROM dataset WHERE no = 1").get


def test_a_full_disk_is_nobodys_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = site.submit()

    def full(*_: object) -> bool:
        raise apsw.FullError("disk full")

    monkeypatch.setattr("node.fold.owners.ever_granted", full)
    with pytest.raises(apsw.FullError):
        site.results(results(id_, 0, [0]))
    assert site.conn.execute("SELECT quarantined FROM dataset").get is None


def test_a_log_that_cannot_be_folded_on_takes_nothing_else_of_an_entry_along(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the log stands still, and goes on where it stands once the fold can."""
    id_ = site.submit()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("node.fold.owners.remember", broken)
        grant = Grant(site.log.shard, DatasetID(id_), [0], [0, 5], site.log.site)
        site.log.control(Named("desy", "1"), grant)
        site.fold()
        site.log.control(Named("zeuthen", "1"))
        site.fold()
    assert site.conn.execute("SELECT name FROM site").fetchall() == [("zeuthen",)]
    (why,) = site.conn.execute("SELECT why FROM quarantine").fetchall()[0]
    assert "a bug" in why
    site.results(results(id_, 0, [0]))
    assert site.counts() == {"settled": 1, "ready": 9}
    assert site.refused() == []
