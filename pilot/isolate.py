"""Linux walls around a unit: namespaces, hidden folders, no capabilities. ctypes, no root needed.

Two ways, told apart by `Isolation`: "full" puts a runner into user, mount, pid and ipc
namespaces of its own, where it is process 1: everything that a unit starts dies with it, sees
only its own processes, and finds the hidden folders empty. "group" is for hosts that deny user
namespaces: the runner adopts orphans (child subreaper) and hunts descendants; nothing is hidden.
"""

import ctypes
import os
import re
import resource
import signal
import struct
from typing import Iterable, List, Optional, Sequence, Tuple

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_RESERVED_PIDS = 300  # numbers that the kernel does not give again after the first round
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITY_LAST_MAX = 63

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # system calls that libc has no name for
_SCHED_ATTR_BYTES = 48
_SCHED_RESET_ON_FORK = 1
_TURN_NS = 100_000

_libc = ctypes.CDLL(None, use_errno=True)


class Denied(Exception):
    """This host does not let us build the wall; the message says which step failed."""


def _check(step: str, result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise Denied("%s: %s" % (step, os.strerror(error)))


def _prctl(step: str, option: int, value: int) -> None:
    _check(step, _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Get this signal when the thread that forked us ends."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, int(number))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent died."""
    _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def undumpable() -> None:
    """Keep other processes of the same account out of our memory and our /proc entries."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)


def no_new_privileges() -> None:
    """Set-uid programs give nothing to us or our descendants."""
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability, for good: also for programs that we start as uid 0."""
    for capability in range(_CAPABILITY_LAST_MAX + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break  # EINVAL past the kernel's last one; EPERM when there is none to drop
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _check("capset", _libc.capset(header, data))


def limit_tasks(most: int, alone: bool) -> None:
    """Let no more processes and threads than this live below us, as far as the kernel helps.

    alone: we are process 1 of our own pid and user namespaces. Then numbers of processes can be
    made to run out (Linux 6.14), and the limit of the account counts this namespace only (5.14).
    Otherwise it counts the whole account, so what runs already is added. Neither binds uid 0
    outside of namespaces.
    """
    if alone:
        try:
            _write("/proc/sys/kernel/pid_max", str(_RESERVED_PIDS + most))
        except OSError:
            pass
    if alone and _kernel() < (5, 14):
        return
    limit = most if alone else most + _tasks_of_account()
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _kernel() -> Tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return tuple(map(int, numbers.groups())) if numbers else (0, 0)


def _tasks_of_account() -> int:
    """Processes and threads that run under our user id now."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat("/proc/" + name).st_uid == os.geteuid():
                    count += len(os.listdir("/proc/%s/task" % name))
            except OSError:
                pass
    return count


def be_prompt() -> None:
    """Be scheduled soon after waking, however many processes of units want the CPU.

    Asks for short turns (Linux 6.12); what we start gets ordinary ones. Costs no privilege.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack(
        "=IIQiIQQQ",
        _SCHED_ATTR_BYTES,
        os.SCHED_OTHER,
        _SCHED_RESET_ON_FORK,
        nice,
        0,
        _TURN_NS,
        0,
        0,
    )
    _libc.syscall(number, 0, attributes, 0)


def set_oom_first() -> None:
    """When memory runs out, the kernel takes what we start before it takes anything else."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def unshare() -> None:
    """New user, mount, ipc namespaces for us, and a pid namespace for our next child.

    Our ids stay what they are; every other id becomes "nobody". Raises Denied.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC
    _check("unshare", _libc.unshare(flags))
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", "%d %d 1" % (uid, uid))
        _write("/proc/self/gid_map", "%d %d 1" % (gid, gid))
    except OSError as fault:
        raise Denied("id map: %s" % fault) from fault


def build_walls(keep: Iterable[str], hide: Iterable[str]) -> None:
    """As process 1 of new namespaces: hide folders and files, but for the folders to keep.

    Afterwards /proc shows our processes only, and /dev/shm is ours alone. Raises Denied.
    """
    kept = [os.path.realpath(path) for path in keep]
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in kept]
    try:
        _mount("private", None, "/", None, _MS_REC | _MS_PRIVATE)
        covered = outermost(hide, kept)
        for path in covered:
            _cover(path)
            for place in kept:
                if _below(place, path):
                    os.makedirs(place, mode=0o700, exist_ok=True)
        for path, fd in zip(kept, fds):
            _mount("bind " + path, "/proc/self/fd/%d" % fd, path, None, _MS_BIND)
        for path in covered:
            for place in kept:
                _close_way(path, place)
            if os.path.isdir(path):
                flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
                _mount("read-only " + path, None, path, None, flags)
        if os.path.isdir("/dev/shm"):
            _mount("/dev/shm", "tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV)
        _mount("/proc", "proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    finally:
        for fd in fds:
            os.close(fd)


def outermost(hide: Iterable[str], kept: Sequence[str]) -> List[str]:
    """Existing, resolved paths to hide, without those inside another one or inside one kept."""
    found: List[str] = []
    for path in sorted({os.path.realpath(path) for path in hide if os.path.exists(path)}):
        inside = any(_below(path, other) for other in [*found, *kept])
        if path != "/" and not inside:
            found.append(path)
    return found


def _close_way(cover: str, place: str) -> None:
    """Folders from a covered one down to a kept one can be passed but not listed."""
    above = os.path.dirname(place)
    while _below(above, cover):
        os.chmod(above, 0o111)
        above = os.path.dirname(above)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _cover(path: str) -> None:
    if os.path.isdir(path):
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        _mount("hide " + path, "tmpfs", path, "tmpfs", flags, "mode=0700,size=64k")
    else:
        _mount("hide " + path, "/dev/null", path, None, _MS_BIND)


def _mount(
    step: str,
    source: Optional[str],
    target: str,
    kind: Optional[str],
    flags: int,
    data: Optional[str] = None,
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(
        "mount " + step,
        _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]),
    )


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
