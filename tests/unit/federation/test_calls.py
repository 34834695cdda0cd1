"""Requests: answered, refused, in chunks, late, cancelled, too many; never between records."""

from __future__ import annotations

import pytest

from federation import limits
from federation.errors import LocalError, Unreachable
from federation.events import Answered, Asked, LinkDown, Outcome, Reason
from federation.ids import Lane
from federation.session import Session
from federation.wire import More, Reply, Request, encode
from tests.fakes.mesh import FakeNet, FakeSite, all_equal


@pytest.fixture
def pair() -> tuple[FakeNet, FakeSite, FakeSite, Session]:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    session, _ = net.link(one, other)
    net.run(1)
    return net, one, other, session


Pair = tuple[FakeNet, FakeSite, FakeSite, Session]


def ask(net: FakeNet, site: FakeSite, session: Session, body: bytes) -> int:
    number = site.exchange.calls.ask(session, "echo", body, net.now_s)
    net.pump(site)
    return number


def answer(net: FakeNet, site: FakeSite, body: bytes) -> None:
    site.exchange.calls.answer(site.seen(Asked)[-1], body, net.now_s)
    net.pump(site)


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 1024 * 1024])
def test_a_request_of_any_size_is_answered(pair: Pair, size: int) -> None:
    net, one, other, session = pair
    number = ask(net, one, session, b"q" * size)
    net.run(5)
    [asked] = other.seen(Asked)
    assert (asked.what, asked.body) == ("echo", b"q" * size)
    answer(net, other, b"a" * size)
    net.run(5)
    assert one.seen(Answered) == [Answered(session, number, Outcome.ANSWERED, b"a" * size)]


def test_a_refusal_carries_its_words(pair: Pair) -> None:
    net, one, other, session = pair
    ask(net, one, session, b"")
    net.run(1)
    other.exchange.calls.refuse(other.seen(Asked)[0], "not for you", net.now_s)
    net.pump(other)
    net.run(1)
    [ended] = one.seen(Answered)
    assert (ended.outcome, ended.body) == (Outcome.REFUSED, b"not for you")


def test_no_answer_in_time_ends_the_request_and_a_late_one_is_ignored(pair: Pair) -> None:
    net, one, other, session = pair
    ask(net, one, session, b"")
    net.run(61)
    [ended] = one.seen(Answered)
    assert ended.outcome is Outcome.LOST
    answer(net, other, b"late")
    net.run(1)
    assert len(one.seen(Answered)) == 1
    assert not one.seen(LinkDown)


def test_a_lost_link_ends_its_requests(pair: Pair) -> None:
    net, one, other, session = pair
    ask(net, one, session, b"")
    net.run(1)
    net.cut(session)
    assert [ended.outcome for ended in one.seen(Answered)] == [Outcome.LOST]
    answer(net, other, b"")  # nobody is there, and nothing happens


def test_many_requests_at_once_are_refused_here_not_there(pair: Pair) -> None:
    net, one, _, session = pair
    for _ in range(limits.REQUESTS_MAX):
        ask(net, one, session, b"")
    with pytest.raises(Unreachable):
        ask(net, one, session, b"")
    net.run(70)
    assert not one.seen(LinkDown)
    ask(net, one, session, b"")  # the late ones made room


def test_a_body_that_is_too_long_is_our_own_mistake(pair: Pair) -> None:
    net, one, _, session = pair
    with pytest.raises(LocalError):
        ask(net, one, session, bytes(limits.REQUEST_BYTES_MAX + 1))


def test_records_do_not_wait_behind_a_large_request(pair: Pair) -> None:
    net, one, other, session = pair
    ask(net, one, session, bytes(1024 * 1024))
    one.write(3, Lane.CONTROL)
    net.run(0.05)
    assert all_equal([one, other])
    assert not other.seen(Asked)


@pytest.mark.parametrize(
    "messages",
    [
        [Request(1, "x", 100, b"short")],
        [Request(1, "x", 2, b"long")],
        [Request(1, "x", 20_000, bytes(16 * 1024)), More(1, 0, b"")],
        [Request(1, "x", 2, b"ab"), Request(1, "x", 2, b"ab")],
        [Request(1, "x", 2, b"ab"), More(1, 0, b"")],
        [Request(number, "x", 0, b"") for number in range(limits.REQUESTS_MAX + 1)],
    ],
)
def test_requests_that_break_their_bounds_end_the_link(
    pair: Pair, messages: list[Request | More]
) -> None:
    net, _, other, _ = pair
    [session] = other.exchange.hub.sessions.values()
    other.act(session.receive(b"".join(map(encode, messages)), net.now_s))
    [down] = other.seen(LinkDown)
    assert (down.reason, down.theirs) == (Reason.PROTOCOL, True)


def test_answers_that_nobody_asked_for_are_ignored(pair: Pair) -> None:
    net, _, other, _ = pair
    [session] = other.exchange.hub.sessions.values()
    other.act(session.receive(encode(Reply(7, 0, 0, b"")) + encode(More(7, 1, b"x")), net.now_s))
    assert not other.seen(LinkDown)


def test_requests_that_would_take_too_much_memory_are_refused() -> None:
    net = FakeNet()
    hub = net.site(1)
    others = [net.site(number) for number in range(2, 5)]
    begun = []
    for other in others:
        session, _ = net.link(other, hub)
        net.run(1)
        # Requests of which only the beginning comes.
        theirs = hub.exchange.hub.sessions[other.id]
        for number in range(16):
            size = limits.REQUEST_BYTES_MAX
            chunk = bytes(limits.REQUEST_CHUNK_BYTES)
            hub.act(theirs.receive(encode(Request(number, "x", size, chunk)), net.now_s))
        begun.append(session)
    assert hub.exchange.calls._gathered <= limits.REQUESTS_BYTES_MAX
    assert not hub.seen(LinkDown)
    net.run(200)
    assert hub.exchange.calls._gathered == 0
