"""Watching a unit's processes: measured ever more rarely, ended when over a limit or told to."""

import os
import signal
import time
from typing import Any, Callable, List, Mapping, Optional

from pilot.limits import FIRST_LOOK_S, Limits, Pace, over
from pilot.logfile import LogFile
from pilot.processes import Processes
from pilot.program import shown
from pilot.scratch import Scratch
from pilot.unit import Unit

_FILE_TOO_LARGE = (-signal.SIGXFSZ, 128 + signal.SIGXFSZ)  # also as a shell tells it
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # by the kernel, when memory is short


class Watch:
    """Watches one unit at a time.

    wait: until a child ended, the pilot spoke (which may call `ask_to_end`), or so many seconds
    are over. tell: called once for a unit that lasts.
    """

    def __init__(
        self,
        processes: Processes,
        scratch: Scratch,
        log: LogFile,
        wait: Callable[[float], None],
        tell: Callable[[Unit], None],
        grace_s: float,
    ) -> None:
        self._processes = processes
        self._scratch = scratch
        self._log = log
        self._wait = wait
        self._tell = tell
        self._grace_s = grace_s

    def until_end(self, unit: Unit, pid: int) -> int:
        """Until this process ends: measure, enforce, obey. Returns its exit, or -signal."""
        pace = Pace()
        look_s = time.monotonic() + FIRST_LOOK_S
        while True:
            now_s = time.monotonic()
            self._wait(max(0.0, self._next_event_s(unit, look_s) - now_s))
            status = self._reap(unit, pid)
            if status is not None:
                return status
            now_s = time.monotonic()
            self._mind_the_clock(unit, now_s)
            if now_s >= look_s:
                self._tell(unit)
                shares = self._look(unit)
                done_s = time.monotonic()
                look_s = done_s + pace.next_s(done_s - unit.began_s, shares, done_s - now_s)

    def ask_to_end(self, unit: Unit, error: str, say: str = "") -> None:
        """SIGTERM now, SIGKILL after the grace time."""
        unit.fail(error, say)
        if unit.started:
            self._processes.signal(signal.SIGTERM)
        if unit.kill_at_s is None:
            unit.kill_at_s = time.monotonic() + self._grace_s

    def judge(self, unit: Unit, rules: Mapping[str, Any], status: int, argv: List[str]) -> None:
        """What the end of a module means that nobody asked to end."""
        unit.exit = status
        if status in (rules.get("ok") or [0]):
            unit.exit = 0
            return
        error = self._limit_behind(unit, status)
        if error is not None:
            unit.fail(error, over_text(error, unit.limits, unit.memory_kib, unit.disk_kib, 0))
        elif status < 0:
            unit.fail("signal", "%s: killed by signal %d" % (shown(argv), -status))
        elif status in (rules.get("retry") or []):
            unit.fail("exit-retry")
        elif status in (rules.get("fail") or []):
            unit.fail("exit-final")
        else:
            unit.fail("exit")

    def _next_event_s(self, unit: Unit, look_s: float) -> float:
        next_s = look_s
        if unit.kill_at_s is not None:
            next_s = min(next_s, unit.kill_at_s)
        if not unit.error:
            next_s = min(next_s, unit.began_s + unit.limits.time_s)
        return next_s

    def _mind_the_clock(self, unit: Unit, now_s: float) -> None:
        if unit.kill_at_s is not None and now_s >= unit.kill_at_s:
            self._processes.signal(signal.SIGKILL)
            unit.kill_at_s = now_s + 1.0
        if not unit.error and now_s - unit.began_s >= unit.limits.time_s:
            self.ask_to_end(unit, "time", "over its %gs" % unit.limits.time_s)

    def _reap(self, unit: Unit, pid: int) -> Optional[int]:
        """Collect the dead; the status of `pid` once it is among them."""
        status = None
        while True:
            try:
                dead, wait_status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                if status is None:
                    raise OSError("process %d is gone" % pid) from None
                unit.started = False  # no child, hence no descendant
                return status
            if dead == 0:
                return status
            unit.cpu_s += usage.ru_utime + usage.ru_stime
            # Of a program that was started by vfork this is no less than our own.
            unit.memory_kib = max(unit.memory_kib, usage.ru_maxrss)
            if dead == pid:
                status = _status(wait_status)

    def _look(self, unit: Unit) -> List[float]:
        """Measure; end the unit if it is over a limit. Gives its shares of memory and disk."""
        limits = unit.limits
        memory_kib = self._processes.memory_kib(limits.memory_kib)
        memory_kib += self._scratch.shared_memory_kib()
        self._log.trim()
        disk_kib = self._scratch.disk_kib()
        unit.memory_kib = max(unit.memory_kib, memory_kib)
        unit.disk_kib = max(unit.disk_kib, disk_kib)
        count = len(self._processes.all())
        error = over(limits, memory_kib, disk_kib, self._log.size(), count)
        if error is not None:
            unit.fail(error, over_text(error, limits, memory_kib, disk_kib, count))
            self._processes.signal(signal.SIGKILL)
            unit.kill_at_s = time.monotonic() + 0.2
        return [memory_kib / max(1, limits.memory_kib), disk_kib / max(1, limits.disk_kib)]

    def _limit_behind(self, unit: Unit, status: int) -> Optional[str]:
        """The limit that a module failed of by itself, between two looks; None if none."""
        limits = unit.limits
        unit.disk_kib = max(unit.disk_kib, self._scratch.disk_kib())
        if self._log.size() >= limits.log_bytes:
            return "log"
        if unit.disk_kib > limits.disk_kib or status in _FILE_TOO_LARGE:
            return "disk"
        if unit.memory_kib > limits.memory_kib and status in _KILLED:
            return "memory"
        return None


def over_text(error: str, limits: Limits, memory_kib: int, disk_kib: int, processes: int) -> str:
    """How far over which limit, for people."""
    if error == "disk":
        return "used %s MB of disk, %s MB allowed" % (_mb(disk_kib), _mb(limits.disk_kib))
    if error == "log":
        return "printed more than %d MB" % (limits.log_bytes // 1000000)
    if memory_kib > limits.memory_kib:
        return "used %s MB of memory, %s MB allowed" % (_mb(memory_kib), _mb(limits.memory_kib))
    return "ran %d processes at once" % processes


def _mb(kib: int) -> str:
    mb = kib * 1024 / 1e6
    return "%.1f" % mb if mb < 9.95 else "%.0f" % mb


def _status(wait_status: int) -> int:
    if os.WIFSIGNALED(wait_status):
        return -os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)
