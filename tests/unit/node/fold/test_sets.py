"""Sets of jobs behave like Python's, as ranges, as bits, and mixed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.fold import sets
from node.fold.sets import Jobs
from node.ranges import ranges_of

members = st.sets(st.integers(0, 80), max_size=60)


@pytest.fixture(params=[1024, 4, 0], ids=["ranges", "mixed", "bits"], scope="module")
def bounds_max(request: pytest.FixtureRequest) -> Iterator[int]:
    before = sets.BOUNDS_MAX
    sets.BOUNDS_MAX = request.param
    yield request.param
    sets.BOUNDS_MAX = before


@given(members, members, members)
def test_operations_equal_those_of_sets(
    bounds_max: int, a: set[int], b: set[int], c: set[int]
) -> None:
    x, y, z = (Jobs(ranges_of(each)) for each in (a, b, c))
    for mine, theirs in (
        (x & y, a & b),
        (x | y, a | b),
        (x - y, a - b),
        ((x | y) - z, (a | b) - c),
        ((x & y) | (y - z), (a & b) | (b - c)),
        ((x - y) & (z - y), (a - b) & (c - b)),
    ):
        assert len(mine) == len(theirs)
        assert bool(mine) == bool(theirs)
        assert list(mine) == sorted(theirs)
        assert mine.flat == ranges_of(theirs)
        assert all((job in mine) == (job in theirs) for job in range(82))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=10))
def test_pairs_may_come_in_any_order(pairs: list[tuple[int, int]]) -> None:
    flat = [bound for lo, more in pairs for bound in (lo, lo + more)]
    assert list(Jobs.joined(flat)) == sorted({j for lo, n in pairs for j in range(lo, lo + n)})


@given(st.sets(st.integers(0, 300), min_size=1), st.sampled_from([1, 3, 1000]))
def test_bits_are_the_members_however_far_apart(jobs: set[int], apart: int) -> None:
    spread = {job * apart for job in jobs}
    assert sets._bits_of(ranges_of(spread)) == sum(1 << job for job in spread)


def test_sets_that_reach_far_stay_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "BOUNDS_MAX", 2)
    far = 10**9
    x = Jobs([1, 2, 5, 6, far, far + 5]) & Jobs([0, 2, far + 1, far + 2, far + 4, far + 9])
    assert x.flat == [1, 2, far + 1, far + 2, far + 4, far + 5]
    bits = Jobs([1, 2, 3, 4]) | Jobs([5, 6, 8, 9])
    assert (bits | Jobs([far, far + 1])).flat == [1, 2, 3, 4, 5, 6, 8, 9, far, far + 1]
