"""Lists of acks that settle a place, as adopts and imports name them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from federation.evidence import BadProof, check_proof, proof
from federation.ids import EntryRef, FeedID
from federation.opening import Missing, as_ref
from federation.records import SeatClose
from federation.settle import Acked, Seat, with_ack, with_log_entry
from federation.shard import Shard, Term, with_close, with_term
from tests.unit.federation.seats import at, council, seat

ROOT = seat(0)
PLACE = at(ROOT, 6)


class Shown:
    """Acks in entries, as a reader holds them."""

    def __init__(self) -> None:
        self.acks: dict[EntryRef, list[Acked]] = {}
        self.absent: set[EntryRef] = set()

    def own(self, number: int, seq: int, term: int = 0) -> EntryRef:
        entry = at(seat(number), seq)
        self.acks.setdefault(entry, []).append(Acked(term, entry, entry))
        return entry

    def ack(self, number: int, entry: EntryRef, term: int = 0, seq: int = 3) -> EntryRef:
        here = at(seat(number), seq)
        self.acks.setdefault(here, []).append(Acked(term, entry, here))
        return here

    def acks_in(self, ref: EntryRef) -> Sequence[Acked] | None:
        return None if ref in self.absent else self.acks.get(ref, [])

    def check(self, shard: Shard, refs: Sequence[EntryRef], place: EntryRef = PLACE) -> object:
        named = [as_ref(ref) for ref in refs]
        return check_proof(shard, place, named, self.acks_in, lambda ref: ref not in self.absent)

    def seats(self) -> dict[FeedID, Seat]:
        found: dict[FeedID, Seat] = {}
        for here, acks in sorted(self.acks.items(), key=lambda each: each[0].seq):
            held = found.get(here.feed, Seat())
            for index, ack in enumerate(acks):
                own = ack.at == ack.entry
                held = (
                    with_log_entry(held, here, 1, ack.term) if own else with_ack(held, index, ack)
                )
            found[here.feed] = held
        return found


def test_a_majority_of_acks_at_or_beyond_a_place_settles_it() -> None:
    shard, shown = council(), Shown()
    refs = [shown.own(0, 7), shown.ack(2, PLACE)]
    assert shown.check(shard, refs) == shard.newest
    assert proof(shard, shown.seats(), PLACE) == refs


def test_what_a_proof_shows_its_readers_find() -> None:
    shown = Shown()
    shard = with_term(council(5), Term(2, seat(1), at(seat(1), 4), 0, at(ROOT, 8)))
    shown.own(1, 5, 2)
    for number in (2, 3, 4):
        shown.ack(number, at(seat(1), 4 + number % 2), 2)
    refs = proof(shard, shown.seats(), PLACE)
    assert refs is not None
    assert len(refs) == 3
    assert shown.check(shard, refs) == shard.newest
    assert proof(shard, shown.seats(), at(ROOT, 9)) is None


def test_acks_below_the_place_or_of_too_few_show_nothing() -> None:
    shard, shown = council(), Shown()
    below = [shown.own(0, 7), shown.ack(2, at(ROOT, 5))]
    for refs in (below, below[:1], [shown.own(0, 8)]):
        with pytest.raises(BadProof, match="do not settle"):
            shown.check(shard, refs)
    assert proof(shard, shown.seats(), PLACE) is None


def test_two_acks_of_one_seat_are_one_too_many() -> None:
    shown = Shown()
    with pytest.raises(BadProof, match="one seat"):
        shown.check(council(), [shown.ack(2, PLACE), shown.ack(2, PLACE, seq=4)])


def test_acks_under_different_terms_prove_nothing_together() -> None:
    shard = with_term(council(), Term(1, seat(1), at(seat(1), 4), 0, at(ROOT, 8)))
    shown = Shown()
    with pytest.raises(BadProof, match="do not settle"):
        shown.check(shard, [shown.own(0, 7), shown.own(1, 4, 1)])


def test_acks_of_a_later_term_settle_what_it_inherits_and_no_more() -> None:
    shard = with_term(council(), Term(1, seat(1), at(seat(1), 4), 0, at(ROOT, 8)))
    shown = Shown()
    refs = [shown.own(1, 4, 1), shown.ack(2, at(seat(1), 4), 1)]
    assert shown.check(shard, refs) == shard.newest
    with pytest.raises(BadProof, match="do not settle"):
        shown.check(shard, refs, at(ROOT, 9))


def test_what_is_not_here_yet_leaves_the_question_open() -> None:
    shard, shown = council(), Shown()
    ahead = at(ROOT, 9)
    refs = [shown.own(0, 7), shown.ack(2, ahead)]
    for missing in (refs[1], PLACE, ahead):
        shown.absent = {missing}
        assert shown.check(shard, refs) == Missing((missing,))
    shown.absent = set()
    under = [shown.ack(1, at(seat(4), 2), 5), shown.ack(2, at(seat(4), 2), 5, 7)]
    assert shown.check(shard, under) == Missing(base=5)


def test_acks_of_a_seat_that_was_closed_before_the_place_do_not_serve() -> None:
    shown = Shown()
    refs = [shown.own(0, 7), shown.ack(2, at(ROOT, 7))]
    record = SeatClose(council().id, seat(2).site, 1, 1, at(seat(2), 1).id)
    before = with_close(council(), record, PLACE, 0)
    behind = with_close(council(), record, at(ROOT, 7), 0)
    assert shown.check(behind, refs) == behind.newest
    with pytest.raises(BadProof, match="do not settle"):
        shown.check(before, refs)
    assert proof(behind, shown.seats(), PLACE) == refs
    assert proof(before, shown.seats(), PLACE) is None


def test_strangers_prove_nothing() -> None:
    shown = Shown()
    with pytest.raises(BadProof, match="do not settle"):
        shown.check(council(), [shown.own(0, 7), shown.ack(4, PLACE)])
