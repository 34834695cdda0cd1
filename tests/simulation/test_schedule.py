"""Schedules come from their seed alone, and shrink to what a failure needs."""

from __future__ import annotations

from tests.simulation.schedule import FAULTS, PEOPLE, draw, shrink


def test_a_seed_draws_one_schedule():
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_schedule_begins_with_a_submission_and_goes_on_in_order_of_time():
    schedule = draw(1, 50)
    assert schedule[0].kind == "submit"
    assert [event.at_s for event in schedule] == sorted(event.at_s for event in schedule)
    assert len(schedule) == 50


def test_every_kind_of_fault_comes():
    kinds = {event.kind for seed in range(20) for event in draw(seed)}
    assert kinds == {*PEOPLE, *FAULTS}


def test_only_the_faults_that_were_asked_for_come():
    kinds = {event.kind for event in draw(1, 200, {"power": 1, "full": 1})}
    assert kinds == {*PEOPLE, "power", "full"}


def test_a_failing_schedule_shrinks_to_the_events_that_it_needs():
    schedule = draw(1)
    needed = {schedule[7], schedule[40]}
    assert shrink(schedule, lambda part: needed <= set(part)) == (schedule[7], schedule[40])


def test_shrinking_ends_after_so_many_runs():
    runs = []

    def fails(part):
        runs.append(part)
        return len(part) > 10

    shrink(draw(1), fails, tries=5)
    assert len(runs) == 5
