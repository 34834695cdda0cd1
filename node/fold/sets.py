"""Sets of jobs with the operators of `set`: as ranges while they are few, else as one long integer.

A dataset whose jobs end nearly in order is a handful of ranges. One in which every tenth job failed
is a hundred thousand of them, where walking over ranges would hold a node up for seconds; as bits
of an integer each operation takes microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from node.ranges import JobRanges, size

BOUNDS_MAX: Final = 1024  # of a set that is worked on as ranges; two a range
BITS_MAX: Final = 1 << 25  # jobs; a set that reaches further stays ranges, however many
DENSE: Final = 64  # jobs a bound; in sparser sets, a range at a time is quicker
_ONE: Final = re.compile("1")


class Jobs:
    """A set of job indices; never changed once made."""

    __slots__ = ("_bits", "_flat")

    def __init__(self, flat: Iterable[int] = ()) -> None:
        """flat: half-open pairs, ascending, disjoint, apart."""
        self._flat: list[int] | None = flat if isinstance(flat, list) else list(flat)
        self._bits: int | None = None

    @classmethod
    def joined(cls, flat: Iterable[int]) -> Jobs:
        """From pairs in any order, which may touch or overlap."""
        return cls(JobRanges(flat).flat)

    @classmethod
    def _of_bits(cls, bits: int) -> Jobs:
        found = cls(())
        found._flat = None
        found._bits = bits
        return found

    @property
    def flat(self) -> list[int]:
        """Half-open pairs, ascending, disjoint, apart."""
        if self._flat is None:
            assert self._bits is not None
            self._flat = _flat_of(self._bits)
        return self._flat

    @property
    def _as_bits(self) -> int:
        if self._bits is None:
            self._bits = _bits_of(self.flat)
        return self._bits

    def _by_bits(self, other: Jobs) -> bool:
        """Whether an operation on both is done on bits."""
        if self._flat is None or other._flat is None:
            return all(each._flat is None or each._low for each in (self, other))
        many = max(len(self._flat), len(other._flat)) > BOUNDS_MAX
        return many and self._low and other._low

    @property
    def _low(self) -> bool:
        return not self._flat or self._flat[-1] <= BITS_MAX

    def __len__(self) -> int:
        return self._bits.bit_count() if self._bits is not None else size(self.flat)

    def __bool__(self) -> bool:
        return bool(self._bits if self._flat is None else self._flat)

    def __and__(self, other: Jobs) -> Jobs:
        if self._by_bits(other):
            return Jobs._of_bits(self._as_bits & other._as_bits)
        few, many = sorted((self.flat, other.flat), key=len)
        return Jobs(_ranges(many).common(few))

    def __sub__(self, other: Jobs) -> Jobs:
        if self._by_bits(other):
            return Jobs._of_bits(self._as_bits & ~other._as_bits)
        return Jobs(_ranges(other.flat).lacking(self.flat))

    def __or__(self, other: Jobs) -> Jobs:
        if self._by_bits(other):
            return Jobs._of_bits(self._as_bits | other._as_bits)
        few, many = sorted((self, other), key=lambda jobs: len(jobs.flat))
        if not few:
            return many
        joined = _ranges(list(many.flat))
        joined.add_all(few.flat)
        return Jobs(joined.flat)

    def __contains__(self, job: int) -> bool:
        return job in _ranges(self.flat)

    def __iter__(self) -> Iterator[int]:
        """Every single job, ascending."""
        return _ranges(self.flat).jobs()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Jobs) and self.flat == other.flat

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Jobs({self.flat})"

    def pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self.flat[::2], self.flat[1::2], strict=True)


def _ranges(flat: list[int]) -> JobRanges:
    """Without a copy, and without counting: nobody asks this one for its size."""
    found = JobRanges()
    found.flat = flat
    found.count = len(flat)
    return found


def _bits_of(flat: Sequence[int]) -> int:
    if len(flat) <= 2:
        return (1 << flat[1]) - (1 << flat[0]) if flat else 0
    if len(flat) * DENSE > flat[-1]:
        return _bits_of_dense(flat)
    found = bytearray((flat[-1] >> 3) + 1)
    for lo, hi in zip(flat[::2], flat[1::2], strict=True):
        first, last = (lo + 7) >> 3, hi >> 3  # whole bytes
        if first > last:  # within one byte
            found[lo >> 3] |= (1 << (hi & 7)) - (1 << (lo & 7))
            continue
        if lo & 7:
            found[lo >> 3] |= 256 - (1 << (lo & 7))
        found[first:last] = b"\xff" * (last - first)
        if hi & 7:
            found[last] |= (1 << (hi & 7)) - 1
    return int.from_bytes(found, "little")


def _bits_of_dense(flat: Sequence[int]) -> int:
    """The same for bounds that lie close together: a bit a bound, then each spreads to the next."""
    edges = bytearray(b"0") * (flat[-1] + 1)
    for bound in flat:
        edges[bound] = ord("1")
    edges.reverse()
    bits = int(bytes(edges), 2)
    step = 1
    while step <= flat[-1]:
        bits ^= bits << step
        step *= 2
    return bits & ((1 << flat[-1]) - 1)


def _flat_of(bits: int) -> list[int]:
    """Ranges begin and end where a bit differs from the one before it."""
    edges = bin(bits ^ (bits << 1))[:1:-1]  # the lowest first
    return [match.start() for match in _ONE.finditer(edges)]
