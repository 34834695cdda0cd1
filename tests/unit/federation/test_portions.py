"""How much is granted, asked for and taken from another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.portions import (
    GRANT_S_MIN,
    PROBE_UNITS,
    Pace,
    asked,
    pace,
    portion,
    recalled,
    runs_dry,
    runs_low,
)

PACES = st.builds(Pace, st.integers(0, 10_000), st.none() | st.floats(0.001, 1e6))
COUNTS = st.integers(0, 10**9)
ONE_A_SECOND = Pace(10, 10.0)


@pytest.mark.parametrize(
    ("remaining", "others", "room", "granted"),
    [
        (1_000_000, 4, 10**9, 100_000),  # five sites alike: a tenth of what is left
        (1_000_000, 0, 10**9, 500_000),  # nobody else: half of it
        (1_000_000, 4, 7_200, 7_200),  # no more than it asked for
        (1_000, 4, 10**9, 300),  # and no less than five minutes of its own,
        (200, 4, 10**9, 200),  # unless there is not so much
        (1_000_000, 999, 10**9, 500),
        (0, 4, 10**9, 0),
        (1_000, 4, 0, 0),
    ],
)
def test_grants_are_guided_by_what_is_left(
    remaining: int, others: int, room: int, granted: int
) -> None:
    paces = [ONE_A_SECOND] * others
    assert portion(remaining, ONE_A_SECOND, paces, room, known=True) == granted


def test_sites_count_by_their_throughput() -> None:
    slow, quick = Pace(10, 100.0), Pace(40, 10.0)
    by_slow = portion(100_000, slow, [quick], 10**9, known=True)
    by_quick = portion(100_000, quick, [slow], 10**9, known=True)
    assert by_quick == pytest.approx(40 * by_slow, rel=0.01)


def test_of_work_that_nobody_has_tried_each_slot_gets_a_few_units_only() -> None:
    own = Pace(10, None)
    assert portion(10**6, own, [], 10**9, known=False) == 10 * PROBE_UNITS


@given(COUNTS, PACES, st.lists(PACES, max_size=5), st.integers(-5, 10**9), st.booleans())
def test_nobody_gets_more_than_there_is_or_than_it_wants(
    remaining: int, own: Pace, others: list[Pace], room: int, known: bool
) -> None:
    granted = portion(remaining, own, others, room, known=known)
    assert 0 <= granted <= max(0, min(remaining, room))
    if own.slots and remaining and room > 0:
        assert granted > 0


def test_a_pace_that_does_not_fit_the_work_is_not_believed_beyond_four_times() -> None:
    claimed = pace(10, 10 * 86_400 * 100, unit_s=3600.0)  # a hundredth of a second each
    assert claimed.unit_s == 900.0
    assert pace(10, 10 * 24, unit_s=60.0).unit_s == 3600.0  # slower: of its own units it knows
    assert pace(10, 0, unit_s=60.0).unit_s == 60.0


def test_a_site_asks_for_two_hours_and_shares_them_among_people() -> None:
    assert asked(ONE_A_SECOND, 1) == 7200
    assert asked(ONE_A_SECOND, 4) == 1800
    assert asked(Pace(10, 1e6), 4) == 10  # one for each slot at least


def test_a_site_runs_low_at_half_of_what_it_had_and_never_below_two_minutes() -> None:
    assert runs_low(3599, ONE_A_SECOND, 7200, 7200)
    assert not runs_low(3600, ONE_A_SECOND, 7200, 7200)
    assert runs_low(119, ONE_A_SECOND, 0, 7200)
    assert not runs_low(120, ONE_A_SECOND, 0, 7200)
    assert runs_low(9, Pace(10, 3600.0), 0, 10)


def test_a_site_that_wants_little_has_enough_with_half_of_it() -> None:
    assert runs_low(29, ONE_A_SECOND, 60, 60)
    assert not runs_low(30, ONE_A_SECOND, 60, 60)


def test_a_site_runs_dry_when_a_slot_will_find_nothing() -> None:
    assert runs_dry(19, ONE_A_SECOND, idle=0)
    assert not runs_dry(20, ONE_A_SECOND, idle=0)
    long_units = Pace(10, 3600.0)
    assert not runs_dry(0, long_units, idle=0)  # all slots are busy for long
    assert runs_dry(0, long_units, idle=1)
    assert not runs_dry(1, long_units, idle=1)


def test_an_owner_gives_back_so_much_that_both_end_together() -> None:
    assert recalled(1000, ONE_A_SECOND, 0, ONE_A_SECOND, 10**9) == 500
    assert recalled(1000, ONE_A_SECOND, 0, Pace(30, 10.0), 10**9) == 750
    assert recalled(1000, ONE_A_SECOND, 600, ONE_A_SECOND, 10**9) == 200
    assert recalled(1000, ONE_A_SECOND, 0, ONE_A_SECOND, 70) == 70


def test_nothing_moves_for_a_gain_of_seconds_or_to_a_slower_end() -> None:
    assert recalled(9, ONE_A_SECOND, 0, ONE_A_SECOND, 10**9) == 0
    assert recalled(1000, ONE_A_SECOND, 1000, ONE_A_SECOND, 10**9) == 0
    assert recalled(100, ONE_A_SECOND, 0, Pace(10, 3600.0), 10**9) == 0


def test_an_owner_that_can_run_nothing_any_more_gives_everything_back() -> None:
    assert recalled(50, Pace(0, 10.0), 0, ONE_A_SECOND, 10**9) == 50


@given(COUNTS, PACES, COUNTS, PACES, st.integers(-5, 10**9))
def test_no_more_is_recalled_than_waits_or_is_wanted(
    queue: int, owner: Pace, held: int, own: Pace, room: int
) -> None:
    assert 0 <= recalled(queue, owner, held, own, room) <= max(0, min(queue, room))


def test_the_least_grant_is_five_minutes() -> None:
    assert GRANT_S_MIN == 300
