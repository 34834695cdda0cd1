"""Which units an owner gives back, and what of them dispatch still has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.shapes import Workers
from node.claims.picking import Back, all_unbegun, for_another, last_of, misfits
from node.claims.stock import StockTaking
from node.model.dataset import Needs
from node.model.share import Shares
from node.ranges import JobRanges, ranges_of
from node.ready import Ready
from node.unitstate import DatasetFacts, TaskFacts, Wait

JOBS = 100
BIG = Needs(memory_bytes=64 << 30)
SMALL_WORKERS = [Workers(8, 0, 16_000, 10**6, 0, 1, 8)]


def ready(*after: Sequence[int], needs: Sequence[Needs] = (), owned: int = JOBS) -> Ready:
    """A dataset whose tasks wait for those named, owned here up to a job."""
    made = Ready(Shares())
    tasks = tuple(
        TaskFacts(
            64 + index,
            index,
            needs[index] if needs else Needs(),
            tuple(Wait(64 + parent) for parent in parents),
            owned=[0, owned],
        )
        for index, parents in enumerate(after)
    )
    made.load(DatasetFacts(1, b"p", "g", 50, 1, JOBS, False, tasks))
    return made


def test_the_highest_jobs_that_are_not_begun_are_given_back() -> None:
    site = ready(())
    site.lease(site.tasks[64], [90, 100])
    assert for_another(site.datasets[1], 0, [0], 20) == [Back(1, [0], [70, 90])]


def test_no_more_is_given_back_than_waits() -> None:
    site = ready(())
    site.lease(site.tasks[64], [5, 100])
    assert for_another(site.datasets[1], 0, [0], 20) == [Back(1, [0], [0, 5])]


def test_tasks_of_the_same_jobs_that_wait_come_along() -> None:
    site = ready((), (0,), (1,))
    assert for_another(site.datasets[1], 0, [0, 1, 2], 10) == [Back(1, [0, 1, 2], [90, 100])]
    assert for_another(site.datasets[1], 0, [0, 2], 10) == [Back(1, [0, 2], [90, 100])]


def test_what_waits_for_the_given_task_only_comes_along() -> None:
    site = ready((), (), (1,))
    assert for_another(site.datasets[1], 0, [0, 1, 2], 10) == [Back(1, [0], [90, 100])]


def test_a_task_that_is_not_there_gives_nothing() -> None:
    assert for_another(ready(()).datasets[1], 5, [5], 10) == []


def test_a_drained_site_keeps_only_what_is_out() -> None:
    site = ready((), (0,))
    site.lease(site.tasks[64], [0, 4])
    site.succeed(site.tasks[64], [0, 2])
    site.lease(site.tasks[65], [0, 1])
    assert all_unbegun(site.datasets[1]) == [Back(1, [0], [4, 100]), Back(1, [1], [1, 100])]


def test_units_that_fit_no_worker_are_misfits() -> None:
    site = ready((), (), needs=[Needs(), BIG])
    assert misfits(site.datasets[1], SMALL_WORKERS) == [Back(1, [1], [0, 100])]


@given(st.sets(st.integers(0, 60)), st.integers(0, 70))
def test_the_last_jobs_are_the_largest_of_all(jobs: set[int], most: int) -> None:
    found = JobRanges(last_of(ranges_of(jobs), most))
    assert list(found.jobs()) == sorted(jobs)[max(0, len(jobs) - most) :]


# Stock


@pytest.fixture
def site() -> Ready:
    return ready((), (0,))


def stock(site: Ready) -> tuple[int, int]:
    taking = StockTaking(site, lambda no: (b"d" * 32, b"l" * 32))  # type: ignore[arg-type, return-value]
    stocks = taking.stocks()
    return sum(each.held for each in stocks), sum(each.begun for each in stocks)


def test_units_that_wait_for_own_ones_count_as_held(site: Ready) -> None:
    assert stock(site) == (2 * JOBS, 0)


def test_units_that_wait_for_others_do_not_count() -> None:
    site = ready((), (0,), owned=0)
    site.grant([65], [0, 50])
    assert stock(site) == (0, 0)
    site.settle(site.tasks[64], [0, 10])
    assert stock(site) == (10, 0)


def test_what_is_out_has_begun_and_what_is_done_is_gone(site: Ready) -> None:
    site.lease(site.tasks[64], [0, 10])
    assert stock(site) == (2 * JOBS - 10, 10)
    site.succeed(site.tasks[64], [0, 10])
    assert stock(site) == (2 * JOBS - 10, 0)


def test_a_paused_dataset_is_no_stock(site: Ready) -> None:
    site.datasets[1].paused = True
    assert stock(site) == (0, 0)


def test_a_dataset_that_nobody_leads_is_no_stock(site: Ready) -> None:
    assert StockTaking(site, lambda no: None).stocks() == []
