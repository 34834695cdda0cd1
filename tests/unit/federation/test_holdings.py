"""What a site holds, and what is on its way into its store."""

from __future__ import annotations

from federation.feed import FeedTip
from federation.holdings import Holdings
from federation.wire import Place
from tests.fakes.feeds import MemoryFeeds
from tests.unit.federation.builders import CONTROL, OTHER_KEY, OTHER_SITE, RESULTS, chain


def tip(entry: object) -> FeedTip:
    return FeedTip(entry.header.feed, entry.header.seq, entry.id, entry.header.hlc)  # type: ignore[attr-defined]


def held(count: int) -> tuple[Holdings, MemoryFeeds]:
    store = MemoryFeeds()
    store.append(chain(count))
    return Holdings(store), store


def test_what_is_on_its_way_is_expected_and_not_yet_told() -> None:
    holdings, store = held(1)
    first, second, third = chain(3)
    holdings.coming(second, tip(second))
    holdings.coming(third, tip(third))
    assert holdings.expected(CONTROL) == tip(third)
    assert holdings.tip(CONTROL) == tip(first)
    assert holdings.places() == [Place(CONTROL, 1, first.id[:8])]
    assert holdings.read(CONTROL, 0, 9) == [first]
    assert [holdings.id_at(CONTROL, seq) for seq in (1, 2, 3, 4)] == [
        first.id, second.id, third.id, None,
    ]  # fmt: skip
    store.append([second, third])
    holdings.durable([second, third])
    assert holdings.tip(CONTROL) == holdings.expected(CONTROL) == tip(third)
    assert holdings._coming == {}


def test_what_was_not_stored_is_expected_no_more() -> None:
    holdings, _ = held(1)
    first, second, third = chain(3)
    holdings.coming(second, tip(second))
    holdings.coming(third, tip(third))
    holdings.dropped([second])
    assert holdings.expected(CONTROL) == tip(first)
    assert holdings.id_at(CONTROL, 3) is None
    assert holdings._coming == {}


def test_equal_holdings_have_equal_digests_whatever_the_order() -> None:
    theirs = chain(2, RESULTS.__class__(OTHER_SITE, 1, RESULTS.lane), OTHER_KEY)
    one, other = MemoryFeeds(), MemoryFeeds()
    one.append([*chain(2), *theirs])
    other.append([*theirs, *chain(2)])
    assert Holdings(one).digest() == Holdings(other).digest()
    ours = Holdings(one)
    before = ours.digest()
    third = chain(3)[2]
    one.append([third])
    ours.durable([third])
    assert ours.digest() != before


def test_tips_are_read_anew_when_told_to() -> None:
    holdings, store = held(1)
    second = chain(2)[1]
    store.append([second])
    assert holdings.tip(CONTROL).seq == 1
    holdings.reload()
    assert holdings.tip(CONTROL).seq == 2
