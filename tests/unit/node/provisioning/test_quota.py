"""A full quota of a batch system: fewer are asked for, soon again, and others go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from node.provisioning.breaker import LIMIT_S_MAX, Breaker
from node.provisioning.demand import bins_of
from node.provisioning.settings import Factory
from schedulers.base import JobState
from tests.fakes.batch import FEWER, FULL, Batch
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

ROOMY = replace(SETTINGS, queued_max=40, running_max=40)
SAID = "as many jobs as are allowed"


def at_most(batch: Batch, most: int) -> Callable[[Any], int]:
    """A limit to all jobs of the account, each pilot being one."""
    return lambda given: FEWER if len(batch.living()) + given["count"] > most else 0


def full_camp(most: int) -> Camp:
    camp = Camp(Described(1, 5000), systems=(ROOMY,))
    camp.unit_s = 10**6
    camp.batch.slots = 100
    camp.batch.faults.limit = at_most(camp.batch, most)
    return camp


def test_a_quota_smaller_than_a_submission_is_used_up() -> None:
    camp = full_camp(3)
    assert camp.run(400, lambda: len(camp.batch.running()) == 3)


def test_while_a_quota_is_full_it_is_tried_again_every_few_minutes() -> None:
    camp = full_camp(3)
    camp.run(3 * 3600)
    gaps = [b - a for a, b in itertools.pairwise(camp.verbs("submit"))]
    assert min(gaps) >= ROOMY.submit_s
    assert LIMIT_S_MAX <= max(gaps) <= LIMIT_S_MAX + 2 * ROOMY.look_s
    assert len(gaps) < 3 * 3600 / LIMIT_S_MAX + 20, "the pilots' time is over once meanwhile"
    assert camp.node.trouble == "", "nothing is wrong"
    assert camp.system.state() == "ok"


def test_as_a_quota_gets_free_pilots_follow_ever_more_at_once() -> None:
    camp = full_camp(3)
    camp.run(3600)
    camp.batch.faults.limit = lambda given: 0
    assert camp.run(LIMIT_S_MAX + 8 * ROOMY.look_s, lambda: len(camp.batch.running()) == 40)
    assert camp.system.shown()["limits"] == []


def test_the_end_of_a_job_makes_room_for_another_one() -> None:
    camp = full_camp(3)
    camp.run(3600)
    camp.batch.end(camp.batch.running()[0], JobState.CANCELLED)
    assert camp.run(LIMIT_S_MAX + 3 * ROOMY.look_s, lambda: len(camp.batch.running()) == 3)


def test_the_words_of_the_batch_system_are_shown_and_told_of_units_that_wait() -> None:
    camp = full_camp(3)
    assert camp.run(400, lambda: len(camp.batch.running()) == 3)
    (needs,) = {each.needs for each in bins_of(camp.house.work.dispatch, {})}
    for _ in range(100):
        camp.run(10)
        (shown,) = camp.system.shown()["limits"]
        assert SAID in shown["why"]
        assert SAID in camp.node.explain(needs)["maui"]
    assert camp.system.trouble.endswith(SAID)


def test_a_limit_of_one_submission_is_kept_to_without_a_pause() -> None:
    """MaxArraySize: ten at once are taken, as often as wanted."""
    camp = full_camp(100)
    camp.batch.faults.limit = lambda given: FEWER if given["count"] > 10 else 0
    assert camp.run(8 * ROOMY.look_s, lambda: len(camp.batch.living()) == 40)


def test_where_a_submission_is_one_job_no_fewer_pilots_are_asked_for() -> None:
    """max_u_jobs of Grid Engine."""
    camp = full_camp(100)
    camp.batch.faults.limit = lambda given: FULL
    camp.run(1800)
    assert SAID in camp.system.shown()["limits"][0]["why"]
    camp.batch.faults.limit = lambda given: 0
    assert camp.run(LIMIT_S_MAX + 2 * ROOMY.look_s, lambda: len(camp.batch.living()) == 20)
    gaps = [b - a for a, b in itertools.pairwise(camp.verbs("submit"))]
    assert max(gaps) <= LIMIT_S_MAX + 2 * ROOMY.look_s


def test_other_kinds_of_pilots_are_submitted_beside_a_full_quota() -> None:
    small = Factory("small", cpu=1, memory_bytes=8_000_000_000, disk_bytes=10**11)
    large = replace(small, name="large", cpu=4)
    camp = Camp(Described(1, 5000), systems=(replace(ROOMY, factories=(small, large)),))
    camp.batch.slots = 0
    camp.batch.faults.limit = lambda given: FEWER if given["cpu"] == 1 else 0
    assert camp.run(8 * ROOMY.look_s, lambda: len(camp.batch.living()) >= 20)


def test_a_restart_does_not_ask_for_the_same_count_again() -> None:
    camp = full_camp(3)
    camp.run(600)
    camp.restart()
    tried: list[int] = []
    camp.batch.faults.limit = lambda given: tried.append(given["count"]) or FEWER
    camp.run(60)
    assert tried[0] == 1


def test_a_reload_tries_at_once() -> None:
    camp = full_camp(3)
    camp.run(3600)
    (breaker,) = camp.system.breakers.values()
    assert breaker.allows(camp.clock.seconds(), 0) == 0
    breaker.retry()
    assert breaker.allows(camp.clock.seconds(), 0) == 1


def test_a_limit_and_pilots_that_die_are_told_beside_each_other() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0, "no route")
    breaker.limited(60.0, SAID, 1, fewer=True)
    assert breaker.allows(61.0, 0) == 0
    assert "no route" in breaker.words(61.0)
    assert breaker.limit_words(61.0) == (
        f"no more are taken for the moment, the next try is in 29 s. {SAID}"
    )
    assert breaker.allows(91.0, 0) == 1
    assert breaker.allows(91.0, 1) == 0


def test_a_limit_that_nobody_met_for_hours_is_forgotten() -> None:
    breaker = Breaker()
    breaker.limited(0.0, SAID, 20, fewer=True)
    assert not breaker.past(3600.0)
    assert breaker.past(3 * 3600.0)
