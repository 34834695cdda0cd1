"""Units that ended with the pilot's eviction: whose fault was that? Pure.

Slurm signals every process of a job at once. A unit that dies of such a signal looks like one that
failed by itself, and its end may be seen before the pilot's own signal: so rows that could be of
that kind wait for a moment before the node hears of them.
"""

from collections import deque
from typing import Deque, List, Optional, Sequence, Tuple

from pilot import batchsystem, messages
from pilot.messages import Row

Told = Tuple[int, str, Row]  # lease, spec, row

DOUBT_S = 1.0  # between the signals that processes of one job get
ALL_AT_ONCE_MS = 100  # ... on a host that is not overloaded
WAITING_MAX = 1000  # rows that wait; what is beyond goes at once
_FAILED = ("exit", "exit-retry", "exit-final", "signal", "runner-lost")
_AT = {name: messages.ROW.index(name) for name in messages.ROW}


class Doubt:
    """Rows on their way to the node.

    signals_all: the batch system's signals reach units too, so that one may even have ended well
    because of it, with half of its work.
    """

    def __init__(self, signals_all: bool) -> None:
        self._signals_all = signals_all
        self._waiting: Deque[Tuple[float, Told]] = deque()
        self._evicted_ms: Optional[int] = None

    def take(self, rows: Sequence[Told], now_s: float) -> List[Told]:
        """Those of these rows that may go to the node now. now_s: any clock that does not jump."""
        if self._evicted_ms is not None:
            return [self._judged(told) for told in rows]
        going = []
        for told in rows:
            if _doubtful(told[2]) and len(self._waiting) < WAITING_MAX:
                self._waiting.append((now_s, told))
            else:
                going.append(told)
        return going

    def due(self, now_s: float) -> List[Told]:
        """Rows of which nothing was heard since."""
        going = []
        while self._waiting and now_s - self._waiting[0][0] >= DOUBT_S:
            going.append(self._waiting.popleft()[1])
        return going

    def next_s(self) -> Optional[float]:
        """When `due` has something, on the clock of its now_s."""
        return self._waiting[0][0] + DOUBT_S if self._waiting else None

    def waiting(self) -> List[Told]:
        return [told for _, told in self._waiting]

    def evicted(self, rows: Sequence[Told], now_ms: int) -> List[Told]:
        """A signal that ends this pilot came now (ms since 1970): all that waited, and `rows`,
        which nobody has heard of yet, as they are to be told."""
        if self._evicted_ms is None:
            self._evicted_ms = now_ms
        waited = self.waiting()
        self._waiting.clear()
        return [self._judged(told) for told in [*rows, *waited]]

    def _judged(self, told: Told) -> Told:
        lease, spec, row = told
        assert self._evicted_ms is not None
        ended_ms = row[_AT["start_ms"]] + row[_AT["wall_ms"]]
        early_ms = DOUBT_S * 1000 if _doubtful(row) else ALL_AT_ONCE_MS
        if ended_ms < self._evicted_ms - early_ms:
            return told
        error = row[_AT["error"]]
        if error in _FAILED or (not error and self._signals_all):
            return lease, spec, _as_evicted(row)
        return told


def _doubtful(row: Row) -> bool:
    """Whether a signal that ends pilots may be behind this end; shells tell one as 128 + number."""
    error, status = row[_AT["error"]], row[_AT["exit"]]
    numbers = batchsystem.ENDING
    killed = any(status in (-number, 128 + number) for number in numbers)
    return error == "runner-lost" or (error in _FAILED and killed)


def _as_evicted(row: Row) -> List[object]:
    changed = list(row)
    changed[_AT["error"]] = "evicted"
    changed[_AT["outcome"]] = messages.OUTCOME_OF["evicted"]
    changed[_AT["outputs"]] = ""
    if not changed[_AT["tail"]]:
        changed[_AT["tail"]] = "the batch system ended the pilot while this unit ran"
    return changed
