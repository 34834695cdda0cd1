"""What jobs of real batch systems find around them, shortened to what has a meaning for pilots.

Recorded from jobs of Slurm 22.05.8, HTCondor 23.9.6 and Grid Engine 8.1.9; those of OpenPBS 23.06
and Torque 6 are put together from their manual pages, qsub(1B).
"""

from __future__ import annotations

from collections.abc import Mapping

from pilot import classads

SLURM_ARRAY = {
    "ENVIRONMENT": "BATCH",
    "SLURM_ARRAY_JOB_ID": "1",
    "SLURM_ARRAY_TASK_COUNT": "2",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_CLUSTER_NAME": "alpha",
    "SLURM_CPUS_ON_NODE": "1",
    "SLURM_CPUS_PER_TASK": "1",
    "SLURM_JOB_CPUS_PER_NODE": "1",
    "SLURM_JOB_ID": "3",
    "SLURM_JOBID": "3",
    "SLURM_MEM_PER_NODE": "500",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "TMPDIR": "/tmp",
}
SLURM_GPU = {
    "CUDA_VISIBLE_DEVICES": "0",
    "GPU_DEVICE_ORDINAL": "0",
    "ROCR_VISIBLE_DEVICES": "0",
    "SLURM_CPUS_ON_NODE": "2",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_GPUS_ON_NODE": "1",
    "SLURM_JOB_GPUS": "0",
    "SLURM_JOB_ID": "2",
    "SLURM_MEM_PER_CPU": "200",
    "SLURM_NTASKS": "1",
    "TMPDIR": "/tmp",
}
CONDOR_GPU = {
    "BATCH_SYSTEM": "HTCondor",
    "CUDA_VISIBLE_DEVICES": "GPU-fake0",
    "GPU_DEVICE_ORDINAL": "GPU-fake0",
    "NVIDIA_VISIBLE_DEVICES": "none",
    "OMP_NUM_THREADS": "1",
    "TEMP": "/execute/dir_24096",
    "TMP": "/execute/dir_24096",
    "TMPDIR": "/execute/dir_24096",
    "_CONDOR_AssignedGPUs": "GPU-fake0",
    "_CONDOR_CHIRP_CONFIG": "/execute/dir_24096/.chirp.config",
    "_CONDOR_JOB_AD": "/execute/dir_24096/.job.ad",
    "_CONDOR_MACHINE_AD": "/execute/dir_24096/.machine.ad",
    "_CONDOR_SCRATCH_DIR": "/execute/dir_24096",
    "_CONDOR_SLOT": "slot1_3",
}
CONDOR_NO_GPU = {**CONDOR_GPU, "CUDA_VISIBLE_DEVICES": "10000", "GPU_DEVICE_ORDINAL": "10000"}
MACHINE_AD = """\
AddressV1 = "{[ p=\\"primary\\"; a=\\"127.0.0.1\\"; port=17830; n=\\"Internet\\"; noUDP=true; ]}"
AssignedGPUs = "GPU-fake0"
AvailableGPUs = { GPUs_GPU_fake0 }
Cpus = 1
DetectedCpus = 2
DetectedMemory = 24105
Disk = 101376
GPUs = 1
Machine = "w7.pool.test"
MachineMaxVacateTime = 10 * 60
Memory = 512
PERIODIC_CHECKPOINT = ((time() - LastPeriodicCheckpoint) / 60.0) > (180.0 + -10)
Requirements = START && (WithinResourceLimits)
TotalCpus = 4.0
TotalMemory = 4000
TotalSlotDisk = 101376.0
"""
JOB_AD = """\
AllowedExecuteDuration = 3000
Arguments = "-c exec' '/usr/bin/python3' 'pilot.pyz' 'settings.json"
ClusterId = 1
Cmd = "/bin/sh"
CpusProvisioned = 1
DiskUsage = 150
ExecutableSize = 125
GlobalJobId = "gamma@#1.2#1795671820"
JobCurrentStartDate = 1795671821
JobMaxVacateTime = 20
NumJobStarts = 0
NumShadowStarts = 1
ProcId = 2
RequestMemory = 500
"""
SGE_ARRAY = {
    "JOB_ID": "1",
    "NHOSTS": "1",
    "NSLOTS": "1",
    "QUEUE": "main.q",
    "RESTARTED": "0",
    "SGE_TASK_FIRST": "1",
    "SGE_TASK_ID": "2",
    "SGE_TASK_LAST": "2",
    "TMP": "/tmp/1.2.main.q",
}
SGE_SLOTS = {**SGE_ARRAY, "JOB_ID": "2", "NSLOTS": "2", "PE": "smp", "SGE_TASK_ID": "undefined"}
SGE_SLOTS_RLIMITS = {"RLIMIT_AS": 1048576000.0, "RLIMIT_RSS": -1.0, "RLIMIT_DATA": -1.0}
OPENPBS_ARRAY = {
    "HOME": "/home/ana",
    "NCPUS": "4",
    "OMP_NUM_THREADS": "4",
    "PBS_ARRAY_ID": "14[].server",
    "PBS_ARRAY_INDEX": "3",
    "PBS_ENVIRONMENT": "PBS_BATCH",
    "PBS_JOBDIR": "/home/ana",
    "PBS_JOBID": "14[3].server",
    "PBS_NODEFILE": "/var/spool/pbs/aux/14[3].server",
    "TMPDIR": "/var/tmp/pbs.14[3].server",
}
TORQUE = {
    "PBS_ENVIRONMENT": "PBS_BATCH",
    "PBS_JOBID": "77.server",
    "PBS_NODEFILE": "/var/spool/torque/aux/77.server",
    "PBS_NP": "3",
    "PBS_NUM_NODES": "1",
    "PBS_NUM_PPN": "3",
    "PBS_WALLTIME": "3600",
}
NODEFILE = "c17.site.org\nc17.site.org\nc17.site.org\nc18.site.org\n"


def ads(machine: str = MACHINE_AD, job: str = JOB_AD) -> Mapping[str, str]:
    return {**classads.parse(job), **classads.parse(machine)}
