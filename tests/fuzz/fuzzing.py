"""Mutation over the corpus of every target, for a given time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import corpus, nasty
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import Fault, Target, check

BATCH = 40  # inputs of one target before the next has its turn
NASTY, GROWN = 0.05, 0.3  # shares of inputs that are made of these
MEASURED = 200  # one input in so many has its memory measured
KEPT_MAX = 300  # mutated inputs that a target took, and that others are made of


@dataclass(frozen=True)
class Found:
    """A fault, and the smallest input that shows it."""

    target: Target
    data: bytes
    why: str
    path: Path

    def words(self) -> str:
        return (
            f"{self.target.name}: {self.why}\n"
            f"  {len(self.data)} bytes, kept in {self.path}\n"
            f"  again: python -m tests.fuzz --replay {self.path}"
        )


class Fuzzer:
    """One run over all targets."""

    def __init__(self, targets: Sequence[Target], seed: int, root: Path = corpus.HERE) -> None:
        self.targets = list(targets)
        self.tried = dict.fromkeys((target.name for target in targets), 0)
        self.taken = dict.fromkeys((target.name for target in targets), 0)
        self.found: dict[str, Found] = {}  # one a target: the rest are most likely the same
        self._random = Random(seed)
        self._root = root
        self._kept = {target.name: corpus.kept(target, root) for target in targets}
        self._grown: dict[str, list[bytes]] = {target.name: [] for target in targets}
        self._mutators = {
            target.name: Mutator(self._random, target.form, target.bytes_max) for target in targets
        }

    def run(self, seconds: float, now: Callable[[], float] = time.monotonic) -> list[Found]:
        """Until the time is over, or every target has failed."""
        end_s = now() + seconds
        while now() < end_s and len(self.found) < len(self.targets):
            for target in self.targets:
                if target.name not in self.found and now() < end_s:
                    self._turn(target, end_s, now)
        return list(self.found.values())

    def _turn(self, target: Target, end_s: float, now: Callable[[], float]) -> None:
        mutator = self._mutators[target.name]
        slice_end_s = min(end_s, now() + 0.25)
        for _ in range(BATCH):
            data = mutator.next(self._begin_with(target))
            self.tried[target.name] += 1
            try:
                if check(target, data, measure=self._random.randrange(MEASURED) == 0):
                    self.taken[target.name] += 1
                    self._grow(target, data)
            except Fault as fault:
                self._note(target, data, fault)
                return
            if now() > slice_end_s:
                return

    def _begin_with(self, target: Target) -> Sequence[bytes]:
        """Mostly the corpus: what grew out of it wanders off, and what is nasty is never taken."""
        grown, chance = self._grown[target.name], self._random.random()
        if chance < NASTY:
            return list(nasty.OF_FORM[target.form.name].values())
        return grown if grown and chance < NASTY + GROWN else self._kept[target.name]

    def _grow(self, target: Target, data: bytes) -> None:
        grown = self._grown[target.name]
        if len(grown) < KEPT_MAX:
            grown.append(data)
        else:
            grown[self._random.randrange(KEPT_MAX)] = data

    def _note(self, target: Target, data: bytes, fault: Fault) -> None:
        small = smaller(target, data)
        try:
            check(target, small, measure="memory" in str(fault))
            small = data
        except Fault as again:
            fault = again
        path = corpus.keep(target, small, self._root)
        self.found[target.name] = Found(target, small, str(fault), path)


def smaller(target: Target, data: bytes, tries: int = 400) -> bytes:
    """Some shorter input with a fault of the same first words, found by leaving pieces out."""
    kind = _kind(target, data)
    size = max(1, len(data) // 2)
    while kind and tries > 0:
        at, shrunk = 0, False
        while at < len(data) and tries > 0:
            tries -= 1
            without = data[:at] + data[at + size :]
            if without != data and _kind(target, without) == kind:
                data, shrunk = without, True
            else:
                at += size
        if size == 1 and not shrunk:
            break
        size = max(1, size // 2)
    return data


def _kind(target: Target, data: bytes) -> str:
    """What sort of fault an input shows; "" for none. Slow ones are not tried again."""
    try:
        check(target, data)
    except Fault as fault:
        words = str(fault)
        return "" if words.startswith("took") else words.split(":")[0]
    return ""
