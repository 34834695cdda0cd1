"""What a unit may use, and when to look at it next. Pure."""

from typing import Any, List, Mapping, Optional

# A unit that ends before the first look costs no look at all.
FIRST_LOOK_S = 0.2
LOOK_S_MIN = 0.05
LOOK_S_MAX = 2.0
LOG_BYTES_MIN = 64 << 20  # of log that every unit may print, however small its disk allowance
PROCESSES_MAX = 4096  # of one unit, where the kernel does not count them


def tasks_max(cpus: int) -> int:
    """Processes and threads that may live in one slot of a worker with so many CPUs."""
    return 256 + 128 * cpus


class Limits:
    """The bounds of one unit: KiB and seconds."""

    def __init__(self, needs: Mapping[str, Any]) -> None:
        self.cpu = int(needs.get("cpu", 1))
        self.gpu = int(needs.get("gpu", 0))
        self.memory_kib = int(needs.get("memory_bytes", 10**9)) // 1024
        self.disk_kib = int(needs.get("disk_bytes", 10**9)) // 1024
        self.time_s = float(needs.get("time_s", 3600))
        self.log_bytes = max(self.disk_kib * 1024, LOG_BYTES_MIN)
        # One file can never be larger than all of the allowance (the log has its own bound).
        self.file_bytes = max(self.disk_kib * 1024, self.log_bytes) + (1 << 20)


class Pace:
    """How often to measure: soon when something grows towards its limit, else ever more rarely."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._last = [0.0, 0.0]
        self._interval_s = FIRST_LOOK_S

    def next_s(self, now_s: float, shares: List[float], cost_s: float) -> float:
        """Seconds until the next look.

        now_s: since the unit began; shares: use by limit, 1.0 = at the limit; cost_s: what this
        look took (looking is kept below a twentieth of the time).
        """
        elapsed_s = max(1e-3, now_s - self._last_s)
        wanted_s = LOOK_S_MAX
        for share, last in zip(shares, self._last):
            rate = (share - last) / elapsed_s
            if rate > 0:
                wanted_s = min(wanted_s, (1.0 - share) / rate / 2)
        self._last_s, self._last = now_s, list(shares)
        self._interval_s = min(LOOK_S_MAX, self._interval_s * 1.5)
        return max(LOOK_S_MIN, cost_s * 20, min(wanted_s, self._interval_s))


def over(
    limits: Limits, memory_kib: int, disk_kib: int, log_bytes: int, processes: int
) -> Optional[str]:
    """The first limit that is exceeded, as an error class."""
    if memory_kib > limits.memory_kib:
        return "memory"
    if disk_kib > limits.disk_kib:
        return "disk"
    if log_bytes > limits.log_bytes:
        return "log"
    if processes > PROCESSES_MAX:
        return "memory"
    return None
