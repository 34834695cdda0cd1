"""How often a batch system's commands are run to find out what became of jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from node.provisioning.asking import Asking
from node.provisioning.jobs import Inquiry
from node.provisioning.ports import Tools
from schedulers.base import Command, Completed, JobName, JobState, Scheduler
from schedulers.command import LocalRunner
from schedulers.runner import Lost
from schedulers.sge import Sge
from schedulers.slurm import Slurm
from schedulers.torque import Torque

SGE = Path(__file__).parents[3] / "data/sge"
TAG = "floe-sge-array0001"
NOBODY = "<?xml version='1.0'?>\n<unknown_jobs><ST_name>7</ST_name></unknown_jobs>\n"


class Answers(LocalRunner):
    """Runs nothing: answers as it is told to. ran: every command line."""

    def __init__(self, answer: Callable[[str], Completed]) -> None:
        self._answer = answer
        self.ran: list[str] = []

    async def run(self, command: Command, **_: Any) -> Completed:
        self.ran.append(" ".join(command.argv))
        return self._answer(self.ran[-1])


def result_of(asked: Coroutine[Any, Any, Any]) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(asked).addCallback(found.append)
    return found[0]


def asking(scheduler: Scheduler, runner: Answers) -> Asking:
    return Asking(Tools(scheduler, runner))


def of_sge(words: str) -> Completed:
    if words.startswith("qacct"):
        return Completed(1, b"", b"error: job name floe-sge-array0001 not found\n")
    if "-g d" in words:
        return Completed(0, (SGE / "listing.xml").read_bytes(), b"")
    return Completed(0, NOBODY.encode(), b"")


def test_one_listing_a_look_though_it_is_also_what_tells_of_missing_tasks() -> None:
    runner = Answers(of_sge)
    mine = asking(Sge(), runner)
    listed = result_of(mine.listing())
    gone = JobName("7.99")
    assert gone not in listed
    found, failed = result_of(mine.look_up(Inquiry([gone], [TAG], [])))
    assert failed == ""
    assert found[gone].denied
    assert sum("-g d" in words for words in runner.ran) == 1
    mine.rest()
    result_of(mine.look_up(Inquiry([gone], [TAG], [])))
    assert sum("-g d" in words for words in runner.ran) == 2


def test_where_the_listing_is_all_that_there_is_it_is_asked_for_once() -> None:
    runner = Answers(lambda words: Completed(0, b"", b""))
    mine = asking(Torque(), runner)
    assert result_of(mine.listing()) == {}
    assert result_of(mine.look_up(Inquiry([], [], [TAG]))) == ({}, "")
    assert len(runner.ran) == 1


def test_an_accounting_that_hangs_is_waited_for_once_a_look() -> None:
    def answer(words: str) -> Completed:
        if words.startswith("qacct"):
            raise Lost("qacct did not end within 60 s")
        return of_sge(words)

    runner = Answers(answer)
    mine = asking(Sge(), runner)
    result_of(mine.listing())
    tags = [f"floe-sge-array000{number}" for number in range(1, 6)]
    found, failed = result_of(mine.look_up(Inquiry([JobName("7.99")], tags, tags[:2])))
    assert sum(words.startswith("qacct") for words in runner.ran) == 1
    assert failed == "qacct did not end within 60 s"
    assert {job: each.state for job, each in found.items()} == {"7.99": JobState.UNKNOWN}


def test_the_next_best_source_is_asked_only_for_what_is_not_known_yet() -> None:
    row = "{}|COMPLETED|0:0|n1|floe-a1-k3x9w2q1\n"
    told = {"sacct": row.format("7") + row.format("8")}
    runner = Answers(lambda words: Completed(0, told.get(words.split()[0], "").encode(), b""))
    mine = asking(Slurm(), runner)
    both = Inquiry([JobName("7"), JobName("8")], ["floe-a1-k3x9w2q1"], [])
    found, _ = result_of(mine.look_up(both))
    assert {each.state for each in found.values()} == {JobState.DONE}
    assert [words.split()[0] for words in runner.ran] == ["sacct"]
    told["sacct"] = row.format("7")
    result_of(mine.look_up(both))
    assert [words.split()[0] for words in runner.ran[1:]] == ["sacct", "squeue"]
