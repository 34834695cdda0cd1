"""What units may use: never the bare machine where something smaller was granted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pilot.config import Settings
from pilot.loop import UNBOUND
from pilot.resources import Found, Machine, ends_s, found, here_now
from tests.unit.pilot import batchjobs

GIB = 1 << 30
MIB = 1 << 20
RESERVED = 64 * MIB
NO_RLIMITS = {"RLIMIT_AS": -1.0, "RLIMIT_RSS": -1.0, "RLIMIT_DATA": -1.0}
CONDOR_FILES = {
    "/execute/dir_24096/.job.ad": batchjobs.JOB_AD,
    "/execute/dir_24096/.machine.ad": batchjobs.MACHINE_AD,
}


def settings(**more: object) -> Settings:
    return Settings({"urls": [], "fingerprint": "", "token": "", **more})


def look(
    environ: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    *,
    affinity: int = 16,
    rlimits: Mapping[str, float] | None = None,
    free: int = 100 * GIB,
    **more: Any,
) -> Found:
    """On a host with 16 CPUs, 64 GiB and four GPUs."""
    machine = Machine(
        16, list(range(affinity)), 64 * GIB, rlimits or NO_RLIMITS, "c17", list("0123"),
        (files or {}).get,
    )  # fmt: skip
    return found(settings(**more), environ, machine, free, 1795671821.0)


def test_outside_of_a_batch_system_all_of_the_machine_is_ours() -> None:
    units = look({}).units
    assert units.cpus == list(range(16))
    assert units.gpus == ["0", "1", "2", "3"]
    assert units.memory_bytes == 64 * GIB - RESERVED
    assert units.disk_bytes == 90 * GIB


def test_outside_of_a_batch_system_settings_go_before_what_the_machine_says() -> None:
    what = look({}, slots=30, memory_bytes=5, disk_bytes=6, gpus=["7"])
    assert what.units.shown(what.left_s) == {
        "cpu": 30, "gpu": 1, "memory_bytes": 5, "disk_bytes": 6, "time_left_s": None,
    }  # fmt: skip


def test_what_slurm_granted_counts() -> None:
    what = look(batchjobs.SLURM_GPU)
    assert what.units.cpus == [UNBOUND] * 2  # nobody says which two of the sixteen
    assert what.units.memory_bytes == 400 * MIB - RESERVED
    assert what.units.gpus == ["0"]
    assert "2 CPUs (SLURM_CPUS_ON_NODE)" in what.why


def test_units_are_bound_where_the_affinity_is_what_was_granted() -> None:
    assert look(batchjobs.SLURM_GPU, affinity=2).units.cpus == [0, 1]
    assert look(batchjobs.SLURM_GPU, affinity=1).units.cpus == [0]


def test_what_htcondor_granted_counts() -> None:
    what = look(batchjobs.CONDOR_NO_GPU, CONDOR_FILES)
    assert what.batch.job == "1.2"
    assert what.units.shown(what.left_s) == {
        "cpu": 1, "gpu": 0, "memory_bytes": 512 * MIB - RESERVED, "disk_bytes": 101376 * 1024,
        "time_left_s": 3000,
    }  # fmt: skip
    assert look(batchjobs.CONDOR_GPU, CONDOR_FILES).units.gpus == ["GPU-fake0"]


def test_what_grid_engine_granted_counts() -> None:
    what = look(batchjobs.SGE_SLOTS, rlimits=batchjobs.SGE_SLOTS_RLIMITS)
    assert what.units.shown(None)["cpu"] == 2
    assert what.units.memory_bytes == 1000 * MIB - RESERVED


def test_a_job_without_limits_of_memory_and_disk_takes_its_part_of_the_host() -> None:
    what = look(batchjobs.SGE_SLOTS)
    assert what.units.memory_bytes == 8 * GIB - RESERVED
    assert what.units.disk_bytes == int(100 * GIB * 0.9 / 8)


def test_a_job_without_a_grant_of_gpus_has_none_though_the_host_has() -> None:
    assert look(batchjobs.SLURM_ARRAY).units.gpus == []
    assert look(batchjobs.SGE_ARRAY).units.gpus == []
    assert look(batchjobs.SGE_ARRAY, gpus=["2"]).units.gpus == ["2"]
    assert look(batchjobs.SLURM_GPU, gpus=["0", "1"]).units.gpus == ["0"]


def test_settings_ask_for_less_than_a_grant_but_never_get_more() -> None:
    less = look(batchjobs.SLURM_GPU, slots=1, memory_bytes=100 * MIB, disk_bytes=GIB).units
    assert (len(less.cpus), less.memory_bytes, less.disk_bytes) == (1, 100 * MIB, GIB)
    more = look(batchjobs.SLURM_GPU, slots=8, memory_bytes=9 * GIB, disk_bytes=GIB, free=MIB).units
    assert (len(more.cpus), more.memory_bytes) == (2, 400 * MIB - RESERVED)
    assert more.disk_bytes == int(MIB * 0.9)


def test_settings_stand_where_the_system_says_nothing() -> None:
    units = look({"PBS_JOBID": "7.server"}, slots=4, memory_bytes=9 * GIB, disk_bytes=GIB).units
    assert (len(units.cpus), units.memory_bytes, units.disk_bytes) == (4, 9 * GIB, GIB)


def test_control_groups_count_in_and_out_of_batch_systems() -> None:
    files = {
        "/proc/self/mountinfo": "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
        "/proc/self/cgroup": "0::/job\n",
        "/cg/job/memory.max": str(GIB),
        "/cg/job/cpu.max": "50000 100000",
    }
    for environ in ({}, {"PBS_JOBID": "7.server"}):
        units = look(environ, files).units
        assert (len(units.cpus), units.memory_bytes) == (1, GIB - RESERVED)


def test_an_inner_job_has_no_more_than_the_outer_one() -> None:
    outer = {**batchjobs.SLURM_ARRAY, "SLURM_MEM_PER_NODE": "300"}
    what = look({**outer, **batchjobs.CONDOR_GPU}, CONDOR_FILES)
    assert what.batch.system == "htcondor"
    assert what.units.memory_bytes == 300 * MIB - RESERVED


def test_the_end_is_the_first_that_anybody_names() -> None:
    assert ends_s(look({}, lifetime_s=60).left_s, 5.0) == 65.0
    assert ends_s(look({"PBS_JOBID": "7", "PBS_WALLTIME": "100"}).left_s, 5.0) == 105.0
    assert ends_s(look({"PBS_WALLTIME": "100"}).left_s, 5.0) is None  # nobody's job
    assert ends_s(look({}).left_s, 5.0) is None


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}])
def test_this_machine_has_something(environ: Mapping[str, str], tmp_path: Path) -> None:
    what = here_now(settings(), environ, str(tmp_path))
    assert 1 <= len(what.units.cpus) <= (os.cpu_count() or 1)
    assert 10**8 < what.units.memory_bytes < 10**14
    assert what.units.disk_bytes > 0
    assert not environ or what.units.gpus == ["GPU-1", "GPU-2"]
