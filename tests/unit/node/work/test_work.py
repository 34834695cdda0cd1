"""Pilots, leases, reports: who has a unit, and when it runs again."""

from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Outcome
from node.changes import DatasetChanged, ResultsRefused, TermOpened, UnitsFaulted, UnitsGranted
from node.store import pilots as store
from node.work.refusals import Refusal
from tests.unit.node.work.house import (
    FILE,
    SITE,
    Described,
    House,
    Pending,
    PilotSide,
    columns,
    result_of,
)

T = 64  # the first task of dataset 1


def settled(house: House, task: int = T) -> set[int]:
    return house.disk.settled(task)


def test_units_travel_out_and_results_back() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    answer = pilot.poll(4)
    assert [item["jobs"] for item in answer["work"]] == [[0, 4]]
    assert list(answer["specs"]) == [answer["work"][0]["spec"]]
    assert house.work.running(T) == 4
    assert pilot.finish()["acked"] == 1
    assert settled(house) == {0, 1, 2, 3}
    assert house.work.running(T) == 0
    assert [lease.no for lease in store.leases(house.disk.conn)] == [1]
    pilot.poll(1)
    assert [lease.no for lease in store.leases(house.disk.conn)] == [2]


def test_slots_are_idle_as_soon_as_results_are_in_though_the_pilot_polls_much_later() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    (shown,) = house.work.pilots()
    cpus = shown["idle_slots"]
    assert cpus == shown["resources"]["cpu"]
    pilot.poll(4)
    assert house.work.pilots()[0]["idle_slots"] == cpus - 4
    pilot.finish()
    assert house.work.pilots()[0]["idle_slots"] == cpus


def test_a_description_is_sent_once() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    assert len(pilot.poll(1)["specs"]) == 1
    pilot.finish()
    assert pilot.poll(1)["specs"] == {}


def test_a_lease_is_on_disk_before_the_pilot_hears_of_it() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    waiting = pilot.poll_later(3)
    house.clock.advance(0)
    with pytest.raises(Pending):
        result_of(waiting)
    house.settle()
    assert [list(lease.flat) for lease in store.leases(house.disk.conn)] == [[0, 3]]


def test_a_report_is_acked_when_it_is_durable_and_not_before() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units())
    waiting = Deferred.fromCoroutine(house.work.report(pilot.session, body))
    again = Deferred.fromCoroutine(house.work.report(pilot.session, body))
    house.clock.advance(0)
    assert not waiting.called
    assert not again.called
    house.settle()
    assert result_of(waiting)["acked"] == result_of(again)["acked"] == 1
    assert len(house.disk.attempts) == 2


def test_a_batch_that_comes_again_counts_once() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units(), outcome=Outcome.PAYLOAD, error="exit")
    pilot.report(body)
    pilot.report(body)
    assert Counter(job for _, job, _, _ in house.disk.attempts) == {0: 1, 1: 1}


def test_a_batch_in_several_records_goes_on_where_a_crash_cut_it() -> None:
    house = House(Described(1, 10), Described(2, 10))
    pilot = house.pilot()
    pilot.poll(4)
    pilot.holding[99] = {5}
    pilot.spec[99] = (b"\2" * 32).hex() + "/0/1"
    body = pilot.results(*pilot.units())
    Deferred.fromCoroutine(house.work.report(pilot.session, body))
    del house.journal._waiting[1:]  # the disk took the first record only
    house.settle()
    house.kill()
    house.start()
    pilot.announce()
    pilot.report(body)
    assert Counter((task, job) for task, job, _, _ in house.disk.attempts) == Counter(
        [(T, 0), (T, 1), (T, 2), (T, 3), (128, 5)]
    )


def test_a_waiting_poll_is_answered_when_a_parent_is_reported() -> None:
    house = House(Described(1, 1, after=[[], [0]]))
    first, second = house.pilot("a"), house.pilot("b")
    first.poll(1)
    waiting = second.poll_later()
    house.settle()
    with pytest.raises(Pending):
        result_of(waiting)
    first.finish()
    waiting = second.poll_later()
    house.settle()
    assert [item["spec"].split("/")[1] for item in result_of(waiting)["work"]] == ["1"]


def test_a_child_never_goes_out_before_its_parents_result_is_on_disk() -> None:
    house = House(Described(1, 1, after=[[], [0]]))
    pilot = house.pilot()
    pilot.poll()
    house.journal.gathering = True
    Deferred.fromCoroutine(house.work.report(pilot.session, pilot.results(*pilot.units())))
    answer = pilot.poll()
    assert [item["spec"].split("/")[1] for item in answer["work"]] == ["1"]
    assert house.disk.settled(64) == {0}


def test_a_long_poll_ends_empty_in_time() -> None:
    house = House()
    waiting = house.pilot().poll_later()
    house.clock.advance(24.9)
    assert not waiting.called
    house.clock.advance(0.2)
    assert result_of(waiting) == {"work": [], "specs": {}, "orders": []}


def test_an_answer_that_did_not_arrive_is_given_again() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    lost = house.ask(house.work.poll(pilot.session, pilot.offer(2)))
    again = pilot.poll(0)
    assert again["work"] == lost["work"]
    assert again["specs"] == lost["specs"]
    assert pilot.poll(1)["work"][0]["jobs"] == [2, 3]


def test_what_a_pilot_gives_back_is_ready_at_once_and_costs_nothing() -> None:
    house = House(Described(1, 3))
    first, second = house.pilot("a"), house.pilot("b")
    first.poll(3)
    waiting = second.poll_later()
    body = {**first.results(), "returned": [[1, [1, 2]]]}
    first.report(body)
    assert result_of(waiting)["work"][0]["jobs"] == [1, 3]
    assert house.disk.attempts == []


def test_a_silent_pilot_loses_its_units_after_the_time_of_a_lease() -> None:
    house = House(Described(1, 8))
    pilot = house.pilot()
    pilot.poll(4)
    house.clock.advance(179)
    house.work.tick()
    assert house.work.running(T) == 4
    house.clock.advance(2)
    house.work.tick()
    house.settle()
    assert house.work.running(T) == 0
    assert {(job, error) for _, job, _, error in house.disk.attempts} == {
        (job, "pilot-lost") for job in range(4)
    }
    assert house.pilot("b").poll(8)["work"][0]["jobs"] == [0, 4]


def test_units_of_a_lost_pilot_that_had_not_begun_are_no_attempts() -> None:
    house = House(Described(1, 100))
    pilot = house.pilot()
    pilot.poll(1)
    pilot.finish()
    pilot.poll(60)
    house.ask(house.work.arrivals.end(pilot.session, "its process ended"))
    assert len([row for row in house.disk.attempts if row[3] == "pilot-lost"]) == 4  # its slots
    assert house.work.running(T) == 0
    assert house.state(T).ready == 99


def test_a_lost_pilot_costs_no_retry_but_counts_as_an_attempt() -> None:
    house = House(Described(1, 1))
    for n in range(6):
        pilot = house.pilot(str(n))
        work = pilot.poll(1)["work"][0]
        assert work.get("attempts") == ({"0": n + 1} if n else None)
        house.ask(house.work.arrivals.end(pilot.session, "gone"))
    pilot = house.pilot("last")
    pilot.poll(1)
    pilot.finish()
    assert settled(house) == {0}


def test_a_pilot_that_comes_back_keeps_what_nobody_else_began() -> None:
    house = House(Described(1, 8))
    pilot = house.pilot()
    pilot.poll(4)
    house.clock.advance(200)
    house.work.tick()
    house.settle()
    other = house.pilot("b")
    other.poll(2)  # jobs 0 and 1
    with pytest.raises(Refusal) as refusal:
        pilot.poll(1)
    assert refusal.value.code == "announce"
    pilot.announce()
    assert house.work.running(T) == 4
    orders = pilot.poll(0)["orders"]
    assert [(order["order"], order["jobs"]) for order in orders] == [("stop", [0, 1])]
    pilot.finish((1, 2), (1, 3))
    assert settled(house) == {2, 3}


def test_a_pilot_that_ends_while_its_announcement_is_stored_keeps_nothing() -> None:
    house = House(Described(1, 1))
    pilot = house.pilot()
    pilot.poll(1)
    house.kill()
    house.start()
    back = Deferred.fromCoroutine(house.work.announce(pilot.hello()))
    house.ask(house.work.arrivals.end(pilot.session, "its process ended"))
    with pytest.raises(Refusal) as refusal:
        result_of(back)
    assert refusal.value.code == "token"
    assert house.pilot("other").poll(1)["work"][0]["jobs"] == [0, 1]


def test_a_late_result_of_a_unit_that_runs_elsewhere_counts_and_stops_the_other() -> None:
    house = House(Described(1, 1))
    slow = house.pilot("slow")
    slow.poll(1)
    house.clock.advance(200)
    house.work.tick()
    house.settle()
    quick = house.pilot("quick")
    quick.poll(1)
    slow.announce()
    slow.finish()
    assert settled(house) == {0}
    assert quick.poll(0)["orders"][0]["jobs"] == [0]


@pytest.mark.parametrize("copied", [True, False])
def test_units_that_an_older_copy_does_not_know_as_leased_may_finish(copied: bool) -> None:
    house = House(Described(1, 4))
    pilot = house.pilot()
    pilot.poll(2)
    house.kill()
    house.disk.conn.execute("DELETE FROM lease")  # they were written after the copy was made
    house.start(copied=copied)
    pilot.announce()
    stopped = [job for stop in pilot.session.stops for job in sorted(stop.jobs)]
    assert stopped == ([] if copied else [0, 1])
    pilot.finish()
    assert house.disk.settled(64) == {0, 1}


def test_a_pilot_that_leaves_frees_what_it_holds() -> None:
    house = House(Described(1, 5))
    pilot = house.pilot()
    pilot.poll(4)
    pilot.report({**pilot.results((1, 0)), "leaving": True})
    assert house.work.running(T) == 0
    assert len(house.disk.attempts) == 1
    assert store.live(house.disk.conn) == []
    assert house.work.session(pilot.secret) is None


@pytest.mark.parametrize(("why", "kept"), [("Slurm ends this job", None), (7, "left")])
def test_why_a_pilot_left_is_kept(why: object, kept: str | None) -> None:
    house = House(Described(1, 5))
    pilot = house.pilot()
    pilot.report({**pilot.results(), "leaving": True, "why": why})
    assert [row.why for row in store.recent(house.disk.conn, 5)] == [kept or why]


def test_a_token_serves_once_and_an_unknown_one_never() -> None:
    house = House()
    pilot = house.pilot()
    for token in (pilot.token, "guess", ""):
        with pytest.raises(Refusal) as refusal:
            house.ask(house.work.announce({**pilot.hello(), "session": None, "token": token}))
        assert refusal.value.status == 401


def test_a_cancelled_unit_is_stopped_at_its_pilot_within_the_poll() -> None:
    described = Described(1, 4)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(4)
    waiting = pilot.poll_later(1)
    house.settle()
    described.cancelled = {1, 2}
    house.work.changed([DatasetChanged(1, "cancel")])
    house.settle()
    order = result_of(waiting)["orders"][0]
    assert (order["order"], order["jobs"]) == ("stop", [1, 2])
    pilot.finish((1, 1), (1, 2), outcome=Outcome.STOPPED, error="cancelled")
    assert house.work.running(T) == 2
    pilot.finish()
    waiting = pilot.poll_later()
    house.settle()
    with pytest.raises(Pending):
        result_of(waiting)


def test_a_stop_that_shows_no_effect_is_sent_again() -> None:
    described = Described(1, 4)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(4)
    described.cancelled = {1}
    house.work.changed([DatasetChanged(1, "cancel")])
    assert len(pilot.poll(0)["orders"]) == 1
    waiting = pilot.poll_later(0)
    house.settle()
    assert not waiting.called
    house.clock.advance(26)
    assert len(result_of(waiting)["orders"]) == 1


def test_a_dataset_whose_log_is_folded_anew_waits_and_then_follows_the_new_log() -> None:
    described = Described(1, 4)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(3)
    pilot.finish(*pilot.units()[:2])
    assert house.state(64).done.flat == [0, 2]
    house.disk.attempts.clear()  # a cut withdrew them
    del house.datasets[1]
    house.work.changed([DatasetChanged(1, "anew")])
    waiting = pilot.poll_later()
    house.settle()
    assert not waiting.called
    house.datasets[1] = described
    house.work.changed([DatasetChanged(1, "anew")])
    house.settle()
    (item,) = result_of(waiting)["work"]
    assert item["jobs"] == [0, 2, 3, 4]  # the other one is out


def test_a_dataset_that_a_cut_took_away_comes_back_with_a_grant_as_the_new_log_has_it() -> None:
    described = Described(1, 4)
    house = House(described)
    described.cancelled = {1}
    house.work.changed([DatasetChanged(1, "cancel")])
    described.cancelled = set()  # a cut withdraws it, and the submission too
    del house.datasets[1]
    house.work.changed([DatasetChanged(1, "anew")])
    house.datasets[1] = described
    house.work.changed([UnitsGranted(1, [T], [0, 4], SiteID(SITE))])
    assert house.pilot().poll(4)["work"][0]["jobs"] == [0, 4]


@pytest.mark.parametrize("who", ["this site", "another"])
def test_units_whose_results_a_log_does_not_count_run_again(who: str) -> None:
    """They ran here before this log granted them: as beyond the cut of an earlier term."""
    house = House(Described(1, 4))
    pilot = house.pilot()
    pilot.poll(2)
    pilot.finish()
    house.disk.attempts.clear()
    by = SiteID(SITE if who == "this site" else b"o" * 32)
    house.work.changed([ResultsRefused(1, by)])
    assert house.state(T).done.flat == ([] if who == "this site" else [0, 2])
    if who == "this site":
        assert pilot.poll(2)["work"][0]["jobs"] == [0, 2]


def test_a_unit_that_ran_well_here_and_not_for_its_log_runs_again() -> None:
    """As when it had read something else than what its log took from its parents."""
    house = House(Described(1, 4))
    pilot = house.pilot()
    pilot.poll(2)
    pilot.finish()
    house.disk.attempts[0] = (T, 0, Outcome.INFRASTRUCTURE, "stale")
    house.work.changed([UnitsFaulted(T, (0,), (Outcome.INFRASTRUCTURE,))])
    assert house.state(T).done.flat == [1, 2]
    assert pilot.poll(2)["work"][0]["jobs"] == [0, 1, 2, 3]


def test_what_stood_still_for_want_of_a_leader_goes_on_when_a_term_is_opened() -> None:
    described = Described(1, 8, paused=True)  # as the tables say of what a lost database led
    house = House(described)
    waiting = house.pilot().poll_later()
    house.settle()
    assert not waiting.called
    described.paused = False
    leader = FeedID(SiteID(b"l" * 32), 1, Lane.CONTROL)
    house.work.changed([TermOpened(ShardID(b"s" * 32), 1, leader)])
    house.settle()
    assert result_of(waiting)["work"]


def test_units_of_an_extension_that_are_granted_before_it_is_told_are_taken() -> None:
    described = Described(1, 2)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(2)
    described.jobs = 3
    house.work.changed([UnitsGranted(1, (T,), (2, 3), SiteID(SITE))])
    assert pilot.poll(1)["work"][0]["jobs"] == [2, 3]
    pilot.finish()
    assert [job for _, job, *_ in house.disk.attempts] == [0, 1, 2]


def test_what_went_with_a_log_that_was_left_is_passed_over_when_a_term_is_opened() -> None:
    house = House(Described(1, 8, paused=True), Described(2, 8, paused=True))
    waiting = house.pilot().poll_later()
    del house.datasets[1]
    house.datasets[2].paused = False
    leader = FeedID(SiteID(b"l" * 32), 1, Lane.CONTROL)
    house.work.changed([TermOpened(ShardID(b"s" * 32), 1, leader)])
    house.settle()
    assert result_of(waiting)["work"]


def test_a_paused_dataset_gives_nothing_out_until_it_is_resumed() -> None:
    described = Described(1, 8)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(2)
    described.paused = True
    house.work.changed([DatasetChanged(1, "pause")])
    pilot.finish()
    waiting = pilot.poll_later()
    house.settle()
    assert not waiting.called
    described.paused = False
    house.work.changed([DatasetChanged(1, "resume")])
    house.settle()
    assert result_of(waiting)["work"][0]["jobs"] == [2, 6]


def test_an_extended_dataset_runs_its_new_jobs() -> None:
    described = Described(1, 2)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(2)
    pilot.finish()
    assert not house.dispatch.ready.datasets  # over, and forgotten
    described.jobs = 4
    house.work.changed([DatasetChanged(1, "extend")])
    assert pilot.poll(4)["work"][0]["jobs"] == [2, 4]


def test_nothing_goes_out_while_the_site_drains() -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    house.work.drain()
    waiting = pilot.poll_later()
    house.settle()
    assert not waiting.called
    house.work.drain(False)
    house.settle()
    assert result_of(waiting)["work"]


def test_where_a_unit_runs_can_be_asked() -> None:
    house = House(Described(1, 2))
    pilot = house.pilot("p7")
    pilot.poll(1)
    pilot.report({**pilot.results(), "running": [[1, 0, 1234]]})
    live = house.work.live(T, 0)
    assert live is not None
    assert (live["pilot"], live["host"], live["started_ms"]) == ("p7", "h1", 1234)
    assert house.work.live(T, 1) is None
    assert house.work.explain(T, 1)["ready"]
    assert [each["state"] for each in house.work.pilots()] == ["running"]


# Setbacks


def lose(pilot: PilotSide, error: str) -> None:
    pilot.finish(outcome=Outcome.INFRASTRUCTURE, error=error)


def test_a_worker_that_loses_unit_after_unit_gets_a_rest_and_others_its_units() -> None:
    house = House(Described(1, 100))
    broken, good = house.pilot("broken"), house.pilot("good")
    broken.poll(4)
    lose(broken, "worker")
    assert house.work.pilots()[0]["state"] == "resting"
    assert "no work for 10 s" in house.work.pilots()[0]["note"]
    waiting = broken.poll_later(50)
    house.clock.advance(9)
    house.settle()
    assert not waiting.called
    assert good.poll(4)["work"]
    house.clock.advance(2)
    house.settle()
    broken.take(result_of(waiting))
    assert len(broken.units()) == 4  # it has to show first that it works
    lose(broken, "worker")
    waiting = broken.poll_later(4)
    house.clock.advance(19)
    house.settle()
    assert not waiting.called  # the second rest is twice as long
    house.clock.advance(2)
    house.settle()
    broken.take(result_of(waiting))
    broken.finish()
    assert house.work.pilots()[0]["state"] == "idle"
    assert house.work.pilots()[0]["note"] == ""


def test_failures_of_the_payload_are_not_the_workers_fault() -> None:
    house = House(Described(1, 100))
    pilot = house.pilot()
    for _ in range(5):
        pilot.poll(4)
        pilot.finish(outcome=Outcome.PAYLOAD, error="exit")
    for _ in range(5):
        pilot.poll(4)
        lose(pilot, "input-fetch")
    assert pilot.poll(4)["work"]


def test_a_unit_whose_input_was_not_there_is_tried_again_after_a_while_that_doubles() -> None:
    house = House(Described(1, 1))
    pilot = house.pilot()
    pilot.poll(1)
    for wait_s in (2, 4, 8):
        lose(pilot, "input-fetch")
        waiting = pilot.poll_later(1)
        house.clock.advance(wait_s - 0.1)
        house.settle()
        assert not waiting.called
        house.clock.advance(0.2)
        house.settle()
        pilot.take(result_of(waiting))
    pilot.finish()
    assert settled(house) == {0}


def test_a_unit_whose_inputs_the_site_lacks_is_no_loss_of_the_pilot() -> None:
    house = House(Described(1, 1, after=[[], [0]], reads=True))
    pilot = house.pilot()
    pilot.poll()
    pilot.finish()
    assert pilot.poll()["work"] == []
    house.settle()
    assert house.disk.attempts[1:] == [(65, 0, Outcome.INFRASTRUCTURE, "input-fetch")]
    assert house.state(65).ready == 0  # not at once again
    house.files.inputs = {0: [["in0", "0a" * 32, 5, 0o644]]}
    house.clock.advance(3)
    assert len(pilot.poll()["work"]) == 1


def test_a_unit_that_was_lost_with_its_pilot_runs_again_at_once() -> None:
    house = House(Described(1, 1))
    pilot = house.pilot()
    pilot.poll(1)
    lose(pilot, "evicted")
    assert pilot.poll(1)["work"]


# Restart


def test_pilots_carry_on_over_a_restart() -> None:
    house = House(Described(1, 8))
    pilot = house.pilot()
    pilot.poll(4)
    house.kill()
    house.start()
    assert house.work.running(T) == 4  # nothing is requeued for a restart
    with pytest.raises(Refusal):
        pilot.poll(1)
    secret = pilot.secret
    assert pilot.announce()["session"] == secret
    pilot.finish()
    assert settled(house) == {0, 1, 2, 3}
    assert len(house.disk.attempts) == 4


def test_a_restart_before_the_lease_was_stored_leaves_the_units_ready() -> None:
    house = House(Described(1, 8))
    pilot = house.pilot()
    pilot.poll_later(4)
    house.kill()
    house.start()
    assert house.state(T).ready == 8


def test_units_whose_lease_never_arrived_are_free_when_the_pilot_comes_back() -> None:
    house = House(Described(1, 8))
    pilot = house.pilot()
    house.ask(house.work.poll(pilot.session, pilot.offer(4)))  # the answer is lost
    house.kill()
    house.start()
    assert house.work.running(T) == 4
    pilot.announce()
    assert house.work.running(T) == 0
    assert pilot.poll(8)["work"][0]["jobs"] == [0, 4]
    assert house.disk.attempts == []


@pytest.mark.parametrize(("outcome", "error"), [(0, ""), (Outcome.PAYLOAD, "exit")])
def test_a_stored_batch_whose_ack_was_lost_counts_once(outcome: int, error: str) -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units(), outcome=outcome, error=error)
    house.ask(house.work.report(pilot.session, body))  # the ack is lost
    house.kill()
    house.start()
    pilot.announce()
    pilot.report(body)
    assert len(house.disk.attempts) == 2
    assert house.work.running(T) == 0
    assert house.state(T).ready == (2 if outcome else 0)


def test_a_batch_that_was_not_stored_counts_when_it_comes_again() -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units())
    Deferred.fromCoroutine(house.work.report(pilot.session, body))
    house.kill()
    house.start()
    pilot.announce()
    pilot.report(body)
    assert settled(house) == {0, 1}
    assert len(house.disk.attempts) == 2


def test_a_pilot_that_does_not_return_after_a_restart_loses_its_units() -> None:
    house = House(Described(1, 2))
    house.pilot().poll(2)
    house.kill()
    house.start()
    house.clock.advance(181)
    house.work.tick()
    house.settle()
    assert house.state(T).ready == 2
    assert {error for _, _, _, error in house.disk.attempts} == {"pilot-lost"}


def test_a_unit_that_stands_in_two_leases_belongs_to_the_later_one() -> None:
    house = House(Described(1, 2))
    first, second = house.pilot("a"), house.pilot("b")
    first.poll(2)
    house.clock.advance(181)
    second.report({**second.results()})
    house.work.tick()
    house.journal.commit()  # the loss is stored, and its units go out again
    house.clock.advance(0)
    second.poll(2)
    house.kill()
    house.start()
    second.announce()
    assert house.work.running(T) == 2
    first.announce()
    assert house.work.running(T) == 2
    assert first.poll(0)["orders"][0]["jobs"] == [0, 1]
    second.finish()
    assert settled(house) == {0, 1}


def test_a_pilot_may_still_fetch_its_files_after_a_restart() -> None:
    described = Described(1, 4)
    house = House(described)
    pilot = house.pilot()
    pilot.poll(2)
    assert house.ask(house.work.may_read(pilot.session, FILE.digest))
    house.kill()
    house.start()
    assert not house.ask(house.work.may_read(pilot.session, bytes(32)))
    pilot.announce()
    assert house.ask(house.work.may_read(pilot.session, FILE.digest))
    pilot.finish()
    assert not house.ask(house.work.may_read(house.pilot("other").session, FILE.digest))


# What pilots may send


def test_results_that_no_record_can_hold_are_refused_and_their_units_run_again() -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units())
    body["results"][0]["wall_ms"] = -5
    assert pilot.report(body)["acked"] == 1
    assert house.disk.attempts == []
    assert house.state(T).ready == 2


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": [10**9]},
        {"jobs": [-1]},
        {"jobs": ["1"]},
        {"spec": "ff/0/1"},
        {"spec": (b"\1" * 32).hex() + "/7/1"},
        {"spec": "zz"},
        {"outcome": [0]},
        {"outputs": "xyz"},
        {"error": 9},
        {"tails": [[5, "x"]]},
        {"tails": None},
    ],
)
def test_nonsense_is_acked_and_dropped(change: dict[str, Any]) -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results()
    body["results"] = [{**columns(1, pilot.spec[1], [0, 1], 0, ""), **change}]
    answer = house.ask(house.work.report(pilot.session, body))
    assert answer["acked"] == 1
    assert house.disk.attempts == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batch": "1"},
        {"batch": -1},
        {"batch": 1, "returned": 5},
        {"batch": 1, "returned": [["a", "b"]]},
    ],
)
def test_a_report_that_is_none_is_refused(body: dict[str, Any]) -> None:
    house = House(Described(1, 2))
    with pytest.raises(Refusal) as refusal:
        house.ask(house.work.report(house.pilot().session, body))
    assert refusal.value.status == 400


def test_long_reports_become_several_records() -> None:
    house = House(Described(1, 5000))
    pilot = house.pilot()
    pilot.poll(1)
    pilot.finish()
    house.dispatch.learn_wall(house.state(T), 0.0)
    pilot.poll(4000)
    held = len(pilot.units())
    assert held > 1500
    body = pilot.results(*pilot.units())
    body["results"][0]["log"] = ["ab" * 32] * held
    body["results"][0]["tails"] = [[row, "x" * 600] for row in range(0, held, 2)]
    pilot.report(body)
    assert len(settled(house)) == held + 1


FAR = 2**63 - 1  # no lease after this one could be written down


@pytest.mark.parametrize("how", ["holding", "seen"])
def test_a_pilot_cannot_use_up_the_numbers_of_leases(how: str) -> None:
    house = House(Described(1, 10))
    liar, honest = house.pilot("liar"), house.pilot("honest")
    if how == "holding":
        liar.holding = {FAR: {0}, FAR - 1: {1}}
        liar.announce()
    else:
        liar.seen = FAR
        liar.poll_later(0)
        house.settle()
    assert honest.poll(2)["work"]
    house.kill()
    house.start()
    honest.announce()
    honest.finish()
    assert settled(house) == {0, 1}


@pytest.mark.parametrize(
    "holding",
    [5, "ab", [[1]], [[1.0, [1]]], [[float("inf"), [1]]], [[1, [float("inf")]]], [[1, [[]]]],
     [[-1, [1]]], [[2**63, [1]]], [[1, [2**32]]], [[1, [-1]]], [["1", [1]]], [[1, ["1"]]]],
)  # fmt: skip
def test_leases_that_are_no_numbers_are_refused(holding: Any) -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    with pytest.raises(Refusal) as refused:
        house.ask(house.work.announce({**pilot.hello(), "holding": holding}))
    assert refused.value.status == 400
    pilot.poll(1)
    body = {**pilot.results(*pilot.units()), "returned": holding}
    with pytest.raises(Refusal):
        house.ask(house.work.report(pilot.session, body))


@pytest.mark.parametrize(
    "resources",
    [{"time_left_s": float("inf")}, {"time_left_s": float("nan")}, {"time_left_s": 10**400},
     {"cpu": 2**70}, {"memory_bytes": 10**400}],
)  # fmt: skip
def test_resources_without_bounds_are_refused(resources: dict[str, Any]) -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    hello = {**pilot.hello(), "resources": {**pilot.hello()["resources"], **resources}}
    with pytest.raises(Refusal):
        house.ask(house.work.announce(hello))
    pilot.announce()  # its token is still good
    assert pilot.poll(1)["work"]


def test_what_a_pilot_says_of_itself_can_be_stored() -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    house.ask(
        house.work.announce({
            **pilot.hello(), "host": "a\ud800", "isolation": "\udfff", "pid": 2**70,
            "resources": {**pilot.hello()["resources"], "more": float("inf")},
        })
    )  # fmt: skip
    shown = house.work.pilots()[0]
    assert (shown["host"], shown["isolation"], shown["pid"]) == ("a?", "?", 0)
    assert "more" not in shown["resources"]


@pytest.mark.parametrize("at", [2**70, -(2**70), 2**46, float("inf"), float("nan"), "x", None])
def test_units_said_to_run_since_any_time_are_lost_with_their_pilot(at: Any) -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    pilot.poll(2)
    (lease, job), *_ = pilot.units()
    house.ask(
        house.work.report(
            pilot.session,
            {"batch": 0, "results": [], "returned": [],
             "running": [[lease, job, at], [lease, job + 1, 0]]},
        )
    )  # fmt: skip
    house.clock.advance(3600)
    house.work.tick()
    house.settle()
    assert pilot.session.lost
    assert house.work.running(T) == 0


@pytest.mark.parametrize("wrong", [{"spec": 5}, {"spec": None}, {"tails": [[0, 5]]}])
def test_groups_of_other_types_are_refused_alone(wrong: dict[str, Any]) -> None:
    house = House(Described(1, 10))
    pilot = house.pilot()
    pilot.poll(2)
    body = pilot.results(*pilot.units())
    good = body["results"][0]
    body["results"] = [{**good, "jobs": good["jobs"][:1], **wrong}, {**good, "jobs": [1]}]
    house.ask(house.work.report(pilot.session, body))
    assert settled(house) == {1}


def test_only_units_that_fit_a_pilot_side_by_side_count_as_running():
    house = House(Described(1, 20))
    pilot = house.pilot()
    pilot.poll(6)
    pilot.poll(3)
    assert len(pilot.units()) > 4
    assert house.work.running(64) == 4  # it has four CPUs
    assert house.work.pilots()[0]["units"] == 4
    pilot.finish(*pilot.units()[:-1])
    assert house.work.running(64) == 1


def test_rows_of_jobs_that_the_dataset_lacks_do_not_take_the_others_with_them() -> None:
    house = House(Described(1, 2))
    pilot = house.pilot()
    work = pilot.poll(2)["work"]
    (lease,) = (item["lease"] for item in work)
    body = pilot.results((lease, 0), (lease, 1))
    group = body["results"][0]
    group["jobs"] = [0, 7, 1]
    group["wall_ms"] = [5, 6, 7]
    group["tails"] = [[1, "of a job that is no more"]]
    group["outcome"], group["error"], group["errors"] = [0, 1, 0], [0, 1, 0], ["", "exit"]
    pilot.report(body)
    assert settled(house) == {0, 1}


# A token for several pilots


def several(house: House, count: int) -> list[PilotSide]:
    house.ask(house.work.arrivals.expect("hand", "a token for several", count, "hand"))
    pilots = [PilotSide(house, "a token for several") for _ in range(count)]
    for pilot in pilots:
        pilot.announce()
    return pilots


def test_pilots_that_come_with_one_token_are_one_each() -> None:
    house = House(Described(1, jobs=12))
    pilots = several(house, 3)
    assert len(house.work.sessions) == 3
    for pilot in pilots:
        pilot.poll(4)
    assert sorted(job for pilot in pilots for _, job in pilot.units()) == list(range(12))
    for pilot in pilots:
        pilot.finish()
        assert not pilot.session.leases
    assert settled(house) == set(range(12))


def test_pilots_that_came_with_one_token_are_known_after_a_restart() -> None:
    house = House(Described(1, jobs=12))
    one, two, three = several(house, 3)
    two.poll(4)
    house.kill()
    house.start()
    for pilot in (one, two, three):
        pilot.announce()
    assert {job for _, job in two.units()} == set(range(4))
    two.finish()
    assert settled(house) == set(range(4))


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_pilot_whose_answer_got_lost_announces_itself_again_at_no_cost(
    killed: bool, count: int
) -> None:
    house = House(Described(1, jobs=12))
    house.ask(house.work.arrivals.expect("hand", "a token for several", count, "hand"))
    pilots = [PilotSide(house, "a token for several") for _ in range(count)]
    for number, pilot in enumerate(pilots):
        hello = {**pilot.hello(), "secret": str(number) * 40}
        house.ask(house.work.announce(hello))
        if killed:
            house.kill()
            house.start()
        pilot.secret = house.ask(house.work.announce(hello))["session"]
        pilot.poll(4)
    assert len(house.work.sessions) == len({pilot.session.pilot for pilot in pilots}) == count


def test_a_secret_that_could_be_guessed_is_not_taken() -> None:
    house = House()
    house.ask(house.work.arrivals.expect("hand", "a token", 1, "hand"))
    hello = {**PilotSide(house, "a token").hello(), "secret": "x" * 31}
    assert house.ask(house.work.announce(hello))["session"] != "x" * 31
    with pytest.raises(Refusal, match="used up"):
        house.ask(house.work.announce(hello))


def test_a_token_serves_as_often_as_was_said_whenever_the_node_restarts() -> None:
    house = House(Described(1, jobs=12))
    house.ask(house.work.arrivals.expect("hand", "a token for several", 2, "hand"))
    PilotSide(house, "a token for several").announce()
    house.kill()
    house.start()
    PilotSide(house, "a token for several").announce()
    with pytest.raises(Refusal, match="used up"):
        PilotSide(house, "a token for several").announce()
