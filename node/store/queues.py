"""Everything that waits for the journal, and when the first of it is due. Knows no database."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from federation import limits
from federation.ids import Lane
from node.store.arrivals import Arrivals
from node.store.cycle import COMPOSED_BYTES_MAX, COMPOSED_MAX, Cycle
from node.store.waiting import JournalLimits, OwnLane, Waiting


class Queues:
    """Our own records, a lane each; site-local statements; entries of other sites."""

    def __init__(
        self, lanes: Mapping[Lane, OwnLane], arrivals: Arrivals, bounds: JournalLimits
    ) -> None:
        self.lanes = lanes
        self.arrivals = arrivals
        self._bounds = bounds
        self._local: deque[Waiting] = deque()
        self._late: list[Waiting] = []  # made when the next control entry is sealed
        self.behind = False  # the fold has left something for the next transaction
        self._results_wanted = 0  # so many results records must not wait for others

    def put_local(self, waiting: Waiting, *, in_order: bool) -> None:
        """in_order: not before the results that were put earlier, which then wait for no others."""
        if in_order:
            lane = self.lanes[Lane.RESULTS]
            waiting.behind = self._results_wanted = lane.taken + len(lane.queue)
        self._local.append(waiting)

    def put_late(self, waiting: Waiting) -> None:
        """A composer, to be asked when the next control entry is sealed."""
        self._late.append(waiting)

    @property
    def backlog(self) -> int:
        """Records and statements of our own."""
        own = sum(len(lane.queue) for lane in self.lanes.values())
        return own + len(self._local) + len(self._late)

    @property
    def queued_bytes(self) -> int:
        return sum(lane.queued_bytes for lane in self.lanes.values())

    def due_s(self, now_s: float, *, closing: bool) -> float | None:
        """Seconds until something should be written; None when nothing waits."""
        results_s = self._results_due_s(now_s, closing)
        control = self.lanes[Lane.CONTROL].queue or self._late
        if self._local or self.arrivals or control or results_s <= 0:
            return 0.0
        if self.behind and not closing:
            return 0.0
        return results_s if self.lanes[Lane.RESULTS].queue else None

    def _results_due_s(self, now_s: float, closing: bool) -> float:
        """Seconds until the waiting results should be written; inf when there are none."""
        lane = self.lanes[Lane.RESULTS]
        lane.written_s = min(lane.written_s, now_s)  # the reactor's clock may jump back
        if not lane.queue:
            return float("inf")
        if closing or lane.queued_bytes >= limits.RECORD_BYTES_MAX:
            return 0.0
        if self._results_wanted > lane.taken:
            return 0.0
        return lane.written_s + self._bounds.gather_s - now_s

    def gather(self, now_s: float, *, closing: bool) -> Cycle:
        """Take what the next transaction holds."""
        room, count = limits.RECORD_BYTES_MAX, limits.ENTRY_RECORDS_MAX
        results: list[Waiting] = []
        lane = self.lanes[Lane.RESULTS]
        if self._results_due_s(now_s, closing) <= 0:
            results, lane.written_s = lane.take(room, count), now_s
        if self._late:
            room, count = room - COMPOSED_BYTES_MAX, count - COMPOSED_MAX
        control = self.lanes[Lane.CONTROL].take(room, count)
        late, self._late = self._late, []
        local = [waiting for waiting in self._local if waiting.behind <= lane.taken]
        self._local = deque(waiting for waiting in self._local if waiting.behind > lane.taken)
        arrived = self.arrivals.take(self._bounds.arrived_bytes_a_cycle)
        return Cycle(results, control, local, arrived, late)

    def clear(self) -> list[Waiting]:
        """Take out everything of our own."""
        left = [waiting for lane in self.lanes.values() for waiting in lane.queue]
        left += [*self._local, *self._late]
        self._late.clear()
        for lane in self.lanes.values():
            lane.queue.clear()
            lane.queued_bytes = 0
        self._local.clear()
        return left
