"""Orders that a site took and that its dataset's log refused, or has not taken yet."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import apsw
import pytest

from federation.entry import Entry
from federation.records import Command, Dataset, Record
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.fold import Fold
from node.fold.documents import Documents
from node.leading.tables import OfferTables
from node.model.commands import command_document, read_command
from node.store.offers import SHOWN_MAX, OpenOrder, open_orders
from tests.unit.node.fold.world import ANA, BEN, Log, database, document, fold_into, read_submission

DATASET = 1  # the local number of the first


class Two:
    """The site that leads a dataset of Ana's, and another, at which people give orders."""

    def __init__(self) -> None:
        self.conn: apsw.Connection = database()
        self.checked = 0
        self._fold = Fold(b"", read_submission, read_command, self._signer)
        self.leader, self.other = Log.new(b"l" * 32), Log(SiteKey(b"o" * 32))
        self.leader.found()
        self.dataset = self.leader.submit(document("nugen"))
        self.fold(self.leader.entries)

    def fold(self, entries: Sequence[Entry]) -> None:
        fold_into(self.conn, entries, self._fold)

    def _signer(self, document: bytes, signature: bytes) -> bytes:
        self.checked += 1
        return signature

    def order(self, verb: str, nonce: int, key: bytes = ANA) -> Record:
        text = command_document(self.dataset, verb, {}, [], nonce.to_bytes(16, "big"))
        return Command(self.leader.shard, text, key, key)

    def give(self, *orders: Record) -> None:
        """At the other site."""
        self.fold([self.other.control(*orders)])

    def take(self, *orders: Record) -> None:
        """The leader puts them into its log."""
        self.fold([self.leader.control(*orders)])

    def offered(self, most: int = 10) -> list[Record]:
        documents = Documents(read_submission, read_command, self._signer)
        found = OfferTables(self.conn, documents).offers(self.leader.shard, most)
        return [offer.record for offer in found]

    def open(self) -> list[tuple[str, str]]:
        return [(each.verb, each.refused) for each in open_orders(self.conn, DATASET)]


@pytest.fixture
def two() -> Two:
    return Two()


def test_an_order_that_was_not_answered_is_open_until_it_is_taken(two: Two) -> None:
    pause = two.order("pause", 1)
    two.give(pause)
    assert two.open() == [("pause", "")]
    assert isinstance(pause, Command)
    [found] = open_orders(two.conn, DATASET)
    assert found == OpenOrder(digest(Purpose.COMMAND, pause.doc), "pause")
    two.take(pause)
    assert two.open() == []


def test_an_order_that_the_log_refused_is_shown_with_its_reason(two: Two) -> None:
    cancel, pause = two.order("cancel", 1, BEN), two.order("pause", 2)
    two.give(cancel, pause)
    two.take(cancel, pause)
    [(verb, why)] = two.open()
    assert verb == "cancel"
    assert "neither the dataset's user nor an admin" in why


def test_the_newest_are_shown_and_no_more_than_a_few(two: Two) -> None:
    two.give(*(two.order("pause", number) for number in range(20)))
    two.give(two.order("cancel", 99))
    assert len(two.open()) == SHOWN_MAX
    assert two.open()[0] == ("cancel", "")


def test_datasets_that_are_not_there_have_none(two: Two) -> None:
    assert open_orders(two.conn, 7) == []


def forged(order: Record) -> Record:
    assert isinstance(order, Command)
    return replace(order, signature=BEN)


def test_a_leader_finds_the_order_behind_any_number_of_forged_ones(two: Two) -> None:
    pause = two.order("pause", 1)
    two.give(*(forged(two.order("pause", number)) for number in range(2, 100)))
    two.give(pause)
    assert two.offered(most=1) == [pause]


def test_a_forged_copy_that_came_first_does_not_stand_in_the_place_of_the_order(two: Two) -> None:
    pause = two.order("pause", 1)
    two.give(forged(pause))
    assert two.open() == []
    two.give(pause)
    assert two.offered() == [pause]
    assert two.open() == [("pause", "")]


def test_a_log_that_holds_a_forged_copy_has_not_answered_the_order(two: Two) -> None:
    pause = two.order("pause", 1)
    two.take(forged(pause))
    two.give(pause)
    assert two.offered() == [pause]
    two.take(pause)
    assert two.offered() == []
    assert two.open() == []


def test_however_often_a_leader_looks_a_signature_is_checked_once(two: Two) -> None:
    two.give(two.order("pause", 1), forged(two.order("pause", 2)))
    before = two.checked
    for _ in range(3):
        assert len(two.offered()) == 1
    assert two.checked == before


def test_a_submission_that_cannot_be_read_or_is_forged_is_not_offered(two: Two) -> None:
    good, bad = (zlib.compress(text) for text in (document("more"), b"{" * 50))
    records = [
        Dataset(two.leader.shard, bad, ANA, ANA),
        Dataset(two.leader.shard, good, BEN, ANA),
    ]
    two.give(*records)
    assert two.offered() == []
    two.give(genuine := Dataset(two.leader.shard, good, ANA, ANA))
    assert two.offered() == [genuine]
