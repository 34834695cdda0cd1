"""Requests that wait for a dataset to change: told after a commit, a few times a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from node.changes import (
    Change,
    DatasetAdded,
    DatasetChanged,
    UnitsFailed,
    UnitsFaulted,
    UnitsGranted,
    UnitsReleased,
    UnitsSettled,
)

TELL_S = 0.25  # a dataset that settles thousands a second wakes its watchers four times a second
TASKS_A_DATASET = 64  # local task number = dataset number * 64 + index


class Watch:
    """Who waits for which dataset. All methods run in the reactor's thread."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: dict[int, set[Deferred[None]]] = {}
        self._changed: set[int] = set()
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber."""
        if not self._waiting:
            return
        self._changed |= {no for no in map(dataset_of, changes) if no in self._waiting}
        if self._changed and self._timer is None:
            self._timer = self._reactor.callLater(TELL_S, self._tell)

    async def change(
        self, dataset: int, timeout_s: float, when_gone: Callable[[Callable[[], None]], None]
    ) -> None:
        """Return at the next change of a dataset, after `timeout_s`, or when the asker has gone."""
        told: Deferred[None] = Deferred()
        self._waiting.setdefault(dataset, set()).add(told)
        late = self._reactor.callLater(timeout_s, _fire, told)
        when_gone(lambda: _fire(told))
        try:
            await told
        finally:
            if late.active():
                late.cancel()
            waiting = self._waiting.get(dataset, set())
            waiting.discard(told)
            if not waiting:
                self._waiting.pop(dataset, None)

    def stop(self) -> None:
        """Let everybody go; they answer with what they know."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._changed = set(self._waiting)
        self._tell()

    def _tell(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for dataset in changed:
            for told in list(self._waiting.get(dataset, ())):
                _fire(told)


def _fire(told: Deferred[None]) -> None:
    if not told.called:
        told.callback(None)


def dataset_of(change: Change) -> int | None:
    """Local number of the dataset that a change is about; None for changes of people."""
    match change:
        case UnitsSettled(task=task) | UnitsFaulted(task=task) | UnitsFailed(task=task):
            return task // TASKS_A_DATASET
        case (
            DatasetAdded(dataset=dataset)
            | DatasetChanged(dataset=dataset)
            | UnitsGranted(dataset=dataset)
            | UnitsReleased(dataset=dataset)
        ):
            return dataset
        case _:
            return None
