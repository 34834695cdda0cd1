"""Which batch system started this pilot, how it calls the job, and what its signals mean. Pure.

The job's name is spelled as the plugin of the same name in `schedulers` spells its JobName, letter
for letter, so that a node can compare what it submitted, what the batch system lists, and who
speaks to it:

| system | name | from |
|---|---|---|
| slurm | `4711`, `4711_3` in an array | SLURM_JOB_ID; SLURM_ARRAY_JOB_ID and SLURM_ARRAY_TASK_ID |
| htcondor | `1234.0` | ClusterId and ProcId of the job's ad, which _CONDOR_JOB_AD names |
| pbs | `14.server`, `14[3].server` in an array | PBS_JOBID |
| sge | `12`, `12.3` in an array | JOB_ID; SGE_TASK_ID, which is "undefined" outside of one |

Sources: sbatch(1), "Output environment variables"; HTCondor manual, "Environment Variables for
Jobs"; qsub(1B) of OpenPBS and of Torque, "Environment variables"; qsub(1) of Grid Engine,
"Environmental variables". What signals reach which processes was also seen on Slurm 22.05,
HTCondor 23.9 and Grid Engine 8.1.9.
"""

import re
import signal
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from pilot import classads

Ad = Mapping[str, str]

SYSTEMS = ("htcondor", "slurm", "pbs", "sge")  # the innermost first, where several are nested
# What shows that a system's job runs here. Names that others may have set too come in pairs.
_SHOWN_BY = {
    "htcondor": ("_CONDOR_JOB_AD", "_CONDOR_SCRATCH_DIR"),
    "slurm": ("SLURM_JOB_ID",),
    "pbs": ("PBS_JOBID",),
    "sge": ("JOB_ID", "SGE_TASK_ID"),
}
_JOB = re.compile(r"[A-Za-z0-9_.@:\[\]-]{1,128}\Z")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")

# Seconds between the first signal and SIGKILL where nothing else is set: KillWait of
# slurm.conf(5); kill_delay of qsub(1B), server attributes of OpenPBS; notify of queue_conf(5);
# MachineMaxVacateTime of the HTCondor manual, "condor_startd configuration".
KILL_AFTER_S = {"slurm": 30.0, "pbs": 10.0, "sge": 60.0, "htcondor": 600.0}
_MARGIN_S = 1.0

# Slurm signals every process of the job at once, also those in other process groups and sessions;
# the other systems signal the pilot, and leave its units to it.
_SIGNALS_ALL = ("slurm",)

_ENDS = "%s ends this job: it was cancelled or preempted, or its time is over"
_TABLE: Dict[str, Dict[int, str]] = {
    # scancel(1); slurm.conf(5), KillWait, PreemptMode; sbatch(1), --signal
    "slurm": {
        signal.SIGTERM: _ENDS % "Slurm",
        signal.SIGUSR1: "Slurm says that this job ends soon (--signal)",
        signal.SIGUSR2: "Slurm says that this job ends soon (--signal)",
        signal.SIGXCPU: "Slurm says that this job's time is over",
    },
    # manual page condor_submit: kill_sig, want_graceful_removal
    "htcondor": {
        signal.SIGTERM: "HTCondor ends this job: it was removed, held or evicted",
    },
    # qdel(1B), qsub(1B): SIGTERM, after kill_delay SIGKILL; also for a limit that is exceeded
    "pbs": {
        signal.SIGTERM: _ENDS % "PBS",
        signal.SIGXCPU: "the CPU time that PBS gave to this job is over",
    },
    # qsub(1), -notify; queue_conf(5), s_rt, s_cpu, s_vmem, notify
    "sge": {
        signal.SIGUSR1: "Grid Engine is about to suspend this job, or its soft time limit is over",
        signal.SIGUSR2: "Grid Engine ends this job: it was deleted, or its time is over",
        signal.SIGXCPU: "a soft limit of CPU time or memory that Grid Engine sets is reached",
        signal.SIGTERM: _ENDS % "Grid Engine",
    },
}
_ANYWHERE: Dict[int, str] = {
    signal.SIGTERM: "the batch system ends this pilot",
    signal.SIGINT: "somebody ends this pilot (SIGINT)",
    signal.SIGHUP: "this pilot's session ends (SIGHUP)",
    signal.SIGUSR1: "this pilot is told that it ends soon (SIGUSR1)",
    signal.SIGUSR2: "this pilot is told that it ends soon (SIGUSR2)",
    signal.SIGXCPU: "the CPU time of this pilot is over",
}
# Each of these means that the pilot has to go. SIGCONT does not: Slurm sends it before SIGTERM, and
# all do after a suspension, from which the pilot comes back by itself.
ENDING = tuple(sorted(_ANYWHERE))


class Batch(NamedTuple):
    """The batch system that started us; all empty if none did.

    job: as the plugin calls it; "" if the system does not say. starts_before: how often it started
    this same job already. kill_after_s: from its first signal to SIGKILL, if known. signals_all:
    its signals reach the units too. host: what it calls this worker; "" if that is the host's name.
    """

    system: str
    job: str
    starts_before: int
    kill_after_s: Optional[float]
    signals_all: bool
    host: str


NONE = Batch("", "", 0, None, False, "")


def here(environ: Mapping[str, str]) -> List[str]:
    """Systems whose job this is, the innermost first."""
    return [system for system in SYSTEMS if all(environ.get(name) for name in _SHOWN_BY[system])]


def detected(environ: Mapping[str, str], ads: Ad, wanted: str = "") -> Batch:
    """Find out where we are.

    ads: of HTCondor's job and machine together, {} without them. wanted: the system to which the
    node submitted; it counts where its job is here, as one system's job may run within another's.
    """
    systems = here(environ)
    if not systems:
        return NONE
    system = wanted if wanted in systems else systems[0]
    job = _NAMES[system](environ, ads)
    return Batch(
        system,
        job if _JOB.match(job) else "",
        _starts_before(system, environ, ads),
        _kill_after_s(system, ads),
        any(each in _SIGNALS_ALL for each in systems),
        _host(system, environ, ads),
    )


def meaning(system: str, number: int) -> str:
    """What a signal says, in words."""
    words = _TABLE.get(system, {}).get(number) or _ANYWHERE.get(number)
    return words or "signal %d" % number


def grace_s(batch: Batch, wanted_s: float) -> float:
    """How long the pilot may take to leave: what was wanted, but less than until SIGKILL."""
    if batch.kill_after_s is None:
        return wanted_s
    return max(_MARGIN_S, min(wanted_s, batch.kill_after_s - _MARGIN_S))


def _host(system: str, environ: Mapping[str, str], ads: Ad) -> str:
    """A node of Slurm need not be called as its host is: slurm.conf(5), NodeHostname.

    Nor a machine of HTCondor: manual, NETWORK_HOSTNAME, and the domain in Machine.
    """
    name = ""
    if system == "slurm":
        name = environ.get("SLURMD_NODENAME", "")
    elif system == "htcondor":
        name = classads.string(ads, "Machine")
    return name if _HOST.match(name) else ""


def _slurm(environ: Mapping[str, str], ads: Ad) -> str:
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return "%s_%s" % (array, task) if array and task else environ["SLURM_JOB_ID"]


def _htcondor(environ: Mapping[str, str], ads: Ad) -> str:
    numbers = [classads.number(ads, each) for each in ("ClusterId", "ProcId")]
    return "" if None in numbers else "%d.%d" % (numbers[0] or 0, numbers[1] or 0)


def _pbs(environ: Mapping[str, str], ads: Ad) -> str:
    return environ["PBS_JOBID"]


def _sge(environ: Mapping[str, str], ads: Ad) -> str:
    job, task = environ["JOB_ID"], environ["SGE_TASK_ID"]
    return "%s.%s" % (job, task) if task.isdigit() else job


_NAMES: Dict[str, Any] = {"slurm": _slurm, "htcondor": _htcondor, "pbs": _pbs, "sge": _sge}


def _starts_before(system: str, environ: Mapping[str, str], ads: Ad) -> int:
    """How often this job was started before; where only that is known, 1 for a restart."""
    if system == "htcondor":
        return int(classads.number(ads, "NumJobStarts") or 0)
    text = environ.get({"slurm": "SLURM_RESTART_COUNT", "sge": "RESTARTED"}.get(system, ""), "")
    return int(text) if text.isdigit() and len(text) < 10 else 0


def _kill_after_s(system: str, ads: Ad) -> Optional[float]:
    """HTCondor takes the smaller of what job and machine allow."""
    if system != "htcondor":
        return KILL_AFTER_S.get(system)
    names = ("JobMaxVacateTime", "MachineMaxVacateTime")
    told_s = [classads.number(ads, name) for name in names]
    return min([each for each in told_s if each is not None] or [KILL_AFTER_S[system]])


def scratch_folders(environ: Mapping[str, str], system: str) -> List[str]:
    """Where the system wants scratch files, the best first; they may not exist.

    PBS_JOBDIR is the user's home with sandbox=HOME (qsub(1B), -W sandbox), so it comes last, and
    not at all where it is that.
    """
    names = {
        "htcondor": ("_CONDOR_SCRATCH_DIR", "TMPDIR"),
        "slurm": ("SLURM_TMPDIR", "TMPDIR"),
        "pbs": ("TMPDIR", "PBS_JOBDIR"),
        "sge": ("TMPDIR", "TMP"),
    }.get(system, ("TMPDIR",))
    found = [environ.get(name, "") for name in names]
    home = environ.get("HOME", "").rstrip("/")
    return [each for each in found if each.startswith("/") and each.rstrip("/") != home]
