"""How many pilots, of which shape, and where: plans of made-up moments."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from node.dispatch import Room
from node.model.dataset import Needs
from node.provisioning.breaker import OPEN_S_MAX, OPEN_S_MIN, STRIKES_MAX, Breaker
from node.provisioning.demand import BINS_MAX
from node.provisioning.plan import (
    HEDGE_S,
    PATIENT_S,
    SURPLUS_S,
    Bin,
    Coming,
    Facts,
    SystemFacts,
    plan,
    waiting_words,
)
from node.provisioning.settings import Factory, SystemConfig
from node.provisioning.shapes import Shape, shape_for
from schedulers.base import JobName, Queue

GB = 10**9
SMALL = Needs(1, 0, GB, GB, 3600)
GPU = Needs(1, 1, 8 * GB, GB, 3600)
OPEN = SystemConfig("maui", "slurm", queued_max=100, running_max=1000, submit_max=50)
SHAPE = shape_for(Factory(), SMALL)


def system(settings: SystemConfig = OPEN, **how: object) -> SystemFacts:
    return replace(SystemFacts(settings, 0, 0), **how)  # type: ignore[arg-type]


def facts(*systems: SystemFacts, units: int = 10, **how: object) -> Facts:
    return replace(Facts([Bin(SMALL, units, 3600.0)], (), (), systems), **how)  # type: ignore[arg-type]


def test_each_ready_unit_gets_a_pilot_of_its_size():
    made = plan(facts(system()))
    order = made.submit["maui"]
    assert (order.count, order.shape.cpu, order.shape.time_s) == (10, 1, 7200)
    assert order.shape.room().memory_bytes >= GB


def test_what_is_idle_or_on_its_way_is_charged_first():
    idle = [Room(4, 0, 8 * GB, 8 * GB)]
    coming = [Coming(SHAPE, 0.0)] * 3
    made = plan(facts(system(coming=coming, queued=3), idle=idle))
    assert made.submit["maui"].count == 10 - 4 - 3


def test_short_units_share_a_pilot():
    made = plan(replace(facts(system()), bins=[Bin(SMALL, 1000, 1.0)]))
    assert made.submit["maui"].count == 4  # 300 each


HILO = replace(OPEN, name="hilo")


def waiting(age_s: float, *, count: int = 10, held: bool = False) -> dict[str, object]:
    """Pilots in a queue."""
    return {"coming": [Coming(SHAPE, age_s, held=held)] * count, "queued": count}


def test_pilots_that_have_just_been_submitted_count_everywhere() -> None:
    made = plan(facts(system(**waiting(PATIENT_S - 1)), system(HILO)))
    assert not made.submit


def test_pilots_that_wait_do_not_count_where_pilots_start_at_once() -> None:
    made = plan(facts(system(**waiting(PATIENT_S)), system(HILO)))
    assert made.submit["hilo"].count == 10
    assert "maui" not in made.submit


def test_pilots_that_wait_count_for_long_where_pilots_wait_as_well() -> None:
    slow = system(HILO, **waiting(PATIENT_S, count=1))
    assert not plan(facts(system(**waiting(HEDGE_S - 1)), slow, units=11)).submit
    made = plan(facts(system(**waiting(HEDGE_S)), slow, units=11))
    assert made.submit["hilo"].count == 10
    assert "maui" not in made.submit


def test_what_waits_for_gpus_says_nothing_of_pilots_without_them() -> None:
    gpus = replace(OPEN, name="hilo", factories=(Factory("cpu", gpu=0), Factory("gpu", 1, 1)))
    stuck = Coming(replace(SHAPE, factory="gpu", gpu=1, memory_bytes=GB // 2), PATIENT_S)
    busy = system(gpus, coming=[stuck], queued=1)
    made = plan(facts(system(**waiting(PATIENT_S)), busy))
    assert made.submit["hilo"].count == 10


@pytest.mark.parametrize("age_s", [1.0, PATIENT_S])
def test_pilots_of_one_that_is_to_have_none_do_not_count(age_s: float) -> None:
    left_out = system(replace(OPEN, queued_max=0, running_max=0), **waiting(age_s))
    slow = system(HILO, **waiting(PATIENT_S, count=1))
    made = plan(facts(left_out, slow, units=11))
    assert made.submit["hilo"].count == 10


def test_held_pilots_count_at_their_own_batch_system_only() -> None:
    made = plan(facts(system(**waiting(1, held=True)), system(HILO)))
    assert made.submit["hilo"].count == 10
    assert "maui" not in made.submit


def test_pilots_that_run_and_do_not_speak_count_no_longer_elsewhere() -> None:
    silent = system(coming=[Coming(SHAPE, PATIENT_S, queued=False)] * 10, running=10)
    made = plan(facts(silent, system(HILO)))
    assert made.submit["hilo"].count == 10
    assert "maui" not in made.submit


def test_a_shape_leaves_others_their_share_of_the_queue():
    tight = replace(OPEN, queued_max=10)
    coming = [Coming(SHAPE, 0.0)] * 5
    made = plan(
        replace(
            facts(system(tight, coming=coming, queued=5)),
            bins=[Bin(SMALL, 500, 3600.0), Bin(GPU, 500, 3600.0)],
        )
    )
    order = made.submit["maui"]
    assert (order.shape.gpu, order.count) == (1, 5)


def test_gpus_are_not_wasted_on_units_that_need_none():
    two = replace(OPEN, factories=(Factory("gpu", 8, 2, 64 * GB), Factory("cpu", 8, 0, 64 * GB)))
    assert plan(facts(system(two))).submit["maui"].factory.name == "cpu"


def test_the_shortest_class_of_walltime_that_holds_a_unit_is_asked_for():
    long = replace(SMALL, time_s=9 * 3600)
    made = plan(replace(facts(system()), bins=[Bin(long, 1, 3600.0)]))
    assert made.submit["maui"].shape.time_s == 24 * 3600


def test_what_no_queue_allows_is_explained_and_not_submitted():
    queue = Queue("short", time_s_max=1800, default=True)
    made = plan(facts(system(queues=[queue])))
    assert not made.submit
    assert "queue short allows 30 min" in made.why[SMALL]["maui"].replace("30m", "30 min")


def test_units_that_are_not_in_turn_yet_are_told_why():
    other = replace(SMALL, cpu=2)
    bins = [Bin(SMALL, 4, 3600.0), Bin(other, 4, 3600.0)]
    made = plan(replace(facts(system()), bins=bins))
    assert made.submit["maui"].shape == SHAPE
    assert SMALL not in made.why
    assert made.why[other]["maui"] == (
        f"other pilots are submitted first ({SHAPE.words()}), one kind in 30 s"
    )


def test_why_pilots_wait_is_told_while_the_next_submission_is_due():
    waits = {SHAPE: "job 7 is held: can't chdir"}
    made = plan(facts(system(barred="the next submission is due in 8 s", words=waits)))
    assert made.why[SMALL]["maui"] == (
        "the next submission is due in 8 s; job 7 is held: can't chdir"
    )


def test_two_sizes_in_one_sentence_are_in_one_kind_of_unit():
    large = replace(SMALL, memory_bytes=100 * GB)
    queue = Queue("long", memory_bytes_max=4_194_304_000, default=True)
    made = plan(replace(facts(system(queues=[queue])), bins=[Bin(large, 1, 3600.0)]))
    said = made.why[large]["maui"]
    assert said.startswith("queue long gives 4.2 GB of memory at most, not 1")
    assert "iB" not in said


def test_how_long_pilots_have_waited_is_told_as_people_say_it():
    coming = [Coming(SHAPE, 30.0), Coming(SHAPE, 3601.0), Coming(SHAPE, 9.0, held=True)]
    held = {SHAPE: "job 7 is held by its owner"}
    assert waiting_words(system(coming=coming, words=held), SMALL) == (
        "3 pilots wait in the queue, the first for 60 min, 1 of them held; "
        "job 7 is held by its owner"
    )
    alone = system(coming=coming[:1])
    assert waiting_words(alone, SMALL) == "1 pilot waits in the queue, for 30 s"


def test_what_is_said_of_pilots_of_another_kind_explains_nothing():
    """They are too small for these units, whatever becomes of them."""
    large = replace(SHAPE, cpu=8)
    words = {SHAPE: "job 7 is held by its owner", large: "job 8 waits: others come first"}
    coming = [Coming(SHAPE, 30.0, held=True), Coming(large, 30.0)]
    said = waiting_words(system(coming=coming, words=words), replace(SMALL, cpu=8))
    assert said == "1 pilot waits in the queue, for 30 s; job 8 waits: others come first"


def test_queued_pilots_go_when_they_have_had_no_work_for_a_while_but_for_the_minimum():
    kept = replace(OPEN, pilots_min=1, factories=(Factory(cpu=1, memory_bytes=2 * GB),))
    coming = [Coming(SHAPE, float(age), JobName(f"{age}")) for age in (10, 20, 30)]
    now = system(kept, coming=coming, queued=3, surplus_s={SHAPE: SURPLUS_S})
    assert plan(Facts([], (), (), [now])).cancel == {"maui": ["10", "20"]}
    young = replace(now, surplus_s={SHAPE: SURPLUS_S - 1})
    assert plan(Facts([], (), (), [young])).cancel == {}


def test_while_the_site_drains_units_that_wait_are_told_so_and_no_others():
    idle = [Room(4, 0, 8 * GB, 8 * GB)]
    both = [Bin(SMALL, 4, 3600.0), Bin(GPU, 1, 3600.0)]
    made = plan(Facts(both, idle, (), [system()], draining=True))
    assert made.submit == {}
    assert made.why == {GPU: {"maui": "this site is being drained"}}


def test_what_waits_beyond_the_limit_of_its_kind_goes_the_newest_first():
    few = Factory("few", queued_max=1, running_max=2)
    shape = shape_for(few, SMALL)
    waiting = [Coming(shape, age_s, JobName(f"{age_s:.0f}")) for age_s in (30.0, 10.0, 20.0)]
    both = replace(OPEN, factories=(Factory(), few))
    now = system(both, queued=3, coming=waiting, mine={"few": (3, 0)})
    assert plan(facts(now)).excess == {"maui": ["10", "20"]}
    now = replace(now, running=2, mine={"few": (3, 2)})
    assert plan(facts(now)).excess == {"maui": ["10", "20", "30"]}
    now = replace(now, mine={"few": (3, 0)}, settings=replace(both, factories=(Factory(),)))
    assert plan(facts(now)).excess == {}


def test_a_minimum_is_kept_with_nothing_to_do_and_not_while_the_site_drains():
    kept = replace(OPEN, pilots_min=3, factories=(Factory(cpu=1, memory_bytes=2 * GB),))
    assert plan(Facts([], (), (), [system(kept, running=1)])).submit["maui"].count == 2
    assert not plan(Facts([], (), (), [system(kept)], draining=True)).submit


def test_a_plan_over_ten_thousand_pilots_takes_less_than_a_second():
    shapes = [Shape("default", cpu, 0, cpu * GB, GB, 7200) for cpu in range(1, 101)]
    coming = [Coming(shape, 0.0, JobName("1")) for shape in shapes for _ in range(100)]
    bins = [Bin(Needs(cpu, 0, cpu * GB, GB, 3600), 10_000, 3600.0) for cpu in range(1, 201)]
    began_s = time.process_time()
    plan(Facts(bins, (), (), [system(coming=coming, queued=10_000)]))
    assert time.process_time() - began_s < 1.0


def test_a_breaker_opens_for_longer_each_time_and_a_bunch_counts_once():
    breaker, now_s = Breaker(), 0.0
    for number in range(STRIKES_MAX + 50):
        breaker.failed(now_s, "no route" if number < STRIKES_MAX else "it failed")
    assert breaker.allows(now_s, 0) == 0
    assert breaker.words(now_s).endswith("no route")
    assert breaker.until_s == OPEN_S_MIN
    waits = []
    for _ in range(10):
        now_s = breaker.until_s
        assert breaker.allows(now_s, 0) == 1
        assert breaker.allows(now_s, 1) == 0  # one is tried at a time
        breaker.failed(now_s, "no route")
        waits.append(breaker.until_s - now_s)
    assert waits == sorted(waits)
    assert waits[-1] == OPEN_S_MAX
    breaker.worked()
    assert breaker.allows(now_s, 5) is None


def test_thousands_of_pilots_that_fit_nothing_cost_no_more_than_one():
    """Somebody may ask for hundreds of things that no pilot has."""
    bins = [Bin(Needs(1, 0, 10**12 + more, 0, 3600), 10, 60.0) for more in range(BINS_MAX)]
    room = Room(8, 0, 10**10, 10**11, 7000)
    began_s = time.process_time()
    made = plan(Facts(bins, [room] * 10_000, [room] * 10_000))
    assert time.process_time() - began_s < 0.25
    assert not made.submit
