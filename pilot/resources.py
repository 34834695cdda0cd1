"""What this worker has: CPUs, GPUs, memory, disk, and the time that the batch system leaves."""

import glob
import os
import re
import time
from typing import List, Mapping, Optional

from pilot.config import Settings
from pilot.loop import UNBOUND, Resources

_CGROUP_FILES = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_MEMORY_RESERVED_BYTES = 64 << 20  # for the pilot itself
_DISK_SHARE = 0.9  # of what is free at the start


def found(settings: Settings, environ: Mapping[str, str]) -> Resources:
    """What units may use here; settings go before what the machine says."""
    cpus: List[int] = sorted(os.sched_getaffinity(0))
    if settings.cpus is not None and settings.cpus != len(cpus):
        # Some of this machine, or more than it has: nobody told us which ones are ours, so
        # units are counted and not bound.
        cpus = [UNBOUND] * settings.cpus
    gpus = _gpus(environ) if settings.gpus is None else settings.gpus
    memory = settings.memory_bytes or max(0, _memory_bytes() - _MEMORY_RESERVED_BYTES)
    disk = settings.disk_bytes or int(_free_disk_bytes(settings.work_dir) * _DISK_SHARE)
    return Resources(cpus, gpus, memory, disk)


def ends_s(settings: Settings, environ: Mapping[str, str], now_s: float) -> Optional[float]:
    """When the batch system ends us, on the monotonic clock of now_s; None if nobody says."""
    if settings.lifetime_s is not None:
        return now_s + settings.lifetime_s
    end = environ.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return now_s + (int(end) - time.time())
    walltime = environ.get("PBS_WALLTIME", "")
    if walltime.isdigit():
        return now_s + int(walltime)
    return None


def _gpus(environ: Mapping[str, str]) -> List[str]:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1", "NoDevFiles")]
    numbers = [path[len("/dev/nvidia") :] for path in glob.glob("/dev/nvidia[0-9]*")]
    return sorted((number for number in numbers if number.isdigit()), key=int)


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [total]
    for path in (*_CGROUP_FILES, *_own_cgroup_files()):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _own_cgroup_files() -> List[str]:
    """memory.max of our cgroup and of those above it."""
    try:
        with open("/proc/self/cgroup") as file:
            match = re.search(r"^0::(/.*)$", file.read(), re.M)
    except OSError:
        return []
    paths: List[str] = []
    folder = match.group(1) if match else "/"
    while folder != "/":
        paths.append("/sys/fs/cgroup%s/memory.max" % folder)
        folder = os.path.dirname(folder)
    return paths


def _free_disk_bytes(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
