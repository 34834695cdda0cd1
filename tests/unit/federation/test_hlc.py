"""The clock runs forward whatever the wall clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import hlc
from federation.errors import LocalError
from federation.limits import HLC_MAX

YEAR_MS = 365 * 86_400_000
NOW_MS = 1_790_000_000_000

walls = st.integers(-YEAR_MS, NOW_MS + 10 * YEAR_MS)


@given(st.lists(walls, min_size=1))
def test_ticks_always_rise(times: list[int]) -> None:
    last = 0
    for wall_ms in times:
        now = hlc.tick(last, wall_ms)
        assert now > last
        assert hlc.to_ms(now) >= wall_ms
        last = now


def test_a_clock_put_back_by_a_year_only_counts() -> None:
    last = hlc.tick(0, NOW_MS)
    later = hlc.tick(last, NOW_MS - YEAR_MS)
    assert later == last + 1
    assert hlc.to_ms(later) == NOW_MS


def test_a_full_counter_runs_into_the_next_millisecond() -> None:
    last = hlc.from_ms(NOW_MS) + 0xFFFF
    assert hlc.to_ms(hlc.tick(last, NOW_MS)) == NOW_MS + 1


def test_a_remote_clock_up_to_five_minutes_ahead_is_merged_and_no_further() -> None:
    near, far = hlc.from_ms(NOW_MS + 300_000), hlc.from_ms(NOW_MS + 300_001)
    assert hlc.merge(5, near, NOW_MS) == near
    assert hlc.merge(5, far, NOW_MS) == 5
    assert hlc.merge(near, 5, NOW_MS) == near


def test_the_clock_ends_with_an_error_not_with_a_negative_time() -> None:
    with pytest.raises(LocalError):
        hlc.tick(HLC_MAX, NOW_MS)
