"""What batch systems and the kernel grant; the smallest word counts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pilot import granted
from pilot.cgroups import Limits, limits
from pilot.granted import Bound, by_system, smallest
from tests.unit.pilot import batchjobs

MIB = 1 << 20


def amounts(bounds: list[Bound]) -> list[float]:
    return [bound.amount for bound in bounds]


@pytest.mark.parametrize(
    ("environ", "cpus", "memory"),
    [
        (batchjobs.SLURM_ARRAY, 1, 500 * MIB),
        (batchjobs.SLURM_GPU, 2, 400 * MIB),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_MEM_PER_NODE": "0"}, 8, None),  # all there is
        (
            {
                "SLURM_CPUS_ON_NODE": "8",
                "SLURM_CPUS_PER_TASK": "2",
                "SLURM_NTASKS": "4",
                "SLURM_STEP_ID": "0",
                "SLURM_MEM_PER_CPU": "1000",
            },
            2,
            2000 * MIB,
        ),
        (
            {"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2", "SLURM_NTASKS": "4"},
            8,
            None,
        ),
        ({"SLURM_GPUS_ON_NODE": "2", "SLURM_MEM_PER_GPU": "1000"}, None, 2000 * MIB),
        ({"SLURM_CPUS_ON_NODE": "many", "SLURM_MEM_PER_NODE": "-3"}, None, None),
    ],
)
def test_slurm(environ: Mapping[str, str], cpus: float | None, memory: float | None) -> None:
    grant = by_system("slurm", environ, {})
    least = [smallest(grant.cpus), smallest(grant.memory_bytes)]
    assert [None if bound is None else bound.amount for bound in least] == [cpus, memory]


def test_htcondor_tells_by_the_ads_of_machine_and_job() -> None:
    grant = by_system("htcondor", batchjobs.CONDOR_GPU, batchjobs.ads())
    assert amounts(grant.cpus) == [1]
    assert amounts(grant.memory_bytes) == [512 * MIB]
    assert amounts(grant.disk_bytes) == [101376 * 1024]
    assert amounts(grant.lasts_s) == [3000]
    assert grant.started == 1795671821


def test_grid_engine_tells_slots_and_limits_memory_of_processes() -> None:
    assert amounts(by_system("sge", batchjobs.SGE_SLOTS, {}).cpus) == [2]
    assert amounts(granted.by_rlimits(batchjobs.SGE_SLOTS_RLIMITS)) == [1000 * MIB]
    assert granted.by_rlimits({"RLIMIT_AS": -1, "RLIMIT_RSS": -1}) == []


@pytest.mark.parametrize(
    ("environ", "nodefile", "host", "cpus"),
    [
        (batchjobs.OPENPBS_ARRAY, "c17.site.org\n", "c17", [4]),
        (batchjobs.TORQUE, batchjobs.NODEFILE, "c17", [3]),
        (batchjobs.TORQUE, batchjobs.NODEFILE, "c18.site.org", [1]),
        (batchjobs.TORQUE, "", "c17", [3]),
        ({}, "", "", []),
    ],
)
def test_pbs(environ: Mapping[str, str], nodefile: str, host: str, cpus: list[float]) -> None:
    assert amounts(by_system("pbs", environ, {}, nodefile, host).cpus) == cpus


def test_the_first_end_that_anybody_names_counts() -> None:
    torque = by_system("pbs", batchjobs.TORQUE, {})
    assert granted.left_s(torque, None, 1000.0) == Bound(3600, "PBS_WALLTIME")
    assert granted.left_s(torque, 60.0, 1000.0) == Bound(60.0, "lifetime_s")
    slurm = by_system("slurm", {"SLURM_JOB_END_TIME": "5000"}, {})
    assert granted.left_s(slurm, 7200.0, 1000.0) == Bound(4000.0, "SLURM_JOB_END_TIME")
    assert granted.left_s(by_system("sge", batchjobs.SGE_ARRAY, {}), None, 1000.0) is None


def test_time_that_a_job_spent_before_its_pilot_started_is_over() -> None:
    condor = by_system("htcondor", {}, batchjobs.ads())
    began = 1795671821.0
    assert granted.left_s(condor, None, began + 100) == Bound(
        2900.0, "AllowedExecuteDuration of the job's ad"
    )
    for clock in (began - 50, began + 86_400):  # one of the two clocks is wrong
        left = granted.left_s(condor, None, clock)
        assert left is not None
        assert left.amount == 3000.0


# --- control groups -------------------------------------------------------------------------------

V2 = {
    "/proc/self/mountinfo": (
        "24 18 0:22 / /proc rw - proc proc rw\n"
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    ),
    "/proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_3/step_batch/user/task_0\n",
}
JOB_V2 = "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_3"
V1 = {
    "/proc/self/mountinfo": (
        "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "34 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "41 32 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    ),
    "/proc/self/cgroup": (
        "4:memory:/htcondor/slot1_1\n3:cpu,cpuacct:/htcondor/slot1_1\n1:name=systemd:/\n0::/\n"
    ),
}
UNLIMITED_V1 = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, Limits(None, None)),
        (V2, Limits(None, None)),
        (
            {
                **V2,
                JOB_V2 + "/memory.max": "524288000\n",
                JOB_V2 + "/step_batch/memory.max": "max\n",
                JOB_V2 + "/cpu.max": "150000 100000\n",
                JOB_V2 + "/step_batch/cpu.max": "max 100000\n",
            },
            Limits(524288000, 1.5),
        ),
        ({**V2, "/sys/fs/cgroup/memory.high": "1000000\n"}, Limits(1000000, None)),
        (
            {
                **V1,
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
                "/sys/fs/cgroup/memory/htcondor/slot1_1/memory.limit_in_bytes": "536870912\n",
                "/sys/fs/cgroup/cpu,cpuacct/htcondor/slot1_1/cpu.cfs_quota_us": "200000\n",
                "/sys/fs/cgroup/cpu,cpuacct/htcondor/slot1_1/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            Limits(536870912, 2.0),
        ),
        ({**V1, "/sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1}, Limits(None, None)),
    ],
)
def test_control_groups(files: Mapping[str, str], found: Limits) -> None:
    assert limits(files.get) == found


def test_a_container_sees_its_own_group_as_the_top() -> None:
    bound = {  # docker with version 1: the group's own folder is mounted
        "/proc/self/mountinfo": "9 8 0:9 /docker/ab /sys/fs/cgroup/memory ro - cgroup c memory\n",
        "/proc/self/cgroup": "4:memory:/docker/ab/inner\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "700\n",
        "/sys/fs/cgroup/memory/inner/memory.limit_in_bytes": "500\n",
    }
    assert limits(bound.get).memory_bytes == 500
    elsewhere = {**bound, "/proc/self/cgroup": "4:memory:/kubepods/pod1\n"}
    assert limits(elsewhere.get).memory_bytes == 700
    above = {  # a namespace of control groups: we are outside of what we see
        "/proc/self/mountinfo": r"9 8 0:9 / /sys/fs/c\040group ro - cgroup2 cgroup rw" + "\n",
        "/proc/self/cgroup": "0::/../../user.slice\n",
        "/sys/fs/c group/memory.max": "900\n",
    }
    assert limits(above.get).memory_bytes == 900


@pytest.mark.parametrize("text", ["", "\0", ":::", "0::", "0::/x\n" * 3, "a - b c d e", " - "])
def test_nonsense_in_place_of_the_kernel_limits_nothing(text: str) -> None:
    files = {"/proc/self/mountinfo": text, "/proc/self/cgroup": text}
    assert limits(files.get) == Limits(None, None)
