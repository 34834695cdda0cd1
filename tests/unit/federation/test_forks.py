"""Forks that links bring to light: proved, spread first, and in nobody's way."""

from __future__ import annotations

from federation.entry import Entry, seal
from federation.events import ForkSeen, LinkDown, OwnAhead, Reason
from federation.feed import prove_fork
from federation.ids import FeedID, Lane
from federation.records import Site
from federation.wire import ForkFound, Vector, encode
from tests.fakes.mesh import FakeNet, FakeSite, all_equal, key_of

KEY = key_of(77)
FEED = FeedID(KEY.site, 1, Lane.CONTROL)  # type: ignore[arg-type]


def branch(count: int, name: str, after: list[Entry] | None = None) -> list[Entry]:
    """Entries of one branch of a feed that its author forked."""
    entries = list(after or [])
    for seq in range(len(entries) + 1, count + 1):
        prev = entries[-1].id if entries else b""
        entries.append(seal(KEY, FEED, seq, prev, seq, [Site(name, str(seq))]))
    return entries


def holding(net: FakeNet, number: int, entries: list[Entry]) -> FakeSite:
    site = net.site(number)
    site.feeds.append(entries)
    site.start(boot=1)
    return site


def seen(site: FakeSite) -> list[tuple[FeedID, int]]:
    return [(fork.feed, fork.seq) for fork in site.seen(ForkSeen)]


def forked(net: FakeNet, left: int, right: int, shared: int) -> tuple[FakeSite, FakeSite]:
    net.members.add(FEED.site)
    common = branch(shared, "common")
    one = holding(net, 1, branch(left, "left", common))
    other = holding(net, 2, branch(right, "right", common))
    return one, other


def test_two_branches_of_one_length_are_proved_by_both_ends() -> None:
    net = FakeNet()
    one, other = forked(net, 3, 3, 1)
    net.link(one, other)
    net.run(1)
    assert seen(one) == seen(other) == [(FEED, 3)]


def test_a_longer_branch_is_proved_at_the_end_of_the_shorter_one() -> None:
    for left, right in ((5, 2), (2, 5), (3, 2), (2, 3)):
        net = FakeNet()
        one, other = forked(net, left, right, 1)
        net.link(one, other)
        net.run(1)
        assert seen(one) == seen(other) == [(FEED, 2)]
        assert one.held()[FEED] != other.held()[FEED]
        assert not one.seen(LinkDown)
        assert not other.seen(LinkDown)


def test_branches_from_the_first_entry_on_are_proved() -> None:
    net = FakeNet()
    one, other = forked(net, 1, 4, 0)
    net.link(one, other)
    net.run(1)
    assert seen(one) == seen(other) == [(FEED, 1)]


def test_a_proof_reaches_everybody_and_whoever_comes_later() -> None:
    net = FakeNet()
    one, other = forked(net, 3, 3, 1)
    far, late = net.site(3), net.site(4)
    net.link(other, far)
    net.run(1)
    net.link(one, other)
    net.run(1)
    assert seen(far) == [(FEED, 3)]
    net.link(far, late)
    net.run(1)
    assert seen(late) == [(FEED, 3)]


def test_other_feeds_go_on_and_nothing_is_asked_for_ever() -> None:
    net = FakeNet()
    one, other = forked(net, 30, 20, 10)
    net.link(one, other)
    one.write(5)
    other.write(5, Lane.RESULTS)
    net.run(10)
    before = sum(stream.carried for stream in net.streams.values())
    net.run(200)
    assert sum(stream.carried for stream in net.streams.values()) - before < 5000
    assert {feed for feed in one.held() if one.held()[feed] != other.held()[feed]} == {FEED}


def test_a_third_site_gets_the_branch_that_it_can_follow_from_whoever_has_it() -> None:
    net = FakeNet()
    one, other = forked(net, 30, 20, 10)
    third = holding(net, 3, branch(12, "right", branch(10, "common")))
    net.link(one, third)
    net.link(other, third)
    net.run(5)
    assert third.held()[FEED] == other.held()[FEED]
    assert (FEED, 12) in seen(third)


def test_what_proves_no_fork_ends_the_link() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.run(1)
    [session] = one.exchange.hub.sessions.values()
    first, second = branch(2, "one")
    message = ForkFound(first.header_bytes, first.signature, second.header_bytes, second.signature)
    one.act(session.receive(encode(message), net.now_s))
    assert [down.reason for down in one.seen(LinkDown)] == [Reason.PROTOCOL]
    assert not one.seen(ForkSeen)


def test_a_fork_of_a_site_that_is_no_member_is_nobodys_business() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    net.link(one, other)
    net.run(1)
    proof = prove_fork(branch(1, "left")[0], branch(1, "right")[0])
    message = ForkFound(proof.first, proof.first_signature, proof.second, proof.second_signature)
    [session] = one.exchange.hub.sessions.values()
    one.act(session.receive(encode(message), net.now_s))
    assert not one.seen(ForkSeen)
    assert not one.seen(LinkDown)


# Our own feeds


def test_own_entries_that_are_not_here_are_told_and_not_taken_in() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(5)
    net.link(one, other)
    net.run(1)
    net.cut(next(iter(one.exchange.hub.sessions.values())))
    # The store is put back from a copy: two entries are gone.
    feed, kept = (
        FeedID(one.id, 1, Lane.CONTROL),
        one.feeds.entries(FeedID(one.id, 1, Lane.CONTROL), 0, 3),
    )
    one.feeds = type(one.feeds)()
    one.feeds.append(kept)
    one.start(boot=2)
    net.link(one, other)
    net.run(1)
    assert OwnAhead(other.id, feed, 5) in one.seen(OwnAhead)
    assert one.feeds.tip(feed).seq == 3
    # It goes on under another generation: now its own tail is fetched like any other's.
    one.generation = 2
    one.exchange.write_in(2, net.now_s)
    net.pump(one)
    net.run(2)
    assert one.feeds.tip(feed).seq == 5
    one.write()
    net.run(1)
    assert all_equal([one, other])


def test_two_copies_of_one_site_are_seen_as_a_fork() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    one.write(2)
    net.link(one, other)
    net.run(1)
    copied = FakeSite(net, one.key, 9, None)
    copied.feeds.append(one.feeds.entries(FeedID(one.id, 1, Lane.CONTROL), 0, 9))
    copied.start(boot=9)
    third = net.site(3)
    net.link(copied, third)
    one.write(1)
    copied.write(2, name="copy")
    net.run(1)
    net.link(other, third)
    net.run(1)
    place = [(FeedID(one.id, 1, Lane.CONTROL), 3)]
    assert seen(other) == seen(third) == seen(one) == seen(copied) == place


def test_a_vector_with_a_wrong_prefix_proves_nothing() -> None:
    net = FakeNet()
    one, other = net.site(1), net.site(2)
    other.write(3)
    net.link(one, other)
    net.run(1)
    [session] = one.exchange.hub.sessions.values()
    [place] = one.exchange.sync._holdings.places()
    wrong = type(place)(place.feed, place.seq, b"mistaken")
    one.act(session.receive(encode(Vector([wrong], 0, 0)), net.now_s))
    net.run(1)
    assert not one.seen(ForkSeen)
    assert not one.seen(LinkDown)
