"""A test of a batch system: a pilot of its own, a unit that no other pilot gets, each step told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from node.provisioning.settings import SystemConfig
from node.services.refusal import Refusal
from node.services.sitetests import FORGOTTEN_S, SiteTests
from schedulers.base import JobState
from tests.fakes.batch import FEWER
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s
TESTED = Described(1, 1)


class Ana:
    name = "ana"


class Desk:
    """An admin who tests the first batch system of a camp."""

    def __init__(self, *datasets: Described, settings: SystemConfig = SETTINGS) -> None:
        self.camp = Camp(*datasets, systems=(settings,))
        self.tests = SiteTests(
            self.camp.clock, self.camp.house.work, lambda: self.camp.node.systems
        )

    def ask(self, what: str, **more: Any) -> Any:
        asking: Any = Ana()
        told: list[Any] = []
        body = {"system": "maui", "do": what, **more}
        Deferred.fromCoroutine(self.tests.order(body, asking)).addBoth(told.append)
        self.camp.settle()
        return told[0].value if isinstance(told[0], Failure) else told[0]

    def begin(self) -> None:
        self.ask("begin", dataset=TESTED.id.hex())

    def steps(self) -> dict[str, Any]:
        return {each["what"]: each for each in self.ask("look")["steps"]}

    def until(self, step: str, seconds: float = 300) -> Any:
        """The step, once it is known."""

        def known() -> bool:
            return self.steps().get(step, {}).get("ok") is not None

        assert self.camp.run(seconds, known), self.steps()
        return self.steps()[step]

    def clean(self, seconds: float = 300) -> Any:
        answers: list[Any] = []

        def over() -> bool:
            answers.append(self.ask("look"))
            return bool(answers[-1]["over"])

        assert self.camp.run(seconds, over), answers[-1]
        return answers[-1]["steps"][-1]


@pytest.fixture
def desk() -> Desk:
    return Desk(TESTED)


def test_one_pilot_is_submitted_runs_the_unit_leaves_and_nothing_stays(desk: Desk) -> None:
    desk.begin()
    assert desk.until("submitted")["detail"].startswith("job 1.0, 4 CPUs")
    assert desk.until("started")["detail"].startswith("on w")
    assert "4 CPUs" in desk.until("spoke to this node")["detail"]
    assert desk.camp.run(200, lambda: len(desk.camp.house.disk.settled(64)) == 1)
    desk.ask("end")
    last = desk.clean()
    assert (last["what"], last["ok"]) == ("cleaned up", True)
    assert len(desk.camp.batch.jobs) == 1
    (job,) = desk.camp.batch.jobs.values()
    assert job.state is JobState.DONE
    assert not [path for path in desk.camp.batch.files if job.tag in path]
    assert "settings.json" not in " ".join(desk.camp.batch.files)
    assert isinstance(desk.ask("look"), Refusal)


def test_the_unit_waits_for_its_pilot_and_the_pilot_for_its_unit() -> None:
    desk = Desk(TESTED, Described(2, 4000))
    camp = desk.camp
    camp.batch.slots = 100
    desk.begin()
    tag = next(iter(camp.system.book.submissions))
    assert camp.run(400, lambda: len(camp.house.disk.settled(64)) == 1)
    mine = next(pilot for pilot in camp.pilots if pilot.settings["tag"] == tag)
    others = [pilot for pilot in camp.pilots if pilot is not mine]
    assert others
    assert camp.run(300, lambda: bool(camp.house.disk.settled(128)))
    assert {spec[:2] for spec in mine.spec.values()} == {"01"}
    assert {spec[:2] for other in others for spec in other.spec.values()} == {"02"}


def test_a_refusal_is_quoted_and_ends_the_test(desk: Desk) -> None:
    desk.camp.batch.faults.refuses = "invalid account: ice"
    desk.begin()
    answer = desk.ask("look")
    assert answer["over"]
    last = answer["steps"][-1]
    assert (last["what"], last["ok"]) == ("submitted", False)
    assert last["detail"] == "invalid account: ice"
    assert "floe config reload" in last["right"]


def test_a_full_quota_is_nothing_to_correct(desk: Desk) -> None:
    desk.camp.batch.faults.limit = lambda given: FEWER
    desk.begin()
    last = desk.ask("look")["steps"][-1]
    assert (last["what"], last["ok"]) == ("submitted", False)
    assert last["detail"] == "as many jobs as are allowed"
    assert last["right"] == "this passes by itself, as jobs of the account end"


def test_a_batch_system_that_does_not_answer_is_told(desk: Desk) -> None:
    desk.camp.batch.faults.fails = True
    desk.begin()
    (only,) = desk.ask("look")["steps"]
    assert (only["what"], only["ok"]) == ("answers", False)
    assert only["detail"] == "cannot reach the daemon"


def test_a_pilot_that_waits_too_long_is_explained_and_cancelled(desk: Desk) -> None:
    desk.camp.batch.held = "the account is over its quota"
    desk.begin()
    desk.camp.run(2 * LOOK_S)
    assert desk.steps()["started"]["ok"] is None
    desk.ask("end")
    started = desk.until("started")
    assert not started["ok"]
    assert "is held: the account is over its quota" in started["detail"]
    assert not desk.camp.batch.living()
    assert desk.clean()["ok"]


def test_why_a_pilot_waited_too_long_is_told_once_when_it_is_gone(desk: Desk) -> None:
    desk.camp.batch.slots = 0
    desk.begin()
    desk.camp.run(2 * LOOK_S)
    (job,) = desk.camp.batch.living()
    job.words = "waits for room"
    desk.ask("end")
    desk.camp.run(4 * LOOK_S, lambda: not desk.camp.batch.living())
    desk.camp.run(2 * LOOK_S)
    steps = desk.steps()
    assert "is listed still" not in steps["cleaned up"]["detail"]
    started = steps["started"]
    assert not started["ok"]
    assert started["detail"].startswith("job 1.0 waits")
    assert started["detail"].count("waits") == 1
    assert "--timeout 3600 waits longer" in started["right"]


def test_a_pilot_that_runs_and_never_speaks_is_explained_with_its_log(desk: Desk) -> None:
    camp = desk.camp

    def mute(batch: Any, job: Any) -> None:
        batch.files[f"{job.log}.0"] = b"cannot reach the node: timed out\n"

    camp.behave = mute
    desk.begin()
    desk.until("started")
    desk.ask("end")
    spoke = desk.until("spoke to this node")
    assert not spoke["ok"]
    assert spoke["detail"].endswith(
        "has not reached https://node:1; it said: cannot reach the node: timed out"
    )
    assert "url" in spoke["right"]
    assert desk.clean()["ok"]


def test_a_pilot_that_dies_is_explained_with_its_log(desk: Desk) -> None:
    desk.camp.behave = desk.camp.dies
    desk.begin()
    spoke = desk.until("spoke to this node", 400)
    assert not spoke["ok"]
    assert "exit status 1; it said: no route to node" in spoke["detail"]


def test_open_breakers_and_used_up_limits_do_not_hinder_a_test() -> None:
    desk = Desk(TESTED, settings=replace(SETTINGS, running_max=0, queued_max=0))
    desk.begin()
    assert desk.until("submitted")["ok"]
    assert desk.until("spoke to this node")["ok"]


def test_a_test_that_nobody_follows_any_more_is_ended(desk: Desk) -> None:
    desk.camp.batch.held = "for ever"
    desk.begin()
    desk.camp.run(2 * FORGOTTEN_S + 2 * LOOK_S)
    first = next(iter(desk.camp.batch.jobs.values()))
    assert first.state is JobState.CANCELLED
    assert isinstance(desk.ask("look"), Refusal)


def test_one_test_of_a_batch_system_at_a_time(desk: Desk) -> None:
    desk.begin()
    again = desk.ask("begin", dataset=TESTED.id.hex())
    assert isinstance(again, Refusal)
    assert "is running" in str(again)
    for body in ({"system": "wawel"}, {"dataset": "zz"}):
        assert isinstance(desk.ask("begin", **body), Refusal)


def test_a_drained_site_runs_no_test(desk: Desk) -> None:
    desk.camp.house.work.drain()
    desk.begin()
    (only,) = desk.ask("look")["steps"]
    assert only["right"] == "floe site drain --off"
    assert not desk.camp.batch.jobs


def test_a_node_that_is_killed_in_a_test_leaves_no_orphan(desk: Desk) -> None:
    camp = desk.camp
    desk.begin()
    camp.restart()
    camp.run(SETTINGS.idle_s + 10 * LOOK_S)
    assert not camp.batch.living()
    assert not list(camp.system.book)


def test_questions_about_a_test_do_not_pile_up_while_the_batch_system_hangs() -> None:
    desk = Desk(TESTED)
    desk.camp.batch.faults.hangs = True
    desk.begin()
    for _ in range(50):
        desk.ask("end")
    assert len(desk.camp.system._errands) <= 1
