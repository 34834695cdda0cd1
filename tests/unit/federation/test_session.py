"""One link: hello, versions, silence, its end; and the one link that two sites keep."""

from __future__ import annotations

import pytest

from federation import limits
from federation.events import LinkDown, LinkUp, Reason, TwinSeen
from federation.ids import Lane
from federation.session import State
from federation.wire import Bye, Credit, Hello, Ping, Pong, encode, frame
from tests.fakes.mesh import FakeNet, FakeSite, all_equal

# As software that spoke only the first protocol sent it, byte by byte.
FIRST_HELLO = bytes.fromhex("0000000c" + "96" + "01" + "01" + "01" + "07" + "a5302e312e30" + "90")


def pair() -> tuple[FakeNet, FakeSite, FakeSite]:
    """Two sites: the one with the smaller key first."""
    net = FakeNet()
    one, other = sorted((net.site(1), net.site(2)), key=lambda site: site.id)
    return net, one, other


def downs(site: FakeSite) -> list[tuple[int, bool]]:
    return [(down.reason, down.theirs) for down in site.seen(LinkDown)]


@pytest.mark.parametrize("newest", [1, 2, 7])
def test_the_protocol_is_the_newest_that_both_speak(newest: int) -> None:
    net, one, other = pair()
    other.exchange.hub.hello = Hello(1, newest, 5, "later")
    mine, theirs = net.link(one, other)
    one.write(2)
    net.run(1)
    assert (mine.state, mine.protocol, theirs.protocol) == (State.UP, 1, 1)
    assert all_equal([one, other])


def test_an_older_peers_hello_is_understood_by_newer_software() -> None:
    net, one, other = pair()
    one.exchange.hub.hello = Hello(1, 3, 5, "later", ["feature"])
    session = one.exchange.open(other.id, net.now_s, dialled=False)
    one.act(session.receive(FIRST_HELLO, net.now_s))
    assert (session.state, session.protocol) == (State.UP, 1)
    assert session.their_hello == Hello(1, 1, 7, "0.1.0", [])
    # It knows no later kinds, so it may not send any.
    one.act(session.receive(frame(b"\x91\x4d"), net.now_s))
    assert downs(one) == [(Reason.PROTOCOL, True)]


def test_a_newer_peer_may_send_kinds_that_are_not_known_here() -> None:
    net, one, other = pair()
    session = one.exchange.open(other.id, net.now_s, dialled=False)
    one.act(session.receive(encode(Hello(1, 2, 5, "later")), net.now_s))
    one.act(session.receive(frame(b"\x91\x4d") + encode(Ping(3)), net.now_s))
    assert not one.seen(LinkDown)
    assert encode(Pong(3)) in session.bytes_to_send(net.now_s)


def test_without_a_common_protocol_both_ends_say_so() -> None:
    net, one, other = pair()
    other.exchange.hub.hello = Hello(4, 9, 5, "much later")
    net.link(one, other)
    net.run(1)
    assert {reason for reason, _ in downs(one) + downs(other)} == {Reason.VERSION}
    assert not one.seen(LinkUp)


@pytest.mark.parametrize(
    "sent",
    [
        encode(Ping(1)),
        encode(Hello(1, 1, 5, "x")) * 2,
        encode(Hello(2, 1, 5, "x")),
        frame(b"\x01"),
        frame(b"\xc1"),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x10\x01",  # more than a hello may have
        b"GET / HTTP/1.1\r\n\r\n",
        encode(Hello(1, 1, 5, "x")) + encode(Pong(1)),
        encode(Hello(1, 1, 5, "x")) + encode(Credit(Lane.CONTROL, 1)),
    ],
)
def test_what_breaks_the_protocol_ends_the_link_and_nothing_else(sent: bytes) -> None:
    net, one, other = pair()
    third = net.site(3)
    net.link(one, third)
    net.run(1)
    session = one.exchange.open(other.id, net.now_s, dialled=False)
    one.act(session.receive(sent, net.now_s))
    assert downs(one) == [(Reason.PROTOCOL, True)]
    last = session.bytes_to_send(net.now_s)
    assert encode(Bye(2, one.seen(LinkDown)[0].words)) in last
    assert session.receive(sent, net.now_s) == []  # what comes later is not looked at
    one.write()
    net.run(1)
    assert all_equal([one, third])


def test_a_peer_that_says_no_hello_is_given_up() -> None:
    net, one, other = pair()
    one.exchange.open(other.id, net.now_s, dialled=False)
    net.pump(one)
    net.run(limits.HELLO_S_MAX + 1)
    assert downs(one) == [(Reason.SILENT, True)]


def test_an_idle_link_lives_by_pings() -> None:
    net, one, other = pair()
    mine, _ = net.link(one, other)
    net.run(600)
    assert not one.seen(LinkDown)
    assert mine.rtt_s == pytest.approx(0.02)


def test_a_link_on_which_nothing_is_heard_is_given_up_within_its_time() -> None:
    net, one, other = pair()
    mine, theirs = net.link(one, other)
    net.run(1)
    net.streams[theirs].stopped = True  # what the other end sends does not arrive
    net.run(limits.SILENCE_S_MAX + limits.PING_S + 1)
    assert downs(one) == [(Reason.SILENT, True)]
    assert mine.finished


def test_a_ping_for_which_the_transport_has_no_room_is_not_waited_for_in_a_loop() -> None:
    net, one, other = pair()
    mine, _ = net.link(one, other)
    net.run(1)
    net.now_s += limits.PING_S + 1
    mine.tick(net.now_s)  # and nobody takes bytes
    assert mine.deadline_s > net.now_s


def test_a_peer_that_reads_nothing_is_given_up_and_costs_no_memory() -> None:
    net, one, other = pair()
    mine, _ = net.link(one, other)
    net.run(1)
    net.streams[mine].stopped = True
    for _ in range(300):
        one.write(2)
        one.write(1, Lane.RESULTS, rows=1000)
        other.write()  # it goes on talking
        net.run(1)
        if one.seen(LinkDown):
            break
    assert downs(one) == [(Reason.SILENT, True)]
    stream = net.streams[mine]
    assert sum(map(len, stream.held)) < 300_000  # what the network took; not the 300 results


def test_a_bye_tells_why() -> None:
    net, one, other = pair()
    net.link(one, other)
    net.run(1)
    one.act(one.exchange.close(Reason.CLOSING, net.now_s))
    net.run(1)
    assert downs(other) == [(Reason.CLOSING, True)]
    assert downs(one) == [(Reason.CLOSING, False)]


# One link between two sites


@pytest.mark.parametrize("first", [True, False])
def test_of_two_links_dialled_at_once_one_stays(first: bool) -> None:
    net, one, other = pair()
    links = [net.link(one, other), net.link(other, one)]
    if first:
        links.reverse()
    net.run(1)
    one.write()
    other.write()
    net.run(1)
    assert len(one.exchange.hub.sessions) == len(other.exchange.hub.sessions) == 1
    assert all_equal([one, other])
    alive = [stream for stream in net.streams.values() if not stream.dead]
    assert len(alive) == 2
    assert {reason for reason, _ in downs(one) + downs(other)} <= {Reason.DUPLICATE, Reason.LOST}


def test_a_restarted_peers_link_replaces_the_one_of_its_earlier_process() -> None:
    for restarted in (0, 1):
        net, *sites = pair()
        net.link(*sites)
        net.run(1)
        gone = net.streams[next(iter(sites[restarted].exchange.hub.sessions.values()))]
        gone.dead = True  # without a word
        sites[restarted].start(boot=2)
        mine, _ = net.link(sites[restarted], sites[1 - restarted])
        net.run(1)
        assert mine.state is State.UP
        assert gone.session.finished or gone.site is sites[restarted]
        sites[restarted].write()
        net.run(1)
        assert all_equal(sites)


def test_a_link_of_an_earlier_process_does_not_replace_a_later_one() -> None:
    net, one, other = pair()
    net.link(one, other)
    net.run(1)
    late = one.exchange.open(other.id, net.now_s, dialled=False)
    one.act(late.receive(encode(Hello(1, 1, 0, "x")), net.now_s))
    assert late.state is State.CLOSED
    assert list(one.exchange.hub.sessions.values()) != [late]


@pytest.mark.parametrize("twin", [0, 1])
def test_two_processes_with_one_key_are_noticed_and_the_later_one_has_the_link(twin: int) -> None:
    net, *sites = pair()
    clone, peer = FakeSite(net, sites[twin].key, 2, None), sites[1 - twin]
    net.sites.append(clone)
    net.link(sites[twin], peer)
    net.run(1)
    net.link(clone, peer)
    net.run(1)
    assert downs(sites[twin]) == [(Reason.TWIN, True)]
    mine, _ = net.link(sites[twin], peer)  # it tries again
    net.run(1)
    assert mine.state is State.CLOSED
    assert peer.seen(TwinSeen)[-1] == TwinSeen(sites[twin].id)
    assert [hub.state for hub in clone.exchange.hub.sessions.values()] == [State.UP]
    assert {reason for reason, _ in downs(sites[twin])} == {Reason.TWIN}


def test_an_older_link_gives_way_to_a_new_one() -> None:
    for dialler in (0, 1):
        net, *sites = pair()
        old, _ = net.link(*sites)
        net.run(limits.YOUNG_S + 1)
        new, _ = net.link(sites[dialler], sites[1 - dialler])
        net.run(1)
        assert (old.state, new.state) == (State.CLOSED, State.UP)


def test_a_young_link_stays_with_all_that_is_under_way_on_it() -> None:
    for dialler in (0, 1):
        net, *sites = pair()
        old, _ = net.link(*sites)
        net.run(1)
        new, _ = net.link(sites[dialler], sites[1 - dialler])
        net.run(1)
        assert (old.state, new.state) == (State.UP, State.CLOSED)


def test_many_links_of_one_peer_leave_one() -> None:
    net, one, other = pair()
    for _ in range(10):
        net.link(other, one)
    net.run(1)
    assert len([stream for stream in net.streams.values() if not stream.dead]) == 2
    one.write()
    net.run(1)
    assert all_equal([one, other])


def test_the_site_with_the_larger_key_waits_to_be_spoken_to() -> None:
    net, one, other = pair()
    session = other.exchange.open(one.id, net.now_s, dialled=True)
    other.act(session.receive(encode(one.exchange.hello), net.now_s))
    assert session.state is State.HELD
    said = session.bytes_to_send(net.now_s)
    assert said == encode(other.exchange.hello)  # and nothing else
    other.act(session.receive(encode(Ping(1)), net.now_s))
    assert session.state is State.UP


def test_a_revoked_sites_link_ends_at_once() -> None:
    net, one, other = pair()
    net.link(one, other)
    net.run(1)
    net.revoked.add(other.id)
    one.act(one.exchange.members_changed(net.now_s))
    assert downs(one) == [(Reason.REVOKED, False)]
    assert not one.exchange.hub.sessions
