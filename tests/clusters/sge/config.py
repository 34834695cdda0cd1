"""Configuration of a private Grid Engine on one host. Debian 12: Grid Engine 8.1.9."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SHARE = Path("/usr/share/gridengine")
GROUPS = 100  # additional groups of one host, by which execd tells its jobs' processes


@dataclass(frozen=True, slots=True)
class Shape:
    """What a cluster is to be like. notify_s: between SIGUSR2 and SIGKILL. GPUs are a number.

    slots, gpus, memory: of each host.
    """

    hosts: int = 1
    slots: int = 4
    gpus: int = 2
    memory: str = "4G"
    notify_s: int = 3


def bootstrap(folder: Path) -> str:
    """bootstrap(5): where things are, and who is the administrator: whoever starts it."""
    spool = folder / "default/spool/qmaster"
    return f"""\
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         classic
spooling_lib            libspoolc
spooling_params         {folder}/default/common;{spool}
binary_path             {folder}/bin
qmaster_spool_dir       {spool}
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
jvm_threads             0
"""


def host_aliases() -> str:
    """host_aliases(5): all names of this host are "localhost", whatever the resolver says."""
    name, aliases, _ = socket.gethostbyname_ex(socket.gethostname())
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], name, *aliases}
    return " ".join(["localhost", *sorted(names - {"localhost"})]) + "\n"


def changed(text: str, values: Mapping[str, str]) -> str:
    """A table of names and values with other values for some names; comments are dropped."""
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    for name, value in values.items():
        pattern = re.compile(rf"^{re.escape(name)}\s.*")
        lines = [pattern.sub(f"{name} {value}".replace("\\", r"\\"), line) for line in lines]
    return "\n".join(lines) + "\n"


def global_conf(folder: Path) -> str:
    """sge_conf(5): accounting within a second, news of hosts often, any account."""
    return changed(
        (SHARE / "default-configuration").read_text(),
        {
            "execd_spool_dir": f"{folder}/default/spool/execd",
            "mailer": "/bin/true",
            "min_uid": "0",
            "min_gid": "0",
            "load_report_time": "00:00:02",
            "max_unheard": "00:00:30",
            "administrator_mail": "none",
            "reporting_params": "accounting=true reporting=false flush_time=00:00:01 "
            "joblog=false sharelog=00:00:00",
        },
    )


SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "load_formula": "slots",
    "schedd_job_info": "true",
}  # sched_conf(5)
RESOURCES = "gpu gpu INT <= YES YES 0 0\nh_vmem h_vmem MEMORY <= YES YES 100M 0\n"  # complex(5)
PARALLEL = """\
pe_name            smp
slots              9999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
"""  # sge_pe(5)


_NONE = [
    "load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog", "starter_method",
    "suspend_method", "resume_method", "terminate_method", "owner_list", "user_lists",
    "xuser_lists", "subordinate_list", "complex_values", "projects", "xprojects", "calendar",
]  # fmt: skip
_LIMITS = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")


def queue(shape: Shape, tmpdir: Path, hosts: Iterable[str]) -> str:
    """queue_conf(5): all of it, since nothing may be missing.

    tmpdir: of jobs, each in a folder with its number, so that clusters may not share it.
    """
    values = {
        "qname": "main.q", "hostlist": " ".join(hosts), "seq_no": "0", "nsuspend": "1",
        "suspend_interval": "00:05:00", "priority": "0", "min_cpu_interval": "00:05:00",
        "processors": "UNDEFINED", "qtype": "BATCH INTERACTIVE", "pe_list": "smp",
        "rerun": "FALSE", "slots": str(shape.slots), "tmpdir": str(tmpdir), "shell": "/bin/sh",
        "shell_start_mode": "unix_behavior", "notify": f"00:00:{shape.notify_s:02d}",
        "initial_state": "default",
    }  # fmt: skip
    values |= dict.fromkeys(_NONE, "NONE")
    values |= {f"{kind}_{limit}": "INFINITY" for limit in _LIMITS for kind in "sh"}
    return "".join(f"{name} {value}\n" for name, value in values.items())
