"""What this worker has for units: CPUs, GPUs, memory, disk, and the time that is left.

What a batch system granted comes before what the machine has, and before the settings: these may
only ask for less of it. Outside of a batch system, settings say how it is.
"""

import glob
import os
import resource
import socket
import time
from typing import Callable, List, Mapping, NamedTuple, Optional

from pilot import batchsystem, cgroups, classads, gpus, granted
from pilot.batchsystem import Batch
from pilot.config import Settings
from pilot.granted import Bound, Granted
from pilot.loop import UNBOUND, Resources

_MEMORY_RESERVED_BYTES = 64 << 20  # for the pilot itself
_DISK_SHARE = 0.9  # of what is free at the start
_FILE_BYTES_MAX = 4 << 20  # of an ad, a node file or a file of the kernel


class Machine(NamedTuple):
    """The worker as its kernel shows it, whoever else works here."""

    cpus: int
    affinity: List[int]
    memory_bytes: int
    rlimits: Mapping[str, float]
    host: str
    devices: List[str]  # numbers of NVIDIA's GPUs
    read: Callable[[str], Optional[str]]


class Found:
    """What there is: `batch` started us, `units` may use that much, `left_s` seconds are left.

    why: each amount and who says so, for the log.
    """

    def __init__(self, batch: Batch, units: Resources, left: Optional[Bound], why: str) -> None:
        self.batch = batch
        self.units = units
        self.left_s = None if left is None else left.amount
        self.why = why


def this_machine() -> Machine:
    limits = {
        name: resource.getrlimit(getattr(resource, name))[0] for name in granted.MEMORY_RLIMITS
    }
    devices = [path[len("/dev/nvidia") :] for path in glob.glob("/dev/nvidia[0-9]*")]
    return Machine(
        os.cpu_count() or 1,
        sorted(os.sched_getaffinity(0)),
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        limits,
        socket.gethostname(),
        sorted((number for number in devices if number.isdigit()), key=int),
        read_file,
    )


def ads_of(environ: Mapping[str, str], read: Callable[[str], Optional[str]]) -> Mapping[str, str]:
    """HTCondor's ads of job and machine as one; the machine's word counts."""
    ads = {}
    for name in ("_CONDOR_JOB_AD", "_CONDOR_MACHINE_AD"):
        if environ.get(name):
            ads.update(classads.parse(read(environ[name]) or ""))
    return ads


def batch_of(
    settings: Settings, environ: Mapping[str, str], read: Callable[[str], Optional[str]]
) -> Batch:
    return batchsystem.detected(environ, ads_of(environ, read), settings.system)


def found(
    settings: Settings,
    environ: Mapping[str, str],
    machine: Machine,
    disk_free_bytes: int,
    now: float,
) -> Found:
    """What units may use here. disk_free_bytes: where they work; now: seconds since 1970."""
    ads = ads_of(environ, machine.read)
    batch = batchsystem.detected(environ, ads, settings.system)
    grants = _grants(environ, ads, machine)
    _add_kernel(grants, machine)
    cpus = _cpus(settings, grants, machine, bool(batch.system))
    count = int(cpus.amount)
    part = min(1.0, count / machine.cpus) if batch.system else 1.0
    memory = _memory(settings, grants, machine, bool(batch.system), part)
    disk = _disk(settings, grants, bool(batch.system), disk_free_bytes, part)
    names = _gpus(settings, environ, machine, bool(batch.system))
    units = Resources(_which(machine, count), names, int(memory.amount), int(disk.amount))
    left = granted.left_s(grants, settings.lifetime_s, now)
    why = "%d CPUs (%s), %.1f GB of memory (%s), %.1f GB of disk (%s), GPUs: %s, %s" % (
        count, cpus.source, memory.amount / 1e9, memory.source, disk.amount / 1e9, disk.source,
        ",".join(names) or "none",
        "no time limit known" if left is None else "%.0f s (%s)" % (left.amount, left.source),
    )  # fmt: skip
    return Found(batch, units, left, why)


def _grants(environ: Mapping[str, str], ads: Mapping[str, str], machine: Machine) -> Granted:
    """What all systems say whose job this is: an inner one grants a part of the outer's grant."""
    whole = Granted()
    for system in batchsystem.here(environ):
        nodefile = machine.read(environ.get("PBS_NODEFILE", "")) or ""
        part = granted.by_system(system, environ, ads, nodefile, machine.host)
        whole.cpus += part.cpus
        whole.memory_bytes += part.memory_bytes
        whole.disk_bytes += part.disk_bytes
        whole.ends += part.ends
        whole.lasts_s += part.lasts_s
        whole.started = whole.started or part.started
    return whole


def _add_kernel(grants: Granted, machine: Machine) -> None:
    """What the kernel enforces, where that is less than the machine."""
    groups = cgroups.limits(machine.read)
    if groups.cpus is not None and groups.cpus < machine.cpus:
        grants.cpus.append(Bound(max(1.0, groups.cpus), "control group"))
    if len(machine.affinity) < machine.cpus:
        grants.cpus.append(Bound(len(machine.affinity), "affinity"))
    if groups.memory_bytes is not None and groups.memory_bytes < machine.memory_bytes:
        grants.memory_bytes.append(Bound(groups.memory_bytes, "control group"))
    grants.memory_bytes += granted.by_rlimits(machine.rlimits)


def _cpus(settings: Settings, grants: Granted, machine: Machine, in_batch: bool) -> Bound:
    own = [] if settings.cpus is None else [Bound(settings.cpus, "settings")]
    if own and not in_batch:
        return own[0]
    if not own:
        own = [Bound(len(machine.affinity), "machine")]
    return granted.smallest(own + grants.cpus) or own[0]


def _which(machine: Machine, count: int) -> List[int]:
    """The CPUs themselves; if ours are some of those that we see, nobody told us which ones: then
    units are counted and not bound."""
    return machine.affinity if count == len(machine.affinity) else [UNBOUND] * count


def _memory(
    settings: Settings, grants: Granted, machine: Machine, in_batch: bool, part: float
) -> Bound:
    """Without a word from anybody: our part of the machine's, by our CPUs."""
    if settings.memory_bytes and not in_batch:
        return Bound(settings.memory_bytes, "settings")
    bound = granted.smallest(grants.memory_bytes) or Bound(
        machine.memory_bytes * part, "machine" if part == 1.0 else "part of the machine by CPUs"
    )
    bound = Bound(max(0.0, bound.amount - _MEMORY_RESERVED_BYTES), bound.source)
    if settings.memory_bytes:
        asked = Bound(settings.memory_bytes, "settings")
        stated = [bound] if grants.memory_bytes else []
        return granted.smallest([asked, *stated]) or asked
    return bound


def _disk(
    settings: Settings, grants: Granted, in_batch: bool, free_bytes: int, part: float
) -> Bound:
    """What is free counts too: a grant of disk that is full is worth nothing."""
    if settings.disk_bytes and not in_batch:
        return Bound(settings.disk_bytes, "settings")
    bounds = list(grants.disk_bytes)
    if settings.disk_bytes:
        bounds.append(Bound(settings.disk_bytes, "settings"))
    share = _DISK_SHARE * (part if not bounds else 1.0)
    return granted.smallest([*bounds, Bound(free_bytes * share, "free")]) or Bound(0, "free")


def _gpus(
    settings: Settings, environ: Mapping[str, str], machine: Machine, in_batch: bool
) -> List[str]:
    """A job that was given no GPU sees no variable under many systems, and all devices."""
    told = gpus.granted(environ)
    if settings.gpus is not None:
        return [name for name in settings.gpus if told is None or not in_batch or name in told]
    if told is None:
        return [] if in_batch else list(machine.devices)
    return told


def ends_s(left_s: Optional[float], now_s: float) -> Optional[float]:
    """When the batch system ends us, on the monotonic clock of now_s; None if nobody says."""
    return None if left_s is None else now_s + left_s


def free_disk_bytes(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def read_file(path: str) -> Optional[str]:
    """A file's text; None where there is none that we may read."""
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return None


def here_now(settings: Settings, environ: Mapping[str, str], folder: str) -> Found:
    """What there is on this machine now, for units that work below `folder`."""
    return found(settings, environ, this_machine(), free_disk_bytes(folder), time.time())
