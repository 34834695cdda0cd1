"""Breadth-first search through all states, and random walks where there are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from tests.model.invariants import Fault

STATES_MAX = 10_000_000  # some 5 GB
CHECK_EVERY = 1_000  # states between two looks at whether to go on

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """What can be searched. States are named tuples; for `order` and `renamed` see `symmetry`."""

    def initial(self) -> S: ...
    def steps(self, state: S) -> Iterator[tuple[Any, S]]: ...
    def fault(self, state: S) -> Fault | None: ...
    def order(self, state: S) -> list[int] | None: ...
    def renamed(self, state: S, order: Sequence[int]) -> S: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """states, steps: how many were seen. exhausted: whether these were all.

    acts: how the initial state led to the fault, if there is one; none is shorter after a search.
    """

    states: int
    steps: int
    exhausted: bool
    fault: Fault | None = None
    acts: Sequence[Any] = field(default_factory=list)

    def story(self) -> str:
        """The acts that led to the fault, one a line, and the fault."""
        return "\n".join([*(f"    {act}" for act in self.acts), f"    {self.fault or 'no fault'}"])


def always(states: int) -> bool:
    """Go on, however many states were seen."""
    return True


class Search(Generic[S]):
    """One search: the states seen, each with the one from which it was first reached."""

    def __init__(self, model: Model[S], states_max: int = STATES_MAX) -> None:
        self._model = model
        self._states_max = states_max
        self._steps = 0
        self._before: dict[S, S | None] = {}
        self._next: deque[S] = deque()
        self._parts: dict[type, dict[Any, Any]] = {}

    def run(self, go_on: Callable[[int], bool] = always) -> Outcome:
        """Look at all states, or as many as may be; stop at the first fault.

        go_on: asked now and then, with the number of states so far.
        """
        fault = self._reached(self._model.initial(), None)
        while self._next and fault is None:
            if len(self._before) >= self._states_max:
                break
            state = self._next.popleft()
            before = len(self._before)
            fault = self._expand(state)
            now = len(self._before)
            if before // CHECK_EVERY < now // CHECK_EVERY and not go_on(now):
                break
        if fault is None:
            return Outcome(len(self._before), self._steps, not self._next)
        acts = self._acts_to(self._next[-1])
        return Outcome(len(self._before), self._steps, False, fault, acts)

    def _expand(self, state: S) -> Fault | None:
        """Go to all states after this one that are new, up to the first with a fault."""
        for _, after in self._model.steps(state):
            self._steps += 1
            after = self._one_of_alike(after)
            if after not in self._before:
                fault = self._reached(after, state)
                if fault is not None:
                    return fault
        return None

    def _reached(self, state: S, before: S | None) -> Fault | None:
        state = self._shared(state)
        self._before[state] = before
        self._next.append(state)
        return self._model.fault(state)

    def _one_of_alike(self, state: S) -> S:
        order = self._model.order(state)
        return state if order is None else self._model.renamed(state, order)

    def _shared(self, state: S) -> S:
        """An equal state made of parts that are kept once for all states."""
        named: Any = state
        shared: S = named._make(map(self._part, named))
        return shared

    def _part(self, value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        known = self._parts.setdefault(type(value), {})  # equal tuples of two types are two parts
        if value not in known:
            inner = map(self._part, value)
            known[value] = value._make(inner) if hasattr(value, "_make") else tuple(inner)
        return known[value]

    def _acts_to(self, last: S) -> list[Any]:
        """The acts that led to a state, with the names that voters had at the start."""
        path = [last]
        while (before := self._before[path[-1]]) is not None:
            path.append(before)
        path.reverse()
        acts = []
        names: Sequence[int] | None = None  # by present name, the one at the start
        for state, wanted in pairwise(path):
            act, after = next(
                step for step in self._model.steps(state) if self._one_of_alike(step[1]) == wanted
            )
            acts.append(act if names is None else act.renamed(names))
            order = self._model.order(after)
            if order is not None:
                names = order if names is None else [names[old] for old in order]
        return acts


def walk(model: Model[S], random: Random, seen: set[int]) -> Outcome:
    """One random way until nothing more can happen; a kind of act is chosen first, then an act.

    seen: hashes of states that were looked at before; grows, up to STATES_MAX.
    """
    state, acts = model.initial(), []
    while choices := list(model.steps(state)):
        kind = random.choice(sorted({type(act).__name__ for act, _ in choices}))
        act, state = random.choice([step for step in choices if type(step[0]).__name__ == kind])
        acts.append(act)
        if hash(state) in seen:
            continue
        if len(seen) < STATES_MAX:
            seen.add(hash(state))
        fault = model.fault(state)
        if fault is not None:
            return Outcome(len(seen), len(acts), False, fault, acts)
    return Outcome(len(seen), len(acts), False)
