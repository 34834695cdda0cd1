"""What the log says reaches dispatch, and from there the units that are out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
from node.ranges import jobs_of, ranges_of
from node.unitstate import DatasetState
from node.work.answers import Answers
from node.work.board import Board


@dataclass(slots=True, eq=False)
class FromLog:
    board: Board
    answers: Answers

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber."""
        for change in changes:
            self._apply(change)
        self.board.leases.kick()

    def _apply(self, change: Change) -> None:
        ready = self.board.dispatch.ready
        match change:
            case UnitsSettled():
                self._settled(change)
            case UnitsFaulted(task=no, jobs=jobs):
                if (task := ready.tasks.get(no)) is not None:
                    ready.judge(task, jobs)
            case UnitsFailed(task=no, jobs=jobs):
                if (task := ready.tasks.get(no)) is not None:
                    ready.close(task, jobs)
            case UnitsGranted(tasks=tasks, ranges=ranges, to=to):
                (ready.grant if to == self.board.site else ready.release)(tasks, ranges)
            case UnitsReleased(tasks=tasks, ranges=ranges):
                ready.release(tasks, ranges)
            case DatasetAdded() | DatasetChanged():
                self._dataset(change)
            case _:
                pass

    def _settled(self, change: UnitsSettled) -> None:
        task = self.board.dispatch.ready.tasks.get(change.task)
        if task is None:
            return
        flat = ranges_of(change.jobs)
        self.board.dispatch.ready.settle(task, flat)
        if task.leased and (twice := task.leased.common(flat)):
            self.board.leases.order_stop(task, set(jobs_of(twice)), "done elsewhere")
        state = task.dataset
        if state is not None and task.done.count >= state.jobs:
            self._forget(state)

    def _dataset(self, change: DatasetAdded | DatasetChanged) -> None:
        """Read a new or changed dataset; stop what its user cancelled."""
        no = change.dataset
        datasets = self.board.dispatch.ready.datasets
        self.board.forget(no)
        self.board.load(no, with_done=no not in datasets)
        state = datasets.get(no)
        if state is None:
            return
        for task in state.tasks:
            if task.leased and (shut := task.leased.common(task.shut.flat)):
                self.board.leases.order_stop(task, set(jobs_of(shut)), "cancelled")
        self._forget(state)

    def _forget(self, state: DatasetState) -> None:
        """Drop a dataset that is over; whoever asks for it later reads the tables."""
        if state.no not in self.board.dispatch.ready.datasets:
            return
        dataset_id = self.board.known(state.no).spec.id
        if self.board.dispatch.ready.forget(state.no):
            self.board.forget(state.no)
            self.answers.forget(dataset_id)
