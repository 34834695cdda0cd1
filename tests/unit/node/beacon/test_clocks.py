"""How far another clock is ahead, from beacons that are late by an unknown time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.beacon.clocks import KEPT, STALE_S, Leads, ahead_s, heard

EPOCH_S = 1.79e9  # what our wall clock shows when our monotonic one shows 0


def after(
    ahead: float, ways_s: Sequence[float], boot: int = 1, before: Leads | None = None
) -> Leads:
    """Beacons of a site whose clock is ahead, one a minute, each that long on its way."""
    leads = before
    for number, way_s in enumerate(ways_s):
        now_s = 60.0 * number
        leads = heard(leads, boot, round((EPOCH_S + now_s - way_s + ahead) * 1000), now_s)
    assert leads is not None
    return leads


def shown(leads: Leads, way_s: float = 0.0) -> float | None:
    return ahead_s(leads, 500.0, EPOCH_S + 500.0, way_s)


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.05, 60), min_size=2, max_size=KEPT))
def test_it_is_off_by_the_way_of_the_quickest_beacon_and_less_by_what_is_known(
    ahead: float, ways_s: list[float]
) -> None:
    leads = after(ahead, ways_s)
    assert shown(leads) == pytest.approx(ahead - min(ways_s), abs=0.002)
    assert shown(leads, way_s=0.05) == pytest.approx(ahead - min(ways_s) + 0.05, abs=0.002)


def test_one_beacon_that_may_be_stale_tells_nothing() -> None:
    assert shown(after(0, [59])) is None
    assert shown(after(0, [59, 0.1])) == pytest.approx(-0.1, abs=0.002)


def test_a_year_is_seen_at_the_first_beacon() -> None:
    year_s = 365 * 86_400.0
    assert shown(after(year_s, [1])) == pytest.approx(year_s - 1, abs=0.01)
    assert shown(after(-year_s, [1])) == pytest.approx(-year_s - 1, abs=0.01)


@pytest.mark.parametrize("step_s", [-2 * STALE_S, 2 * STALE_S])
def test_a_clock_that_is_set_is_shown_as_it_is_now(step_s: float) -> None:
    leads = after(step_s, [0.1], before=after(0, [0.1, 0.1, 0.1]))
    assert shown(leads) == pytest.approx(step_s - 0.1, abs=0.01)


def test_a_new_process_begins_anew_and_old_beacons_are_forgotten() -> None:
    assert len(after(0, [1], boot=2, before=after(0, [1] * 5)).seconds) == 1
    assert len(after(0, [1] * 50).seconds) == KEPT
