"""What a node that runs for months must not do: forget to ask, keep old trouble, lose folders."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from node.provisioning.book import Book
from node.provisioning.breaker import KEPT_S, OPEN_S_MAX
from node.provisioning.jobs import Submission
from node.provisioning.ordering import FOLDERS_KEPT
from node.provisioning.shapes import Shape
from schedulers.base import LOOKUP_JOBS_MAX, JobName, JobState
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.provisioning.test_leaving import Desk
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s
SHAPE = Shape("pilot", 1, 0, 10**9, 10**9, 7200)


def test_all_of_very_many_missing_jobs_are_looked_up_in_turn() -> None:
    book = Book(900)
    many = 3 * LOOKUP_JOBS_MAX
    book.add(Submission(1, "floe-maui-00000001", SHAPE, many, 1, 0.0, "/pilots/floe-maui-00000001"))
    book.named("floe-maui-00000001", [JobName(f"1.{task}") for task in range(many)], 0.0)
    asked: set[JobName] = set()
    for look in range(1, 4):
        now_s = look * LOOK_S
        book.listed({}, now_s, now_s)
        inquiry = book.inquiry(now_s)
        assert inquiry is not None
        assert len(inquiry.jobs) == LOOKUP_JOBS_MAX
        asked |= set(inquiry.jobs)
        book.looked_up(inquiry, {}, False, now_s)
    assert len(asked) == many


def test_what_is_in_doubt_is_looked_up_however_many_jobs_are_missing() -> None:
    book = Book(900)
    many = LOOKUP_JOBS_MAX + 1
    book.add(Submission(1, "floe-maui-00000001", SHAPE, many, 1, 0.0, "/pilots/floe-maui-00000001"))
    book.named("floe-maui-00000001", [JobName(f"1.{task}") for task in range(many)], 0.0)
    book.add(Submission(2, "floe-maui-00000002", SHAPE, 1, 2, 0.0, "/pilots/floe-maui-00000002"))
    book.listed({}, LOOK_S, LOOK_S)
    inquiry = book.inquiry(LOOK_S)
    assert inquiry is not None
    assert inquiry.doubted == ["floe-maui-00000002"]


def test_pilots_that_speak_before_their_submission_is_known_are_bound_to_the_jobs_they_name() -> (
    None
):
    camp = Camp(Described(1, 5000))
    camp.batch.faults.loses = 1
    camp.run(2 * LOOK_S)
    running = camp.batch.running()
    assert len({job.host for job in running}) < len(running) == 4  # some share a worker
    named = {session.pilot: session.job for session in camp.house.work.sessions}
    bound = {job.pilot: job.name for each in camp.system.book for job in each.living if job.pilot}
    assert bound == named


def test_a_listing_with_a_part_of_a_submission_leaves_the_rest_in_doubt() -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.slots = 0
    camp.batch.faults.loses, camp.batch.faults.listing = 1, "half"
    camp.batch.faults.forgets = True
    camp.run(LOOK_S + 10)
    (submission,) = camp.system.book
    assert (len(submission.jobs), submission.unseen) == (2, 2)
    assert camp.system.book.queued() == len(camp.batch.jobs) == SETTINGS.queued_max


def test_pilots_that_do_not_name_their_jobs_are_told_by_their_workers() -> None:
    camp = Camp(Described(1, 5000), systems=(replace(SETTINGS, queued_max=3, running_max=3),))
    camp.tells_job = False
    camp.run(2 * LOOK_S)
    sessions = camp.house.work.sessions.by_pilot
    bound = [job for each in camp.system.book for job in each.living if job.pilot is not None]
    assert len(bound) == len({job.host for job in bound}) == 3
    assert all(sessions[job.pilot].host == f"{job.host}.example.org" for job in bound)


def test_pilots_that_cannot_be_told_apart_and_leave_well_are_no_failures() -> None:
    camp = Camp(Described(1, 40))
    camp.tells_job = False
    assert camp.run(1200, lambda: len(camp.house.disk.settled(64)) == 40)
    camp.run(SETTINGS.idle_s + 8 * LOOK_S)
    assert not list(camp.system.book)
    ends = [job for each in camp.system.book.submissions.values() for job in each.jobs.values()]
    assert any(job.pilot is None for job in ends)
    assert not any(each.strikes for each in camp.system.breakers.values())


def test_a_pilot_that_is_faster_than_its_submission_is_bound_to_its_job() -> None:
    camp = Camp(Described(1, 5000))
    camp.runners["maui"].slow_s["submit"] = 12.0
    assert camp.run(LOOK_S, lambda: any(each.jobs for each in camp.system.book))
    bound = [job for each in camp.system.book for job in each.living if job.pilot is not None]
    assert len(bound) == len(camp.batch.running()) == 4


def test_what_a_pilot_waits_for_is_not_shown_any_more_once_it_is_gone() -> None:
    camp = Camp(Described(1, 4))
    camp.batch.slots = 0
    camp.run(10)
    for job in camp.batch.living():
        job.words = "others come first"
    assert camp.run(1000, lambda: bool(camp.system.shown()["waits"]))
    camp.house.work.drain(True)
    for job in camp.batch.living():
        camp.batch.end(job, JobState.CANCELLED)
    camp.run(3 * LOOK_S)
    assert not list(camp.system.book)
    assert camp.system.shown()["waits"] == []


def test_a_refusal_of_what_nobody_wants_any_more_is_forgotten() -> None:
    camp = Camp(Described(1, 40))
    camp.batch.faults.refuses = "Invalid account specified"
    camp.run(100)
    assert camp.system.state() == "stopped"
    camp.house.work.drain(True)
    camp.run(OPEN_S_MAX)
    camp.restart()
    camp.house.work.drain(True)
    camp.run(KEPT_S - 2 * LOOK_S)
    assert camp.system.state() == "stopped"
    camp.run(4 * LOOK_S)
    assert camp.system.state() == "ok"
    camp.restart()
    assert not camp.system.breakers


def test_folders_that_could_not_be_removed_are_removed_later() -> None:
    camp = Camp()
    folders = [f"/pilots/maui/{number:08}" for number in range(3 * FOLDERS_KEPT)]
    logs = [f"{folder}/log.0" for folder in folders]
    camp.batch.files = dict.fromkeys(logs, b"")

    def ended(folder: str) -> None:
        Deferred.fromCoroutine(camp.system._tidy(folder))
        camp.settle()

    camp.batch.faults.unwritable = True
    for folder in folders[: 2 * FOLDERS_KEPT + 2]:
        ended(folder)
    assert list(camp.batch.files) == logs
    assert "cannot remove old logs" in camp.system.trouble
    camp.batch.faults.unwritable = False
    ended(folders[2 * FOLDERS_KEPT + 2])
    assert list(camp.batch.files) == logs[FOLDERS_KEPT:]


def test_a_mistake_of_our_own_is_shown() -> None:
    camp = Camp(Described(1, 40))

    def wrong(_: str) -> None:
        raise LookupError("no such thing \x1b[1m")

    camp.system._plan = wrong  # type: ignore[assignment]
    camp.run(5)
    assert camp.system.trouble == (
        "this node failed at it, and tries again: LookupError: no such thing"
    )


def test_what_is_being_submitted_as_all_pilots_are_to_end_is_ended_too() -> None:
    camp = Camp(Described(1, 4000))
    camp.runners["maui"].slow_s["submit"] = 3.0
    camp.batch.slots = 0
    assert camp.run(60, lambda: bool(camp.batch.jobs))
    assert [each.unseen for each in camp.system.book] == [4]
    desk = Desk(camp)
    assert desk.order("cancel")["asking"]
    camp.run(4)
    assert desk.order("cancel") | {"pilots": 0} == {
        "local": 0, "pilots": 0, "jobs": 0, "asking": False, "hindrances": [],
    }  # fmt: skip
    assert not camp.batch.living()
