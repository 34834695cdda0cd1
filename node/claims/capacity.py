"""What this site could run: its pilots, and those that it would start for more work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from federation import limits
from federation.shapes import MIB, Workers
from node.dispatch import Room
from node.work.sessions import Session

TIME_STEP_S: Final = 900  # of what pilots have left, so that many are alike
_Kind = tuple[int, int, int, int, int]


class More(Protocol):
    """Pilots that may be started; see node/provision.py."""

    def more(self) -> tuple[Room, int]:
        """What each would have, and how many."""


class Capacity:
    """Workers of this site, by kind."""

    def __init__(self, sessions: Iterable[Session], more: Callable[[], Iterable[More]]) -> None:
        """more: whatever starts pilots here."""
        self._sessions = sessions
        self._more = more

    def workers(self) -> tuple[Workers, ...]:
        """Those with most cores, if there are more kinds than can be told."""
        count: Counter[_Kind] = Counter()
        idle: Counter[_Kind] = Counter()
        for session in self._sessions:
            if session.lost or session.draining or session.leaving or session.rests:
                continue
            kind = _kind(session.whole)
            count[kind] += 1
            idle[kind] += session.idle_slots
        for source in self._more():
            room, pilots = source.more()
            if pilots:
                count[_kind(room)] += pilots
                idle[_kind(room)] += pilots * room.cpu
        largest = sorted(count, key=lambda kind: (-kind[0] * count[kind], kind))
        return tuple(
            Workers(*kind, count[kind], min(idle[kind], kind[0] * count[kind]))
            for kind in largest[: limits.WORKER_KINDS_MAX]
        )

    def cores(self) -> tuple[int, int]:
        """Cores of the pilots that are up, and how many of them are busy."""
        up = [session for session in self._sessions if not session.lost]
        cores = sum(session.whole.cpu for session in up)
        return cores, cores - min(cores, sum(session.idle_slots for session in up))


def _kind(room: Room) -> _Kind:
    left_s = room.time_left_s
    time_s = 0 if left_s is None else max(1, int(left_s) // TIME_STEP_S * TIME_STEP_S)
    return (
        min(room.cpu, limits.CORES_MAX),
        min(room.gpu, limits.CORES_MAX),
        min(max(room.memory_bytes, 0) // MIB, limits.SHAPE_MIB_MAX),
        min(max(room.disk_bytes, 0) // MIB, limits.SHAPE_MIB_MAX),
        min(time_s, limits.SHAPE_TIME_S_MAX),
    )
