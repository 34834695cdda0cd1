"""What a member may send that is wrong: each costs it its link, or nothing comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from federation import limits
from federation.entry import Entry, seal
from federation.errors import BadEntry
from federation.events import Damaged, LinkDown, Reason, TakeIn
from federation.ids import FeedID, Lane
from federation.records import Site
from federation.session import Session, State
from federation.wire import (
    Credit,
    Entries,
    IHave,
    Lack,
    Message,
    Place,
    Push,
    Shown,
    Span,
    Vector,
    Want,
    decode,
    encode,
)
from keys.signing import Purpose
from tests.fakes.feeds import MemoryFeeds
from tests.fakes.mesh import FakeNet, all_equal
from tests.unit.federation.builders import results


class Pair:
    """A site, and the other end of its link, which the test plays."""

    def __init__(self) -> None:
        self.net = FakeNet()
        self.site, self.peer = self.net.site(1), self.net.site(2)
        self.net.link(self.site, self.peer)
        self.net.run(1)
        [self.session] = self.site.exchange.hub.sessions.values()
        self.feed = FeedID(self.peer.id, 1, Lane.CONTROL)

    def say(self, *messages: Message) -> None:
        """What the other end would not say by itself."""
        data = b"".join(map(encode, messages))
        self.site.act(self.session.receive(data, self.net.now_s))

    def ended(self) -> str:
        """Why the link ended, by the other end's fault; "" if it did not."""
        downs: list[LinkDown] = self.site.seen(LinkDown)
        assert all((down.reason, down.theirs) == (Reason.PROTOCOL, True) for down in downs)
        return downs[0].words if downs else ""

    def taken(self) -> list[Entry]:
        return [entry for event in self.site.seen(TakeIn) for entry in event.entries]

    def entry(self, seq: int = 1, prev: bytes = b"", lane: Lane = Lane.CONTROL) -> Entry:
        feed = FeedID(self.peer.id, 1, lane)
        record = Site("s", "1") if lane is Lane.CONTROL else results(1)
        return seal(self.peer.key, feed, seq, prev, seq, [record])


@pytest.fixture
def pair() -> Pair:
    return Pair()


def sealed(entry: Entry) -> list[bytes]:
    return [entry.header_bytes, entry.signature, entry.body or b""]


def test_a_wrong_signature_ends_the_link(pair: Pair) -> None:
    header, signature, body = sealed(pair.entry())
    pair.say(Push(Lane.CONTROL, [[header, signature[::-1], body]]))
    assert "signature" in pair.ended()
    assert not pair.taken()


def test_another_sites_signature_ends_the_link(pair: Pair) -> None:
    entry = pair.entry()
    signature = pair.site.key.sign(Purpose.ENTRY, entry.header_bytes)
    pair.say(Push(Lane.CONTROL, [[entry.header_bytes, signature, entry.body or b""]]))
    assert pair.ended()


def test_a_body_that_is_not_the_signed_one_ends_the_link(pair: Pair) -> None:
    header, signature, body = sealed(pair.entry())
    pair.say(Push(Lane.CONTROL, [[header, signature, body[:-1] + b"9"]]))
    assert "body" in pair.ended()


def test_an_entry_in_the_message_of_the_other_lane_ends_the_link(pair: Pair) -> None:
    pair.say(Push(Lane.CONTROL, [sealed(pair.entry(lane=Lane.RESULTS))]))
    assert "lane" in pair.ended()


def test_the_good_entries_before_a_bad_one_are_not_lost(pair: Pair) -> None:
    first = pair.entry()
    header, _, body = sealed(pair.entry(2, first.id))
    pair.say(Push(Lane.CONTROL, [sealed(first)]), Push(Lane.CONTROL, [[header, bytes(64), body]]))
    assert pair.ended()
    assert pair.taken() == [first]
    assert pair.site.feeds.tip(pair.feed).seq == 1


def test_entries_of_sites_that_are_no_members_are_dropped(pair: Pair) -> None:
    pair.net.members.remove(pair.peer.id)
    pair.say(Push(Lane.CONTROL, [sealed(pair.entry())]))
    assert not pair.taken()
    assert not pair.ended()
    pair.net.members.add(pair.peer.id)
    pair.say(Push(Lane.CONTROL, [sealed(pair.entry())]))
    assert len(pair.taken()) == 1


def test_more_than_a_window_ends_the_link() -> None:
    pair = Pair()
    pair.site.store_s = 1e6  # it returns no credit
    entries, prev = [], b""
    for seq in range(1, 40):
        made = seal(
            pair.peer.key, FeedID(pair.peer.id, 1, Lane.RESULTS), seq, prev, seq, [results(1300)]
        )
        entries.append(made)
        prev = made.id
    for entry in entries:
        pair.say(Push(Lane.RESULTS, [sealed(entry)]))
    assert "room" in pair.ended()
    held = sum(len(entry.body or b"") for entry in pair.taken())
    assert held <= limits.WINDOW_BYTES[Lane.RESULTS]


def test_credit_for_what_was_not_sent_ends_the_link(pair: Pair) -> None:
    pair.say(Credit(Lane.CONTROL, 1))
    assert "credit" in pair.ended()


def test_a_header_that_nobody_asked_for_ends_the_link(pair: Pair) -> None:
    entry = pair.entry()
    pair.say(Shown(entry.header_bytes, entry.signature))
    assert "asked" in pair.ended()


def test_too_many_feeds_wanted_at_once_end_the_link(pair: Pair) -> None:
    pair.net.streams[pair.session].stopped = True  # answers are not read
    for start in range(0, 4 * limits.WANTED_MAX, 256):
        feeds = [FeedID(pair.peer.id, start + n + 1, Lane.CONTROL) for n in range(256)]
        pair.say(Want([Span(feed, 0, 5) for feed in feeds]))
    assert "at once" in pair.ended()


def test_wants_for_what_does_not_exist_are_answered_so(pair: Pair) -> None:
    pair.say(Want([Span(pair.feed, 0, limits.SEQ_MAX), Span(pair.feed, 7, 3)]))
    pair.net.run(1)
    assert not pair.ended()
    assert pair.peer.exchange.hub.sessions


def test_offers_of_what_does_not_exist_end_the_link_after_a_while(pair: Pair) -> None:
    for number in range(limits.EMPTY_OFFERS_MAX + 1):
        feed = FeedID(pair.peer.id, number + 1, Lane.CONTROL)
        pair.say(IHave([Place(feed, limits.SEQ_MAX, b"prefixes")]), Lack(feed, 0))
    assert "offers" in pair.ended()


def test_an_offer_of_what_does_not_exist_keeps_nobody_from_the_feed() -> None:
    """It says that it has more than there is, and then gives nothing."""
    net = FakeNet()
    site, liar, honest = net.site(1), net.site(2), net.site(3)
    net.link(site, liar)
    net.run(1)
    feed = FeedID(honest.id, 1, Lane.CONTROL)
    [session] = site.exchange.hub.sessions.values()
    liars = net.streams[session]
    assert liars.other is not None
    liars.stopped = True  # it hears of no want, and stays silent
    site.act(session.receive(encode(IHave([Place(feed, 2**40, b"prefixes")])), net.now_s))
    honest.write(20)
    net.link(honest, site)
    net.run(limits.FETCH_STALL_S * 2)
    assert site.held()[feed] == honest.held()[feed]


def test_a_vector_of_very_many_feeds_is_remembered_in_part(pair: Pair) -> None:
    feeds = [FeedID(pair.peer.id, number, Lane.CONTROL) for number in range(2, 7000)]
    places = [Place(feed, 5, b"prefixes") for feed in feeds]
    for start in range(0, len(places), 1000):
        pair.say(Vector(places[start : start + 1000], 1, 0))
    [peer] = pair.site.exchange.sync.peers()
    assert len(peer.ahead) == limits.AHEAD_FEEDS_MAX
    assert not pair.ended()


def test_entries_too_early_are_not_kept_but_asked_for(pair: Pair) -> None:
    first = pair.entry()
    second = pair.entry(2, first.id)
    third = pair.entry(3, second.id)
    push = encode(Push(Lane.CONTROL, [sealed(third)]))
    assert pair.session.receive(push, pair.net.now_s) == []
    assert Want([Span(pair.feed, 0, 3)]) in said(pair.session, pair.net.now_s)
    pair.say(Entries(Lane.CONTROL, [sealed(entry) for entry in (first, second, third)]))
    assert pair.taken() == [first, second, third]


def said(session: Session, now_s: float) -> list[Message | None]:
    data, messages = session.bytes_to_send(now_s), []
    while data:
        size = int.from_bytes(data[:4], "big")
        messages.append(decode(data[4 : 4 + size]))
        data = data[4 + size :]
    return messages


# Stores and relays that are not what they should be


class DamagedFeeds(MemoryFeeds):
    """A store in which one entry's bytes have changed on disk."""

    damaged_seq = 0
    flipped: Literal["body", "signature", "header"] = "body"

    def entries(self, feed: FeedID, after: int, limit: int) -> list[Entry]:
        return [
            self._damaged(entry) if entry.header.seq == self.damaged_seq else entry
            for entry in super().entries(feed, after, limit)
        ]

    def _damaged(self, entry: Entry) -> Entry:
        if self.flipped == "body":
            raise BadEntry("a body that is not the signed one")
        if self.flipped == "signature":
            return replace(entry, signature=bytes([entry.signature[0] ^ 1]) + entry.signature[1:])
        return replace(entry, header=replace(entry.header, seq=entry.header.seq ^ 1))


@pytest.mark.parametrize("flipped", ["body", "signature", "header"])
def test_a_damaged_entry_is_told_and_goes_to_nobody(flipped: str) -> None:
    net = FakeNet()
    one, two, three = (net.site(number) for number in (1, 2, 3))
    one.feeds = DamagedFeeds()
    one.start(boot=2)
    one.write(10)
    net.link(one, two)
    net.run(2)
    assert all_equal([one, two])
    one.feeds.damaged_seq, one.feeds.flipped = 4, flipped  # type: ignore[attr-defined]
    net.link(one, three)
    net.run(2)
    assert one.seen(Damaged) == [Damaged(FeedID(one.id, 1, Lane.CONTROL), 4)]
    assert [tip.seq for tip in three.feeds.tips()] == [3]
    assert not three.seen(LinkDown)
    net.link(three, two)  # who has it whole gives it
    net.run(70)
    assert all_equal([two, three])


def test_a_peer_that_sends_an_entry_again_that_is_damaged_here_breaks_nothing() -> None:
    net = FakeNet()
    one, two = net.site(1), net.site(2)
    two.feeds = DamagedFeeds()
    two.start(boot=2)
    entries = one.write(5)
    _, theirs = net.link(one, two)
    net.run(2)
    assert all_equal([one, two])
    two.feeds.damaged_seq = 3  # type: ignore[attr-defined]
    two.act(
        theirs.receive(encode(Push(Lane.CONTROL, [sealed(entry) for entry in entries])), net.now_s)
    )
    assert theirs.state is State.UP


def test_relays_that_withhold_a_feed_keep_it_from_nobody_with_another_way() -> None:
    net = FakeNet()
    author, reader, good, *bad = (net.site(number) for number in range(1, 8))
    for relay in bad:
        relay.strangers.add(author.id)  # it has links with both, and passes nothing on
    for relay in (good, *bad):
        net.link(author, relay)
        net.link(reader, relay)
    net.run(3)
    for _ in range(10):
        author.write()
        net.run(0.5)
    net.run(70)
    assert reader.held() == author.held()
    assert not bad[0].held()
