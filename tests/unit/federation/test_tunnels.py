"""Byte streams through a relay: in order, bounded at the relay, ended with either link."""

from __future__ import annotations

import pytest

from federation import limits
from federation.errors import Unreachable
from federation.events import LinkDown, Reason, TunnelData, TunnelOpened, TunnelShut
from federation.tunnels import TunnelEnd
from federation.wire import Room, Through, Tunnel, encode
from tests.fakes.mesh import FakeNet, FakeSite


class Relaying:
    """One site, a relay, and another site."""

    def __init__(self) -> None:
        self.net = FakeNet()
        self.one, self.relay, self.other = (self.net.site(number) for number in (1, 2, 3))
        self.near, _ = self.net.link(self.one, self.relay)
        self.far, _ = self.net.link(self.other, self.relay)
        self.net.run(1)

    def open(self) -> tuple[TunnelEnd, TunnelEnd]:
        tunnels = self.one.exchange.tunnels
        end = tunnels.open(self.near, self.other.id, self.net.now_s)
        self.net.pump(self.one)
        self.net.run(1)
        return end, self.other.seen(TunnelOpened)[-1].end

    def send(self, site: FakeSite, end: TunnelEnd, data: bytes) -> None:
        site.exchange.tunnels.send(end, data, self.net.now_s)
        self.net.pump(site)

    def consume(self, site: FakeSite, end: TunnelEnd, size: int) -> None:
        site.exchange.tunnels.consumed(end, size, self.net.now_s)
        self.net.pump(site)


def came(site: FakeSite, end: TunnelEnd) -> bytes:
    return b"".join(event.data for event in site.seen(TunnelData) if event.end is end)


def test_bytes_go_both_ways_in_order() -> None:
    world = Relaying()
    mine, theirs = world.open()
    assert (mine.site, theirs.site) == (world.other.id, world.one.id)
    world.send(world.one, mine, bytes(range(256)) * 300)
    world.send(world.other, theirs, b"back")
    world.net.run(1)
    assert came(world.other, theirs) == bytes(range(256)) * 300
    assert came(world.one, mine) == b"back"


def test_no_more_is_under_way_than_a_window() -> None:
    world = Relaying()
    mine, theirs = world.open()
    world.send(world.one, mine, bytes(limits.TUNNEL_WINDOW_BYTES))
    world.net.run(1)
    assert mine.room == 0
    world.consume(world.other, theirs, 50_000)
    world.net.run(1)
    assert mine.room == 50_000


def test_a_sender_that_does_not_wait_loses_its_link_to_the_relay() -> None:
    world = Relaying()
    mine, theirs = world.open()
    world.send(world.one, mine, bytes(limits.TUNNEL_WINDOW_BYTES))
    world.net.run(1)
    session = world.relay.exchange.hub.sessions[world.one.id]
    world.relay.act(session.receive(encode(Through(mine.number, 1, b"x")), world.net.now_s))
    world.net.run(1)
    assert [down.reason for down in world.relay.seen(LinkDown)] == [Reason.PROTOCOL]
    assert [event.end for event in world.other.seen(TunnelShut)] == [theirs]
    assert not world.other.seen(LinkDown)


def test_room_that_nobody_took_breaks_the_protocol() -> None:
    world = Relaying()
    mine, _ = world.open()
    session = world.one.exchange.hub.sessions[world.relay.id]
    world.one.act(session.receive(encode(Room(mine.number, 0, 1)), world.net.now_s))
    assert [down.reason for down in world.one.seen(LinkDown)] == [Reason.PROTOCOL]


def test_a_tunnel_ends_when_either_end_shuts_it_or_a_link_is_lost() -> None:
    for ending in ("near end", "far end", "near link", "far link"):
        world = Relaying()
        mine, theirs = world.open()
        now_s = world.net.now_s
        if ending == "near end":
            world.one.exchange.tunnels.shut(mine, now_s, "done")
            world.net.pump(world.one)
        elif ending == "far end":
            world.other.exchange.tunnels.shut(theirs, now_s, "done")
            world.net.pump(world.other)
        else:
            world.net.cut(world.near if ending == "near link" else world.far)
        world.net.run(1)
        assert mine.shut, ending
        assert theirs.shut, ending
        told = len(world.one.seen(TunnelShut)) + len(world.other.seen(TunnelShut))
        assert told == (1 if ending.endswith("end") else 2)
        assert (
            world.relay.exchange.tunnels.count(
                next(iter(world.relay.exchange.hub.sessions.values()))
            )
            == 0
        )


def test_a_relay_without_a_link_there_says_so() -> None:
    world = Relaying()
    world.net.cut(world.far)
    world.one.exchange.tunnels.open(world.near, world.other.id, world.net.now_s)
    world.net.pump(world.one)
    world.net.run(1)
    assert [event.words for event in world.one.seen(TunnelShut)] == ["the relay has no link there"]


def test_nobody_relays_back_to_the_opener() -> None:
    world = Relaying()
    world.one.exchange.tunnels.open(world.near, world.one.id, world.net.now_s)
    world.net.pump(world.one)
    world.net.run(1)
    assert len(world.one.seen(TunnelShut)) == 1


def test_a_link_carries_a_bounded_number_of_tunnels() -> None:
    world = Relaying()
    for _ in range(limits.TUNNELS_MAX):
        world.open()
    with pytest.raises(Unreachable):
        world.open()
    session = world.relay.exchange.hub.sessions[world.one.id]
    message = Tunnel(9999, 1, world.other.id)
    world.relay.act(session.receive(encode(message), world.net.now_s))
    assert [down.reason for down in world.relay.seen(LinkDown)] == [Reason.PROTOCOL]


def test_an_idle_tunnel_is_forgotten_by_the_relay() -> None:
    world = Relaying()
    mine, theirs = world.open()
    for _ in range(3):
        world.net.run(0.9 * limits.TUNNEL_IDLE_S)
        world.send(world.one, mine, b"alive")
    world.net.run(1)
    assert not theirs.shut
    world.net.run(3 * limits.TUNNEL_IDLE_S)
    assert mine.shut
    assert theirs.shut


def test_messages_for_tunnels_that_are_gone_are_ignored() -> None:
    world = Relaying()
    mine, _ = world.open()
    world.one.exchange.tunnels.shut(mine, world.net.now_s)
    session = world.one.exchange.hub.sessions[world.relay.id]
    world.one.act(session.receive(encode(Through(mine.number, 0, b"late")), world.net.now_s))
    world.one.act(session.receive(encode(Through(12345, 1, b"never")), world.net.now_s))
    assert not world.one.seen(LinkDown)
    assert not world.one.seen(TunnelData)
