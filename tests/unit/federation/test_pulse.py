"""Whether a site is there, by the age of its beacons."""

from __future__ import annotations

import pytest

from federation.pulse import (
    SUSPECT_S,
    UNREACHABLE_S,
    Health,
    Pulse,
    age_s,
    beat,
    changes_at_s,
    health,
)


def test_a_newer_beacon_is_taken_and_an_older_one_is_not() -> None:
    first = beat(None, 7, 3, False, 100.0)
    assert first == Pulse(7, 3, 100.0)
    assert beat(first, 7, 3, False, 101.0) is None
    assert beat(first, 7, 2, True, 101.0) is None
    assert beat(first, 7, 4, True, 101.0) == Pulse(7, 4, 101.0, True)


def test_a_new_process_counts_whatever_its_number_and_its_predecessor_no_more() -> None:
    old = beat(None, 7, 900, False, 100.0)
    new = beat(old, 3, 1, False, 110.0)
    assert new == Pulse(3, 1, 110.0, False, (7,))
    assert beat(new, 7, 901, False, 111.0) is None


def test_few_ended_processes_are_remembered() -> None:
    pulse = None
    for boot in range(50):
        pulse = beat(pulse, boot, 1, False, 0.0)
    assert pulse is not None
    assert pulse.ended == tuple(range(48, 40, -1))


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [
        (0.0, Health.ALIVE),
        (SUSPECT_S - 1, Health.ALIVE),
        (SUSPECT_S, Health.SUSPECT),
        (UNREACHABLE_S - 1, Health.SUSPECT),
        (UNREACHABLE_S, Health.UNREACHABLE),
        (1e9, Health.UNREACHABLE),
    ],
)
def test_silence_makes_a_site_suspect_and_then_unreachable(silent_s: float, state: Health) -> None:
    assert health(Pulse(1, 1, 50.0), 0.0, 50.0 + silent_s) is state


def test_a_site_may_wait_less_for_the_others() -> None:
    pulse = Pulse(1, 1, 50.0)
    found = [health(pulse, 0.0, 50.0 + silent_s, unreachable_s=12.0) for silent_s in (5, 6, 12)]
    assert found == [Health.ALIVE, Health.SUSPECT, Health.UNREACHABLE]


def test_a_drained_site_is_shown_so_while_it_is_heard() -> None:
    pulse = Pulse(1, 1, 50.0, drained=True)
    assert health(pulse, 0.0, 60.0) is Health.DRAINED
    assert health(pulse, 0.0, 50.0 + UNREACHABLE_S) is Health.UNREACHABLE


def test_a_revoked_site_is_that_whatever_it_sends() -> None:
    assert health(Pulse(1, 1, 50.0), 0.0, 50.0, revoked=True) is Health.REVOKED


def test_a_site_that_was_never_heard_is_given_time_from_our_own_start() -> None:
    assert health(None, 1000.0, 1001.0) is Health.SUSPECT
    assert health(None, 1000.0, 1000.0 + UNREACHABLE_S) is Health.UNREACHABLE
    assert age_s(None, 5.0) is None


def test_the_next_change_is_told_beforehand() -> None:
    pulse = Pulse(1, 1, 50.0)
    assert changes_at_s(pulse, 0.0, 60.0) == 50.0 + SUSPECT_S
    assert changes_at_s(pulse, 0.0, 50.0 + SUSPECT_S) == 50.0 + UNREACHABLE_S
    assert changes_at_s(pulse, 0.0, 50.0 + UNREACHABLE_S) is None
    for at_s in (60.0, 50.0 + SUSPECT_S):
        then_s = changes_at_s(pulse, 0.0, at_s)
        assert then_s is not None
        assert health(pulse, 0.0, then_s) is not health(pulse, 0.0, at_s)
