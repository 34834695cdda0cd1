"""Counts of a dataset, with what runs at other sites."""

from __future__ import annotations

from collections.abc import Mapping

from node.services.counting import Counting, elsewhere_of
from node.store.tasks import Counts, TaskCounts
from tests.unit.federation.test_beacon import USUAL

HERE, DESY = b"h" * 32, b"d" * 32
DATASET = b"dataset1" + bytes(24)


class Work:
    def running(self, task: int) -> int:
        return 2 if task == 64 else 0


def counting(elsewhere: Mapping[bytes, int]) -> Counting:
    return Counting(HERE, Work(), lambda dataset: elsewhere if dataset == DATASET else {})


def task(no: int, *, ready: int, waiting: int = 0) -> TaskCounts:
    counts = Counts(units=ready + waiting, ready=ready)
    return TaskCounts(no, no - 64, f"t{no}", counts, *[0] * 14, overrides={})


def test_units_that_others_run_are_no_longer_ready() -> None:
    found = counting({DESY: 3}).total(DATASET, [task(64, ready=10)])
    assert (found["running"], found["ready"]) == (5, 5)
    (alone,) = counting({DESY: 3}).tasks(DATASET, [task(64, ready=10)])
    assert (alone["running"], alone["ready"]) == (5, 5)


def test_no_more_run_than_there_are() -> None:
    found = counting({DESY: 30}).total(DATASET, [task(64, ready=10)])
    assert (found["running"], found["ready"]) == (10, 0)


def test_what_could_be_of_two_tasks_is_told_of_neither() -> None:
    counted = [task(64, ready=10), task(65, ready=4)]
    assert [each["running"] for each in counting({DESY: 3}).tasks(DATASET, counted)] == [2, 0]
    assert counting({DESY: 3}).total(DATASET, counted)["running"] == 5


def test_each_site_has_its_own() -> None:
    found = counting({DESY: 3}).by_site(DATASET, [task(64, ready=10)])
    assert found == {HERE: 2, DESY: 3}


def test_beacons_tell_what_runs_at_other_sites() -> None:
    told = elsewhere_of(lambda: [USUAL], HERE)
    (units,) = [each.units for each in USUAL.running if each.dataset == b"dataset1"]
    assert told(DATASET) == {USUAL.site: units}
    assert told(bytes(32)) == {}
    assert elsewhere_of(lambda: [USUAL], USUAL.site)(DATASET) == {}
