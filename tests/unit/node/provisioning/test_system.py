"""A node and its batch systems, from the first unit to the last pilot, and their failures."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from federation.records import Outcome
from node.provisioning.book import LOOKS_MIN
from node.provisioning.patience import DENIED_EAGER_S, DENIED_S
from node.provisioning.plan import Order, Plan
from node.provisioning.settings import Factory
from node.provisioning.shapes import Shape
from node.store import submissions as store
from schedulers.base import JobName, JobState
from tests.fakes.batch import Batch, FakeJob
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s


def done(camp: Camp, task: int, units: int) -> bool:
    return len(camp.house.disk.settled(task)) == units


def test_units_are_run_by_pilots_of_the_batch_system_which_leave_afterwards():
    camp = Camp(Described(1, 40))
    assert camp.run(1200, lambda: done(camp, 64, 40))
    assert max(len(camp.batch.living()), 1) <= SETTINGS.running_max
    camp.run(SETTINGS.idle_s + 3 * LOOK_S)
    assert not camp.batch.living()
    assert not list(camp.system.book)
    assert not camp.house.work.arrivals.left_well  # nobody would ever ask for them
    assert (
        camp.house.disk.conn.execute("SELECT count(*) FROM pilot WHERE ended_ms IS NULL").get == 0
    )


def test_units_are_not_to_see_the_folder_with_the_program_and_tokens_of_other_pilots():
    camp = Camp(Described(1, 40))
    camp.run(60)
    settings = [Path(job.argv[1]) for job in camp.batch.living()]
    assert settings
    for path in settings:
        folder = str(path.parents[1])
        assert folder in json.loads(camp.batch.files[str(path)])["hide"]
        assert all(each.startswith(f"{folder}/") for each in camp.batch.files)


def test_nothing_is_submitted_for_nothing():
    camp = Camp()
    camp.run(300)
    assert not camp.verbs("submit")


def test_one_listing_in_thirty_seconds_and_one_submission_a_cycle():
    camp = Camp(Described(1, 5000))
    camp.run(900)
    looks, submits = camp.verbs("listing"), camp.verbs("submit")
    assert looks
    assert min(b - a for a, b in itertools.pairwise(looks)) >= LOOK_S
    assert submits
    assert all(b - a >= SETTINGS.submit_s for a, b in itertools.pairwise(submits))


def test_limits_hold_and_can_be_changed_while_it_runs():
    camp = Camp(Described(1, 5000))
    camp.batch.slots = 100
    for _ in range(300):
        camp.run(1)
        queued = [job for job in camp.batch.living() if job.state is JobState.QUEUED]
        assert len(queued) <= SETTINGS.queued_max
        assert len(camp.batch.living()) <= SETTINGS.running_max
    assert len(camp.batch.running()) == SETTINGS.running_max
    camp.system.settings = replace(SETTINGS, running_max=2)
    assert camp.run(300, lambda: len(camp.batch.living()) <= 2)


def test_a_batch_system_that_does_not_answer_gets_no_submissions():
    camp = Camp(Described(1, 40))
    camp.batch.faults.fails = True
    camp.run(600)
    assert not camp.verbs("submit")
    assert "cannot reach the daemon" in camp.system.trouble
    asked = len(camp.batch.ran)
    assert asked < 10  # ever more rarely
    camp.batch.faults.fails = False
    assert camp.run(2400, lambda: done(camp, 64, 40))


def test_units_that_turn_out_to_be_long_soon_run_side_by_side():
    camp = Camp(Described(1, 20))
    camp.unit_s = 20_000.0
    camp.batch.slots = 100
    camp.run(300)
    assert sum(len(pilot.units()) for pilot in camp.pilots) == 20


@pytest.mark.parametrize("denies", [False, True])
@pytest.mark.parametrize("fault", ["empty", "cut", "half", "foreign"])
def test_a_listing_that_lies_changes_nothing(fault: str, denies: bool):
    camp = Camp(Described(1, 5000))
    camp.run(200)
    before = {job.name for job in camp.batch.living()}
    assert len(before) == SETTINGS.running_max
    camp.batch.faults.listing = fault
    camp.batch.faults.forgets, camp.batch.faults.denies = True, denies
    camp.run(240)
    assert {job.name for job in camp.batch.living()} == before
    assert camp.system.book.queued() + camp.system.book.running() == len(before)
    camp.batch.faults.listing, camp.batch.faults.forgets = "", False
    camp.batch.faults.denies = False
    camp.run(240)
    assert {job.name for job in camp.batch.living()} == before


def test_a_job_that_the_batch_system_does_not_know_is_charged_and_then_given_up():
    camp = Camp(Described(1, 5000))
    camp.behave = camp.silent
    camp.run(20)
    before = set(camp.batch.jobs)
    camp.batch.faults.listing, camp.batch.faults.denies = "empty", True
    camp.run(DENIED_S)
    assert len(camp.batch.jobs) == SETTINGS.running_max
    jobs = [job for submission in camp.system.book for job in submission.living]
    assert len(jobs) == SETTINGS.running_max
    assert {job.state for job in jobs} == {JobState.UNKNOWN}
    assert "it knows no such job" in jobs[0].words
    assert len(camp.verbs("lookup")) < 20
    camp.run(100)
    assert "does not know it" in camp.node.trouble
    assert camp.batch.living()
    camp.batch.faults.listing, camp.batch.faults.denies = "", False
    camp.run(60)
    assert not before & {job.name for job in camp.batch.living()}  # they came back, and are ended


def test_units_do_not_wait_for_a_pilot_that_the_batch_system_does_not_know_but_it_is_charged():
    camp = Camp(Described(1, 4))
    camp.batch.slots = 0
    camp.run(LOOK_S)
    (deleted,) = camp.batch.jobs.values()
    camp.run(LOOK_S)
    camp.batch.jobs.clear()  # as Grid Engine does with a job that is deleted while it waits
    camp.batch.faults.denies, camp.batch.slots = True, 10
    assert camp.run(int(DENIED_EAGER_S) + 3 * LOOK_S, lambda: bool(camp.batch.jobs))
    assert camp.run(120, lambda: done(camp, 64, 4))
    (job,) = [job for each in camp.system.book for job in each.living if job.name == deleted.name]
    assert job.state is JobState.UNKNOWN
    assert camp.system.book.running() == 2


def test_a_cancelled_job_that_the_batch_system_does_not_know_is_over():
    camp = Camp(Described(1, 40))
    camp.batch.slots = 0
    camp.run(60)
    camp.batch.faults.denies = True
    camp.house.work.drain(True)
    camp.house.dispatch.ready.withhold(1)
    assert camp.run(600, lambda: not camp.batch.living())
    assert camp.run(60, lambda: not list(camp.system.book))
    assert camp.node.trouble == ""


def test_daemons_that_are_down_for_two_minutes_cost_nothing():
    camp = Camp(Described(1, 400))
    camp.run(150)
    before = {job.name for job in camp.batch.jobs.values()}
    camp.batch.faults.hangs = True
    camp.run(120)
    camp.batch.faults.hangs = False
    camp.run(60)
    assert {job.name for job in camp.batch.jobs.values()} == before
    assert camp.run(6000, lambda: done(camp, 64, 400))


def test_pilots_that_die_before_they_announce_stop_submissions_with_the_reason():
    camp = Camp(Described(1, 5000))
    camp.behave = camp.dies
    camp.run(3600)
    spent = len(camp.batch.jobs)
    assert spent < 20
    assert "no route to node" in camp.node.trouble
    assert "pilots in a row" in camp.node.trouble
    submits = camp.verbs("submit")
    gaps = [b - a for a, b in itertools.pairwise(submits)]
    assert gaps[-1] > gaps[-2] > gaps[-3] >= 60
    camp.behave = camp.good
    assert camp.run(5000, lambda: len(camp.batch.running()) == 4)
    assert camp.node.trouble == ""


def test_a_refusal_is_quoted_and_not_asked_for_again_and_again():
    camp = Camp(Described(1, 5000))
    camp.batch.faults.refuses = "Invalid account specified"
    camp.run(3600)
    assert len(camp.verbs("submit")) < 10
    assert "Invalid account specified" in camp.node.trouble
    ((words, reason),) = camp.node.troubles.values()
    assert reason in words
    (said,) = camp.node.why.values()
    assert all(reason in each for each in said.values())  # so that people are told it once
    camp.batch.faults.refuses = ""
    assert camp.run(5000, lambda: bool(camp.batch.running()))
    assert camp.node.trouble == ""


def test_a_refusal_that_may_be_none_leaves_its_submission_in_doubt():
    camp = Camp(Described(1, 5000))
    camp.batch.faults.refuses, camp.batch.faults.unsure = "Unspecified error", True
    camp.run(100)
    assert [each.doubtful for each in camp.system.book] == [True]
    assert "in doubt: Unspecified error" in camp.system.trouble
    assert len(camp.verbs("submit")) == 1


def test_a_pilot_that_runs_and_never_speaks_is_ended_with_its_host():
    camp = Camp(Described(1, 5000))
    camp.behave = camp.silent
    camp.run(SETTINGS.announce_s + 120)
    assert {job.state for job in camp.batch.jobs.values()} >= {JobState.CANCELLED}
    assert "has not spoken to this node: can workers reach https://node:1?" in camp.node.trouble
    assert "started on w" in camp.node.trouble


def test_a_pilot_that_is_held_after_it_ran_is_ended_with_the_reason():
    camp = Camp(Described(1, 40))
    camp.run(60, lambda: any(pilot.units() for pilot in camp.pilots))
    victim = next(pilot for pilot in camp.pilots if pilot.units())
    victim.gone = True
    victim.job.state, victim.job.words = JobState.HELD, "over its memory"
    assert camp.run(300, lambda: victim.job.state is JobState.CANCELLED)
    assert camp.system.trouble.endswith("it was held after its pilot had left: over its memory")
    assert camp.run(3000, lambda: done(camp, 64, 40))


def test_a_pilot_that_speaks_is_not_ended_though_its_job_is_said_to_be_held():
    camp = Camp(Described(1, 40))
    camp.run(60, lambda: any(pilot.units() for pilot in camp.pilots))
    victim = next(pilot for pilot in camp.pilots if pilot.units())
    victim.job.state, victim.job.words = JobState.HELD, "over its memory"
    camp.run(4 * LOOK_S)
    assert victim.job.state is JobState.HELD


@pytest.mark.parametrize("tells_job", [True, False])
def test_a_pilot_cancelled_by_somebody_else_is_buried_and_its_units_run_again(tells_job: bool):
    camp = Camp(Described(1, 40))
    camp.tells_job = tells_job
    camp.run(60, lambda: any(pilot.units() for pilot in camp.pilots))
    victim = next(pilot for pilot in camp.pilots if pilot.units())
    camp.batch.end(victim.job, JobState.CANCELLED, words="by root")
    assert camp.run(3000, lambda: done(camp, 64, 40))
    assert camp.node.trouble == ""  # nobody's fault


def test_a_submission_in_doubt_is_found_by_its_tag():
    camp = Camp(Described(1, 40))
    camp.batch.faults.loses = 1
    camp.run(60)
    assert "in doubt" in camp.system.trouble
    first = len(camp.batch.jobs)
    assert first
    assert not [each for each in camp.system.book if each.doubtful]
    assert camp.run(2000, lambda: done(camp, 64, 40))


def test_a_submission_in_doubt_is_looked_up_by_its_tag_while_other_jobs_are_missing():
    camp = Camp(Described(1, 5000))
    assert camp.run(200, lambda: bool(camp.batch.running()))
    (first,) = camp.system.book.submissions.values()
    del camp.batch.jobs[camp.batch.running()[0].name]  # nobody will ever speak of it again
    camp.pilots.clear()
    camp.batch.faults.loses, camp.behave = 1, camp.dies
    for job in camp.batch.living():
        camp.batch.end(job)
    assert camp.run(300, lambda: len(camp.system.book.submissions) > 1)
    second = next(each for each in camp.system.book.submissions.values() if each is not first)
    assert camp.run(4 * LOOK_S, lambda: not second.doubtful)
    assert {job.state for job in second.jobs.values()} == {JobState.FAILED}


def test_a_submission_that_never_was_is_given_up_and_made_again():
    camp = Camp(Described(1, 40))
    camp.batch.faults.drops = 1
    camp.run(60)
    assert camp.system.book.queued() > 0  # charged, as it may exist
    assert not camp.batch.jobs
    assert camp.run(2000, lambda: done(camp, 64, 40))
    assert LOOKS_MIN >= 2


def test_jobs_that_show_up_after_they_were_given_up_are_cancelled():
    camp = Camp(Described(1, 40))
    camp.batch.faults.loses = 1
    camp.batch.faults.listing, camp.batch.faults.forgets = "empty", True
    camp.batch.wait_s = 4000
    camp.run(300)
    assert len(camp.verbs("submit")) == 2
    camp.batch.faults.listing, camp.batch.faults.forgets = "", False
    camp.run(60)
    tags = {job.tag for job in camp.batch.living()}
    assert len(tags) == 1  # the first one's jobs are gone


def test_files_that_cannot_be_written_make_no_submission():
    camp = Camp(Described(1, 40))
    camp.batch.faults.unwritable = True
    camp.run(600)
    assert not camp.verbs("submit")
    assert "no space left" in camp.node.trouble
    assert camp.house.work.arrivals.expected == {}


@pytest.mark.parametrize("verb", ["submit", "listing"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_node_that_is_killed_around_a_submission_makes_no_second_one_and_loses_none(
    verb: str, moment: str
):
    camp = Camp(Described(1, 40))
    camp.batch.wait_s = 400
    camp.batch.slots = 100

    def kill(ran: str, when: str) -> None:
        if (ran, when) == (verb, moment) and camp.up and camp.house.work.arrivals.expected:
            camp.kill()

    camp.runners["maui"].on_verb = kill
    camp.run(40)
    assert not camp.up
    made = len(camp.batch.jobs)
    camp.restart()
    camp.run(60)
    if made:
        assert len(camp.batch.jobs) == made
        assert camp.system.book.queued() == made
        assert not [each for each in camp.system.book if each.doubtful]
    assert camp.run(3000, lambda: done(camp, 64, 40))
    tokens = {pilot.token for pilot in camp.pilots}
    assert all(pilot.secret for pilot in camp.pilots), "no pilot was turned away"
    assert len(tokens) <= len(camp.verbs("submit"))


def test_one_token_serves_all_pilots_of_a_submission_and_each_has_its_own_row():
    camp = Camp(Described(1, 400))
    camp.run(120)
    rows = camp.house.disk.conn.execute("SELECT tag, job, host FROM pilot ORDER BY no").fetchall()
    running = {job.name for job in camp.batch.running()}
    assert {job for _, job, _ in rows if job} == running
    by_job = list(camp.house.disk.conn.execute("SELECT pilot FROM batch_job WHERE pilot NOT NULL"))
    assert len(set(by_job)) == len(running) == 4


def test_a_bin_that_fits_no_pilot_is_explained():
    small = replace(SETTINGS, factories=(Factory(cpu=1, memory_bytes=600_000_000),))
    camp = Camp(Described(1, 40), systems=(small,))
    camp.run(60)
    (said,) = camp.node.why.values()
    assert said["maui"].startswith("needs 1 GB memory, its pilots have")
    assert not camp.verbs("submit")


def test_pilots_that_wait_are_explained_by_the_batch_system():
    camp = Camp(Described(1, 4))
    camp.batch.held = "the working folder is missing"
    camp.run(2 * LOOK_S + 10)
    (said,) = camp.node.why.values()
    assert "1 pilot waits in the queue" in said["maui"]
    assert "is held: the working folder is missing" in said["maui"]
    assert camp.system.shown()["states"] == {"held": 1}
    assert not camp.verbs("describe"), "the listing said it already"
    for job in camp.batch.living():
        job.state, job.words = JobState.QUEUED, ""
    camp.batch.slots = 0
    camp.run(LOOK_S)
    assert "is held" not in next(iter(camp.node.why.values()))["maui"]


def test_queued_pilots_without_work_are_cancelled():
    camp = Camp(Described(1, 40))
    camp.batch.slots = 0
    camp.run(60)
    assert camp.batch.living()
    camp.house.work.drain(True)
    camp.house.dispatch.ready.withhold(1)
    assert camp.run(600, lambda: not camp.batch.living())
    assert not list(camp.system.book) or camp.run(60, lambda: not list(camp.system.book))


def test_breakers_survive_a_restart():
    camp = Camp(Described(1, 400))
    camp.behave = camp.dies
    camp.run(200)
    assert camp.node.trouble
    spent = len(camp.batch.jobs)
    camp.restart()
    camp.run(100)
    assert len(camp.batch.jobs) <= spent + 1


def test_two_batch_systems_share_the_work():
    other = replace(SETTINGS, name="hilo")
    camp = Camp(Described(1, 5000), systems=(SETTINGS, other))
    camp.run(300)
    assert [len(batch.running()) for batch in camp.batches.values()] == [4, 4]


@pytest.mark.parametrize("held", ["", "the account is locked"])
def test_units_do_not_wait_for_pilots_that_wait_where_others_could_run_them(held: str):
    camp = Camp(Described(1, 40), systems=(SETTINGS, replace(SETTINGS, name="hilo")))
    camp.batches["hilo"].faults.fails = True
    camp.batch.slots, camp.batch.held = 0, held
    camp.run(2 * LOOK_S)
    assert camp.batch.living()
    camp.batches["hilo"].faults.fails = False
    waits_s = 90 if held else 150
    assert camp.run(waits_s, lambda: bool(camp.batches["hilo"].running()))
    assert camp.run(1500, lambda: done(camp, 64, 40))
    assert camp.run(600, lambda: not camp.batch.living())  # there is nothing left for them


def test_jobs_that_others_call_as_ours_are_called_are_left_alone_and_counted():
    """A listing of everybody's jobs shows them, and a cancel order would only ever fail."""
    camp = Camp(Described(1, 40))
    camp.run(90)
    ours = {job.name for job in camp.batch.living()}
    assert ours
    tag = camp.batch.jobs[min(ours)].tag
    for number in range(300):
        name = JobName(f"7000.{number}")
        camp.batch.jobs[name] = FakeJob(name, tag, ["sleep"], "", 0.0, None, ())
        camp.batch.jobs[name].state = JobState.HELD
    camp.run(3 * LOOK_S)
    assert not camp.verbs("cancel")
    assert camp.system.book.foreign == 300
    assert {job.name for each in camp.system.book for job in each.living} <= {
        job.name for job in camp.batch.living() if not job.name.startswith("7000.")
    }


def test_a_job_with_our_number_and_a_foreign_name_is_not_ours():
    """A batch system that lost its spool gives the same numbers again."""
    camp = Camp(Described(1, 40))
    camp.batch.wait_s = 10_000
    camp.run(2 * LOOK_S)
    ours = camp.batch.living()
    for job in ours:
        job.tag, job.state, job.time_s = "floe-other-abcdefgh12", JobState.RUNNING, None
    camp.run(2 * LOOK_S)
    assert camp.system.book.foreign == len(ours)
    assert set(camp.system.book.counts()) == {"unknown"}
    camp.run(2 * 3600)
    assert {job.state for job in ours} == {JobState.RUNNING}, "nobody has cancelled them"


def test_submissions_that_are_over_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "ENDED_KEPT", 3)
    camp = Camp(Described(1, 4000))
    camp.behave = camp.silent
    for _ in range(8):
        camp.run(SETTINGS.submit_s + LOOK_S)
        for job in camp.batch.living():
            camp.batch.end(job, JobState.CANCELLED, words="by root")
    assert len(camp.verbs("submit")) > 6
    assert len(camp.system.book.submissions) <= 4


def test_a_black_hole_costs_less_than_ten_units_and_is_named_with_the_evidence():
    """Every unit fails at once on one of three hosts; a unit elsewhere takes a minute."""
    camp = Camp(Described(1, 300))
    camp.swallows = "w1"
    assert camp.run(6000, lambda: done(camp, 64, 300))
    failed = [attempt for attempt in camp.house.disk.attempts if attempt[2] != 0]
    assert 5 <= len(failed) < 10
    (shown,) = camp.house.work.leases.hosts.shown(camp.clock.seconds())
    assert shown["host"] == "w1.example.org"
    assert "such units run well on w" in str(shown["why"])
    assert not camp.house.disk.failed(64)


def test_units_that_the_batch_system_evicts_say_nothing_of_their_worker():
    """One that prefers others' jobs ends ours there soon after they began, one after another."""
    camp = Camp(Described(1, 300))
    camp.swallows, camp.swallows_as = "w1", ("evicted", Outcome.INFRASTRUCTURE)
    camp.run(1200)
    evicted = [attempt for attempt in camp.house.disk.attempts if attempt[2] != 0]
    assert len(evicted) > 10
    assert camp.house.work.leases.hosts.shown(camp.clock.seconds()) == []


def banned(camp: Camp) -> bool:
    return any(each["banned_s"] for each in camp.node.hosts())


def with_a_black_hole() -> Camp:
    """On w1 every unit fails at once; it is banned by now."""
    camp = Camp(Described(1, 5000), systems=(replace(SETTINGS, pilots_min=4),))
    camp.swallows = "w1"
    assert camp.run(3000, lambda: banned(camp))
    camp.run(2 * LOOK_S)
    return camp


def end_all(camp: Camp) -> None:
    """Somebody ends all jobs, so that others are submitted."""
    for job in camp.batch.living():
        camp.batch.end(job, JobState.CANCELLED)


def test_a_banned_host_is_left_out_of_what_is_submitted_by_its_name_there():
    camp = with_a_black_hole()
    before = set(camp.batch.jobs)

    def later() -> list[FakeJob]:
        return [job for name, job in camp.batch.jobs.items() if name not in before]

    end_all(camp)
    assert camp.run(600, lambda: sum(bool(job.host) for job in later()) >= 4)
    assert {tuple(job.avoid) for job in later()} == {("w1",)}
    assert {job.host for job in later() if job.host} == {"w0", "w2"}


def test_a_ban_outlives_a_restart_of_the_node_and_ends_by_the_clock():
    camp = with_a_black_hole()
    (before,) = camp.node.hosts()
    camp.restart()
    camp.run(1)
    (after,) = camp.node.hosts()
    assert after == before | {"banned_s": before["banned_s"] - 1}
    assert after["names"] == ["maui: w1"]
    left_s = int(str(after["banned_s"]))
    camp.kill()
    camp.run(left_s)
    camp.restart()
    assert camp.node.hosts() == []
    assert camp.house.work.leases.hosts.known["w1.example.org"].bans == 1  # the next one is longer


def test_a_host_that_an_admin_allows_again_is_not_left_out_any_more():
    camp = with_a_black_hole()
    assert camp.house.work.allow("w1.example.org")
    camp.settle()
    assert not camp.system.avoided.names(camp.clock.seconds())
    camp.restart()
    assert camp.node.hosts() == []


def test_a_host_that_runs_well_again_is_forgiven_for_good():
    camp = with_a_black_hole()
    camp.swallows = ""
    assert camp.run(6000, lambda: not banned(camp))
    end_all(camp)
    known = camp.house.work.leases.hosts.known["w1.example.org"]
    assert known.bans == 1
    assert camp.run(600, lambda: known.bans == 0)
    camp.restart()
    assert "w1.example.org" not in camp.house.work.leases.hosts.known


def test_a_batch_system_that_refuses_to_name_a_host_still_gets_pilots():
    camp = with_a_black_hole()
    camp.batch.unknown_hosts = {"w1"}
    before = len(camp.batch.jobs)
    end_all(camp)
    assert camp.run(1200, lambda: len(camp.batch.jobs) > before)
    assert "Invalid node name specified" in camp.system.trouble


def test_a_refusal_is_not_tried_again_with_each_other_shape():
    camp = Camp(Described(1, 4000))
    camp.batch.faults.refuses = "invalid account"
    cpus = itertools.count(1)

    def plan(_: str) -> Plan:
        factory = SETTINGS.factories[0]
        shape = Shape(factory.name, next(cpus), 0, 8_000_000_000, 10**11, 7200)
        barred = camp.system.facts().barred
        return Plan() if barred else Plan(submit={"maui": Order(factory, shape, 1)})

    camp.system._plan = plan
    camp.run(6 * 3600)
    assert 8 < len(camp.verbs("submit")) < 14
    assert "invalid account" in camp.system.facts().barred
    camp.batch.faults.refuses = ""
    camp.run(3600 + 10 * SETTINGS.submit_s)
    taken = camp.verbs("submit")[-5:]
    assert max(b - a for a, b in itertools.pairwise(taken)) < 3 * SETTINGS.submit_s


def test_kinds_that_are_taken_go_on_beside_hundreds_of_others_that_are_refused():
    """Whoever asks for what there is nowhere, in ever other sizes, stops nobody else."""
    camp = Camp(Described(1, 4000))
    camp.behave = lambda batch, job: batch.end(job, JobState.CANCELLED)
    camp.batch.faults.time_s_max = 7200
    factory, times_s = SETTINGS.factories[0], itertools.count(7201)

    def shape(time_s: int) -> Shape:
        return Shape(factory.name, 4, 0, 8_000_000_000, 10**11, time_s)

    def plan(_: str) -> Plan:
        """The odd ones are the neediest."""
        facts = camp.system.facts()
        if not facts.barred:
            odd = shape(next(times_s) if camp.batch.jobs else 7200)
            return Plan(submit={"maui": Order(factory, odd, 1)})
        if shape(7200) in facts.spared:
            return Plan(submit={"maui": Order(factory, shape(7200), 1)})
        return Plan()

    camp.system._plan = plan
    camp.run(1500)
    assert next(times_s) - 7201 < 8
    assert len(camp.batch.jobs) > 30
    camp.batch.faults.refuses = "invalid account"
    before = len(camp.verbs("submit"))
    camp.run(600)
    assert len(camp.verbs("submit")) - before <= 3, "what was taken is refused like all others"


def test_what_a_pilot_printed_is_one_harmless_line_where_it_is_quoted():
    camp = Camp(Described(1, 400))

    def paints(batch: Batch, job: FakeJob) -> None:
        said = "x" * 1500 + "\n\x1b]0;title\x07\x1b[2J\x1b[31mno\u202e\0way\x85"
        batch.files[f"{job.log}.{job.name.partition('.')[2]}"] = said.encode()
        batch.end(job, JobState.FAILED, 1)

    camp.behave = paints
    camp.run(120)
    assert "no way" in camp.node.trouble
    assert camp.node.trouble.isprintable()
    assert len(camp.node.trouble) < 1000
