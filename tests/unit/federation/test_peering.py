"""Whom to dial, where and when."""

from __future__ import annotations

from federation import limits
from federation.ids import SiteID
from federation.peering import Dial, Peering

ME, SMALLER, LARGER = (SiteID(bytes([n]) * 32) for n in (5, 1, 9))
HERE = "here.example.org:7421"


def peering(members: dict[SiteID, list[str]]) -> Peering:
    made = Peering(ME, lambda: 1.0)
    made.members({ME: [HERE], **members}, 0.0)
    return made


def test_the_site_with_the_smaller_key_dials_at_once_and_the_other_a_little_later() -> None:
    asks = peering({SMALLER: [HERE], LARGER: [HERE]})
    assert asks.due(0.0) == [Dial(LARGER, HERE)]
    assert asks.deadline_s == limits.DIAL_TURN_S
    assert asks.due(limits.DIAL_TURN_S) == [Dial(SMALLER, HERE)]


def test_a_site_that_only_dials_out_waits_for_nobody() -> None:
    asks = Peering(ME, lambda: 1.0)
    asks.members({ME: [], SMALLER: [HERE]}, 0.0)
    assert asks.due(0.0) == [Dial(SMALLER, HERE)]


def test_nobody_is_dialled_twice_at_once_nor_without_an_address() -> None:
    asks = peering({LARGER: [HERE], SMALLER: []})
    assert len(asks.due(0.0)) == 1
    assert asks.due(1000.0) == []
    assert asks.deadline_s == float("inf")


def test_all_addresses_are_tried_before_anybody_waits() -> None:
    asks = peering({LARGER: ["a:1", "b:2", "c:3"]})
    tried = []
    for _ in range(3):
        [dial] = asks.due(0.0)
        tried.append(dial.address)
        asks.failed(LARGER, "refused", 0.0)
    assert tried == ["a:1", "b:2", "c:3"]
    assert asks.due(0.0) == []
    assert asks.due(limits.REDIAL_S_MIN * 2) == [Dial(LARGER, "a:1")]


def test_waits_double_up_to_five_minutes_and_never_stop() -> None:
    asks = peering({LARGER: [HERE]})
    now_s, waits = 0.0, []
    for _ in range(100):
        assert asks.due(now_s)
        asks.failed(LARGER, "refused", now_s)
        waits.append(asks.deadline_s - now_s)
        now_s = asks.deadline_s
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-1] == limits.REDIAL_S_MAX == 300.0


def test_waits_are_spread() -> None:
    waits = []
    for number in (0.0, 0.5, 1.0):
        asks = Peering(ME, lambda number=number: number)  # type: ignore[misc]
        asks.members({LARGER: [HERE]}, 0.0)
        for _ in range(3):
            asks.due(asks.deadline_s)
            asks.failed(LARGER, "refused", 0.0)
        waits.append(asks.deadline_s)
    assert waits == [2.0, 3.0, 4.0]


def test_a_link_ends_the_dialling_whoever_made_it_and_its_loss_begins_it_again() -> None:
    asks = peering({LARGER: [HERE]})
    asks.due(0.0)
    asks.linked(LARGER, 1.0)
    asks.failed(LARGER, "the other link is kept", 1.1)
    assert asks.due(1e6) == []
    asks.lost(LARGER, 1000.0)
    assert 1000.0 <= asks.deadline_s <= 1000.0 + limits.REDIAL_LOST_S
    assert asks.due(1000.0 + limits.REDIAL_LOST_S) == [Dial(LARGER, HERE)]


def test_links_that_do_not_hold_are_failures() -> None:
    asks = peering({LARGER: [HERE]})
    now_s, waits = 0.0, []
    for _ in range(8):
        asks.due(now_s)
        asks.linked(LARGER, now_s)
        asks.lost(LARGER, now_s + 1)
        waits.append(asks.deadline_s - now_s)
        now_s = asks.deadline_s
    assert waits[-1] > 60 > waits[0]


def test_a_new_address_is_tried_soon() -> None:
    asks = peering({LARGER: [HERE]})
    for _ in range(10):
        asks.due(asks.deadline_s)
        asks.failed(LARGER, "refused", 0.0)
    assert asks.deadline_s > 100
    asks.members({LARGER: ["there.example.org:1"]}, 1.0)
    assert asks.due(1.0) == [Dial(LARGER, "there.example.org:1")]


def test_who_is_no_member_any_more_is_forgotten() -> None:
    asks = peering({LARGER: [HERE]})
    asks.due(0.0)
    asks.members({}, 1.0)
    asks.failed(LARGER, "refused", 2.0)
    asks.lost(LARGER, 2.0)
    assert asks.due(1e6) == []


def test_a_bounded_number_is_dialled_at_once() -> None:
    many = {SiteID(bytes([n]) * 32): [HERE] for n in range(6, 100)}
    asks = peering(many)
    first = asks.due(0.0)
    assert len(first) == limits.DIALS_MAX
    assert asks.due(1.0) == []
    asks.failed(first[0].site, "refused", 1.0)
    assert len(asks.due(1.0)) == 1
