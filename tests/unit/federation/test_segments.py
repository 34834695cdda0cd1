"""Which records of which feeds are the log of a term."""

from __future__ import annotations

from federation.ids import EntryID
from federation.records import Grant, Move, Record, Refused, SeatClose, Unknown
from federation.segments import Segment, closed, contains, log_records, segments
from federation.shard import Term, open_founded, with_close, with_mark, with_term
from tests.unit.federation.builders import CONTROL, DATASET, SHARD, SITE, one_of_each
from tests.unit.federation.seats import at, council, seat
from tests.unit.federation.test_shard import later

OTHER_SHARD = b"o" * 32


def test_the_log_is_the_founders_feed_until_somebody_opens_a_term() -> None:
    shard = council()
    assert segments(shard) == [Segment(shard.newest, (1, 0))]
    assert contains(segments(shard), 0, seat(0), 1_000_000)


def test_a_later_term_cuts_the_one_before() -> None:
    shard = council()
    shard = later(shard, 2, 1, 5, shard.newest, 8)
    shard = later(shard, 3, 2, 6, shard.newest, 9)
    path = segments(shard)
    assert [(part.feed, part.first, part.through and part.through.seq) for part in path] == [
        (seat(0), (1, 0), 8),
        (seat(1), (5, 0), 9),
        (seat(2), (6, 0), None),
    ]
    assert contains(path, 0, seat(0), 8)
    assert not contains(path, 0, seat(0), 9)
    assert contains(path, 3, seat(2), 900)
    assert not contains(path, 1, seat(2), 1)


def test_a_bare_term_is_bypassed_by_a_later_one_on_its_base() -> None:
    shard = council()
    root = shard.newest
    shard = later(shard, 1, 1, 5, root, 8)
    shard = later(shard, 2, 2, 6, root, 12)
    path = segments(shard)
    assert [part.term.number for part in path] == [0, 2]
    assert contains(path, 0, seat(0), 12)
    assert not contains(path, 1, seat(1), 5)
    assert [part.term.number for part in segments(shard, shard.term(1))] == [0, 1]


def test_who_leads_again_ends_its_own_earlier_term() -> None:
    shard = council()
    root = shard.newest
    shard = later(shard, 2, 0, 20, root, 9)
    first, second = segments(shard)
    assert (first.first, first.until) == ((1, 0), (20, 0))
    assert second.first == (20, 0)
    assert first.holds((9, 7))
    assert not first.holds((10, 0))
    assert second.holds((21, 0))


def test_what_follows_an_open_that_does_not_hold_belongs_to_no_log() -> None:
    shard = with_mark(council(), at(seat(0), 7), 2)
    [only] = segments(shard)
    assert only.holds((7, 1))
    assert not only.holds((7, 2))
    assert not only.holds((8, 0))


def test_the_log_holds_the_leaders_records_of_this_shard_in_order() -> None:
    shard = open_founded(one_of_each()[3], at(CONTROL, 4), 3)  # type: ignore[arg-type]
    mixed: list[Record | Refused] = [*one_of_each(), Unknown(999, b""), Refused(0, "")]
    [segment] = segments(shard)
    taken = log_records(SHARD, segment, at(CONTROL, 4), mixed)
    kinds = [10, 12, 13, 14, 15, 24, 11, 16, 17, 18, 19, 20, 25]
    assert [record.kind for _, record in taken] == kinds
    assert all(mixed[index] is record for index, record in taken)
    shard = with_mark(shard, at(CONTROL, 4), 9)  # the force
    [segment] = segments(shard)
    taken = log_records(SHARD, segment, at(CONTROL, 4), mixed)
    assert [record.kind for _, record in taken] == kinds[:5]


def test_records_of_others_of_other_shards_and_from_before_are_no_log() -> None:
    shard = council()
    [segment] = segments(shard)
    ours: list[Record] = [Move(shard.id, DATASET, SHARD)]
    foreign: list[Record] = [Grant(SHARD, DATASET, [0], [0, 1], SITE)]
    assert len(log_records(shard.id, segment, at(seat(0), 1), [*ours, *ours])) == 2
    assert log_records(shard.id, segment, at(seat(1), 2), ours) == []
    assert log_records(shard.id, segment, at(seat(0), 2), foreign) == []
    late = Segment(Term(0, seat(0), at(seat(0), 3), index=1), (3, 1))
    assert [index for index, _ in log_records(shard.id, late, at(seat(0), 3), ours * 3)] == [1, 2]
    assert log_records(shard.id, late, at(seat(0), 2), ours) == []


def test_a_log_closes_the_seats_that_stand_in_it() -> None:
    shard = council(5)
    root = shard.newest

    def close(number: int) -> SeatClose:
        return SeatClose(shard.id, seat(number).site, 1, 0, EntryID(b""))

    shard = with_close(shard, close(3), at(seat(0), 9), 0)
    shard = with_close(shard, close(4), at(seat(0), 7), 0)
    shard = with_close(shard, close(4), at(seat(1), 7), 0)  # not the leader
    assert [each.seat for _, each in closed(shard, segments(shard))] == [seat(4), seat(3)]
    shard = with_term(shard, Term(1, seat(2), at(seat(2), 2), 0, at(seat(0), 8)))
    assert [each.seat for _, each in closed(shard, segments(shard))] == [seat(4)]
    assert root == shard.terms[0]
