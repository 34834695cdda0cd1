"""When a seat stands, and what a candidate opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from federation import limits
from federation.election import (
    Choice,
    Pace,
    Since,
    bound,
    choices,
    enough,
    may_open,
    next_term,
    outvoted,
    stands_at,
)
from federation.ids import EntryRef, FeedID
from federation.opening import Ballot, check_open
from federation.records import SeatClose
from federation.shard import Shard, Term, with_close
from federation.voting import View, highest
from tests.unit.federation.seats import at, council, opened, seat, vote
from tests.unit.federation.test_shard import later
from tests.unit.federation.test_voting import ME, OTHER, ROOT, closed, said, view

NEVER = float("inf")
PACE = Pace(60.0)
SINCE = Since(heard_s=1000.0, draw=0.5)
FIVE = council(5)


# When


def test_a_seat_stands_when_the_leader_was_silent_for_long_and_not_all_at_once() -> None:
    assert stands_at(view(), PACE, SINCE) == 1000 + 60 + 0.5 * PACE.spread_s
    assert stands_at(view(), PACE, replace(SINCE, draw=0.9)) == 1000 + 60 + 0.9 * PACE.spread_s


def test_a_leader_that_is_followed_does_not_stand() -> None:
    assert stands_at(view(me=ROOT), PACE, SINCE) == NEVER


def test_a_leader_stands_again_at_once_when_the_voters_left_are_no_majority() -> None:
    bare = view(FIVE, ROOT, seats={seat(3): said(1), seat(4): said(1)})
    assert not outvoted(bare)
    assert stands_at(bare, PACE, SINCE) == NEVER
    three = replace(bare, seats={**bare.seats, seat(2): said(2)})
    assert outvoted(three)
    assert bound(three) == {seat(2), seat(3), seat(4)}
    assert stands_at(three, PACE, SINCE) == float("-inf")
    tried = replace(SINCE, tried_s=1000.0)
    assert stands_at(three, PACE, tried) > 1000


def test_a_leader_whose_records_stop_settling_wins_bound_voters_back() -> None:
    stalled = replace(SINCE, stalled_s=2000.0)
    assert stands_at(view(me=ROOT), PACE, stalled) == NEVER
    one = view(me=ROOT, seats={OTHER: said(1)})
    assert stands_at(one, PACE, SINCE) == NEVER
    assert stands_at(one, PACE, stalled) == 2000 + PACE.patience_s


@pytest.mark.parametrize(
    "seen",
    [
        view(closed(council(), ROOT)),
        view(generations={ROOT.site: 2}),
        view(revoked={ROOT.site}),
    ],
    ids=["closed", "another generation", "revoked"],
)
def test_others_stand_at_once_when_the_leader_can_lead_no_more(seen: View) -> None:
    assert stands_at(seen, PACE, SINCE) <= SINCE.heard_s


def test_an_election_that_came_to_nothing_is_tried_again_ever_more_slowly() -> None:
    seen = view(seats={ME: said(1)})
    waits = [
        stands_at(seen, PACE, replace(SINCE, tried_s=1000.0, tries=tries)) - 1000
        for tries in range(6)
    ]
    assert waits[0] == PACE.round_s * 1.5
    assert waits == sorted(waits)
    assert waits[-1] == PACE.round_s_max * 1.5


@pytest.mark.parametrize(
    "seen",
    [
        view(me=seat(4)),
        view(me=seat(1, 2)),
        view(closed(council(), ME)),
        view(later(later(council(), 1, 1, 4, council().newest, 3), 1, 2, 4, council().newest, 3)),
    ],
    ids=["no seat", "another generation", "closed", "stopped"],
)
def test_who_cannot_lead_does_not_stand(seen: View) -> None:
    assert stands_at(seen, PACE, SINCE) == NEVER


def test_the_default_pace_is_that_of_people() -> None:
    assert Pace().patience_s == 1800
    assert Pace().lead_every_s * 5 <= Pace().patience_s
    short = Pace(3.0)
    assert short.patience_s + short.spread_s + 2 * short.round_s < 2 * short.patience_s


# In which term


def test_a_candidacy_is_above_all_that_anybody_named() -> None:
    shard = later(council(), 2, 2, 4, council().newest, 7)
    assert next_term(view(shard)) == 3
    assert next_term(view(shard, seats={ME: said(5)})) == 6
    seen = Ballot(vote(shard.id, 8, OTHER, 0, at(ROOT, 1)), at(OTHER, 9))
    assert next_term(view(shard, votes=[seen])) == 9
    assert next_term(view(shard, votes=[seen]), [4, 11]) == 12


def test_the_last_term_has_no_next() -> None:
    assert next_term(view(seats={ME: said(limits.TERM_MAX)})) is None
    assert next_term(view(seats={ME: said(limits.TERM_MAX - 1)})) == limits.TERM_MAX


def test_a_term_that_one_member_alone_went_to_is_left_to_it() -> None:
    far = limits.TERM_MAX - 1
    lie = Ballot(vote(council().id, far, OTHER, 0, at(ROOT, 1)), at(OTHER, 9))
    assert next_term(view(votes=[lie], seats={OTHER: said(far), ME: said(4)}), [far]) == 5
    # In a council of five two may lie, and three do not.
    two = {OTHER: said(far), seat(3): said(far)}
    assert next_term(view(FIVE, votes=[lie], seats=two)) == 1
    three = {**two, seat(4): said(7)}
    assert highest(view(FIVE, seats=three)) == 7 + limits.TERM_STEP_MAX


def test_what_an_honest_candidate_may_need_is_within_reach() -> None:
    """Another one stood in vain as often as it could: its votes can still be won."""
    last = highest(view())
    alone = view(votes=[], seats={OTHER: said(last - 1)})
    assert next_term(alone, [last - 1]) == last
    assert next_term(alone, [last]) == 1


def test_a_majority_with_oneself_is_enough() -> None:
    assert enough(view(), [OTHER])
    assert not enough(view(), [])
    assert not enough(view(FIVE), [OTHER])
    assert not enough(view(FIVE), [OTHER, OTHER, seat(7)])
    assert enough(view(FIVE), [OTHER, seat(3)])
    assert enough(view(council(1), ROOT), [])


# What


def cast(shard: Shard, heads: Mapping[int, tuple[int, EntryRef]], term: int = 1) -> list[Ballot]:
    """Votes for this candidate: voter to (base, head)."""
    return [
        Ballot(vote(shard.id, term, ME, base, head), at(seat(voter), 20))
        for voter, (base, head) in heads.items()
    ]


def cuts(seen: View, term: int = 1) -> list[tuple[int, int]]:
    return [(choice.base.number, choice.cut.seq) for choice in choices(seen, term)]


def test_a_candidate_opens_with_a_majority_behind_the_greatest_head() -> None:
    shard = council()
    votes = cast(shard, {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 7))})
    [choice] = choices(view(votes=votes), 1)
    named = [ballot.at for ballot in votes]
    assert choice.open == opened(shard.id, 1, named, 0, at(ROOT, 7))
    assert cuts(view(votes=votes[:1])) == []


def test_with_votes_to_spare_it_may_do_without_the_greatest_heads() -> None:
    heads = {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 7)), 3: (0, at(ROOT, 6)), 4: (0, at(ROOT, 9))}
    seen = view(FIVE, votes=cast(FIVE, heads))
    assert cuts(seen) == [(0, 9), (0, 7)]
    assert [len(choice.open.votes) for choice in choices(seen, 1)] == [4, 3]


def test_the_newest_base_decides_before_the_greatest_head() -> None:
    shard = later(FIVE, 2, 3, 4, FIVE.newest, 6)
    heads = {1: (0, at(ROOT, 50)), 2: (2, at(seat(3), 5)), 4: (2, at(seat(3), 8))}
    assert cuts(view(shard, votes=cast(shard, heads, 3)), 3) == [(2, 8)]


def test_what_it_chooses_its_readers_find_to_hold() -> None:
    shard = later(FIVE, 2, 3, 4, FIVE.newest, 6)
    heads = {
        number: (base, at(seat(3) if base else ROOT, seq))
        for number, base, seq in ((0, 0, 9), (1, 2, 5), (2, 2, 8), (4, 0, 3))
    }
    votes = cast(shard, heads, 3)
    for choice in choices(view(shard, votes=votes), 3):
        term = check_open(
            shard,
            choice.open,
            at(ME, 30),
            lambda ref: [ballot.vote for ballot in votes if ballot.at == ref],
            lambda ref: True,
        )
        assert isinstance(term, Term)
        assert (term.base, term.cut) == (choice.base.number, choice.cut)


def test_votes_of_a_seat_that_the_inherited_log_closes_are_left_out() -> None:
    shard = closed(FIVE, seat(2), 6)
    heads = {voter: (0, at(ROOT, 7)) for voter in (1, 2, 3)}
    assert cuts(view(shard, votes=cast(shard, heads))) == []
    heads[4] = (0, at(ROOT, 7))
    [choice] = choices(view(shard, votes=cast(shard, heads)), 1)
    assert len(choice.open.votes) == 3
    record = SeatClose(FIVE.id, seat(2).site, 1, 20, at(seat(2), 20).id)
    late = with_close(FIVE, record, at(ROOT, 6), 0)
    [choice] = choices(view(late, votes=cast(late, heads)), 1)
    assert len(choice.open.votes) == 4


def test_nothing_is_opened_below_what_is_open_already() -> None:
    shard = later(council(), 3, 2, 4, council().newest, 7)
    votes = cast(shard, {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 7))}, 2)
    assert cuts(view(shard, votes=votes), 2) == []


def test_a_fork_among_the_heads_leaves_majorities_without_it() -> None:
    heads = {1: (0, at(ROOT, 5)), 2: (0, at(ROOT, 7)), 3: (0, at(ROOT, 7, 1)), 4: (0, at(ROOT, 6))}
    assert (0, 7) in cuts(view(FIVE, votes=cast(FIVE, heads)))
    two = {1: (0, at(ROOT, 7)), 2: (0, at(ROOT, 7, 1))}
    assert cuts(view(votes=cast(council(), two))) == []


@pytest.mark.parametrize(("held", "may"), [(8, True), (7, True), (6, False)])
def test_it_opens_only_what_it_holds_whole(held: int, may: bool) -> None:
    choice = Choice(opened(FIVE.id, 1, [at(ME, 3)], 0, at(ROOT, 7)), FIVE.newest, at(ROOT, 7))
    assert may_open(view(FIVE, whole=held), choice) is may


def test_a_base_that_is_not_the_newest_term_must_be_held_too() -> None:
    shard = later(FIVE, 2, 3, 4, FIVE.newest, 6)
    choice = Choice(opened(FIVE.id, 3, [at(ME, 3)], 0, at(ROOT, 9)), shard.terms[0], at(ROOT, 9))
    for seq, may in ((9, True), (8, False)):
        held: dict[int, tuple[FeedID, int]] = {0: (ROOT, seq), 2: (seat(3), 5)}
        seen = replace(view(shard), whole=lambda term, held=held: at(*held[term.number]))
        assert may_open(seen, choice) is may
