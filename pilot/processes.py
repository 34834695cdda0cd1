"""The processes of one unit: found, measured, ended."""

import os
import signal
import time
from typing import Dict, List, Optional, Set

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_HUNT_S_MAX = 20.0


class Processes:
    """What runs below this runner. A runner has one unit at a time, so all of it is that unit's.

    alone: we are process 1 of a pid namespace, so everything else in /proc is the unit's.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._me = os.getpid()
        self._children_file = os.path.exists("/proc/self/task/%d/children" % self._me)

    def all(self) -> List[int]:
        """Every living process of the unit (zombies may be among them)."""
        if self._alone:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        return self._descendants()

    def memory_kib(self, over_kib: int) -> int:
        """Resident memory of all of them together.

        Pages that processes share are counted once when the plain sum is above `over_kib`.
        """
        pids = self.all()
        total = sum(_resident_kib(pid) for pid in pids)
        if total > over_kib and len(pids) > 1:
            total = sum(_proportional_kib(pid) for pid in pids)
        return total

    def signal(self, number: int) -> None:
        """Send to all of them, once."""
        if self._alone:
            _kill(-1, number)
            return
        for pid in self.all():
            _kill(pid, number)

    def end(self) -> bool:
        """Kill and reap everything; False if something would not die (stuck in the kernel)."""
        deadline = time.monotonic() + _HUNT_S_MAX
        pause_s = 0.0005
        while time.monotonic() < deadline:
            if self._alone:
                _kill(-1, signal.SIGKILL)
            else:
                self._kill_descendants()
            if self.reap():
                return True
            time.sleep(pause_s)
            pause_s = min(0.05, pause_s * 2)
        return False

    def reap(self) -> bool:
        """Collect the dead; True when no child is left, hence no descendant either."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False

    def _kill_descendants(self) -> None:
        # Stopped first, parents before children, until a look finds nobody new: something that
        # forks faster than we kill would otherwise always leave a child behind.
        stopped: Set[int] = set()
        for _ in range(50):
            found = [pid for pid in self._descendants() if pid not in stopped]
            if not found:
                break
            for pid in found:
                _kill(pid, signal.SIGSTOP)
            stopped.update(found)
        for pid in stopped:
            _kill(pid, signal.SIGKILL)

    def _descendants(self) -> List[int]:
        if self._children_file:
            found: List[int] = []
            todo = [self._me]
            while todo:
                for pid in children_of(todo.pop()):
                    found.append(pid)
                    todo.append(pid)
            return found
        return _walk_proc(self._me)


def children_of(pid: int) -> List[int]:
    """The children of a process, of all its threads."""
    found: List[int] = []
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                found.extend(int(child) for child in file.read().split())
        except OSError:
            pass
    return found


def _walk_proc(ancestor: int) -> List[int]:
    """Descendants by parent ids of all processes, where the kernel lists no children."""
    below: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = _parent(name)
            if parent is not None:
                below.setdefault(parent, []).append(int(name))
    found: List[int] = []
    todo = [ancestor]
    while todo:
        children = below.pop(todo.pop(), [])
        found.extend(children)
        todo.extend(children)
    return found


def _parent(pid: str) -> Optional[int]:
    try:
        with open("/proc/%s/stat" % pid, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _resident_kib(pid: int) -> int:
    try:
        with open("/proc/%d/statm" % pid, "rb") as file:
            return int(file.read().split()[1]) * _PAGE_KIB
    except (OSError, IndexError, ValueError):
        return 0


def _proportional_kib(pid: int) -> int:
    try:
        with open("/proc/%d/smaps_rollup" % pid, "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1])
    except (OSError, IndexError, ValueError):
        pass
    return _resident_kib(pid)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass
