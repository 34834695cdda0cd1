"""What becomes of pilots in batch systems when their node is to go down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from node.services.pilotorders import PilotOrders
from node.services.refusal import Refusal
from schedulers.base import JobState
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s


class Facts:
    draining = ""


class Local:
    """No pilots on this machine."""

    living = 0
    ended = False

    def end_all(self) -> None:
        self.ended = True


class Ana:
    name = "ana"


class Desk:
    """An admin, and a camp with jobs that wait and jobs that run."""

    def __init__(self, camp: Camp | None = None) -> None:
        self.camp = camp or self.busy()
        self.local = Local()
        facts: Any = Facts()
        self.orders = PilotOrders(facts, self.camp.house.work, self.local, self.camp.node)

    def busy(self) -> Camp:
        camp = Camp(Described(1, 4000))
        camp.batch.slots = 3
        camp.run(200)
        states = {job.state for job in camp.batch.living()}
        assert states == {JobState.RUNNING, JobState.QUEUED}
        return camp

    def order(self, how: Any) -> dict[str, Any]:
        asking: Any = Ana()
        told: list[Any] = []
        made = self.orders.order({"how": how}, asking)
        Deferred.fromCoroutine(made).addBoth(told.append)
        self.camp.settle()
        answer = told[0]
        return dict(answer) if isinstance(answer, dict) else {"failed": answer.value}


def test_drained_pilots_finish_what_they_hold_and_those_that_wait_are_cancelled() -> None:
    desk = Desk()
    camp = desk.camp
    running = {job.name for job in camp.batch.running()}
    settled = len(camp.house.disk.settled(64))
    held = sum(len(each.left) for s in camp.house.work.sessions for each in s.leases.values())
    assert desk.order("drain")["pilots"] == len(running)
    assert {job.name for job in camp.batch.living()} <= running
    assert camp.run(600, lambda: not camp.batch.living())
    assert {camp.batch.jobs[name].state for name in running} == {JobState.DONE}
    assert len(camp.house.disk.settled(64)) == settled + held
    answer = desk.order("drain")
    assert (answer["pilots"], answer["jobs"], answer["hindrances"]) == (0, 0, [])
    assert len(camp.verbs("cancel")) == 1
    assert not desk.local.ended


def test_cancelled_pilots_are_gone_at_once_and_nothing_is_submitted_again() -> None:
    desk = Desk()
    camp = desk.camp
    made = len(camp.batch.jobs)
    assert desk.order("cancel")["hindrances"] == []
    assert not camp.batch.living()
    assert desk.local.ended
    camp.run(10 * LOOK_S)
    assert len(camp.batch.jobs) == made
    assert desk.order("cancel")["jobs"] == 0


def test_a_cancel_that_fails_is_told_and_made_up_for_at_the_next_start() -> None:
    desk = Desk()
    camp = desk.camp
    camp.batch.faults.fails = True
    assert desk.order("cancel")["asking"]
    (words,) = desk.order("cancel")["hindrances"]
    assert words.startswith("site.maui: cannot cancel: cannot reach the daemon")
    assert camp.system.trouble == "cannot cancel: cannot reach the daemon"
    assert camp.batch.living()
    camp.kill()
    camp.batch.faults.fails = False
    camp.restart()
    camp.run(2 * LOOK_S)
    assert not [
        job for job in camp.batch.living() if job.made_s < camp.clock.seconds() - 2 * LOOK_S
    ]


def test_a_submission_in_doubt_is_told() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.faults.drops = 1
    assert camp.run(100, lambda: any(each.unseen for each in camp.system.book))
    desk = Desk(camp)
    desk.order("cancel")
    (words,) = desk.order("cancel")["hindrances"]
    assert "may have been submitted" in words


def test_another_word_is_refused() -> None:
    assert isinstance(Desk().order("end")["failed"], Refusal)


def test_a_batch_system_that_hangs_keeps_no_other_one_from_ending_its_pilots() -> None:
    camp = Camp(Described(1, 5000), systems=(SETTINGS, replace(SETTINGS, name="hilo")))
    camp.run(100)
    assert all(batch.living() for batch in camp.batches.values())
    camp.batch.faults.hangs = True
    desk = Desk(camp)
    assert desk.order("cancel")["asking"]
    camp.run(1)
    assert camp.batch.living()
    assert not camp.batches["hilo"].living()
