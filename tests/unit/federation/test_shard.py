"""Founding, seats, and the tree of terms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.errors import LocalError
from federation.ids import EntryID, EntryRef, FeedID, ShardID, SiteID
from federation.records import Force, Found, FoundCouncil, SeatClose
from federation.shard import (
    BadClose,
    BadForce,
    BadFounding,
    Close,
    Shard,
    Term,
    check_force,
    check_found,
    found,
    open_founded,
    shard_id,
    term_at,
    with_close,
    with_mark,
    with_term,
)
from tests.unit.federation.builders import (
    CONTROL,
    NONCE,
    OTHER_SITE,
    PERSON,
    RESULTS,
    SHARD,
    SITE,
)
from tests.unit.federation.seats import at, council, seat

OTHER = replace(CONTROL, site=OTHER_SITE, generation=4)
THIRD = replace(CONTROL, site=SiteID(b"3" * 32))
AT = EntryRef(CONTROL, 4, EntryID(b"f" * 32))


def test_a_founder_leads_term_0_alone_or_among_others() -> None:
    for seats in ([CONTROL], [OTHER, CONTROL, THIRD]):
        shard = open_founded(found(CONTROL, NONCE, seats), AT, 2)
        assert shard.id == SHARD
        assert shard.founder == shard.newest.leader == SITE
        assert shard.newest == Term(0, CONTROL, AT, index=2)
        assert shard.leads(CONTROL)
        assert not shard.leads(replace(CONTROL, generation=2))
        assert list(shard.seats) == seats
        assert shard.voters(shard.newest) == tuple(seats)
        assert shard.seat_of(SITE) == CONTROL


def test_a_shard_of_one_is_founded_by_the_shorter_record() -> None:
    assert found(CONTROL, NONCE, [CONTROL]) == Found(SHARD, NONCE, [SITE])
    assert isinstance(found(CONTROL, NONCE, [OTHER, CONTROL, THIRD]), FoundCouncil)


def test_the_id_binds_founder_and_nonce() -> None:
    assert len({shard_id(SITE, NONCE), shard_id(OTHER_SITE, NONCE), shard_id(SITE, bytes(16))}) == 3
    with pytest.raises(BadFounding, match="id"):
        check_found(Found(SHARD, NONCE, [OTHER_SITE]), OTHER)
    with pytest.raises(BadFounding, match="id"):
        check_found(Found(SHARD, bytes(16), [SITE]), CONTROL)


@pytest.mark.parametrize("seats", [[], [OTHER], [CONTROL, OTHER], [CONTROL, CONTROL, OTHER]])
def test_a_dishonest_council_founds_nothing(seats: list[FeedID]) -> None:
    with pytest.raises(LocalError):
        found(CONTROL, NONCE, seats)


def test_seats_name_the_founders_own_generation_and_one_for_each() -> None:
    sites = [SITE, OTHER_SITE, THIRD.site]
    for generations in ([1, 1], [2, 1, 1], [1, 1, 1, 1]):
        with pytest.raises(BadFounding, match="generation"):
            check_found(FoundCouncil(SHARD, NONCE, sites, generations), CONTROL)
    with pytest.raises(BadFounding, match="generation"):
        check_found(Found(SHARD, NONCE, sites), CONTROL)


def test_a_shard_is_founded_in_a_control_feed_only() -> None:
    with pytest.raises(BadFounding, match="control"):
        open_founded(found(CONTROL, NONCE, [CONTROL]), replace(AT, feed=RESULTS))


# The tree of terms


def later(shard: Shard, number: int, leader: int, seq: int, base: Term, cut: int) -> Shard:
    return with_term(
        shard,
        Term(number, seat(leader), at(seat(leader), seq), base.number, at(base.feed, cut)),
    )


def test_the_newest_term_leads_back_to_the_founding_through_its_bases() -> None:
    shard = council()
    shard = later(shard, 1, 1, 5, shard.newest, 3)
    shard = later(shard, 4, 2, 6, shard.terms[0], 4)
    assert [term.number for term in shard.lineage(shard.newest)] == [4, 0]
    first = shard.term(1)
    assert first is not None
    assert [term.number for term in shard.lineage(first)] == [1, 0]
    assert shard.leads(seat(2))


def test_terms_may_be_learned_in_any_order() -> None:
    shard = council()
    root = shard.newest
    one = later(later(shard, 1, 1, 5, root, 3), 2, 2, 6, root, 4)
    other = later(later(shard, 2, 2, 6, root, 4), 1, 1, 5, root, 3)
    assert one == other


def test_of_two_opens_of_one_term_in_one_feed_the_first_counts() -> None:
    shard = council()
    root = shard.newest
    first = later(shard, 1, 1, 5, root, 3)
    assert later(first, 1, 1, 9, root, 4).terms == first.terms
    assert later(later(shard, 1, 1, 9, root, 4), 1, 1, 5, root, 3).terms == first.terms


def test_two_opens_of_one_term_in_two_feeds_stop_the_shard_until_it_is_forced() -> None:
    shard = council()
    shard = later(shard, 1, 1, 5, shard.newest, 3)
    assert not shard.stopped
    shard = later(shard, 1, 2, 5, shard.terms[0], 4)
    assert shard.stopped
    cut = at(seat(2), 8)
    term = check_force(shard, force(shard.id, 2, cut), at(seat(1), 20), cut)
    shard = with_term(shard, term)
    assert not shard.stopped
    assert [each.leader for each in shard.lineage(shard.newest)] == [
        seat(1).site,
        seat(2).site,
        seat(0).site,
    ]


def test_a_later_mark_ends_the_term_to_which_an_entry_belongs() -> None:
    shard = with_mark(council(), at(seat(0), 7), 2)
    assert term_at(shard, at(seat(0), 6)) == shard.newest
    assert term_at(shard, at(seat(0), 7)) is None
    assert term_at(shard, at(seat(1), 6)) is None
    assert with_mark(shard, at(seat(0), 7), 2) == shard


# Seats that are closed


def test_a_close_names_a_seat_of_the_shard() -> None:
    shard, here = council(), at(seat(0), 4)
    record = SeatClose(shard.id, seat(1).site, 1, 9, at(seat(1), 9).id)
    closed = with_close(shard, record, here, 3)
    assert closed.closes == (Close(seat(1), 9, here, 3),)
    assert with_close(closed, record, here, 3) == closed
    for wrong in (replace(record, generation=2), replace(record, site=seat(5).site)):
        with pytest.raises(BadClose):
            with_close(shard, wrong, here, 3)


# Forced

LATER = replace(AT, feed=replace(CONTROL, generation=2), seq=3)
CUT = EntryRef(CONTROL, 9, EntryID(b"c" * 32))


def force(shard: ShardID = SHARD, term: int = 1, cut: EntryRef = CUT) -> Force:
    return Force(shard, term, cut.seq, cut.id, b"{}", b"signature", PERSON)


def alone() -> Shard:
    return open_founded(found(CONTROL, NONCE, [CONTROL]), AT)


def test_who_forces_a_shard_leads_it_behind_the_cut() -> None:
    term = check_force(alone(), force(), LATER, CUT)
    shard = with_term(alone(), term)
    assert shard.newest == Term(1, LATER.feed, LATER, 0, CUT, forced=True)
    assert shard.leads(LATER.feed)
    assert not shard.leads(CONTROL)


def test_a_forced_shard_may_be_forced_again_by_a_later_generation() -> None:
    shard = with_term(alone(), check_force(alone(), force(term=5), LATER, CUT))
    third = replace(LATER, feed=replace(CONTROL, generation=3))
    cut = EntryRef(LATER.feed, 9, CUT.id)
    again = check_force(shard, force(term=6, cut=cut), third, cut)
    assert (again.base, again.cut) == (5, cut)
    with pytest.raises(BadForce, match="term"):
        check_force(shard, force(term=5, cut=cut), third, cut)
    with pytest.raises(BadForce, match="generation"):
        check_force(shard, force(term=6, cut=cut), LATER, cut)


@pytest.mark.parametrize(
    ("where", "cut", "why"),
    [
        (AT, CUT, "generation"),
        (replace(LATER, feed=replace(RESULTS, generation=2)), CUT, "control"),
        (replace(LATER, feed=OTHER), CUT, "council"),
        (LATER, replace(CUT, seq=10), "another cut"),
        (LATER, replace(CUT, feed=OTHER), "no term's log"),
    ],
)
def test_nobody_else_can_force_a_shard(where: EntryRef, cut: EntryRef, why: str) -> None:
    with pytest.raises(BadForce, match=why):
        check_force(alone(), force(), where, cut)


def test_a_cut_before_the_founding_lies_in_no_log() -> None:
    cut = replace(CUT, seq=3)
    with pytest.raises(BadForce, match="no term's log"):
        check_force(alone(), force(cut=cut), LATER, cut)


def test_who_forces_a_council_votes_alone_from_there() -> None:
    shard = council()
    cut = at(seat(0), 6)
    term = check_force(shard, force(shard.id, 3, cut), at(seat(2), 4), cut)
    shard = with_term(shard, term)
    assert shard.voters(shard.newest) == [seat(2)]
    assert list(shard.voters(shard.terms[0])) == [seat(0), seat(1), seat(2)]


def test_once_forced_only_what_descends_from_that_counts() -> None:
    shard = council()
    root, cut = shard.newest, at(seat(0), 6)
    shard = with_term(shard, check_force(shard, force(shard.id, 3, cut), at(seat(2), 4), cut))
    forced = shard.newest
    shard = later(shard, 7, 1, 9, root, 6)
    assert shard.newest == forced
    shard = later(shard, 5, 2, 9, forced, 6)
    assert [term.number for term in shard.lineage(shard.newest)] == [5, 3, 0]
