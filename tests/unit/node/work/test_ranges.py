"""Sets of jobs behave as sets, whatever ranges they are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.ranges import JobRanges, jobs_of, ranges_of, size

SMALL = st.integers(0, 24)
PAIRS = st.lists(st.tuples(SMALL, SMALL).map(sorted), max_size=6)
SETS = st.sets(SMALL)


def flat_of(pairs: list[list[int]]) -> list[int]:
    return [bound for pair in pairs for bound in pair]


def whole(ranges: JobRanges) -> set[int]:
    """The members; and the ranges are as they must be."""
    flat = ranges.flat
    assert all(flat[i] < flat[i + 1] for i in range(len(flat) - 1)), flat
    members = set(ranges.jobs())
    assert ranges.count == len(members) == size(flat)
    return members


@given(PAIRS, PAIRS)
def test_adding_and_removing_ranges_is_union_and_difference(
    added: list[list[int]], removed: list[list[int]]
) -> None:
    ranges, members = JobRanges(), set()
    for lo, hi in added:
        ranges.add(lo, hi)
        members |= set(range(lo, hi))
        assert whole(ranges) == members
    for lo, hi in removed:
        ranges.remove(lo, hi)
        members -= set(range(lo, hi))
        assert whole(ranges) == members


@given(SETS, SETS)
def test_common_and_lacking_are_intersection_and_difference(
    mine: set[int], other: set[int]
) -> None:
    ranges = JobRanges(ranges_of(mine))
    assert set(jobs_of(ranges.common(ranges_of(other)))) == mine & other
    assert set(jobs_of(ranges.lacking(ranges_of(other)))) == other - mine
    assert whole(ranges) == mine


@given(SETS, st.integers(0, 30), st.none() | SMALL)
def test_take_gives_the_lowest_jobs(mine: set[int], most: int, below: int | None) -> None:
    ranges = JobRanges(ranges_of(mine))
    taken = jobs_of(ranges.take(most, below))
    assert taken == sorted(job for job in mine if below is None or job < below)[:most]
    assert whole(ranges) == mine - set(taken)


@given(SETS)
def test_membership_and_order_do_not_depend_on_how_a_set_was_named(mine: set[int]) -> None:
    ranges = JobRanges(ranges_of(list(mine)[::-1]))
    assert ranges == JobRanges(ranges_of(mine))
    assert [job in ranges for job in range(26)] == [job in mine for job in range(26)]
    assert not mine or ranges.first() == min(mine)


def test_a_million_jobs_are_two_numbers() -> None:
    ranges = JobRanges([0, 1_000_000])
    ranges.remove(500, 501)
    assert ranges.flat == [0, 500, 501, 1_000_000]
    assert ranges.count == 999_999
    with pytest.raises(TypeError):
        hash(ranges)
