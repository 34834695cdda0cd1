"""Sets of jobs, with the operators of `set`, over ranges instead of members."""

from __future__ import annotations

from collections.abc import Iterable

from node.ranges import JobRanges


class Jobs:
    """A set of job indices kept as ranges; never changed once made."""

    __slots__ = ("ranges",)

    def __init__(self, flat: Iterable[int] | JobRanges = ()) -> None:
        self.ranges = flat if isinstance(flat, JobRanges) else JobRanges(flat)

    @property
    def flat(self) -> list[int]:
        return self.ranges.flat

    def __len__(self) -> int:
        return self.ranges.count

    def __and__(self, other: Jobs) -> Jobs:
        return Jobs(self.ranges.common(other.flat))

    def __sub__(self, other: Jobs) -> Jobs:
        return Jobs(other.ranges.lacking(self.flat))

    def __or__(self, other: Jobs) -> Jobs:
        few, many = sorted((self, other), key=len)
        if not few:
            return many
        joined = JobRanges()
        joined.flat = list(many.flat)
        joined.count = many.ranges.count
        joined.add_all(few.flat)
        return Jobs(joined)

    def __contains__(self, job: int) -> bool:
        return job in self.ranges

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Jobs) and self.flat == other.flat

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Jobs({self.flat})"
