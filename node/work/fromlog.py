"""What the log says reaches dispatch, and from there the units that are out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from twisted.internet.interfaces import IDelayedCall

from federation.records import Outcome
from node.changes import (
    READ_AGAIN,
    Change,
    DatasetAdded,
    DatasetChanged,
    ResultsRefused,
    TermOpened,
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

LATER_STEP_S = 0.5  # units that come due within this go together


@dataclass(slots=True, eq=False)
class FromLog:
    board: Board
    answers: Answers
    later: list[tuple[float, int, int]] = field(default_factory=list)  # heap: when, task, job
    timer: IDelayedCall | None = None

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
            case UnitsFaulted():
                self._faulted(change)
            case UnitsFailed(task=no, jobs=jobs):
                if (task := ready.tasks.get(no)) is not None:
                    ready.close(task, jobs)
            case UnitsGranted():
                self._granted(change)
            case UnitsReleased(tasks=tasks, ranges=ranges, by=by):
                if by == self.board.site:
                    ready.release(tasks, ranges)
            case DatasetAdded():
                self._dataset(change.dataset)
            case DatasetChanged(dataset=no, verb=verb):
                self._dataset(no, anew=verb in READ_AGAIN)
            case ResultsRefused(dataset=no, by=by):
                if by == self.board.site:
                    self._dataset(no, anew=True)
            case TermOpened():
                self._go_on()
            case _:
                pass

    def _go_on(self) -> None:
        """Read anew what stands still: it may have a leader again.

        What is there no more went with a log that was left; that is told beside this.
        """
        for state in [*self.board.dispatch.ready.datasets.values()]:
            if state.paused and self._load(state.no):
                self._loaded(state.no)

    def _granted(self, change: UnitsGranted) -> None:
        """Units of this site or of another now; the first ones of another's log bring a dataset."""
        ready = self.board.dispatch.ready
        if change.to != self.board.site:
            ready.release(change.tasks, change.ranges)
        elif not self._is_loaded(change.dataset):
            self.board.load(change.dataset, with_done=True)
        elif change.ranges[-1] > ready.datasets[change.dataset].jobs:
            self._dataset(change.dataset)  # of an extension whose turn in the log is still to come
        else:
            ready.grant(change.tasks, change.ranges)

    def _is_loaded(self, dataset: int) -> bool:
        state = self.board.dispatch.ready.datasets.get(dataset)
        return state is not None and not state.withheld

    def _faulted(self, change: UnitsFaulted) -> None:
        """Units run again, those that were lost for a reason of their own after a while."""
        task = self.board.dispatch.ready.tasks.get(change.task)
        if task is None:
            return
        if task.dataset is not None and any(job in task.done for job in change.jobs):
            self._dataset(task.dataset.no, anew=True)  # it ran well here, and does not count
            return
        now_s = self.board.now_s()
        at_once = []
        for job, outcome in zip(change.jobs, change.outcomes, strict=True):
            tried = task.tries.get(job)
            later_s = 0.0
            if outcome == Outcome.INFRASTRUCTURE and tried is not None and job in task.held:
                later_s = tried.later_s()
            if later_s:
                heappush(self.later, (now_s + later_s, change.task, job))
            else:
                at_once.append(job)
        if at_once:
            self.board.dispatch.ready.judge(task, at_once)
        self._set_timer()

    def _set_timer(self) -> None:
        if self.timer is None and self.later:
            left_s = max(LATER_STEP_S, self.later[0][0] - self.board.now_s())
            self.timer = self.board.reactor.callLater(left_s, self._free_due)

    def _free_due(self) -> None:
        self.timer = None
        now_s = self.board.now_s()
        due: dict[int, list[int]] = {}
        while self.later and self.later[0][0] <= now_s:
            _, no, job = heappop(self.later)
            due.setdefault(no, []).append(job)
        for no, jobs in due.items():
            if (task := self.board.dispatch.ready.tasks.get(no)) is not None:
                self.board.dispatch.ready.free(task, jobs)
        self.board.leases.kick()
        self._set_timer()

    def stop(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None

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

    def _dataset(self, no: int, *, anew: bool = False) -> None:
        """Read a new or changed dataset; stop what its user cancelled.

        anew: trust nothing of it that is remembered; what ran here may not count.
        """
        if anew:
            self.board.dispatch.ready.withhold(no)
        if not self._load(no) and anew:
            self._load_sources(no)
            return  # not this site's, not folded again yet, or cut off: what is out is still known
        self._loaded(no)

    def _load(self, no: int) -> bool:
        return self.board.load(no, with_done=not self._is_loaded(no))

    def _loaded(self, no: int) -> None:
        self.board.forget(no)
        state = self.board.dispatch.ready.datasets.get(no)
        if state is None:
            return
        for task in state.tasks:
            if task.leased and (shut := task.leased.common(task.shut.flat)):
                self.board.leases.order_stop(task, set(jobs_of(shut)), "cancelled")
        self._forget(state)

    def _load_sources(self, dataset: int) -> None:
        """Read anew what is done of a dataset that is none of this site's, where others wait."""
        ready = self.board.dispatch.ready
        for task in ready.tasks_of(dataset):
            ready.settle(task, self.board.tables.settled(task.no))

    def _forget(self, state: DatasetState) -> None:
        """Drop a dataset that is over; whoever asks for it later reads the tables."""
        if state.no not in self.board.dispatch.ready.datasets:
            return
        dataset_id = self.board.known(state.no).spec.id
        if self.board.dispatch.ready.forget(state.no):
            self.board.forget(state.no)
            self.answers.forget(dataset_id)
