"""Two and more sites come to hold the same entries, whatever happens between them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from federation.events import LinkDown, LinkUp, Reason
from federation.ids import FeedID, Lane
from tests.fakes.mesh import FakeNet, all_equal


def test_what_one_site_wrote_before_the_link_comes_to_the_other() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(40)
    one.write(5, Lane.RESULTS, rows=100)
    other.write(3)
    net.link(one, other)
    net.run(2)
    assert all_equal([one, other])
    assert len(one.seen(LinkUp)) == len(other.seen(LinkUp)) == 1
    assert not one.seen(LinkDown)


def test_a_new_entry_is_pushed_once_and_at_once() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.run(1)
    for _ in range(5):
        one.write()
        net.run(0.011)
        assert all_equal([one, other])
    [peer] = other.exchange.sync.peers()
    assert (peer.taken, peer.repeated, peer.early) == (5, 0, 0)


def test_what_a_site_took_in_goes_on_to_those_that_its_author_does_not_reach() -> None:
    net = FakeNet()
    sites = [net.site(number) for number in range(1, 6)]
    for left, right in pairwise(sites):
        net.link(left, right)
    net.run(3)
    sites[0].write(3)
    sites[4].write(2, Lane.RESULTS)
    net.run(1)
    assert all_equal(sites)


def test_nobody_gets_a_body_twice_where_all_are_linked_with_all() -> None:
    net = FakeNet(delay_s=lambda random: random.uniform(0.05, 0.11))
    sites = [net.site(number) for number in range(1, 9)]
    for place, site in enumerate(sites):
        for other in sites[:place]:
            net.link(site, other)
    net.run(5)
    for site in sites:
        site.write()
    net.run(2)
    assert all_equal(sites)
    peers = [peer for site in sites for peer in site.exchange.sync.peers()]
    assert sum(peer.taken for peer in peers) == 8 * 7
    assert sum(peer.repeated + peer.early for peer in peers) == 0


def test_a_history_is_fetched_from_one_peer_though_all_have_it() -> None:
    net = FakeNet()
    sites = [net.site(number) for number in range(1, 5)]
    sites[0].write(300)
    sites[0].write(20, Lane.RESULTS, rows=1000)
    for site in sites[1:]:
        net.link(sites[0], site)
    net.run(5)
    assert all_equal(sites)
    late = net.site(9)
    for site in sites:
        net.link(late, site)
    net.run(5)
    assert all_equal([*sites, late])
    assert sum(peer.repeated for peer in late.exchange.sync.peers()) == 0


def test_a_lost_link_loses_nothing() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(50, Lane.RESULTS, rows=1200)
    mine, _ = net.link(one, other)
    net.run(0.1)
    net.cut(mine)
    assert not all_equal([one, other])
    one.write(2)
    net.run(60)
    net.link(other, one)
    net.run(5)
    assert all_equal([one, other])


def test_what_went_astray_on_a_dying_link_is_offered_by_those_between() -> None:
    net = FakeNet()
    author, reader, between = (net.site(number) for number in (1, 2, 3))
    dying, _ = net.link(author, reader)
    net.link(author, between)
    net.link(between, reader)
    net.run(5)
    net.streams[dying].stopped = True
    author.write(3, Lane.RESULTS)
    net.run(1)
    assert all_equal([author, between])
    assert not all_equal(net.sites)
    net.cut(dying)
    net.run(3)
    assert all_equal(net.sites)


def test_comparing_again_finds_what_a_push_did_not_bring() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.run(1)
    # Stored behind the links' back: nobody was told.
    one.write(2)
    other.exchange.sync.peers()[0].serving.at.clear()
    net.run(70)
    assert all_equal([one, other])


def test_a_store_that_fails_for_a_while_gets_everything_in_the_end() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(30, Lane.RESULTS, rows=1200)
    other.refuses = True
    net.link(one, other)
    net.run(30)
    assert not other.held()
    other.refuses = False
    net.run(30)
    assert all_equal([one, other])


def test_an_author_does_not_push_more_than_its_peer_stores() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.run(1)
    other.store_s = 5.0
    for _ in range(30):
        one.write(100)  # 20 kB
        net.run(0.1)
    [peer] = one.exchange.sync.peers()
    assert peer.serving.starved > 0
    net.run(60)
    assert all_equal([one, other])
    assert not other.seen(LinkDown)


def test_a_slow_store_holds_its_sender_back() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(40, Lane.RESULTS, rows=1200)
    other.store_s = 1e6
    net.link(one, other)
    net.run(100)
    [peer] = other.exchange.sync.peers()
    assert 900_000 < peer.in_flight[Lane.RESULTS] <= 1024 * 1024


def test_of_two_links_between_two_sites_one_ends_with_a_word() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.link(other, one)
    net.run(1)
    assert [len(site.seen(LinkUp)) for site in (one, other)] == [1, 1]
    assert {event.reason for event in other.seen(LinkDown)} == {Reason.DUPLICATE}


def test_a_peer_is_abreast_once_all_that_it_said_to_hold_is_stored_here() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(40)
    other.write(3)
    other.store_s = 0.5
    net.link(one, other)
    feed = FeedID(one.id, 1, Lane.CONTROL)
    while other.feeds.tip(feed).seq < 40:
        assert other.exchange.sync.abreast() == set()
        net.run(0.01)
    net.run(0.1)
    assert other.exchange.sync.abreast() == {one.id}


@pytest.mark.parametrize("written", [2, 3, 4])
def test_a_peer_that_holds_of_what_is_written_here_something_else_is_not_abreast(
    written: int,
) -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    other.write(3)
    net.link(one, other)
    net.run(1)
    copy = net.site(2, boot=2)
    copy.write(written, name="copied")
    net.link(copy, one)
    net.run(1)
    assert copy.exchange.sync.abreast() == set()
