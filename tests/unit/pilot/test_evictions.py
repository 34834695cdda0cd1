"""Real pilots in the environment of a batch job: what they announce, and how they go."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from pilot.batchsystem import ENDING
from tests.fakes.pilot_server import PilotServer, task
from tests.unit.pilot import batchjobs
from tests.unit.pilot.conftest import Launch, descendants

OPENPBS = {**batchjobs.OPENPBS_ARRAY, "PBS_NODEFILE": "/nowhere", "HOME": "/root"}


@pytest.fixture
def condor(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a job of HTCondor, with its files."""
    folder = tmp_path / "dir_24096"
    folder.mkdir()
    (folder / ".job.ad").write_text(batchjobs.JOB_AD)
    (folder / ".machine.ad").write_text(batchjobs.MACHINE_AD)
    (folder / ".chirp.config").write_text("secret")
    return {
        name: value.replace("/execute/dir_24096", str(folder))
        for name, value in batchjobs.CONDOR_NO_GPU.items()
    }


def test_a_pilot_tells_its_job_and_what_was_granted(server: PilotServer, launch: Launch) -> None:
    launch(environ=batchjobs.SLURM_ARRAY, cpu=None, memory_bytes=None, system="slurm")
    server.until(lambda state: state.announced)
    hello = server.state.announced[0]
    assert (hello["system"], hello["job"]) == ("slurm", "1_0")
    assert hello["resources"]["cpu"] == 1
    assert hello["resources"]["memory_bytes"] == (500 - 64) << 20


def test_outside_of_a_batch_system_a_pilot_names_no_job(
    server: PilotServer, launch: Launch
) -> None:
    launch()
    server.until(lambda state: state.announced)
    assert (server.state.announced[0]["system"], server.state.announced[0]["job"]) == ("", "")


def test_pilots_of_one_submission_share_settings_and_nothing_else(
    server: PilotServer, launch: Launch, tmp_path: Path
) -> None:
    first = launch(environ=batchjobs.SLURM_ARRAY)
    second = launch(environ={**batchjobs.SLURM_ARRAY, "SLURM_ARRAY_TASK_ID": "1"}, like=first)
    server.until(lambda state: {body["job"] for body in state.announced} == {"1_0", "1_1"})
    folders = sorted(path.name for path in first.work.iterdir())
    assert [name.startswith(f"floe-pilot-test-0-1_{n}-") for n, name in enumerate(folders)] == [
        True,
        True,
    ]
    assert {pilot.end() for pilot in (first, second)} == {0}
    assert list(first.work.iterdir()) == []


def test_units_work_where_the_batch_system_wants_it(
    server: PilotServer, launch: Launch, condor: Mapping[str, str], isolation: str
) -> None:
    scratch = condor["_CONDOR_SCRATCH_DIR"]
    pilot = launch(environ=condor, work_dir="", isolation=isolation)
    secret = f"cat {scratch}/.chirp.config"
    server.add(task({"script": f"pwd; echo $TMPDIR; {secret} || echo hidden"}, needs=SMALL))
    lines = server.log(server.result()).decode().splitlines()
    assert all(line.startswith(f"{scratch}/floe-pilot-test-0-1.2-") for line in lines[:2])
    assert lines[-1] == ("hidden" if isolation == "full" else "secret")
    assert pilot.end() == 0
    assert sorted(os.listdir(scratch)) == [".chirp.config", ".job.ad", ".machine.ad"]


SMALL = {"memory_bytes": 10_000_000, "disk_bytes": 10_000_000}
ENDS = [
    (batchjobs.SLURM_ARRAY, signal.SIGTERM, "Slurm ends this job"),
    (batchjobs.SLURM_ARRAY, signal.SIGUSR1, "--signal"),
    (batchjobs.SGE_SLOTS, signal.SIGUSR1, "about to suspend"),
    (batchjobs.SGE_SLOTS, signal.SIGUSR2, "Grid Engine ends this job"),
    (batchjobs.SGE_SLOTS, signal.SIGXCPU, "soft limit"),
    (OPENPBS, signal.SIGTERM, "PBS ends this job"),
]


@pytest.mark.parametrize(("environ", "number", "why"), ENDS)
def test_each_systems_signal_is_told_with_its_meaning(
    server: PilotServer, launch: Launch, environ: Mapping[str, str], number: int, why: str
) -> None:
    pilot = launch(environ=environ, cpu=1)
    server.add(task({"script": "exec sleep 1000"}), jobs=range(5))
    server.until(lambda state: state.running)
    assert pilot.end(number) == 0
    assert [row["error"] for row in server.state.rows] == ["evicted"]
    assert server.state.left
    assert why in server.state.why
    assert all(not lease.left for lease in server.state.leases.values())


def test_htcondors_signal_is_told_too(
    server: PilotServer, launch: Launch, condor: Mapping[str, str]
) -> None:
    pilot = launch(environ=condor, memory_bytes=None)
    server.until(lambda state: state.polls)
    assert pilot.end() == 0
    assert server.state.left
    assert "HTCondor ends this job" in server.state.why


@pytest.mark.parametrize(
    "script", ["exec sleep 1000", "sleep 1000", "trap 'exit 0' TERM; sleep 1000 & wait"]
)
def test_a_signal_to_every_process_makes_no_unit_fail_or_succeed(
    server: PilotServer, launch: Launch, isolation: str, script: str
) -> None:
    """What `scancel` does: SIGCONT, then SIGTERM, to all processes in any order."""
    pilot = launch(environ=batchjobs.SLURM_ARRAY | {"SLURM_CPUS_ON_NODE": "2"}, isolation=isolation)
    server.add(task({"script": script}), jobs=range(10))
    server.until(lambda state: len(state.running) == 2)
    below = descendants(pilot.process.pid)
    assert len(below) >= 5  # nursery, two runners, two units
    for number in (signal.SIGCONT, signal.SIGTERM):
        for pid in [*below, pilot.process.pid]:
            with contextlib.suppress(ProcessLookupError):  # one's death takes others along
                os.kill(pid, number)
    assert pilot.process.wait(20) == 0
    assert {row["error"] for row in server.state.rows} == {"evicted"}
    # On a busy host others may have begun in their place before the pilot's own signal came.
    assert 2 <= len(server.state.rows) <= 4
    assert all(not lease.left for lease in server.state.leases.values())


def test_helpers_of_a_pilot_outlive_signals_that_are_the_pilots_to_judge(
    server: PilotServer, launch: Launch, isolation: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    pilot = launch(environ=batchjobs.SLURM_ARRAY, isolation=isolation)
    script = f"echo in; until [ -e '{go}' ]; do sleep 0.05; done; echo out"
    server.add(task({"script": script}), jobs=[1])
    server.until(lambda state: state.running)
    ours = [pid for pid in descendants(pilot.process.pid) if _is_python(pid)]
    assert len(ours) == 2
    for pid in ours:
        for number in (signal.SIGCONT, *ENDING):
            os.kill(pid, number)
    go.touch()
    row = server.result(1)
    assert row["error"] == ""
    assert server.log(row) == b"in\nout\n"


def test_a_unit_that_kills_itself_fails_all_the_same(server: PilotServer, launch: Launch) -> None:
    launch(environ=batchjobs.SLURM_ARRAY)
    server.add(task({"script": "kill -TERM $$"}))
    row = server.result()
    assert (row["error"], row["exit"], row["outcome"]) == ("signal", -15, 1)


@pytest.mark.parametrize(
    "environ",
    [
        {**batchjobs.SLURM_ARRAY, "SLURM_RESTART_COUNT": "1"},
        {**batchjobs.SGE_SLOTS, "RESTARTED": "1"},
    ],
)
def test_a_job_that_is_started_again_takes_no_token_from_others(
    server: PilotServer, launch: Launch, environ: Mapping[str, str]
) -> None:
    pilot = launch(environ=environ)
    assert pilot.process.wait(20) == 0
    assert server.state.announced == []
    assert "started this job again" in pilot.log()


def _is_python(pid: int) -> bool:
    return "python" in os.readlink(f"/proc/{pid}/exe")
