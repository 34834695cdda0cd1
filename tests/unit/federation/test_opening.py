"""What an open must name, and what its readers recompute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from federation.ids import EntryRef, FeedID, Lane
from federation.opening import BadOpen, Missing, as_ref, check_open, entry_ref
from federation.records import Open, SeatClose, Vote
from federation.shard import Shard, Term, check_force, with_close, with_term
from tests.unit.federation.seats import at, council, opened, seat, vote
from tests.unit.federation.test_shard import force

ROOT = seat(0)
HEAD = at(ROOT, 7)
OPEN_AT = at(seat(1), 9)
SHARD = council().id


class Cast:
    """Votes that stand in entries, and what a reader holds."""

    def __init__(self) -> None:
        self.votes: dict[EntryRef, list[Vote]] = {}
        self.absent: set[EntryRef] = set()

    def add(self, voter: int, base: int, head: EntryRef, term: int = 1, seq: int = 3) -> EntryRef:
        ref = at(seat(voter), seq)
        self.votes.setdefault(ref, []).append(vote(SHARD, term, seat(1), base, head))
        return ref

    def ballots(self, ref: EntryRef) -> Sequence[Vote] | None:
        return None if ref in self.absent else self.votes.get(ref, [])

    def holds(self, ref: EntryRef) -> bool:
        return ref not in self.absent

    def check(self, shard: Shard, record: Open, where: EntryRef = OPEN_AT) -> Term | Missing:
        return check_open(shard, record, where, self.ballots, self.holds, 4)


def test_a_majority_opens_a_term_behind_the_greatest_head() -> None:
    cast = Cast()
    votes = [cast.add(1, 0, at(ROOT, 5)), cast.add(2, 0, HEAD)]
    term = cast.check(council(), opened(SHARD, 1, votes, 0, HEAD))
    assert term == Term(1, seat(1), OPEN_AT, 0, HEAD, 4)


def test_the_cut_is_the_greatest_head_of_the_newest_base_only() -> None:
    shard = with_term(council(5), Term(2, seat(3), at(seat(3), 6), 0, HEAD))
    cast = Cast()
    low, high = at(seat(3), 6), at(seat(3), 8)
    votes = [
        cast.add(1, 2, low, 3),
        cast.add(2, 2, high, 3),
        cast.add(4, 0, at(ROOT, 99), 3),
    ]
    term = cast.check(shard, opened(SHARD, 3, votes, 2, high))
    assert isinstance(term, Term)
    assert (term.base, term.cut) == (2, high)
    for base, cut in ((2, low), (0, at(ROOT, 99)), (0, HEAD)):
        with pytest.raises(BadOpen, match="base and cut"):
            cast.check(shard, opened(SHARD, 3, votes, base, cut))


def test_votes_that_are_not_here_yet_leave_the_question_open() -> None:
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, HEAD)]
    record = opened(SHARD, 1, votes, 0, HEAD)
    cast.absent = {votes[1]}
    assert cast.check(council(), record) == Missing((votes[1],))
    cast.absent = {HEAD}
    assert cast.check(council(), record) == Missing((HEAD,))
    cast.absent = set()
    assert isinstance(cast.check(council(), record), Term)


def test_a_base_that_is_not_open_here_yet_leaves_the_question_open() -> None:
    cast = Cast()
    head = at(seat(2), 8)
    votes = [cast.add(1, 2, head, 3), cast.add(2, 2, head, 3)]
    assert cast.check(council(), opened(SHARD, 3, votes, 2, head)) == Missing(base=2)


def test_a_minority_opens_nothing() -> None:
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, HEAD)]
    with pytest.raises(BadOpen, match="no majority"):
        cast.check(council(5), opened(SHARD, 1, votes, 0, HEAD))
    with pytest.raises(BadOpen, match="two votes of one seat"):
        cast.check(council(), opened(SHARD, 1, [votes[0], votes[0]], 0, HEAD))


def test_votes_for_another_term_candidate_or_shard_do_not_serve() -> None:
    cast = Cast()
    right = cast.add(1, 0, HEAD)
    wrong = at(seat(2), 3)
    for changed in (
        vote(SHARD, 2, seat(1), 0, HEAD),
        vote(SHARD, 1, seat(2), 0, HEAD),
        replace(vote(SHARD, 1, seat(1), 0, HEAD), shard=b"o" * 32),  # type: ignore[arg-type]
    ):
        cast.votes[wrong] = [changed]
        with pytest.raises(BadOpen, match="holds no vote"):
            cast.check(council(), opened(SHARD, 1, [right, wrong], 0, HEAD))


def test_only_seats_vote_and_lead_under_their_own_generation() -> None:
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, HEAD)]
    record = opened(SHARD, 1, votes, 0, HEAD)
    with pytest.raises(BadOpen, match="seat of the council leads"):
        cast.check(council(), record, at(seat(1, 2), 9))
    results = FeedID(seat(1).site, 1, Lane.RESULTS)
    with pytest.raises(BadOpen, match="control"):
        cast.check(council(), record, at(results, 9))
    stranger = at(seat(2, 2), 3)
    cast.votes[stranger] = [vote(SHARD, 1, seat(1), 0, HEAD)]
    with pytest.raises(BadOpen, match="no seat"):
        cast.check(council(), opened(SHARD, 1, [votes[0], stranger], 0, HEAD))


def test_a_term_lies_above_its_base_and_a_cut_within_it() -> None:
    cast = Cast()
    votes = [cast.add(1, 1, HEAD), cast.add(2, 1, HEAD)]
    with pytest.raises(BadOpen, match="above its base"):
        cast.check(council(), opened(SHARD, 1, votes, 1, HEAD))
    shard = with_term(council(), Term(2, seat(2), at(seat(2), 6), 0, HEAD))
    early, cast = at(seat(2), 5), Cast()
    votes = [cast.add(1, 2, early, 3), cast.add(2, 2, early, 3)]
    with pytest.raises(BadOpen, match="before its term"):
        cast.check(shard, opened(SHARD, 3, votes, 2, early))


def test_heads_on_two_branches_of_a_forked_feed_open_nothing() -> None:
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, at(ROOT, 7, branch=1))]
    with pytest.raises(BadOpen, match="forked"):
        cast.check(council(), opened(SHARD, 1, votes, 0, HEAD))


def test_votes_of_a_closed_seat_serve_until_the_entry_at_which_it_is_closed() -> None:
    shard = council()
    record = SeatClose(SHARD, seat(2).site, 1, 2, at(seat(2), 2).id)
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, HEAD, seq=3)]
    inherited = with_close(shard, record, at(ROOT, 7), 1)
    with pytest.raises(BadOpen, match="closed"):
        cast.check(inherited, opened(SHARD, 1, votes, 0, HEAD))
    cut_off = with_close(shard, record, at(ROOT, 8), 0)
    assert isinstance(cast.check(cut_off, opened(SHARD, 1, votes, 0, HEAD)), Term)
    before = [votes[0], cast.add(2, 0, HEAD, seq=2)]
    assert isinstance(cast.check(inherited, opened(SHARD, 1, before, 0, HEAD)), Term)


def test_a_closed_seat_leads_no_more() -> None:
    close = SeatClose(SHARD, seat(1).site, 1, 8, at(seat(1), 8).id)
    cast = Cast()
    votes = [cast.add(1, 0, HEAD), cast.add(2, 0, HEAD)]
    shard = with_close(council(), close, at(ROOT, 7), 1)
    with pytest.raises(BadOpen, match="closed"):
        cast.check(shard, opened(SHARD, 1, votes, 0, HEAD))


def test_after_a_force_its_leader_elects_alone() -> None:
    forced = check_force(council(), force(SHARD, 3, HEAD), at(seat(1), 4), HEAD)
    shard = with_term(council(), forced)
    cast = Cast()
    head = at(seat(1), 6)
    record = opened(SHARD, 4, [cast.add(1, 3, head, 4)], 3, head)
    assert isinstance(cast.check(shard, record), Term)
    votes = [cast.add(1, 3, head, 4), cast.add(2, 3, head, 4)]
    with pytest.raises(BadOpen, match="no seat"):
        cast.check(shard, opened(SHARD, 4, votes, 3, head))


def test_refs_name_entries_of_control_feeds() -> None:
    assert entry_ref(as_ref(HEAD)) == HEAD
