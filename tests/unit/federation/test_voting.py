"""When a seat acks, whom it would vote for, and what its vote says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.ids import EntryRef, FeedID
from federation.opening import Ballot
from federation.records import Ack, SeatClose
from federation.settle import Acked, Seat, with_ack, with_log_entry, with_vote
from federation.shard import Shard, check_force, with_close, with_term
from federation.voting import Reply, View, ack_due, bids, reach, reply, sits, vote_for
from tests.unit.federation.seats import at, council, seat, vote
from tests.unit.federation.test_shard import force, later

ROOT, ME, OTHER = seat(0), seat(1), seat(2)
T = 100.0
LONG, SHORT = T + 1, T - 1


def view(
    shard: Shard | None = None, me: FeedID = ME, *, whole: int | None = 7, **known: object
) -> View:
    """What voter 1 of three knows, who holds term 0 through an entry and nothing of later ones."""
    held = {0: at(ROOT, whole)} if whole else {}
    seen = View(shard or council(), me, {}, [], lambda term: held.get(term.number))
    return replace(seen, **known)  # type: ignore[arg-type]


def said(*acts: Acked | int) -> Seat:
    """A seat after acks, and votes for terms, each in the next entry of its feed."""
    found = Seat()
    for seq, act in enumerate(acts, 1):
        found = with_vote(found, (seq, 0), act) if isinstance(act, int) else with_ack(found, 0, act)
    return found


def acked(seq: int, term: int = 0, feed: FeedID = ROOT, own: int = 1) -> Acked:
    return Acked(term, at(feed, seq), at(ME, own))


def closed(shard: Shard, feed: FeedID, seq: int = 5) -> Shard:
    record = SeatClose(shard.id, feed.site, feed.generation, 0, b"")  # type: ignore[arg-type]
    return with_close(shard, record, at(ROOT, seq), 0)


# Acks


def test_a_voter_acks_how_far_it_holds_the_log() -> None:
    shard, head = council(), at(ROOT, 7)
    assert ack_due(view()) == Ack(shard.id, 0, ROOT.site, 1, head.seq, head.id)


def test_a_voter_that_has_nothing_new_says_nothing() -> None:
    assert ack_due(view(seats={ME: said(acked(7))})) is None
    assert ack_due(view(seats={ME: said(acked(6))})) is not None
    assert ack_due(view(whole=None)) is None


def test_after_a_vote_for_a_later_term_no_earlier_one_is_acked() -> None:
    assert ack_due(view(seats={ME: said(1)})) is None
    shard = later(council(), 1, 2, 4, council().newest, 7)
    seen = view(shard, seats={ME: said(1)}, whole=None)
    assert ack_due(replace(seen, whole=lambda term: at(OTHER, 4))) is not None


def test_the_leader_acks_by_writing() -> None:
    assert ack_due(view(me=ROOT)) is None


def test_the_newest_term_is_acked_once_its_log_is_held_through_its_open() -> None:
    shard = later(council(), 1, 2, 4, council().newest, 7)
    assert ack_due(view(shard)) is None


@pytest.mark.parametrize(
    "lost",
    [
        view(me=seat(4)),
        view(me=seat(1, 2)),
        view(closed(council(), ME)),
        view(generations={ME.site: 2}),
        view(later(later(council(), 1, 1, 4, council().newest, 3), 1, 2, 4, council().newest, 3)),
    ],
    ids=["no seat", "another generation", "closed", "restored", "stopped"],
)
def test_who_has_no_seat_that_counts_neither_acks_nor_agrees(lost: View) -> None:
    assert ack_due(lost) is None
    assert reply(lost, OTHER.site, LONG, T) in (Reply.NO_SEAT, Reply.STOPPED)


def test_after_a_force_its_leader_alone_sits() -> None:
    shard = council()
    forced = check_force(shard, force(shard.id, 3, at(ROOT, 6)), at(OTHER, 4), at(ROOT, 6))
    seen = view(with_term(shard, forced))
    assert [sits(seen, each) for each in (ROOT, ME, OTHER)] == [False, False, True]


# Whether a voter agrees


def test_a_voter_agrees_once_the_leader_was_silent_for_long() -> None:
    assert reply(view(), OTHER.site, LONG, T) is Reply.AGREED
    assert reply(view(), OTHER.site, SHORT, T) is Reply.LEADER_HEARD
    assert reply(view(), ME.site, LONG, T) is Reply.AGREED


def test_the_leader_of_the_newest_term_needs_no_silence() -> None:
    assert reply(view(), ROOT.site, 0, T) is Reply.AGREED


@pytest.mark.parametrize(
    "lost",
    [
        view(closed(council(), ROOT)),
        view(generations={ROOT.site: 2}),
        view(revoked={ROOT.site}),
        view(seats={ME: said(1)}),
    ],
    ids=["closed", "another generation", "revoked", "voted above"],
)
def test_a_leader_that_can_lead_no_more_is_replaced_at_once(lost: View) -> None:
    assert reply(lost, OTHER.site, 0, T) is Reply.AGREED


@pytest.mark.parametrize(
    "seen",
    [
        view(closed(council(), OTHER)),
        view(generations={OTHER.site: 2}),
        view(revoked={OTHER.site}),
    ],
    ids=["closed", "another generation", "revoked"],
)
def test_nobody_without_a_seat_is_voted_for(seen: View) -> None:
    assert reply(seen, OTHER.site, LONG, T) is Reply.CANNOT_LEAD
    assert reply(seen, seat(7).site, LONG, T) is Reply.CANNOT_LEAD


def test_a_leader_hears_itself_and_agrees_to_no_other() -> None:
    assert reply(view(me=ROOT), OTHER.site, LONG, T) is Reply.LEADER_HEARD
    assert reply(view(me=ROOT, seats={ROOT: said(1)}), OTHER.site, 0, T) is Reply.AGREED


# What a vote says


def test_a_vote_names_the_newest_term_that_the_voter_could_ack_and_how_far() -> None:
    shard = later(council(), 2, 2, 4, council().newest, 7)
    assert vote_for(view(shard), 3, OTHER.site) == vote(shard.id, 3, OTHER, 0, at(ROOT, 7))
    held = {0: at(ROOT, 7), 2: at(OTHER, 6)}
    seen = replace(view(shard), whole=lambda term: held[term.number])
    assert vote_for(seen, 3, OTHER.site) == vote(shard.id, 3, OTHER, 2, at(OTHER, 6))


def test_a_vote_goes_upwards_only() -> None:
    shard = later(council(), 2, 2, 4, council().newest, 7)
    assert vote_for(view(shard), 2, OTHER.site) is None
    assert vote_for(view(shard, seats={ME: said(5)}), 5, OTHER.site) is None
    assert vote_for(view(shard, seats={ME: said(5)}), 6, OTHER.site) is not None


def test_a_vote_never_says_less_than_was_said_before() -> None:
    shard = later(council(), 2, 2, 4, council().newest, 7)
    seen = view(shard, seats={ME: said(acked(5, 2, OTHER))})
    assert reach(seen) == (shard.newest, at(OTHER, 5))
    earlier = Ballot(vote(shard.id, 3, OTHER, 2, at(OTHER, 6)), at(ME, 2))
    assert reach(replace(seen, votes=[earlier])) == (shard.newest, at(OTHER, 6))
    others = replace(earlier, at=at(ROOT, 2))
    assert reach(replace(seen, votes=[others])) == (shard.newest, at(OTHER, 5))


def test_a_leaders_vote_covers_what_it_acked_by_writing() -> None:
    own = with_log_entry(Seat(), at(ROOT, 9), 1, 0)
    assert reach(view(me=ROOT, seats={ROOT: own})) == (council().newest, at(ROOT, 9))


def test_who_holds_the_founding_alone_can_vote() -> None:
    assert reach(view(whole=None)) == (council().newest, at(ROOT, 1))


def test_bids_are_votes_for_oneself_above_all_open_terms_the_highest_first() -> None:
    shard = later(council(), 2, 2, 4, council().newest, 7)

    def cast(term: int, candidate: FeedID, voter: EntryRef) -> Ballot:
        return Ballot(vote(shard.id, term, candidate, 0, at(ROOT, 1)), voter)

    low, high = cast(3, ROOT, at(ROOT, 11)), cast(4, OTHER, at(OTHER, 12))
    answers = [cast(3, ROOT, at(OTHER, 11)), cast(2, OTHER, at(OTHER, 3))]
    assert bids(view(shard, votes=[low, *answers, high])) == [high, low]
