"""Settled: a majority of the whole council, under one term, with acks that count."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ids import SiteID
from federation.quorum import majority
from federation.settle import (
    OutOfOrder,
    Seat,
    settled_through,
    with_ack,
    with_vote,
)

COUNCIL = [SiteID(bytes([number]) * 32) for number in range(5)]
THREE = COUNCIL[:3]


def seat(*acts: tuple[str, int, int]) -> Seat:
    """A seat after acts in order: ("ack", term, through) or ("vote", term, 0)."""
    result = Seat()
    for row, (act, term, through) in enumerate(acts):
        place = (row + 1, 0)
        if act == "ack":
            result = with_ack(result, place, term, through)
        else:
            result = with_vote(result, place, term)
    return result


def test_majorities() -> None:
    assert [majority(voters) for voters in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_a_council_of_one_settles_by_its_own_ack() -> None:
    assert settled_through(COUNCIL[:1], {COUNCIL[0]: seat(("ack", 0, 7))}, 0) == 7
    assert settled_through(COUNCIL[:1], {}, 0) == 0


def test_the_position_that_a_majority_reached_is_settled() -> None:
    for nine, six, three in permutations(THREE):
        seats = {nine: seat(("ack", 0, 9)), six: seat(("ack", 0, 6)), three: seat(("ack", 0, 3))}
        assert settled_through(THREE, seats, 0) == 6


def test_one_of_three_settles_nothing() -> None:
    assert settled_through(THREE, {THREE[0]: seat(("ack", 0, 9))}, 0) == 0


def test_acks_under_different_terms_never_add_up() -> None:
    seats = {THREE[0]: seat(("ack", 0, 9)), THREE[1]: seat(("ack", 1, 9))}
    assert settled_through(THREE, seats, 0) == 0
    assert settled_through(THREE, seats, 1) == 0


def test_ack_after_vote_for_a_later_term_does_not_count() -> None:
    late = seat(("ack", 0, 3), ("vote", 1, 0), ("ack", 0, 9))
    assert settled_through(THREE, {THREE[0]: late, THREE[1]: seat(("ack", 0, 9))}, 0) == 3


def test_ack_of_the_term_voted_for_and_of_later_ones_counts() -> None:
    voter = seat(("vote", 1, 0), ("ack", 1, 4), ("ack", 2, 5))
    assert dict(voter.acked) == {1: 4, 2: 5}


def test_a_lower_ack_takes_nothing_back() -> None:
    assert seat(("ack", 0, 9), ("ack", 0, 4)).acked[0] == 9


def test_strangers_have_no_voice() -> None:
    seats = {site: seat(("ack", 0, 9)) for site in COUNCIL[3:]}
    assert settled_through(THREE, seats, 0) == 0


def test_acts_must_come_in_the_order_of_the_voters_feed() -> None:
    first = with_vote(Seat(), (5, 0), 1)
    for place in ((5, 0), (4, 9)):
        with pytest.raises(OutOfOrder):
            with_ack(first, place, 1, 3)
        with pytest.raises(OutOfOrder):
            with_vote(first, place, 2)


acts = st.lists(st.tuples(st.sampled_from(["ack", "vote"]), st.integers(0, 3), st.integers(1, 9)))


@given(st.lists(acts, min_size=5, max_size=5), st.integers(0, 3))
def test_settled_agrees_with_the_rule_read_word_by_word(
    feeds: list[list[tuple[str, int, int]]], term: int
) -> None:
    def countable(feed: list[tuple[str, int, int]]) -> list[int]:
        votes = [row for row, act in enumerate(feed) if act[0] == "vote" and act[1] > term]
        end = votes[0] if votes else len(feed)
        return [act[2] for act in feed[:end] if act[0] == "ack" and act[1] == term]

    def is_settled(position: int) -> bool:
        ackers = [feed for feed in feeds if any(ack >= position for ack in countable(feed))]
        return len(ackers) >= 3

    seats = {site: seat(*feed) for site, feed in zip(COUNCIL, feeds, strict=True)}
    expected = max((position for position in range(1, 10) if is_settled(position)), default=0)
    assert settled_through(COUNCIL, seats, term) == expected
