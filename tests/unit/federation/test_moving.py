"""Moves, adopts and imports: what proves them, and to whom datasets may be moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from federation.evidence import BadProof
from federation.ids import DatasetID, EntryRef, FeedID, ShardID
from federation.moving import adopt, check_adopt, check_import, may_move_to
from federation.opening import Missing, as_ref
from federation.records import Adopt, Grant, Import, Move, Record
from federation.settle import Acked, Seat, with_ack, with_log_entry
from federation.shard import Term, with_mark, with_term
from tests.unit.federation.builders import DATASET
from tests.unit.federation.seats import at, council, seat

ROOT, ONE = seat(0), seat(1)
TARGET = ShardID(b"t" * 32)
SOURCE = council()
PLACE = at(ROOT, 6)
MOVE = Move(SOURCE.id, DATASET, TARGET)
OTHER = Grant(SOURCE.id, DATASET, [0], [0, 1], ROOT.site)


class Here:
    """What a reader holds of the source."""

    def __init__(self, *records: Record) -> None:
        self.records: dict[EntryRef, Sequence[Record]] = {PLACE: records}
        own = with_log_entry(Seat(), PLACE, 1, 0)
        ack = Acked(0, PLACE, at(ONE, 3))
        self.seats: dict[FeedID, Seat] = {ROOT: own, ONE: with_ack(Seat(), 0, ack)}
        self.acks = {PLACE: [own.acked[0, ROOT]], ack.at: [ack]}
        self.absent: set[EntryRef] = set()
        self.index = len(records) - 1

    def records_in(self, ref: EntryRef) -> Sequence[Record] | None:
        return self.records.get(ref)

    def acks_in(self, ref: EntryRef) -> Sequence[Acked] | None:
        return None if ref in self.absent else self.acks.get(ref, [])

    def check(self, record: Adopt, source: object = SOURCE) -> object:
        return check_adopt(
            source,  # type: ignore[arg-type]
            record,
            self.records_in,
            self.acks_in,
            lambda ref: ref not in self.absent,
        )

    def made(self) -> Adopt:
        record = adopt(SOURCE, self.seats, MOVE, PLACE, self.index)
        assert record is not None
        return record


def test_a_settled_move_is_adopted_with_the_acks_that_settle_it() -> None:
    here = Here(OTHER, MOVE)
    record = here.made()
    assert record.move == as_ref(PLACE)
    assert len(record.acks) == 2
    assert here.check(record) == SOURCE.newest


def test_a_move_that_is_not_settled_is_not_adopted() -> None:
    here = Here(MOVE)
    assert adopt(SOURCE, {ROOT: here.seats[ROOT]}, MOVE, PLACE, 0) is None
    record = here.made()
    with pytest.raises(BadProof, match="do not settle"):
        here.check(replace(record, acks=record.acks[:1]))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MOVE, dataset=DatasetID(b"x" * 32)),
        replace(MOVE, to=ShardID(b"x" * 32)),
        replace(MOVE, shard=TARGET),
        OTHER,
    ],
)
def test_an_entry_without_that_move_is_not_adopted(wrong: Record) -> None:
    here = Here(wrong)
    with pytest.raises(BadProof, match="holds no move"):
        here.check(here.made())


def test_a_move_behind_the_end_of_its_authors_term_is_none() -> None:
    here = Here(OTHER, MOVE)
    record = here.made()
    with pytest.raises(BadProof):
        here.check(record, with_mark(SOURCE, PLACE, 1))


def test_a_move_that_shares_an_entry_with_its_authors_next_open_is_one_of_its_term() -> None:
    """The next term cuts it off; where that is bypassed, it is in the log, and is adopted."""
    here = Here(MOVE, OTHER)
    here.index = 0
    record = here.made()
    reopened = with_term(SOURCE, Term(1, ROOT, PLACE, 0, at(ROOT, 5), 1))
    assert here.check(record, reopened) == SOURCE.newest
    bypassed = with_term(reopened, Term(2, ONE, at(ONE, 9), 0, PLACE))
    assert adopt(bypassed, here.seats, MOVE, PLACE, 0) == record


def test_what_is_not_here_yet_leaves_the_question_open() -> None:
    here = Here(MOVE)
    record = here.made()
    here.absent = {at(ONE, 3)}
    assert here.check(record) == Missing((at(ONE, 3),))
    here.absent = set()
    here.records = {}
    assert here.check(record) == Missing((PLACE,))


def test_an_import_names_a_settled_place() -> None:
    here = Here(OTHER)
    acks = here.made().acks
    record = Import(TARGET, DATASET, 0, [0, 1], SOURCE.id, as_ref(PLACE), acks)
    assert check_import(SOURCE, record, here.acks_in, lambda ref: True) == SOURCE.newest
    below = replace(record, place=as_ref(at(ROOT, 7)))
    with pytest.raises(BadProof):
        check_import(SOURCE, below, here.acks_in, lambda ref: True)


def test_datasets_are_moved_to_a_shard_whose_beginning_is_settled() -> None:
    assert not may_move_to(SOURCE, {ROOT: Here().seats[ROOT]})
    assert may_move_to(SOURCE, Here().seats)
