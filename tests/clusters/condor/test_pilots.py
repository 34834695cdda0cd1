"""What only HTCondor does with pilots: it copies their files, starts them once, loses workers."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedulers.base import JobName, JobState, OtherForm, Report
from schedulers.htcondor import HTCondor
from tests.clusters.condor.rig import CondorRig
from tests.clusters.place import marked, wait_until
from tests.contract.submissions import Submissions

SHOW = """
import json, os, sys
print(json.dumps([sys.argv, sorted(os.listdir(".")), os.stat(sys.argv[1]).st_mode]))
open("left over", "w").write("x")
os.mkdir("left")
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[CondorRig]:
    here = CondorRig()
    yield here
    here.close()


@pytest.fixture(scope="module")
def ours(rig: CondorRig) -> Submissions:
    return Submissions(rig)


def workers(rig: CondorRig, program: str) -> list[int]:
    """Ids of the processes of this pool with this name."""
    mine = {pid for mark in rig.place.marks for pid in marked(mark)}
    return [pid for pid in mine if Path(f"/proc/{pid}/comm").read_text().strip() == program]


def wait_started(rig: CondorRig, job: JobName) -> None:
    """A job counts as running before its program starts, and until then may start elsewhere."""
    ask = ("condor_q", job, "-af", "NumJobStarts")
    wait_until(f"a start of {job}", lambda: rig.pool.tool(*ask).strip() == "1")


def end_of(ours: Submissions, job: JobName, tag: str) -> Report:
    ours.wait_gone([job])
    return ours.ended([job], tag)[job]


def test_files_arrive_as_they_are_and_nothing_else_comes_back(
    rig: CondorRig, ours: Submissions
) -> None:
    folder = rig.place.make("jobs/it's; $(id) a=b %")
    program, secret = folder / "pilot $x.pyz", folder / "set;tings=[1] 'ü'.json"
    program.write_text(SHOW)
    secret.touch(0o600)
    spec = replace(
        ours.spec(files=[str(program), str(secret)], log=str(folder / "log;a=b")),
        argv=[str(program), str(secret), "word"],
    )
    before = {*rig.folder.iterdir(), *folder.iterdir()}
    (job,) = ours.submit(spec)
    ours.wait_gone([job])
    argv, beside, mode = json.loads(ours.output(spec, job))
    assert argv == [program.name, secret.name, "word"]
    assert stat.S_IMODE(mode) == 0o600
    assert {program.name, secret.name} <= set(beside)
    made = {*rig.folder.iterdir(), *folder.iterdir()} - before
    assert made == {folder / "log;a=b.0"}


def test_a_file_that_is_gone_holds_the_pilot_and_is_named(
    rig: CondorRig, ours: Submissions
) -> None:
    missing = str(rig.folder / "gone.json")
    jobs = ours.submit(ours.spec(files=[str(ours.program), missing]))
    ours.wait(jobs, JobState.HELD)
    assert missing in ours.listing()[jobs[0]].words
    assert missing in ours.scheduler.described(rig.run(ours.scheduler.describe(jobs[0])))
    ours.cancel(jobs)
    ours.wait_gone(jobs)


def test_an_evicted_pilot_is_not_started_again(rig: CondorRig, ours: Submissions) -> None:
    spec = ours.spec(settings={"sleep_s": 600})
    (job,) = ours.submit(spec)
    wait_started(rig, job)
    rig.pool.tool("condor_vacate_job", job)
    report = end_of(ours, job, spec.name)
    assert report.state is JobState.PREEMPTED
    starts = rig.pool.tool("condor_history", job, "-af", "NumJobStarts")
    assert starts.strip() == "1"


def test_a_pilot_whose_worker_failed_is_told_from_an_evicted_one(
    rig: CondorRig, ours: Submissions
) -> None:
    spec = ours.spec(settings={"sleep_s": 600})
    (job,) = ours.submit(spec)
    wait_started(rig, job)
    for pid in workers(rig, "condor_starter"):
        os.kill(pid, signal.SIGKILL)
    assert end_of(ours, job, spec.name).state is JobState.NODE_FAILED


def test_a_warned_pilot_ends_before_its_time_is_up(rig: CondorRig, ours: Submissions) -> None:
    spec = ours.spec(settings={"sleep_s": 600}, time_s=rig.time_s)
    (job,) = ours.submit(spec)
    report = end_of(ours, job, spec.name)
    # It caught SIGTERM and ended by itself; what it printed is not sent back for a removed job.
    assert (report.state, report.exit) == (JobState.TIMED_OUT, 128 + signal.SIGTERM)


def test_a_hundred_pilots_are_one_submission(ours: Submissions) -> None:
    spec = ours.spec(settings={"sleep_s": 600}, count=100, gpu=99)
    jobs = ours.submit(spec)
    assert set(ours.tagged(spec.name)) == set(jobs)
    assert len(jobs) == 100
    ours.cancel(jobs)
    ours.wait_gone(jobs)
    assert {each.state for each in ours.ended(jobs, spec.name).values()} == {JobState.CANCELLED}


def test_a_wrapper_that_greets_is_seen_through(rig: CondorRig) -> None:
    greets = "sh -c 'echo Welcome to the pool.; exec condor_q \"$@\"' greeter"
    condor = HTCondor(commands={"condor_q": greets})
    wait_until("an empty queue", lambda: not rig.scheduler.listed(rig.run(rig.scheduler.listing())))
    with pytest.raises(OtherForm) as caught:
        condor.listed(rig.run(condor.listing()))
    assert condor.listed(rig.run(caught.value.instead)) == {}
