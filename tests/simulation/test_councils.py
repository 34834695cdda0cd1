"""Named lives of three and five sites with real stores: leaders and owners that pause, part, die,
are thrown out, lie, or take orders from two sides. Each ends with every check."""

from __future__ import annotations

from random import Random

import pytest

from federation.ids import DatasetID
from federation.records import Command
from node.model.commands import command_document
from tests.simulation.people import describe
from tests.simulation.persons import ANA
from tests.simulation.scenes import (
    CHAIN,
    JOBS,
    TAKE_OVER_S,
    YEAR_MS,
    leaders,
    order,
    some_settled,
    submit,
    task_counts,
)
from tests.simulation.schedule import DAY_S
from tests.unit.federation.builders import results


def test_all_sites_of_a_mesh_share_the_work_of_a_dataset(three):
    made = submit(three, three.hosts[0])
    three.finish()
    assert leaders(three, made) == ["desy"]


def test_the_work_of_a_leader_that_is_lost_for_good_goes_on_elsewhere(three):
    made = submit(three, three.hosts[0])
    some_settled(three, three.hosts[1])
    three.hosts[0].lose()
    three.finish()
    assert len(leaders(three, made)) == 2


def test_a_leader_and_an_owner_lost_for_good_take_only_unsettled_results_with_them(five):
    made = submit(five, five.hosts[0])
    some_settled(five, five.hosts[1])
    five.hosts[0].lose()
    five.hosts[3].lose()
    five.finish()
    assert len(leaders(five, made)) == 2


def test_a_paused_leader_that_wakes_with_finished_work_after_a_take_over_counts_none_twice(three):
    made = submit(three, three.hosts[0])
    some_settled(three, three.hosts[1])
    three.hosts[0].pause()
    three.pass_s(TAKE_OVER_S)
    three.hosts[0].resume()
    three.finish()
    assert len(leaders(three, made)) == 2


def test_a_leader_that_is_cut_off_goes_on_with_what_it_owns_and_grants_race_a_take_over(three):
    made = submit(three, three.hosts[0], jobs=60)
    some_settled(three, three.hosts[1])
    three.network.ways.split(["desy"], ["wisc", "msu"])
    three.pass_s(TAKE_OVER_S)
    three.finish()
    assert len(leaders(three, made)) == 2


def test_what_a_leader_that_was_cut_off_ran_beyond_the_cut_runs_again(three):
    """The others accept its results before they grant it the units: those do not count."""
    old, *others = three.hosts
    made = submit(three, old)
    some_settled(three, others[0])
    for other in others:
        three.farm.closed.add(other)
        three.farm.lose(other)
    three.network.ways.split(["desy"], ["wisc", "msu"])
    three.pass_s(2 * TAKE_OVER_S)
    assert task_counts(old, "settled") == 2 * JOBS
    three.finish()
    assert len(leaders(three, made)) == 2


def test_orders_from_two_nodes_that_race_a_take_over_are_all_taken_once(three):
    made = submit(three, three.hosts[0], jobs=60)
    some_settled(three, three.hosts[1])
    three.network.ways.split(["desy"], ["wisc", "msu"])
    order(three, made, "cancel", {"select": {"jobs": [50, 60]}}, three.hosts[0])
    order(three, made, "extend", {"jobs": 3}, three.hosts[1])
    order(three, made, "edit", {"priority": 90}, three.hosts[2])
    three.pass_s(TAKE_OVER_S)
    order(three, made, "edit", {"priority": 10}, three.hosts[0], 2)
    three.finish()
    assert len(leaders(three, made)) == 2
    assert len(three.witness.orders) == 5  # one resumes


def test_a_voter_that_was_away_for_thirty_days_catches_up_under_load(three):
    away = three.hosts[2]
    away.die("power", 1, 3 * 3600.0)
    for number in range(4):
        submit(three, three.hosts[number % 2], f"set-{number}")
        three.pass_s(1800.0)
        three.skip_s(7.5 * DAY_S)
    three.pass_s(2 * 3600.0)
    assert away.node is not None
    submit(three, three.hosts[0], "under-load")
    three.finish()


@pytest.mark.parametrize("down", [0, 1])
def test_of_two_sites_either_may_be_down_and_the_rest_of_the_work_is_done_when_it_is_back(
    two, down
):
    submit(two, two.hosts[0])
    some_settled(two, two.hosts[0])
    two.hosts[down].die("power", 1, 3000.0)
    two.pass_s(2500)
    two.finish()


@pytest.mark.parametrize("jump_ms", [YEAR_MS, -YEAR_MS])
def test_a_leader_whose_clock_is_a_year_wrong_leads_on(three, jump_ms):
    three.hosts[0].wall_jump_ms += jump_ms
    made = submit(three, three.hosts[0])
    three.pass_s(30)
    three.hosts[0].wall_jump_ms -= jump_ms
    three.finish()
    assert leaders(three, made) == ["desy"]


def test_clocks_that_step_about_change_nothing(three):
    made = submit(three, three.hosts[0])
    random = Random(1)
    for _ in range(40):
        random.choice(three.hosts).wall_jump_ms += random.choice([-YEAR_MS, -60_000, 1000, YEAR_MS])
        three.pass_s(5)
    three.finish()
    assert leaders(three, made) == ["desy"]


@pytest.mark.parametrize("who", [0, 1])
def test_a_full_disk_at_a_leader_or_a_voter_loses_nothing(three, who):
    three.hosts[who].disk.full = True
    three.pass_s(10)
    three.people.submit_to(three.hosts[who], describe("late", CHAIN, JOBS), Random(1))
    made = submit(three, three.hosts[2])
    three.pass_s(120)
    assert [each.name for each in three.witness.datasets.values()] == [made.name]
    three.finish()
    assert sorted(each.name for each in three.witness.datasets.values()) == ["late", "work"]


@pytest.mark.parametrize("who", [0, 1])
def test_a_disk_that_is_full_at_any_step_of_a_submission_loses_nothing(three, who):
    """The leader's, or that of a voter which is to hold it."""
    for operation in range(0, 30, 3):
        three.hosts[who].disk.full_after(operation)
        name = f"full-{operation}"
        three.people.submit_to(three.hosts[0], describe(name, CHAIN, 2), Random(name))
        three.pass_s(30)
        three.hosts[who].disk.full_at = None
        three.hosts[who].disk.full = False
        three.pass_s(30)
    three.finish()
    assert len(three.witness.datasets) == 10


def test_a_revoked_site_that_leads_votes_and_owns_units_takes_no_work_with_it(three):
    made = submit(three, three.hosts[0], jobs=60)
    some_settled(three, three.hosts[1])
    gone, by = three.hosts[0], three.hosts[1]
    three.people.revoke(by, gone, b"n" * 16)
    three.pass_s(TAKE_OVER_S)
    gone.lose()
    three.finish()
    assert leaders(three, made)[-1] != "desy"


def test_results_that_a_member_invents_for_units_it_was_never_granted_do_not_count(three):
    liar = three.hosts[2]
    liar.node.parts.work.drain()  # a site that believes itself would never run what it is granted
    three.network.ways.split(["msu"], ["desy", "wisc"])
    made = submit(three, three.hosts[0])
    three.network.ways.mend_all()
    record = results(JOBS, dataset=DatasetID(made.id), task=0, jobs=list(range(JOBS)))
    liar.node.journal.results(record)
    three.finish()


def test_an_order_that_no_user_signed_is_taken_by_nobody(three):
    made = submit(three, three.hosts[0], jobs=60)
    document = command_document(made.id, "cancel", {}, (), b"n" * 16)
    row = three.hosts[0].node.parts.commands._ports.target(made.id)
    forged = ANA.sign(b"something else")
    for liar in three.hosts[::2]:
        liar.node.journal.control(Command(row.shard, document, forged, ANA.key))
    three.heal()
    three.raise_if_broken()
    assert task_counts(three.hosts[1], "cancelled") == 0
    three.finish()


@pytest.mark.parametrize("mode", ["kill", "power"])
def test_a_leader_that_ends_at_any_step_of_a_submission_keeps_what_it_acknowledged(three, mode):
    leader = three.hosts[0]
    submit(three, leader, "first")
    for operation in range(0, 24, 3):
        leader.die_within(operation, mode, operation)
        submit(three, leader, f"cut-{operation}", 2)
        three.pass_s(60)
    three.finish()
    assert len(three.witness.datasets) == 9


def test_results_of_jobs_that_a_take_over_cut_off_are_refused_and_the_jobs_run_later(five):
    """An extension and the grant of its jobs reached one owner and no majority. Its pilots report
    before any leader has taken the order again."""
    old, owner, *others = five.hosts
    made = submit(five, old, jobs=1)
    for host in (old, *others):
        five.farm.closed.add(host)
        five.farm.lose(host)
    some_settled(five, owner, 2)
    five.network.ways.split(["desy", "wisc"], ["msu", "kit", "tokyo"])
    order(five, made, "extend", {"jobs": 2}, old)
    five.until(lambda: any(pilot.busy for pilot in five.farm.pilots if pilot.host is owner))
    for pilot in five.farm.pilots:
        pilot.silent_until_s = five.clock.seconds() + 2 * TAKE_OVER_S
    five.pass_s(TAKE_OVER_S)
    leader = next(host for host in others if host.name == leaders(five, made)[-1])
    leader.die("power", 1, 2 * TAKE_OVER_S)
    old.die("power", 1, 2 * TAKE_OVER_S)
    five.network.ways.mend_all()
    five.until(lambda: task_counts(owner, "jobs") == 2)
    for pilot in five.farm.pilots:
        pilot.silent_until_s = 0.0
    five.pass_s(10)
    assert owner.node.parts.work._intake.refused
    assert task_counts(owner, "jobs") == 2
    five.farm.closed.clear()
    five.finish()
