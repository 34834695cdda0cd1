"""What of each leader's work is at this site: not begun, out at pilots, and how long units take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from federation.claims import label
from federation.ids import DatasetID, SiteID
from federation.shapes import Shape
from node.claims.policy import Stock
from node.leading.ledger import shape_of
from node.ranges import Flat, JobRanges, size
from node.ready import Ready
from node.unitstate import DatasetState, TaskState

Place = tuple[DatasetID, SiteID]
PlaceOf = Callable[[int], Place | None]
"""The id of a dataset (local number) and the leader of its shard; None when nobody leads it."""


class StockTaking:
    """Reads dispatch's sets. Each look costs a few set operations a task that waits for others."""

    def __init__(self, ready: Ready, place_of: PlaceOf) -> None:
        self._ready = ready
        self._place_of = place_of

    def stocks(self) -> list[Stock]:
        """One for each dataset and shape of which anything was ever here."""
        return [stock for state in self._ready.datasets.values() for stock in self._of(state)]

    def _of(self, state: DatasetState) -> Iterator[Stock]:
        owned = [task for task in state.tasks if task.owned or task.leased]
        place = self._place_of(state.no) if owned else None
        if place is None:
            return
        shapes: dict[Shape, list[TaskState]] = {}
        for task in owned:
            shapes.setdefault(shape_of(task.needs), []).append(task)
        owner = (state.account.group, state.account.person)
        for shape, tasks in shapes.items():
            held = 0 if state.paused else sum(size(self.pending(task)) for task in tasks)
            begun = sum(task.leased.count for task in tasks)
            known = [task.wall_s for task in tasks if task.wall_s is not None]
            unit_s = sum(known) / len(known) if known else None
            yield Stock(place[1], label(place[0]), owner, shape, held, begun, unit_s)

    def pending(self, task: TaskState) -> Flat:
        """Units that are this site's, not begun, and that need nothing but what is here as well."""
        if not task.waits:
            return _queued(task)
        flat = unbegun(task)
        for wait in task.waits:
            source = self._ready.tasks.get(wait.task)
            if source is None or not flat:
                return []
            here = JobRanges(source.done.flat)
            here.add_all(source.owned.flat)
            if not wait.whole:
                flat = here.common(flat)
            elif here.within(0, wait.whole) != [0, wait.whole]:
                return []
        return flat


def unbegun(task: TaskState) -> Flat:
    """Units that this site owns, that are not over and not out."""
    flat: Flat = task.owned.flat
    for barred in (task.done, task.shut, task.leased):
        flat = barred.lacking(flat)
    return flat


def _queued(task: TaskState) -> Flat:
    found = JobRanges()
    for queue in task.queues.values():
        found.add_all(queue.flat)
    return found.flat
