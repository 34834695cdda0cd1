"""Who sits in a new council, and when one should be replaced."""

from __future__ import annotations

from dataclasses import replace

from federation.seating import SETTLED_IN_S, Candidate, Why, choose, outgrown
from tests.unit.federation.seats import council, seat
from tests.unit.federation.test_voting import ROOT, closed, view

DAY = 24 * 3600.0


def others(count: int, **changes: object) -> list[Candidate]:
    return [
        replace(Candidate(seat(number), dialled=True, up_s=DAY), **changes)  # type: ignore[arg-type]
        for number in range(1, count + 1)
    ]


def test_councils_have_one_three_or_five_seats() -> None:
    sizes = [len(choose(ROOT, others(count))) for count in range(8)]
    assert sizes == [1, 1, 3, 3, 5, 5, 5, 5]
    assert choose(ROOT, others(5))[0] == ROOT


def test_those_that_are_not_heard_or_drained_do_not_sit() -> None:
    for unfit in (others(4, up_s=0.0), others(4, drained=True)):
        assert choose(ROOT, unfit) == [ROOT]
        assert choose(ROOT, [*unfit[2:], *others(2)]) == [ROOT, seat(1), seat(2)]


def test_those_that_can_be_dialled_come_first_then_the_long_lived_then_the_idle() -> None:
    dial_only, young, busy, good = others(4)
    dial_only = replace(dial_only, dialled=False)
    young = replace(young, up_s=600.0)
    busy = replace(busy, seats=3)
    for pair, first in (
        ([dial_only, young, busy], [busy.seat, young.seat]),
        ([dial_only, busy, good], [good.seat, busy.seat]),
    ):
        assert choose(ROOT, pair)[1:] == first


def test_ages_beyond_a_day_are_all_alike() -> None:
    old, older = others(2)
    older = replace(older, up_s=99 * SETTLED_IN_S)
    assert choose(ROOT, [old, older]) == choose(ROOT, [older, old])


def test_a_shard_is_outgrown_when_a_larger_council_can_be_had() -> None:
    alone = view(council(1), ROOT)
    assert outgrown(alone, ROOT, others(1)) is None
    assert outgrown(alone, ROOT, others(2)) is Why.GROWN
    assert outgrown(view(me=ROOT), ROOT, others(3)) is None
    assert outgrown(view(me=ROOT), ROOT, others(4)) is Why.GROWN


def test_a_shard_with_a_lost_seat_is_replaced_where_that_helps() -> None:
    lost = view(closed(council(), seat(2)), ROOT)
    assert outgrown(lost, ROOT, others(1)) is None
    assert outgrown(lost, ROOT, others(2)) is Why.LOST
    restored = view(me=ROOT, generations={seat(2).site: 2})
    assert outgrown(restored, ROOT, others(3)) is Why.LOST


def test_only_the_leader_replaces_a_council() -> None:
    assert outgrown(view(council(1), seat(1)), seat(1), others(4)) is None
