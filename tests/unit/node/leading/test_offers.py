"""What other nodes took in enters the log that is led here, each document once and in order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from federation.entry import Entry, seal
from federation.ids import FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import Command, Dataset, Record, Site
from keys.identity import SiteKey
from node.changes import Change, DatasetAdded, DatasetChanged, TermOpened
from node.leading.offers import AT_ONCE_MAX, SHARE_MAX, SOON_S, Offer, Offers, in_order
from tests.unit.federation.builders import results

SHARD, MOVED = ShardID(b"h" * 32), ShardID(b"m" * 32)
ANA = UserKey(b"a" * 32)
OTHER = SiteKey(b"o" * 32)
ME = SiteID(b"m" * 32)


def order(name: bytes, *follows: bytes, shard: ShardID = SHARD) -> Offer:
    return Offer(name, Command(shard, name, b"s", ANA), follows)


def submission(name: bytes) -> Offer:
    return Offer(name, Dataset(SHARD, name, b"s", ANA))


class House:
    def __init__(self, *offers: Offer) -> None:
        self.clock = Clock()
        self.looks = 0
        self.look_s = 0.0
        self.open = list(offers)
        self.written: list[Dataset | Command] = []
        self.waiting: list[Deferred[None]] = []
        self.led = [SHARD]
        self.offers_ = Offers(self.clock, ME, self, self, lambda: self.led)

    def offers(self, shard: ShardID, most: int) -> Sequence[Offer]:
        self.looks += 1
        self.clock.rightNow += self.look_s
        return self.open[:most] if shard == SHARD else []

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        assert isinstance(record, Dataset | Command)
        self.written.append(record)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def docs(self) -> list[bytes]:
        return [record.doc for record in self.written]


def entry(record: Record, lane: Lane = Lane.CONTROL) -> Entry:
    return seal(OTHER, FeedID(SiteID(OTHER.site), 1, lane), 1, b"", 1, [record])


TOLD = entry(Command(SHARD, b"pause", b"s", ANA))


def test_an_order_in_another_control_feed_makes_the_leader_look() -> None:
    house = House(order(b"pause"))
    house.offers_.durable([TOLD])
    house.clock.advance(SOON_S)
    assert house.docs() == [b"pause"]


@pytest.mark.parametrize("other", [entry(Site("s", "1")), entry(results(1), Lane.RESULTS)])
def test_entries_that_hold_no_offers_do_not(other: Entry) -> None:
    house = House(order(b"pause"))
    house.offers_.durable([other])
    house.clock.advance(SOON_S)
    assert house.looks == 0


@pytest.mark.parametrize(
    "change",
    [
        TermOpened(SHARD, 2, FeedID(ME, 1, Lane.CONTROL)),
        DatasetAdded(1),
        DatasetChanged(1, "adopt"),
    ],
)
def test_what_waited_for_a_leader_or_a_dataset_is_looked_for_when_that_comes(
    change: Change,
) -> None:
    house = House(order(b"pause"))
    house.offers_.changed([DatasetChanged(1, "pause"), change])
    house.clock.advance(SOON_S)
    assert house.docs() == [b"pause"]


def test_looking_takes_a_small_part_of_the_time_however_long_it_takes() -> None:
    house = House()
    house.look_s = 1.0
    began_s = house.clock.seconds()
    while house.clock.seconds() < began_s + 100:
        house.offers_.durable([TOLD])
        house.clock.advance(SOON_S)
    assert 5 <= house.looks <= 100 * SHARE_MAX + 1


def test_what_was_too_much_for_one_look_is_taken_in_the_next() -> None:
    house = House(*(order(str(number).encode()) for number in range(AT_ONCE_MAX + 1)))
    house.offers_.look()
    assert len(house.written) == AT_ONCE_MAX
    del house.open[:AT_ONCE_MAX]
    house.clock.advance(SOON_S)
    assert len(house.written) == AT_ONCE_MAX + 1
    house.clock.advance(100)
    assert house.looks == 2


def test_what_is_being_written_is_not_written_twice() -> None:
    house = House(order(b"pause"))
    house.offers_.look()
    house.offers_.look()
    assert house.docs() == [b"pause"]


def test_what_could_not_be_written_is_tried_again() -> None:
    house = House(order(b"pause"))
    house.offers_.look()
    house.waiting[0].errback(RuntimeError("the disk is gone"))
    house.offers_.look()
    assert house.docs() == [b"pause", b"pause"]


def test_an_order_offered_to_a_log_from_which_its_dataset_moved_enters_this_one() -> None:
    house = House(order(b"pause", shard=MOVED))
    house.offers_.look()
    assert [record.shard for record in house.written] == [SHARD]


def test_nothing_is_written_into_a_log_that_is_not_led_here() -> None:
    house = House(order(b"pause"))
    house.led = [MOVED]
    house.offers_.look()
    assert house.written == []


def test_orders_come_after_those_they_follow_and_after_submissions() -> None:
    offers = [order(b"3", b"2"), order(b"2", b"1", b"not here"), submission(b"d"), order(b"1")]
    assert [offer.id for offer in in_order(offers)] == [b"d", b"1", b"2", b"3"]


def test_orders_that_follow_each_other_in_a_ring_do_not_hold_anything_up() -> None:
    offers = [order(b"1", b"2"), order(b"2", b"1")]
    assert {offer.id for offer in in_order(offers)} == {b"1", b"2"}


@given(st.permutations(range(8)), st.data())
def test_any_order_of_arrival_gives_one_that_every_order_can_follow(
    arrival: list[int], data: st.DataObject
) -> None:
    follows = {
        no: data.draw(st.sets(st.integers(0, no - 1)) if no else st.just(set())) for no in range(8)
    }
    offers = [order(bytes([no]), *(bytes([each]) for each in follows[no])) for no in arrival]
    place = {offer.id[0]: at for at, offer in enumerate(in_order(offers))}
    assert len(place) == 8
    assert all(place[before] < place[no] for no in range(8) for before in follows[no])
