"""Waits between tries: longer each time, bounded, never the same for all."""

from __future__ import annotations

from random import Random

import pytest

from schedulers.backoff import JITTER, LASTING_S, PASSING_S, Backoff


def waits(count: int, seed: int = 1, **how: bool) -> list[float]:
    backoff, now_s, found = Backoff(Random(seed)), 1000.0, []
    for _ in range(count):
        backoff.failed(now_s, **how)
        found.append(backoff.left_s(now_s))
        now_s += found[-1]
        assert backoff.left_s(now_s) == 0
    return found


@pytest.mark.parametrize(("lasting", "bounds"), [(False, PASSING_S), (True, LASTING_S)])
def test_waits_double_up_to_a_bound(lasting: bool, bounds: tuple[float, float]) -> None:
    first_s, longest_s = bounds
    for number, wait_s in enumerate(waits(2000, lasting=lasting)):
        plain_s = min(longest_s, first_s * 2.0 ** min(number, 50))
        assert (1 - JITTER) * plain_s <= wait_s <= (1 + JITTER) * plain_s


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert waits(1, seed=1) != waits(1, seed=2)


def test_a_try_may_be_made_before_any_failure_and_when_somebody_asks() -> None:
    backoff = Backoff(Random(1))
    assert backoff.left_s(0) == 0
    backoff.failed(0)
    backoff.at_once()
    assert backoff.left_s(0) == 0
    backoff.failed(0)
    assert backoff.left_s(0) > PASSING_S[0] * (1 + JITTER)


def test_after_success_the_first_wait_is_short_again() -> None:
    backoff = Backoff(Random(1))
    for _ in range(10):
        backoff.failed(0)
    backoff.worked()
    backoff.failed(0)
    assert backoff.left_s(0) <= PASSING_S[0] * (1 + JITTER)


def test_what_passes_and_what_lasts_are_counted_apart() -> None:
    backoff = Backoff(Random(1))
    for _ in range(10):
        backoff.failed(0)
    backoff.failed(0, lasting=True)
    assert backoff.left_s(0) <= LASTING_S[0] * (1 + JITTER)
    backoff.failed(0, lasting=True)
    assert backoff.left_s(0) > LASTING_S[0] * (1 + JITTER)
