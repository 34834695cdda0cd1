"""The graph of tasks: order, circles, descendants. Tasks are numbers; edges point to parents."""

from __future__ import annotations

from collections.abc import Sequence

Parents = Sequence[Sequence[int]]  # parents[task] = the tasks that it waits for


class Circle(ValueError):
    """Tasks that wait for each other; `tasks` begins and ends with the same one."""

    def __init__(self, tasks: Sequence[int]) -> None:
        self.tasks = tuple(tasks)
        super().__init__(f"tasks wait for each other: {self.tasks}")


def order(parents: Parents) -> list[int]:
    """All tasks, parents first, otherwise in their own order. Raises Circle."""
    waiting = {task: set(above) for task, above in enumerate(parents)}
    result: list[int] = []
    while waiting:
        free = next((task for task, above in waiting.items() if not above), None)
        if free is None:
            raise Circle(_circle(waiting))
        result.append(free)
        del waiting[free]
        for above in waiting.values():
            above.discard(free)
    return result


def _circle(waiting: dict[int, set[int]]) -> list[int]:
    """Follow the smallest parents from the smallest task until one comes again."""
    path = [min(waiting)]
    while True:
        parent = min(waiting[path[-1]])
        if parent in path:
            return [*path[path.index(parent) :], parent]
        path.append(parent)


def children(parents: Parents) -> list[list[int]]:
    """children[task] = the tasks that wait for it."""
    result: list[list[int]] = [[] for _ in parents]
    for task, above in enumerate(parents):
        for parent in sorted(set(above)):
            result[parent].append(task)
    return result


def descendants(parents: Parents, task: int) -> list[int]:
    """Every task that waits for `task`, directly or not, ascending."""
    below = children(parents)
    found: set[int] = set()
    stack = [task]
    while stack:
        for child in below[stack.pop()]:
            if child not in found:
                found.add(child)
                stack.append(child)
    return sorted(found)
