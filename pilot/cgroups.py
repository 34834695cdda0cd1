"""What the control groups of this process allow: memory and CPU time; versions 1, 2 and both. Pure.

Every level between ours and the top of the hierarchy that we can see counts, as the kernel enforces
all of them. Which CPUs a cpuset allows is in the affinity already: see cpuset(7), "Interaction with
sched_setaffinity".

Sources: cgroups(7), proc_pid_mountinfo(5), Linux Documentation/admin-guide/cgroup-v2.rst
(memory.max, memory.high, cpu.max), cgroup-v1/memory.rst (memory.limit_in_bytes), and
scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us).
"""

import re
from typing import Callable, List, NamedTuple, Optional

Read = Callable[[str], Optional[str]]  # a file's text, or None where it cannot be read

UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page
LEVELS_MAX = 64

Limits = NamedTuple("Limits", [("memory_bytes", Optional[int]), ("cpus", Optional[float])])
_Mount = NamedTuple("_Mount", [("root", str), ("point", str), ("kind", str), ("options", str)])


def limits(read: Read) -> Limits:
    """The smallest limits at or above us; None where there is none."""
    mounts = _mounts(read("/proc/self/mountinfo") or "")
    groups = read("/proc/self/cgroup") or ""
    memory: List[int] = []
    cpus: List[float] = []
    for folder in _folders(mounts, groups, ""):
        memory += _bytes(read(folder + "/memory.max")) + _bytes(read(folder + "/memory.high"))
        cpus += _shares((read(folder + "/cpu.max") or "").split())
    for folder in _folders(mounts, groups, "memory"):
        memory += _bytes(read(folder + "/memory.limit_in_bytes"))
    for folder in _folders(mounts, groups, "cpu"):
        quota, period = (read(folder + "/cpu.cfs_%s_us" % each) for each in ("quota", "period"))
        cpus += _shares([(quota or "").strip(), (period or "").strip()])
    return Limits(min(memory) if memory else None, min(cpus) if cpus else None)


def _mounts(text: str) -> List[_Mount]:
    """The mounted hierarchies."""
    found = []
    for line in text.split("\n"):
        left, dash, right = line.partition(" - ")
        fields, more = left.split(), right.split()
        if dash and len(fields) >= 5 and len(more) >= 3 and more[0] in ("cgroup", "cgroup2"):
            found.append(_Mount(_plain(fields[3]), _plain(fields[4]), more[0], more[2]))
    return found


def _folders(mounts: List[_Mount], groups: str, controller: str) -> List[str]:
    """Where a controller's files are ("": those of version 2): our own group's first."""
    path = _path(groups, controller)
    for mount in mounts:
        if controller:
            fits = mount.kind == "cgroup" and controller in mount.options.split(",")
        else:
            fits = mount.kind == "cgroup2"
        if fits and path is not None:
            return _levels(mount, path)
    return []


def _path(groups: str, controller: str) -> Optional[str]:
    """Our group by /proc/self/cgroup, whose lines are NUMBER:CONTROLLERS:PATH."""
    for line in groups.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        fits = controller in controllers.split(",") and (controller or number == "0")
        if fits and path.startswith("/"):
            return path
    return None


def _levels(mount: _Mount, path: str) -> List[str]:
    """Folders from our group up to what is mounted.

    In a container the path may be one that is not visible in it; then what is mounted is our group,
    or the nearest above it that we can see.
    """
    root = mount.root.rstrip("/")
    inner = path[len(root) :] if (path + "/").startswith(root + "/") else ""
    names = [name for name in inner.split("/") if name]
    if ".." in names or len(names) > LEVELS_MAX:
        names = []
    point = mount.point.rstrip("/")
    return ["/".join([point, *names[:count]]) for count in range(len(names), -1, -1)]


def _bytes(text: Optional[str]) -> List[int]:
    word = (text or "").strip()
    return [int(word)] if word.isdigit() and int(word) < UNLIMITED_BYTES else []


def _shares(words: List[str]) -> List[float]:
    """CPUs from quota and period in microseconds; "max" and -1 stand for no limit."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return []
    return [int(words[0]) / int(words[1])]


def _plain(field: str) -> str:
    """A path of mountinfo: blanks and backslashes stand there as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
