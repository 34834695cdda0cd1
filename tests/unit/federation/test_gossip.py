"""Floods and offers: the newest reaches everybody, once, whoever is linked with whom."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import msgpack
import pytest

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.events import FloodHeard, FloodKind, LinkDown, Reason
from federation.gossip import read_heading
from federation.ids import Lane, SiteID
from federation.neighbourhood import Neighbourhood
from federation.wire import Flood, encode
from keys.signing import Purpose
from tests.fakes.mesh import FakeNet, FakeSite, all_equal, key_of


def beacon(site: FakeSite, counter: int = 1, boot: int = 1, more: str = "") -> bytes:
    return codec.pack([site.id, 1, boot, counter, more])


def lead(site: FakeSite, shard: bytes, counter: int = 1) -> bytes:
    return codec.pack([site.id, 1, 1, counter, shard, 7])


def flood(
    net: FakeNet, site: FakeSite, document: bytes, kind: FloodKind = FloodKind.BEACON
) -> None:
    site.exchange.flood(kind, document, net.now_s)
    net.pump(site)


def heard(site: FakeSite) -> list[bytes]:
    return [event.document for event in site.seen(FloodHeard)]


def chain(net: FakeNet, count: int) -> list[FakeSite]:
    sites = [net.site(number) for number in range(1, count + 1)]
    for left, right in pairwise(sites):
        net.link(left, right)
    net.run(3)
    return sites


def hub_and_spokes(net: FakeNet, hubs: int, spokes: int) -> tuple[list[FakeSite], list[FakeSite]]:
    """Sites that can be dialled, linked with all; and such that only dial out."""
    dialled = [net.site(number) for number in range(1, hubs + 1)]
    dialling = [net.site(number) for number in range(hubs + 1, hubs + spokes + 1)]
    for place, site in enumerate(dialled):
        for other in (*dialled[:place], *dialling):
            net.link(other, site)
    net.run(5)
    return dialled, dialling


def test_a_flood_reaches_everybody_once() -> None:
    net = FakeNet()
    sites = chain(net, 6)
    flood(net, sites[0], beacon(sites[0]))
    net.run(1)
    assert [heard(site) for site in sites[1:]] == [[beacon(sites[0])]] * 5
    assert heard(sites[0]) == []


def test_floods_are_not_copied_where_all_are_linked_and_seldom_elsewhere() -> None:
    net = FakeNet()
    dialled, dialling = hub_and_spokes(net, 8, 6)
    sites = [*dialled, *dialling]
    before = sum(stream.carried for stream in net.streams.values())
    for site in sites:
        flood(net, site, beacon(site, more="x" * 1000))
    net.run(2)
    assert all(len(heard(site)) == len(sites) - 1 for site in sites)
    copies = (sum(stream.carried for stream in net.streams.values()) - before) / 1100
    needed = len(sites) * (len(sites) - 1)
    assert copies < needed * 1.25


def test_only_newer_documents_are_passed_on() -> None:
    net = FakeNet()
    sites = chain(net, 3)
    for counter in (5, 3, 5, 6):
        flood(net, sites[0], beacon(sites[0], counter))
        net.run(2)
    assert heard(sites[2]) == [beacon(sites[0], 5), beacon(sites[0], 6)]


def test_leads_of_different_shards_stand_beside_each_other() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    for shard in (b"a" * 32, b"b" * 32):
        flood(net, one, lead(one, shard), FloodKind.LEAD)
    net.run(1)
    assert sorted(heard(other)) == sorted(lead(one, shard) for shard in (b"a" * 32, b"b" * 32))


def test_an_own_document_goes_out_at_most_once_a_second_and_the_newest_wins() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    for counter in range(1, 100):
        flood(net, one, beacon(one, counter))
        net.run(0.1)
    net.run(2)
    assert 8 <= len(heard(other)) <= 12
    assert heard(other)[-1] == beacon(one, 99)


def test_whoever_comes_later_hears_the_newest_of_all() -> None:
    net = FakeNet()
    sites = chain(net, 3)
    for site in sites:
        flood(net, site, beacon(site))
    net.run(1)
    late = net.site(9)
    net.link(late, sites[2])
    net.run(5)
    assert set(heard(late)) == {beacon(site) for site in sites}


def test_what_is_gone_for_long_does_not_seem_alive_to_whoever_comes_later() -> None:
    net = FakeNet()
    gone, *others = chain(net, 3)
    flood(net, gone, beacon(gone))
    net.run(limits.FLOOD_OLD_S)
    net.cut(gone.exchange.hub.sessions[others[0].id])
    flood(net, others[0], beacon(others[0]))
    late = net.site(9)
    net.link(late, others[1])
    net.run(5)
    assert heard(late) == [beacon(others[0])]


def test_a_flood_that_its_origin_did_not_sign_ends_the_link_that_brought_it() -> None:
    net = FakeNet()
    one, other, third = chain(net, 3)
    message = Flood(1, beacon(third), one.key.sign(Purpose.BEACON, beacon(third)))
    session = other.exchange.hub.sessions[one.id]
    other.act(session.receive(encode(message), net.now_s))
    assert [down.reason for down in other.seen(LinkDown)] == [Reason.PROTOCOL]
    assert not heard(other)


def test_a_flood_of_one_kind_cannot_be_passed_off_as_another() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    document = lead(one, b"s" * 32)
    message = Flood(2, document, one.key.sign(Purpose.BEACON, document))
    session = other.exchange.hub.sessions[one.id]
    other.act(session.receive(encode(message), net.now_s))
    assert [down.reason for down in other.seen(LinkDown)] == [Reason.PROTOCOL]


def test_floods_of_strangers_and_of_unknown_kinds_are_ignored() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    stranger = FakeSite(net, key_of(99), 1, None)
    document = beacon(stranger)
    session = other.exchange.hub.sessions[one.id]
    for message in (
        Flood(1, document, stranger.key.sign(Purpose.BEACON, document)),
        Flood(9, b"whatever", bytes(64)),
    ):
        other.act(session.receive(encode(message), net.now_s))
    assert not heard(other)
    assert not other.seen(LinkDown)


def test_a_site_that_floods_too_much_is_heard_less() -> None:
    net = FakeNet()
    one, other, third = chain(net, 3)
    session = other.exchange.hub.sessions[one.id]
    for counter in range(1, 1000):
        document = beacon(one, counter)
        message = Flood(1, document, one.key.sign(Purpose.BEACON, document))
        other.act(session.receive(encode(message), net.now_s))
    assert len(heard(other)) == limits.FLOOD_BURST
    assert other.exchange.gossip.refused == 999 - limits.FLOOD_BURST
    flood(net, third, beacon(third))
    net.run(20)
    assert beacon(third) in heard(other)
    flood(net, one, beacon(one, 2000))
    net.run(1)
    assert beacon(one, 2000) in heard(other)


def test_a_site_keeps_a_bounded_number_of_topics() -> None:
    net = FakeNet()
    one, _ = chain(net, 2)
    for topic in range(limits.FLOOD_TOPICS_MAX + 20):
        flood(net, one, lead(one, topic.to_bytes(32, "big")), FloodKind.LEAD)
    net.run(1)
    assert len(one.exchange.gossip._held) == limits.FLOOD_TOPICS_MAX


def test_a_later_boot_of_our_own_is_overtaken() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    flood(net, one, beacon(one, boot=50))
    net.run(1)
    net.cut(one.exchange.hub.sessions[other.id])
    one.start(boot=3)  # the disk that knew of boot 50 is gone
    net.link(one, other)
    net.run(5)
    assert one.exchange.gossip.boot == 51
    assert other.exchange.gossip.boot == 1


def test_only_own_documents_that_say_whose_they_are_can_be_flooded() -> None:
    net = FakeNet()
    one, other = chain(net, 2)
    for wrong in (b"", b"\x90", beacon(other), codec.pack([one.id, 1]), bytes(5000)):
        with pytest.raises(LocalError):
            one.exchange.flood(FloodKind.BEACON, wrong, net.now_s)
    with pytest.raises(LocalError):
        one.exchange.flood(FloodKind.LEAD, beacon(one, more="no shard"), net.now_s)


@pytest.mark.parametrize(
    "fields",
    [
        [b"short", 1, 1, 1],
        [b"s" * 32, 0, 1, 1],
        [b"s" * 32, 1, -1, 1],
        [b"s" * 32, 1, 2**53, 1],
        [b"s" * 32, 1, 1, True],
        [b"s" * 32, 1, 1],
        {"site": 1},
    ],
)
def test_documents_without_a_proper_beginning_break_the_protocol(fields: object) -> None:
    with pytest.raises(PeerError):
        read_heading(FloodKind.BEACON, msgpack.packb(fields))


# Who passes on what to whom


def neighbourhoods(links: dict[int, set[int]]) -> dict[int, Neighbourhood]:
    ids = {number: SiteID(number.to_bytes(32, "big")[::-1]) for number in links}
    made = {}
    for number, linked in links.items():
        hood = made[number] = Neighbourhood(ids[number], [ids[each] for each in linked])
        for each in linked:
            hood.told(ids[each], b"".join(ids[other][:8] for other in sorted(links[each])))
    return made


def test_a_few_of_those_between_pass_on_and_all_agree_who() -> None:
    ids = [SiteID(number.to_bytes(32, "big")[::-1]) for number in range(30)]
    # 0 and 1 only dial out; 2 to 29 are linked with all.
    links = {n: set(range(2, 30)) - {n} for n in (0, 1)}
    links |= {n: set(range(30)) - {n} for n in range(2, 30)}
    hoods = neighbourhoods(links)
    passing = [n for n in range(2, 30) if ids[1] in hoods[n].targets(ids[0])]
    assert len(passing) == limits.OFFERERS
    assert not any(hoods[n].targets(ids[5]) for n in range(2, 30) if n != 5)


def test_without_knowledge_everybody_passes_on() -> None:
    one, other, third = (SiteID(bytes([n]) * 32) for n in (1, 2, 3))
    hood = Neighbourhood(one, [other, third])
    assert list(hood.targets(other)) == [third]
    hood.told(third, other[:8])
    assert list(hood.targets(other)) == []
    hood.forget(third)
    assert list(hood.targets(other)) == [third]


@pytest.mark.parametrize("seed", range(6))
def test_entries_and_floods_cross_any_connected_mesh(seed: int) -> None:
    random = Random(seed)
    net = FakeNet(seed, delay_s=lambda rng: rng.uniform(0.01, 0.1))
    sites = [net.site(number) for number in range(1, 15)]
    for place, site in enumerate(sites[1:], 1):
        for other in random.sample(sites[:place], k=min(place, random.choice([1, 1, 2, 3]))):
            net.link(site, other)
    net.run(5)
    for site in sites:
        site.write(1)
        site.write(1, Lane.RESULTS, rows=50)
        flood(net, site, beacon(site))
    net.run(130)  # whatever no offer brought, two comparisons do
    assert all_equal(sites)
    assert all(len(heard(site)) == len(sites) - 1 for site in sites)


def test_bodies_come_seldom_twice_though_a_third_only_dials_out() -> None:
    net = FakeNet(
        delay_s=lambda random: random.uniform(0.05, 0.11) + 0.3 * (random.random() < 0.01)
    )
    dialled, dialling = hub_and_spokes(net, 20, 10)
    sites = [*dialled, *dialling]
    start_s = net.now_s
    for site in sites:
        net.after(net.random.uniform(0.001, 2), lambda site=site: site.write(1) and None)
    net.run(2 + 1.5)
    assert net.now_s - start_s <= 3.5
    assert all_equal(sites)
    peers = [peer for site in sites for peer in site.exchange.sync.peers()]
    needed = sum(peer.taken for peer in peers)
    assert needed == 30 * 29
    assert needed + sum(peer.repeated + peer.early for peer in peers) < 1.5 * needed
