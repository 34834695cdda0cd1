"""kill -9 of the node at each step of its work with a batch system: no pilot is lost or made twice.

A step is a command, a file that is shipped, or rows that are written down; it is killed before and
after each. What a killed node was doing goes on without it, as batch systems do.
"""

from __future__ import annotations

from functools import partial

import pytest

from node.work.ports import Statement
from schedulers.base import JobState
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described, Pending

UNITS = 80
OURS = ("node.provisioning.ending", "node.store.submissions")


class Killer:
    """Counts the steps of a node, and kills it at one of them."""

    def __init__(self, camp: Camp, at: int | None) -> None:
        self.camp = camp
        self.steps: list[str] = []
        self._at = at
        camp.runners["maui"].on_verb = self.step
        camp.house.journal.on_local = self._wrote

    def _wrote(self, statement: Statement, moment: str) -> None:
        called = statement.func if isinstance(statement, partial) else statement
        module, name = called.__module__, called.__qualname__
        if module in OURS or name == "_expect":
            self.step(f"write {name}", moment)

    def step(self, what: str, moment: str) -> None:
        if not self.camp.up:
            return
        if len(self.steps) == self._at:
            self.camp.kill()
        self.steps.append(f"{moment} {what}")


def pass_time(camp: Camp, seconds: int) -> None:
    for _ in range(seconds):
        try:
            camp.run(1)
        except Pending:
            assert not camp.up  # a pilot was not answered
        living = camp.batch.living()
        assert len(living) <= SETTINGS.running_max
        assert sum(job.state is JobState.QUEUED for job in living) <= SETTINGS.queued_max
        if not camp.up:
            return


def live(at: int | None) -> tuple[Camp, Killer]:
    """A life that has all steps in it: until it is killed at step `at`, and started again."""
    camp = Camp(Described(1, UNITS))
    camp.batch.slots, camp.unit_s = 2, 20.0
    killer = Killer(camp, at)
    pass_time(camp, 35)
    if camp.up:
        camp.batch.end(camp.batch.running()[0], JobState.CANCELLED, words="by root")
        pass_time(camp, 35)
    if camp.up:
        camp.node.limit("maui", 2, 0)
        pass_time(camp, 70)
    if at is not None:
        assert not camp.up, "it is not killed there"
        camp.run(7)  # what it left behind goes on
        camp.restart()
    return camp, killer


def test_this_life_has_all_steps_in_it() -> None:
    steps = live(None)[1].steps
    told = {step.partition(" ")[2] for step in steps}
    assert told >= {
        "put", "submit", "listing", "lookup", "cancel", "version", "limits", "write _expect",
        "write _write",
    }  # fmt: skip


@pytest.mark.parametrize("blind", [False, True])
def test_a_node_that_is_killed_at_any_step_goes_on_as_if_nothing_had_been(blind: bool) -> None:
    """blind: for a while after that the batch system shows none of its jobs."""
    for at in range(len(live(None)[1].steps)):
        camp, killer = live(at)
        step = f"step {at}: {killer.steps[at]}"
        if blind:
            camp.batch.faults.listing, camp.batch.faults.forgets = "empty", True
            camp.run(60)
            camp.batch.faults.listing, camp.batch.faults.forgets = "", False
        camp.batch.slots = 4
        assert camp.run(2000, lambda camp=camp: len(camp.house.disk.settled(64)) == UNITS), step
        camp.house.work.drain(True)
        assert camp.run(1200, lambda camp=camp: not camp.batch.living()), step
        assert camp.run(2000, lambda camp=camp: not list(camp.system.book)), step
        assert camp.house.work.arrivals.expected == {}, step
        made = {job.tag for job in camp.batch.jobs.values()}
        numbers = {job.name.partition(".")[0] for job in camp.batch.jobs.values()}
        assert len(made) == len(numbers), f"{step}: a submission was made twice"
        silent = [pilot.job for pilot in camp.pilots if not pilot.secret]
        # One that has just started as its cancelling goes out has nothing to lose.
        assert {job.words for job in silent} <= {"by user"}, f"{step}: a pilot was turned away"
        spoke = [pilot.job for pilot in camp.pilots if pilot.secret]
        assert "by user" not in {job.words for job in spoke}, f"{step}: it cancels what works"
