"""Settings of a batch system are judged by the batch system itself, and nothing is submitted."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from node.provisioning.checking import REMOVE_S_MAX, check
from node.provisioning.findings import ALL_S_MAX, Finding, Verdict
from node.provisioning.ports import Tools
from node.provisioning.settings import Factory, SystemConfig
from schedulers.base import Command, Completed, SchedulerError
from schedulers.runner import Lost, NotReached, NotRun
from tests.fakes.batch import Batch, FakeRunner, FakeScheduler

SETTINGS = SystemConfig("maui", "slurm", (Factory(queue="long"),), folder="/pilots")
QUEUES = [
    {"name": "long", "time_s_max": 86_400, "cpu_max": 32, "default": True},
    {"name": "short", "time_s_max": 600},
    {"name": "dark", "words": "no node is up: idle*"},
    {"name": "shut", "open": False, "words": "the partition is down"},
]


class Runner(FakeRunner):
    """Knows of programs, too. fault: instead of an answer."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.missing = b""
        self.hangs_at_removal = False
        self.fault: Exception | None = None
        self.shared = ""  # a folder that others may write to, in whose own folders only we may

    async def run(self, command: Command, *, timeout_s: float = 60.0) -> Completed:
        if self.fault is not None:
            raise self.fault
        if command.argv[0] == "/bin/sh":
            return Completed(0, self.missing, b"")
        return await super().run(command, timeout_s=timeout_s)

    async def remove(self, paths: Sequence[str]) -> None:
        if self.hangs_at_removal:
            await Deferred()
        await super().remove(paths)

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        if self.batch.faults.unwritable:
            raise NotRun(f"cannot write {path}", lasting=True)
        if posixpath.dirname(path) == self.shared:
            raise SchedulerError(f"cannot write {path}: others may write to the folder")
        await super().put(path, content, mode)


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.batch = Batch(self.clock, queues=QUEUES)
        self.runner = Runner(self.batch)

    def check(self, settings: SystemConfig = SETTINGS, wait_s: float = 0.0) -> list[Finding]:
        tools = Tools(FakeScheduler(), self.runner)
        found: list[Any] = []
        made = check(self.clock, tools, settings, "/home/pilots", "abcdef123456")
        Deferred.fromCoroutine(made).addCallback(found.append)
        self.clock.advance(wait_s)
        return list(found[0])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def with_factory(**more: Any) -> SystemConfig:
    return replace(SETTINGS, factories=(replace(SETTINGS.factories[0], **more),))


def verdicts(found: list[Finding]) -> list[Verdict]:
    return [each.verdict for each in found]


def test_good_settings_are_fine_and_leave_nothing_behind(bench: Bench) -> None:
    found = bench.check()
    assert verdicts(found) == [Verdict.FINE, Verdict.FINE]
    assert found[0].words == "fake 1.0"
    assert not bench.batch.files
    assert not bench.batch.jobs
    assert "submit" not in [verb for _, verb in bench.batch.ran]


def test_a_refused_pilot_is_quoted_with_the_queues_that_there_are(bench: Bench) -> None:
    bench.batch.faults.refuses = "error: invalid partition specified: lomg"
    last = bench.check(with_factory(queue="lomg"))[-1]
    assert last.verdict is Verdict.REFUSED
    assert last.words == "error: invalid partition specified: lomg"
    assert "'long'" in last.right
    assert "long, short, dark, shut" in last.right


def test_what_a_warning_says_is_passed_on(bench: Bench) -> None:
    bench.batch.faults.warns = "WARNING: the line 'x = 3' was unused"
    last = bench.check()[-1]
    assert last.verdict is Verdict.NOTE
    assert "unused" in last.words


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cpu": 64}, "gives 32 CPUs at most, not 64"),
        ({"queue": "short"}, "allows 10m, the shortest time of its pilots here is 2h"),
    ],
)
def test_impossible_limits_are_refused(bench: Bench, more: dict[str, Any], words: str) -> None:
    last = bench.check(with_factory(**more))[-1]
    assert last.verdict is Verdict.REFUSED
    assert words in last.words


def test_each_kind_of_pilot_is_judged(bench: Bench) -> None:
    small, big = replace(SETTINGS.factories[0], name="small"), Factory(name="big", cpu=99)
    found = bench.check(replace(SETTINGS, factories=(small, big)))
    assert [each.place for each in found[1:]] == [
        "site.maui.pilot 'small'", "site.maui.pilot 'big'"
    ]  # fmt: skip
    assert verdicts(found[1:]) == [Verdict.FINE, Verdict.REFUSED]


@pytest.mark.parametrize(
    ("queue", "words"), [("shut", "the partition is down"), ("dark", "no node is up: idle*")]
)
def test_a_queue_that_is_down_is_no_mistake_and_what_is_said_of_it_then_neither(
    bench: Bench, queue: str, words: str
) -> None:
    bench.batch.faults.refuses = "Requested node configuration is not available"
    found = bench.check(with_factory(queue=queue))
    assert verdicts(found[1:]) == [Verdict.LATER, Verdict.LATER]
    assert words in found[1].words


def test_a_missing_program_is_named(bench: Bench) -> None:
    bench.runner.missing = b"fake\n"
    (only,) = bench.check()
    assert only.verdict is Verdict.REFUSED
    assert only.words == "no program fake on this machine"
    assert "site.maui.commands" in only.right


def test_a_folder_that_cannot_be_written_is_refused(bench: Bench) -> None:
    bench.batch.faults.unwritable = True
    last = bench.check()[-1]
    assert (last.place, last.verdict) == ("site.maui.folder", Verdict.REFUSED)
    assert "/pilots/floe-maui-abcdef123456/pilot.pyz" in last.words


def test_a_folder_in_which_others_could_exchange_the_program_is_refused(bench: Bench) -> None:
    bench.runner.shared = "/pilots"
    last = bench.check()[-1]
    assert (last.place, last.verdict) == ("site.maui.folder", Verdict.REFUSED)
    assert "others may write to the folder" in last.words
    bench.runner.shared = "/elsewhere"
    assert "folder" not in {each.step for each in bench.check()}
    assert not bench.batch.files


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (NotRun("login2: it refuses our key", lasting=True), Verdict.REFUSED),
        (NotReached("login2: it does not answer"), Verdict.LATER),
        (Lost("login2: the connection broke"), Verdict.LATER),
    ],
)
def test_a_host_that_says_no_is_told_from_one_that_says_nothing(
    bench: Bench, fault: Exception, verdict: Verdict
) -> None:
    bench.runner.fault = fault
    (only,) = bench.check()
    assert only.verdict is verdict


def test_a_daemon_that_is_away_is_no_refusal(bench: Bench) -> None:
    bench.batch.faults.fails = True
    (only,) = bench.check()
    assert (only.step, only.verdict) == ("answers", Verdict.LATER)
    assert only.words == "cannot reach the daemon"


def test_one_that_hangs_does_not_keep_people_waiting(bench: Bench) -> None:
    bench.batch.faults.hangs = True
    (only,) = bench.check(wait_s=ALL_S_MAX)
    assert only.verdict is Verdict.LATER
    assert f"within {ALL_S_MAX:.0f} s" in only.words


def test_one_that_hangs_when_files_are_removed_does_not_either(bench: Bench) -> None:
    bench.runner.hangs_at_removal = True
    assert all(each.verdict is Verdict.FINE for each in bench.check(wait_s=REMOVE_S_MAX))


def test_a_queue_is_looked_for_where_nothing_can_be_rehearsed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeScheduler, "rehearse", lambda self, spec: None)
    assert verdicts(bench.check()) == [Verdict.FINE]
    last = bench.check(with_factory(queue="lomg"))[-1]
    assert last.verdict is Verdict.REFUSED
    assert last.words == "there is no queue 'lomg'"


def test_a_wall_time_that_is_never_asked_for_is_noted(bench: Bench) -> None:
    found = bench.check(with_factory(times_s=(3600, 90_000, 180_000)))
    assert verdicts(found) == [Verdict.FINE, Verdict.NOTE, Verdict.FINE]
    assert found[1].place == "site.maui.times"
    assert "allows 1d: 25h, 50h is never asked for" in found[1].words
    bench.batch.faults.refuses = "invalid account"
    assert bench.check(with_factory(times_s=(3600, 90_000)))[-1].verdict is Verdict.REFUSED
