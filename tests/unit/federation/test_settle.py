"""Settled: a majority of the whole council, under one term, with acks that count."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ids import EntryID, EntryRef
from federation.quorum import majority
from federation.records import SeatClose
from federation.settle import (
    WAITING_ACKS_MAX,
    Acked,
    OutOfOrder,
    Seat,
    final_term,
    settled,
    settled_through,
    with_ack,
    with_arrived,
    with_log_entry,
    with_vote,
)
from federation.shard import Shard, Term, check_force, with_close, with_mark, with_term
from tests.unit.federation.seats import at, council, seat
from tests.unit.federation.test_shard import force, later

ROOT = seat(0)


def voter(number: int, *acts: tuple[str, int, int], feed: int = 0) -> Seat:
    """A seat after acts in order: ("ack", term, through) of a leader's feed, or a vote."""
    result = Seat()
    for row, (act, term, through) in enumerate(acts):
        here = at(seat(number), row + 1)
        if act == "ack":
            result = with_ack(result, 0, Acked(term, at(seat(feed), through), here))
        else:
            result = with_vote(result, (here.seq, 0), term)
    return result


def root_through(shard: Shard, *seqs: int) -> int:
    """How far term 0 is settled when voter i acked through seqs[i]."""
    seats = {seat(each): voter(each, ("ack", 0, seq)) for each, seq in enumerate(seqs) if seq}
    return settled_through(shard, seats, shard.terms[0])


def test_majorities() -> None:
    assert [majority(voters) for voters in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_a_council_of_one_settles_by_its_own_log_entries() -> None:
    shard = council(1)
    own = with_log_entry(Seat(), at(ROOT, 7), 3, 0)
    assert settled_through(shard, {ROOT: own}, shard.newest) == 7
    assert settled(shard, {ROOT: own}) == (shard.newest, 7)
    assert settled(shard, {}) is None


def test_the_position_that_a_majority_reached_is_settled() -> None:
    for order in permutations([9, 6, 3]):
        assert root_through(council(3), *order) == 6


def test_one_of_three_settles_nothing() -> None:
    assert root_through(council(3), 0, 9) == 0


def test_acks_under_different_terms_never_add_up() -> None:
    shard = later(council(), 1, 1, 4, council().newest, 9)
    seats = {ROOT: voter(0, ("ack", 0, 9)), seat(1): with_log_entry(Seat(), at(seat(1), 4), 1, 1)}
    assert [settled_through(shard, seats, term) for term in shard.terms] == [0, 0]
    assert settled(shard, seats) is None


def test_ack_after_vote_for_a_later_term_does_not_count() -> None:
    late = voter(1, ("ack", 0, 3), ("vote", 1, 0), ("ack", 0, 9))
    seats = {ROOT: voter(0, ("ack", 0, 9)), seat(1): late}
    assert settled_through(council(), seats, council().newest) == 3


def test_a_log_entry_in_which_the_leader_votes_for_a_later_term_is_not_acked() -> None:
    own = with_log_entry(Seat(), at(ROOT, 4), 2, 0)
    own = with_vote(own, (5, 0), 1)
    own = with_log_entry(own, at(ROOT, 5), 2, 0)
    assert own.acked[0, ROOT].entry.seq == 4


def test_ack_of_the_term_voted_for_and_of_later_ones_counts() -> None:
    acks = voter(1, ("vote", 1, 0), ("ack", 1, 4), ("ack", 2, 5)).acked
    assert {log: ack.entry.seq for log, ack in acks.items()} == {(1, ROOT): 4, (2, ROOT): 5}


def test_a_lower_ack_takes_nothing_back() -> None:
    assert voter(1, ("ack", 0, 9), ("ack", 0, 4)).acked[0, ROOT].entry.seq == 9


def test_strangers_and_other_generations_have_no_voice() -> None:
    seats = {seat(number, 2): voter(number, ("ack", 0, 9)) for number in range(3)}
    seats |= {seat(number): voter(number, ("ack", 0, 9)) for number in (3, 4)}
    assert settled_through(council(), seats, council().newest) == 0


def test_an_ack_counts_once_its_very_entry_is_here() -> None:
    ack = Acked(0, at(ROOT, 9), at(seat(1), 1))
    early = with_ack(Seat(), 0, ack, here=False)
    assert not early.acked
    other = replace(ack.entry, id=EntryID(b"o" * 32))
    assert with_arrived(early, {other}.__contains__) == early
    arrived = with_arrived(early, {ack.entry}.__contains__)
    assert arrived.acked == {(0, ROOT): ack}
    assert not arrived.waiting


def test_an_ack_that_waited_counts_though_a_later_vote_was_read_meanwhile() -> None:
    early = with_ack(Seat(), 0, Acked(0, at(ROOT, 9), at(seat(1), 1)), here=False)
    voted = with_vote(early, (2, 0), 5)
    assert with_arrived(voted, lambda ref: True).acked[0, ROOT].entry.seq == 9


def test_acks_that_wait_are_bounded_and_the_newest_kept() -> None:
    voting = Seat()
    for seq in range(1, 3 * WAITING_ACKS_MAX):
        ack = Acked(0, at(ROOT, seq), at(seat(1), seq))
        voting = with_ack(voting, 0, ack, here=False)
    assert len(voting.waiting) == WAITING_ACKS_MAX
    assert voting.waiting[-1].entry.seq == 3 * WAITING_ACKS_MAX - 1


def test_acts_must_come_in_the_order_of_the_voters_feed() -> None:
    first = with_vote(Seat(), (5, 0), 1)
    for place in ((5, 0), (4, 9)):
        ack = Acked(1, at(ROOT, 3), EntryRef(seat(1), place[0], EntryID(b"")))
        with pytest.raises(OutOfOrder):
            with_ack(first, place[1], ack)
        with pytest.raises(OutOfOrder):
            with_vote(first, place, 2)


# Several terms


def test_records_of_earlier_terms_settle_through_acks_at_or_beyond_the_later_open() -> None:
    shard = later(council(), 1, 1, 4, council().newest, 9)
    seats = {
        seat(1): with_log_entry(Seat(), at(seat(1), 4), 1, 1),
        seat(2): voter(2, ("ack", 1, 4), feed=1),
    }
    assert settled(shard, seats) == (shard.newest, 4)
    assert final_term(shard, seats) == shard.newest
    below = {**seats, seat(2): voter(2, ("ack", 1, 3), feed=1)}
    assert settled(shard, below) is None


def test_until_the_later_open_is_settled_the_earlier_term_says_how_far_below_the_cut() -> None:
    shard = council()
    seats = {each: voter(0, ("ack", 0, 12)) for each in shard.seats}
    shard = later(shard, 1, 1, 4, shard.newest, 9)
    assert settled(shard, seats) == (shard.terms[0], 9)
    assert final_term(shard, seats) == shard.terms[0]


def test_acks_beyond_the_end_of_a_term_reach_its_end() -> None:
    shard = with_mark(council(1), at(ROOT, 5), 2)
    assert settled_through(shard, {ROOT: voter(0, ("ack", 0, 9))}, shard.newest) == 5


def test_nothing_is_settled_while_two_opens_hold_for_one_term() -> None:
    shard = later(council(), 1, 1, 4, council().newest, 9)
    shard = later(shard, 1, 2, 4, council().newest, 9)
    seats = {each: voter(0, ("ack", 0, 9)) for each in shard.seats}
    assert settled(shard, seats) is None


def test_after_a_force_its_leader_settles_alone() -> None:
    cut = at(ROOT, 6)
    shard = council()
    shard = with_term(shard, check_force(shard, force(shard.id, 3, cut), at(seat(2), 4), cut))
    seats = {seat(2): with_log_entry(Seat(), at(seat(2), 4), 1, 3)}
    assert settled(shard, seats) == (shard.newest, 4)


# Closed seats


def close(shard: Shard, number: int, seq: int) -> Shard:
    record = SeatClose(shard.id, seat(number).site, 1, 1, at(seat(number), 1).id)
    return with_close(shard, record, at(ROOT, seq), 0)


def test_from_a_close_on_that_seat_settles_nothing() -> None:
    shard = close(council(), 1, 7)
    assert root_through(shard, 9, 9) == 6
    assert root_through(shard, 9, 0, 9) == 9


def test_a_close_takes_back_nothing_that_was_settled_before_it() -> None:
    assert root_through(council(), 6, 6) == 6
    assert root_through(close(council(), 1, 7), 6, 6) == 6


def test_a_seat_that_an_earlier_term_closed_does_not_count_in_later_ones() -> None:
    shard = close(council(), 2, 7)
    root = shard.newest
    inherited = with_term(shard, Term(1, seat(1), at(seat(1), 4), 0, at(ROOT, 7)))
    cut_off = with_term(shard, Term(1, seat(1), at(seat(1), 4), 0, at(ROOT, 6)))
    seats = {
        seat(1): with_log_entry(Seat(), at(seat(1), 4), 1, 1),
        seat(2): voter(2, ("ack", 1, 4), feed=1),
    }
    assert settled_through(inherited, seats, inherited.newest) == 0
    assert settled_through(cut_off, seats, cut_off.newest) == 4
    assert root in inherited.terms


acts = st.lists(st.tuples(st.sampled_from(["ack", "vote"]), st.integers(0, 3), st.integers(1, 9)))


@given(st.lists(acts, min_size=5, max_size=5), st.integers(0, 3))
def test_settled_agrees_with_the_rule_read_word_by_word(
    feeds: list[list[tuple[str, int, int]]], number: int
) -> None:
    def countable(feed: list[tuple[str, int, int]]) -> list[int]:
        votes = [row for row, act in enumerate(feed) if act[0] == "vote" and act[1] > number]
        end = votes[0] if votes else len(feed)
        return [act[2] for act in feed[:end] if act[0] == "ack" and act[1] == number]

    def is_settled(position: int) -> bool:
        ackers = [feed for feed in feeds if any(ack >= position for ack in countable(feed))]
        return len(ackers) >= 3

    shard = council(5)
    for later_term in range(1, 4):
        base = shard.terms[0]
        shard = with_term(shard, Term(later_term, ROOT, at(ROOT, 1), 0, at(base.feed, 1), 0))
    shard = replace(shard, marks={})
    seats = {seat(each): voter(each, *feed) for each, feed in enumerate(feeds)}
    expected = max((position for position in range(1, 10) if is_settled(position)), default=0)
    term = shard.term(number)
    assert term is not None
    assert settled_through(shard, seats, term) == expected
