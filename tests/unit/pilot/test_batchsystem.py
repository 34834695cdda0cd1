"""Which batch system a pilot is in, how the job is called, what signals mean, where scratch is."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import pytest

from pilot import batchsystem, classads
from pilot.batchsystem import NONE, detected
from tests.unit.pilot import batchjobs


@pytest.mark.parametrize(
    ("environ", "system", "job"),
    [
        (batchjobs.SLURM_ARRAY, "slurm", "1_0"),
        (batchjobs.SLURM_GPU, "slurm", "2"),
        (batchjobs.CONDOR_GPU, "htcondor", "1.2"),
        (batchjobs.SGE_ARRAY, "sge", "1.2"),
        (batchjobs.SGE_SLOTS, "sge", "2"),
        (batchjobs.OPENPBS_ARRAY, "pbs", "14[3].server"),
        (batchjobs.TORQUE, "pbs", "77.server"),
    ],
)
def test_a_job_is_called_as_its_system_calls_it(
    environ: Mapping[str, str], system: str, job: str
) -> None:
    batch = detected(environ, batchjobs.ads() if system == "htcondor" else {})
    assert (batch.system, batch.job, batch.starts_before) == (system, job, 0)


@pytest.mark.parametrize(
    "environ",
    [{}, {"JOB_ID": "7"}, {"SLURM_CONF": "/etc/slurm.conf"}, {"PBS_O_HOST": "login"}],
)
def test_without_a_job_there_is_no_system(environ: Mapping[str, str]) -> None:
    assert detected(environ, {}) == NONE


def test_a_worker_is_called_as_slurm_and_htcondor_call_it_and_else_as_its_host() -> None:
    named = {**batchjobs.SLURM_GPU, "SLURMD_NODENAME": "gpu-07"}
    assert detected(named, {}).host == "gpu-07"
    assert detected({**named, "SLURMD_NODENAME": "a b\n"}, {}).host == ""
    assert detected({**batchjobs.SGE_SLOTS, "SLURMD_NODENAME": "gpu-07"}, {}).host == ""
    assert detected(batchjobs.CONDOR_GPU, batchjobs.ads()).host == "w7.pool.test"
    assert detected(batchjobs.CONDOR_GPU, {"machine": "strcat(x)"}).host == ""
    assert detected(named, batchjobs.ads()).host == "gpu-07"


def test_of_nested_jobs_the_one_that_the_node_submitted_counts_else_the_inner_one() -> None:
    environ = {**batchjobs.SLURM_GPU, **batchjobs.CONDOR_GPU}
    assert detected(environ, batchjobs.ads()).job == "1.2"
    assert detected(environ, batchjobs.ads(), "slurm").job == "2"
    # Torque's commands in front of Slurm: what was submitted as PBS runs as Slurm.
    assert detected(batchjobs.SLURM_GPU, {}, "pbs").system == "slurm"


def test_a_job_without_its_ad_or_with_a_strange_name_has_no_name() -> None:
    assert detected(batchjobs.CONDOR_GPU, {}).job == ""
    assert detected({"PBS_JOBID": "1;rm -r x"}, {}).job == ""
    assert detected({"PBS_JOBID": "1\n2"}, {}).job == ""


@pytest.mark.parametrize(
    ("environ", "job_ad"),
    [
        ({**batchjobs.SLURM_ARRAY, "SLURM_RESTART_COUNT": "2"}, ""),
        ({**batchjobs.SGE_ARRAY, "RESTARTED": "2"}, ""),
        (batchjobs.CONDOR_GPU, "NumJobStarts = 2\n"),
    ],
)
def test_a_job_that_was_started_before_is_known(environ: Mapping[str, str], job_ad: str) -> None:
    assert detected(environ, classads.parse(job_ad)).starts_before == 2


def test_every_signal_that_ends_a_pilot_has_a_meaning_in_every_system() -> None:
    for system in ("", *batchsystem.SYSTEMS):
        for number in batchsystem.ENDING:
            assert " " in batchsystem.meaning(system, number)
    assert batchsystem.meaning("sge", signal.SIGUSR1).startswith("Grid Engine is about to suspend")
    assert "deleted" in batchsystem.meaning("sge", signal.SIGUSR2)
    assert "--signal" in batchsystem.meaning("slurm", signal.SIGUSR1)
    assert batchsystem.meaning("slurm", signal.SIGHUP) == "this pilot's session ends (SIGHUP)"
    assert signal.SIGCONT not in batchsystem.ENDING


def test_the_pilot_is_gone_before_its_system_kills_it() -> None:
    slurm = detected(batchjobs.SLURM_ARRAY, {})
    pbs = detected(batchjobs.TORQUE, {})
    condor = detected(batchjobs.CONDOR_GPU, batchjobs.ads())
    hasty = detected(batchjobs.CONDOR_GPU, batchjobs.ads(machine="MachineMaxVacateTime = 0\n"))
    silent = detected(batchjobs.CONDOR_GPU, batchjobs.ads(job=""))
    assert batchsystem.grace_s(NONE, 900.0) == 900.0
    assert batchsystem.grace_s(slurm, 15.0) == 15.0
    assert batchsystem.grace_s(pbs, 15.0) == 9.0
    assert batchsystem.grace_s(condor, 60.0) == 19.0
    assert batchsystem.grace_s(hasty, 60.0) == 1.0
    assert batchsystem.grace_s(silent, 900.0) == 599.0


def test_only_slurm_signals_units_too() -> None:
    assert detected(batchjobs.SLURM_ARRAY, {}).signals_all
    assert detected({**batchjobs.SLURM_GPU, **batchjobs.CONDOR_GPU}, {}).signals_all
    for environ in (batchjobs.CONDOR_GPU, batchjobs.SGE_ARRAY, batchjobs.TORQUE, {}):
        assert not detected(environ, {}).signals_all


@pytest.mark.parametrize(
    ("environ", "folders"),
    [
        (batchjobs.SLURM_ARRAY, ["/tmp"]),
        ({**batchjobs.SLURM_ARRAY, "SLURM_TMPDIR": "/local/3"}, ["/local/3", "/tmp"]),
        (batchjobs.CONDOR_GPU, ["/execute/dir_24096", "/execute/dir_24096"]),
        (batchjobs.SGE_ARRAY, ["/tmp/1.2.main.q"]),  # setuid programs lose TMPDIR: ld.so(8)
        (batchjobs.OPENPBS_ARRAY, ["/var/tmp/pbs.14[3].server"]),
        ({**batchjobs.TORQUE, "PBS_JOBDIR": "/scratch/77/"}, ["/scratch/77/"]),
        ({"TMPDIR": "relative"}, []),
    ],
)
def test_scratch_is_where_the_system_says(environ: Mapping[str, str], folders: list[str]) -> None:
    system = detected(environ, {}).system
    assert batchsystem.scratch_folders(environ, system) == folders


def test_ads_give_numbers_products_and_strings_only() -> None:
    ad = batchjobs.ads()
    assert classads.number(ad, "memory") == 512
    assert classads.number(ad, "MachineMaxVacateTime") == 600
    assert classads.number(ad, "TotalCpus") == 4.0
    assert classads.number(ad, "Nothing", "Cpus") == 1
    assert classads.number(ad, "Requirements", "AssignedGPUs", "PERIODIC_CHECKPOINT") is None
    assert classads.string(ad, "AssignedGPUs") == "GPU-fake0"
    assert classads.string(ad, "Cpus") == ""
    assert classads.parse("no line\n= 3\n\x00\n") == {}
