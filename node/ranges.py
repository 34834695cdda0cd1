"""Sets of job indices as flat half-open pairs: lo, hi, lo, hi, ... ascending, disjoint, apart.

A million consecutive jobs are two numbers. Each operation costs a bisection and the bounds that it
replaces; nothing here walks over single jobs, but for those that were named one by one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import lt

Flat = Sequence[int]


class JobRanges:
    """A set of job indices; `flat` is its bounds, `count` its size."""

    __slots__ = ("count", "flat")

    def __init__(self, flat: Iterable[int] = ()) -> None:
        """flat: pairs in any order; overlapping and touching ones are joined."""
        self.flat: list[int] = []
        self.count = 0
        bounds = list(flat)
        if all(map(lt, bounds, islice(bounds, 1, None))):
            self.flat, self.count = bounds, size(bounds)
            return
        for i in range(0, len(bounds), 2):
            self.add(bounds[i], bounds[i + 1])

    def __bool__(self) -> bool:
        return self.count > 0

    def __contains__(self, job: int) -> bool:
        return bisect_right(self.flat, job) & 1 == 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobRanges) and self.flat == other.flat

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"JobRanges({self.flat})"

    def first(self) -> int:
        """The lowest job; the set must not be empty."""
        return self.flat[0]

    def jobs(self) -> Iterator[int]:
        flat = self.flat
        for i in range(0, len(flat), 2):
            yield from range(flat[i], flat[i + 1])

    def add(self, lo: int, hi: int) -> None:
        """Put lo, ..., hi - 1 into the set."""
        if lo >= hi:
            return
        flat = self.flat
        i = bisect_left(flat, lo)
        j = bisect_right(flat, hi)
        bounds = []
        if not i & 1:
            bounds.append(lo)
        if not j & 1:
            bounds.append(hi)
        self.count += hi - lo - self._within(lo, hi, i, j)
        flat[i:j] = bounds

    def remove(self, lo: int, hi: int) -> None:
        """Take lo, ..., hi - 1 out of the set."""
        if lo >= hi or not self.flat:
            return
        flat = self.flat
        i = bisect_left(flat, lo)
        j = bisect_right(flat, hi)
        bounds = []
        if i & 1:
            bounds.append(lo)
        if j & 1:
            bounds.append(hi)
        self.count -= self._within(lo, hi, i, j)
        flat[i:j] = bounds

    def _within(self, lo: int, hi: int, i: int, j: int) -> int:
        """Number of members in [lo, hi), whose bounds are flat[i:j]."""
        if i == j:
            return hi - lo if i & 1 else 0
        between = self.flat[i:j]
        total = sum(between[1 - (i & 1) :: 2]) - sum(between[i & 1 :: 2])
        if i & 1:
            total -= lo
        if j & 1:
            total += hi
        return total

    def add_all(self, flat: Flat) -> None:
        for i in range(0, len(flat), 2):
            self.add(flat[i], flat[i + 1])

    def remove_all(self, flat: Flat) -> None:
        if self.flat:
            for i in range(0, len(flat), 2):
                self.remove(flat[i], flat[i + 1])

    def within(self, lo: int, hi: int) -> list[int]:
        """The members in [lo, hi), flat."""
        flat = self.flat
        i = bisect_right(flat, lo)
        j = bisect_left(flat, hi)
        if i == j:
            return [lo, hi] if i & 1 and lo < hi else []
        found = flat[i:j]
        if i & 1:
            found.insert(0, lo)
        if j & 1:
            found.append(hi)
        return found

    def common(self, other: Flat) -> list[int]:
        """The members that are in `other` too, flat."""
        if not self.flat:
            return []
        if len(other) == 2:
            return self.within(other[0], other[1])
        found: list[int] = []
        for i in range(0, len(other), 2):
            found += self.within(other[i], other[i + 1])
        return found

    def lacking(self, other: Flat) -> list[int]:
        """What is in `other` and not in this set, flat."""
        if not self.flat:
            return list(other)
        found: list[int] = []
        for i in range(0, len(other), 2):
            at = other[i]
            held = self.within(at, other[i + 1])
            for k in range(0, len(held), 2):
                if at < held[k]:
                    found += (at, held[k])
                at = held[k + 1]
            if at < other[i + 1]:
                found += (at, other[i + 1])
        return found

    def take(self, most: int, below: int | None = None) -> list[int]:
        """Remove and return, flat, up to `most` of the lowest members, all under `below`."""
        flat = self.flat
        taken = 0
        end = 0
        while end < len(flat):
            lo, hi = flat[end], flat[end + 1]
            stop = hi if below is None else min(hi, below)
            size = min(stop - lo, most - taken)
            if size <= 0:
                break
            taken += size
            if size < hi - lo:
                found = [*flat[:end], lo, lo + size]
                flat[: end + 1] = [lo + size]
                self.count -= taken
                return found
            end += 2
        found = flat[:end]
        del flat[:end]
        self.count -= taken
        return found


def ranges_of(jobs: Iterable[int]) -> list[int]:
    """Distinct jobs, in any order, as flat ranges."""
    ordered = sorted(jobs)
    if not ordered:
        return []
    lo, hi = ordered[0], ordered[-1] + 1
    if hi - lo == len(ordered):
        return [lo, hi]
    flat = [lo]
    expected = lo
    for job in ordered:
        if job != expected:
            flat += (expected, job)
            expected = job
        expected += 1
    flat.append(expected)
    return flat


def size(flat: Flat) -> int:
    """How many jobs flat ranges hold."""
    return sum(flat[1::2]) - sum(flat[::2])


def jobs_of(flat: Flat) -> list[int]:
    """The single jobs of flat ranges."""
    found: list[int] = []
    for i in range(0, len(flat), 2):
        found += range(flat[i], flat[i + 1])
    return found
