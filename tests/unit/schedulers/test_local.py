"""Pilots as child processes: started apart from the node, known again, never mistaken."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from schedulers.base import JobName, JobState, PilotSpec, SchedulerError
from schedulers.local import Local, LocalJob

DEADLINE_S = 20.0


def spec(tmp_path: Path, *argv: str, count: int = 1) -> PilotSpec:
    return PilotSpec("pilot", argv, str(tmp_path / "log"), count=count)


def ended(local: Local, job: JobName) -> bool:
    until = time.monotonic() + DEADLINE_S
    while local.states([job])[job] is not JobState.ENDED:
        if time.monotonic() > until:
            return False
        os.sched_yield()
    return True


def test_a_pilot_runs_in_a_session_of_its_own_until_it_is_cancelled(tmp_path: Path) -> None:
    local = Local()
    (job,) = local.submit(spec(tmp_path, "sleep", "1000"))
    pid = LocalJob.parse(job).pid
    assert local.states([job]) == {job: JobState.RUNNING}
    assert os.getsid(pid) == pid
    local.cancel([job])
    assert ended(local, job)


def test_another_node_process_finds_the_pilots_of_the_first(tmp_path: Path) -> None:
    (job,) = Local().submit(spec(tmp_path, "sleep", "1000"))
    later = Local()
    assert later.states([job]) == {job: JobState.RUNNING}
    later.cancel([job], signal.SIGKILL)
    assert ended(later, job)


def test_a_number_that_went_to_another_process_is_not_our_pilot(tmp_path: Path) -> None:
    local = Local()
    (job,) = local.submit(spec(tmp_path, "sleep", "1000"))
    known = LocalJob.parse(job)
    for other in (
        replace(known, start_ticks=known.start_ticks - 1),
        replace(known, boot="another-boot"),
    ):
        name = other.name()
        assert local.states([name]) == {name: JobState.ENDED}
        local.cancel([name], signal.SIGKILL)
    assert local.states([job]) == {job: JobState.RUNNING}
    local.cancel([job], signal.SIGKILL)
    assert ended(local, job)


def test_a_pilot_that_ended_by_itself_is_seen_and_buried(tmp_path: Path) -> None:
    local = Local()
    jobs = local.submit(spec(tmp_path, sys.executable, "-c", "print('words')", count=3))
    assert len(set(jobs)) == 3
    assert all(ended(local, job) for job in jobs)
    assert (tmp_path / "log").read_text() == "words\n" * 3
    local.states(jobs)  # buries those that were dead already when last looked at
    assert not any(Path(f"/proc/{LocalJob.parse(job).pid}").exists() for job in jobs)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="/no/such/pilot"):
        Local().submit(spec(tmp_path, "/no/such/pilot"))


def test_a_pilot_whose_name_was_lost_is_found_by_a_word_of_its_command_line(tmp_path: Path) -> None:
    local = Local()
    word = str(tmp_path / "settings.json")
    assert local.find(word) is None
    program = "import time; time.sleep(1000)"
    (job,) = local.submit(spec(tmp_path, sys.executable, "-c", program, word))
    until = time.monotonic() + DEADLINE_S
    while (found := Local().find(word)) is None and time.monotonic() < until:
        os.sched_yield()  # not executed yet
    assert found == job
    assert local.find(word + "x") is None
    local.cancel([job])
    assert ended(local, job)
    assert local.find(word) is None
