"""What the batch system gave to this job: CPUs, memory, disk, wall time. Pure.

Each statement is a bound with the name of what made it; the smallest of them counts, also where one
system's job runs within another's. What no system speaks of stays open.
"""

import re
from typing import List, Mapping, NamedTuple, Optional

from pilot import classads

Ad = Mapping[str, str]
Environ = Mapping[str, str]
Bound = NamedTuple("Bound", [("amount", float), ("source", str)])

MIB = 1 << 20
KIB = 1 << 10
_NUMBER = re.compile(r"[0-9]{1,15}\Z")
_HOST_LINES_MAX = 100000
_AGE_S_MAX = 900.0  # a pilot is started soon after its job: fetching files is all that comes before
# Finite ones were set for this job. Grid Engine sets them from h_vmem, h_rss and h_data
# (queue_conf(5), "Resource limits"), each times the slots; Torque and OpenPBS from pvmem and pmem
# (pbs_resources(7B)).
MEMORY_RLIMITS = ("RLIMIT_AS", "RLIMIT_RSS", "RLIMIT_DATA")


class Granted:
    """Bounds by kind; memory and disk in bytes. ends: seconds since 1970. lasts_s: from now on."""

    def __init__(self) -> None:
        self.cpus: List[Bound] = []
        self.memory_bytes: List[Bound] = []
        self.disk_bytes: List[Bound] = []
        self.ends: List[Bound] = []
        self.lasts_s: List[Bound] = []
        self.started: Optional[float] = None  # seconds since 1970, by the system's clock


def by_system(
    system: str, environ: Environ, ads: Ad, nodefile: str = "", host: str = ""
) -> Granted:
    """What a batch system says in its own words.

    ads: of HTCondor's job and machine together. nodefile: text of PBS_NODEFILE; host: our name.
    """
    granted = Granted()
    if system == "slurm":
        _slurm(granted, environ)
    elif system == "htcondor":
        _htcondor(granted, ads)
    elif system == "pbs":
        _pbs(granted, environ, nodefile, host)
    elif system == "sge":
        _add(granted.cpus, environ, "NSLOTS")  # qsub(1): slots of a parallel job, else 1
    return granted


def _slurm(granted: Granted, environ: Environ) -> None:
    """sbatch(1) and srun(1), "Output environment variables". Memory is in MiB, 0 for all there is.

    A pilot that srun starts is one task of several; one in the batch script has the whole node.
    """
    in_step = "SLURM_STEP_ID" in environ and (_number(environ, "SLURM_NTASKS") or 1) > 1
    own = ["SLURM_CPUS_PER_TASK"] if in_step and "SLURM_CPUS_PER_TASK" in environ else []
    for name in [*own, "SLURM_CPUS_ON_NODE"]:
        _add(granted.cpus, environ, name)
    cpus = min([bound.amount for bound in granted.cpus] or [0])
    gpus = _number(environ, "SLURM_GPUS_ON_NODE") or 0
    for name, times in (
        ("SLURM_MEM_PER_NODE", 1.0),
        ("SLURM_MEM_PER_CPU", cpus),
        ("SLURM_MEM_PER_GPU", gpus),
    ):
        if times:
            _add(granted.memory_bytes, environ, name, MIB * times)
    _add(granted.ends, environ, "SLURM_JOB_END_TIME")  # from version 23.02 on
    granted.started = _number(environ, "SLURM_JOB_START_TIME")


def _htcondor(granted: Granted, ads: Ad) -> None:
    """HTCondor manual, "Machine ClassAd Attributes" and "Job ClassAd Attributes".

    Memory is in MiB, Disk in KiB. GLIDEIN_ToDie is how pools of glideins say when a slot ends
    (glideinWMS, "Factory: entry points").
    """
    for bounds, name, unit in (
        (granted.cpus, "Cpus", 1),
        (granted.memory_bytes, "Memory", MIB),
        (granted.disk_bytes, "Disk", KIB),
        (granted.ends, "GLIDEIN_ToDie", 1),
    ):
        value = classads.number(ads, name)
        if value:
            bounds.append(Bound(value * unit, name + " of the machine's ad"))
    granted.started = classads.number(ads, "JobCurrentStartDate")
    for name in ("AllowedExecuteDuration", "AllowedJobDuration"):
        lasts_s = classads.number(ads, name)
        if lasts_s:
            granted.lasts_s.append(Bound(lasts_s, name + " of the job's ad"))


def _pbs(granted: Granted, environ: Environ, nodefile: str, host: str) -> None:
    """qsub(1B) of OpenPBS (NCPUS) and of Torque (the others).

    OpenPBS writes a line a process into the node file, Torque one a CPU: so NCPUS comes first.
    """
    here = [line for line in nodefile.split("\n")[:_HOST_LINES_MAX] if _same(line, host)]
    if "NCPUS" in environ:
        _add(granted.cpus, environ, "NCPUS")
    elif here:
        granted.cpus.append(Bound(len(here), "PBS_NODEFILE"))
    elif "PBS_NUM_PPN" in environ:
        _add(granted.cpus, environ, "PBS_NUM_PPN")
    _add(granted.lasts_s, environ, "PBS_WALLTIME")


def by_rlimits(limits: Mapping[str, float]) -> List[Bound]:
    """Bounds of memory from limits of the process; those that are finite."""
    return [Bound(limits[name], name) for name in MEMORY_RLIMITS if limits.get(name, -1) > 0]


def smallest(bounds: List[Bound]) -> Optional[Bound]:
    return min(bounds, key=lambda bound: bound.amount) if bounds else None


def left_s(granted: Granted, lifetime_s: Optional[float], now: float) -> Optional[Bound]:
    """How long the job still has; None if nobody says.

    lifetime_s: what the node asked for. now: seconds since 1970. A job's age counts only if the
    system's clock and ours agree so far that it makes sense.
    """
    lasts_s = list(granted.lasts_s)
    if lifetime_s is not None:
        lasts_s.append(Bound(lifetime_s, "lifetime_s"))
    age_s = 0.0 if granted.started is None else now - granted.started
    if not 0.0 <= age_s < _AGE_S_MAX:
        age_s = 0.0
    bounds = [Bound(bound.amount - age_s, bound.source) for bound in lasts_s]
    bounds += [Bound(bound.amount - now, bound.source) for bound in granted.ends]
    return smallest(bounds)


def _add(bounds: List[Bound], environ: Environ, name: str, unit: float = 1.0) -> None:
    number = _number(environ, name)
    if number:
        bounds.append(Bound(number * unit, name))


def _number(environ: Environ, name: str) -> Optional[int]:
    text = environ.get(name, "").strip()
    return int(text) if _NUMBER.match(text) else None


def _same(line: str, host: str) -> bool:
    """Whether a line of the node file names this host, with or without its domain."""
    return bool(host) and line.strip().partition(".")[0] == host.partition(".")[0]
