"""Configuration files of a private Slurm cluster on one host. Debian 12: Slurm 22.05."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shape:
    """What a cluster is to be like. CPUs and memory need not exist; GPUs are links to /dev/null.

    min_job_age_s: how long the controller remembers a job that has ended. more: further lines of
    slurm.conf.
    """

    nodes: int = 1
    cpus: int = 4
    gpus: int = 2
    memory_mb: int = 4000
    accounting: bool = False
    min_job_age_s: int = 300
    more: str = ""


def address() -> tuple[str, str]:
    """Where the daemons are reached, and the setting that keeps them off other interfaces.

    Slurm binds to all addresses or to the one that the host's own name stands for.
    """
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError:
        own = ""
    if own.startswith("127."):
        return own, "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    return "127.0.0.1", ""


def slurm_conf(name: str, folder: Path, port: int, user: str, shape: Shape) -> str:
    """slurm.conf(5). Ports: `port` the controller, +1 accounting, +3 and up the nodes."""
    host, (addr, bind) = socket.gethostname().partition(".")[0], address()
    gres = f"Gres=gpu:{shape.gpus}" if shape.gpus else ""
    nodes = "\n".join(
        f"NodeName={name}{n} NodeHostname={host} NodeAddr={addr} Port={port + 2 + n} "
        f"CPUs={shape.cpus} RealMemory={shape.memory_mb} {gres} State=UNKNOWN"
        for n in range(1, shape.nodes + 1)
    )
    return f"""\
ClusterName={name}
SlurmctldHost={host}({addr})
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
{bind}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=5,sched_min_interval=0
# More CPUs than the host has.
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge={shape.min_job_age_s}
KillWait=2
InactiveLimit=0
SlurmctldTimeout=30
# So long commands try to reach a controller that is down, instead of ten seconds.
MessageTimeout=5
SlurmdTimeout=30
MailProg=/bin/true
PlugStackConfig=/dev/null
GresTypes=gpu
{_accounting(folder, port, addr) if shape.accounting else _NO_ACCOUNTING}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=7-0 DefaultTime=1:00:00 State=UP
PartitionName=short Nodes=ALL MaxTime=10 State=UP
{shape.more}
"""


_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none"


def _accounting(folder: Path, port: int, addr: str) -> str:
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={addr}
AccountingStoragePort={port + 1}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
JobCompType=jobcomp/none"""


def slurmdbd_conf(folder: Path, port: int, user: str, password: str) -> str:
    """slurmdbd.conf(5). slurmdbd looks for it beside the slurm.conf that SLURM_CONF names."""
    addr, bind = address()
    return f"""\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr={addr}
DbdPort={port + 1}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port + 2}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
{bind.replace(",NoCtldInAddrAny", "")}
"""


def cgroup_conf(version: str) -> str:
    """Control groups are not used, but slurmd stops when none are mounted and it may look.

    22.05 has no "disabled" yet; its plugin for v1 touches nothing until something asks for a group.
    """
    return f"CgroupPlugin={'cgroup/v1' if ' 22.' in version else 'disabled'}\n"
