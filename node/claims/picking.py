"""Which units an owner gives back: never one that is begun, the highest jobs first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from federation.shapes import Workers, slots
from node.claims.stock import unbegun
from node.leading.ledger import shape_of
from node.ranges import Flat, JobRanges, size
from node.unitstate import DatasetState, TaskState


@dataclass(frozen=True, slots=True)
class Back:
    """Units to give back: jobs of tasks of one dataset."""

    dataset: int  # local number
    tasks: Sequence[int]  # indices
    ranges: Flat


def for_another(state: DatasetState, index: int, beside: Collection[int], most: int) -> list[Back]:
    """Up to `most` units of a task that could start here now, with those that wait for them.

    beside: tasks that whoever gets them could run.
    """
    task = next((task for task in state.tasks if task.index == index), None)
    if task is None:
        return []
    queued = JobRanges()
    for queue in task.queues.values():
        queued.add_all(queue.flat)
    flat = last_of(queued.flat, most)
    behind = [each for each in _behind(task) if each.dataset is state and each.index in beside]
    return _grouped(
        state, [(task, flat), *((each, JobRanges(unbegun(each)).common(flat)) for each in behind)]
    )


def all_unbegun(state: DatasetState) -> list[Back]:
    """Everything that a site which starts nothing new will not run."""
    return _grouped(state, [(task, unbegun(task)) for task in state.tasks])


def misfits(state: DatasetState, workers: Sequence[Workers]) -> list[Back]:
    """Units that could start, but that ask for more than any worker here has."""
    found = []
    for task in state.tasks:
        flat = JobRanges()
        for needs, queue in task.queues.items():
            if queue and not slots(workers, shape_of(needs)):
                flat.add_all(queue.flat)
        found.append((task, flat.flat))
    return _grouped(state, found)


def last_of(flat: Flat, most: int) -> list[int]:
    """The highest so many jobs of flat ranges."""
    found: list[int] = []
    left = min(most, size(flat))
    for at in range(len(flat) - 2, -1, -2):
        if left <= 0:
            break
        lo = max(flat[at], flat[at + 1] - left)
        left -= flat[at + 1] - lo
        found[:0] = (lo, flat[at + 1])
    return found


def _behind(task: TaskState) -> list[TaskState]:
    """Tasks that wait for this one, and those that wait for them."""
    found: list[TaskState] = []
    left = [task]
    while left:
        for child in left.pop().children:
            if child not in found:
                found.append(child)
                left.append(child)
    return found


def _grouped(state: DatasetState, chosen: Iterable[tuple[TaskState, Flat]]) -> list[Back]:
    """As few records as there are different sets of jobs."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for task, flat in chosen:
        if flat:
            groups.setdefault(tuple(flat), []).append(task.index)
    return [Back(state.no, sorted(tasks), list(flat)) for flat, tasks in groups.items()]
