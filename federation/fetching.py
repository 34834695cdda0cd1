"""Which missing entries are asked of which peer. Pure.

A feed is fetched from one peer at a time, span by span, so that no body comes twice. Another peer
is asked when the first ends, says that it has nothing, or gives nothing for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from federation import limits
from federation.holdings import Holdings
from federation.hub import Hub
from federation.ids import FeedID
from federation.session import Session
from federation.wire import Span

if TYPE_CHECKING:
    from federation.sync import Peer


@dataclass(slots=True)
class _Fetch:
    """A span that a peer was asked for. since_s: the latest entry, or the asking."""

    peer: Peer
    through: int
    since_s: float


class Fetching:
    """See the module. peers: all links that are up."""

    def __init__(self, hub: Hub, holdings: Holdings, peers: Mapping[Session, Peer]) -> None:
        self._hub = hub
        self._holdings = holdings
        self._peers = peers
        self._fetches: dict[FeedID, _Fetch] = {}
        self._load: dict[Peer, int] = {}  # fetches under way
        self._patient: set[FeedID] = set()
        self._paused: set[FeedID] = set()
        self._watching = False

    def plan(self, feed: FeedID, now_s: float, *, patient: bool = False) -> None:
        """Ask for what is missing of a feed, unless somebody was asked already.

        patient: after a while only, because its author is about to send it anyway.
        """
        if feed in self._fetches or feed in self._patient or feed in self._paused:
            return
        if patient:
            self._patient.add(feed)
            self._hub.agenda.at(now_s + self._hub.timing.patience_s, partial(self._waited, feed))
            return
        peer = self._best(feed)
        if peer is not None:
            self._ask(peer, feed, now_s)

    def arrived(self, peer: Peer, feed: FeedID, now_s: float) -> None:
        """An entry of a feed came from a peer: ask for more before the span is at its end."""
        fetch = self._fetches.get(feed)
        if fetch is None:
            return
        have = self._holdings.expected(feed).seq
        if peer is fetch.peer:
            fetch.since_s = now_s
        ahead = fetch.peer.ahead.get(feed, 0)
        if have >= fetch.through or ahead <= have:
            self._drop(feed)
            self._forget_reached(feed, have)
            self.plan(feed, now_s)
        elif fetch.through - have <= limits.WANT_ENTRIES[feed.lane] // 2 and ahead > fetch.through:
            self._extend(fetch, feed, now_s)

    def gave_up(self, peer: Peer, feed: FeedID, now_s: float) -> None:
        """A peer has nothing of a feed after all."""
        fetch = self._fetches.get(feed)
        if fetch is not None and fetch.peer is peer:
            self._drop(feed)
            self.plan(feed, now_s)

    def lost(self, peer: Peer, now_s: float) -> None:
        """A link ended: ask others for what it was asked for."""
        feeds = [feed for feed, fetch in self._fetches.items() if fetch.peer is peer]
        for feed in feeds:
            self._drop(feed)
        self._load.pop(peer, None)
        for feed in feeds:
            self.plan(feed, now_s)

    def pause(self, feeds: Iterable[FeedID]) -> None:
        """Ask for nothing of some feeds until they are resumed."""
        for feed in feeds:
            self._drop(feed)
            self._paused.add(feed)

    def resume(self, feeds: Iterable[FeedID], now_s: float) -> None:
        for feed in feeds:
            self._paused.discard(feed)
            self.plan(feed, now_s)

    def spans(self, peer: Peer) -> list[Span]:
        """Take out what a peer is to be asked now, as much as one message holds."""
        feeds = sorted(peer.wants, key=lambda feed: feed.lane)[: limits.WANT_FEEDS_MAX]
        return [Span(feed, *peer.wants.pop(feed)) for feed in feeds]

    def _waited(self, feed: FeedID, now_s: float) -> None:
        self._patient.discard(feed)
        self.plan(feed, now_s)

    def _best(self, feed: FeedID, but: Peer | None = None) -> Peer | None:
        """The least busy, nearest peer that has more of a feed."""
        have = self._holdings.expected(feed).seq
        able = [
            peer
            for peer in self._peers.values()
            if peer.ahead.get(feed, 0) > have and feed not in peer.split and peer is not but
        ]
        if not able:
            return None
        return min(able, key=lambda peer: (self._load.get(peer, 0), peer.session.rtt_s or 0.0))

    def _ask(self, peer: Peer, feed: FeedID, now_s: float) -> None:
        have = self._holdings.expected(feed).seq
        through = min(peer.ahead[feed], have + limits.WANT_ENTRIES[feed.lane])
        self._fetches[feed] = _Fetch(peer, through, now_s)
        self._load[peer] = self._load.get(peer, 0) + 1
        peer.wants[feed] = have, through
        peer.session.wake(now_s)
        self._watch(now_s)

    def _extend(self, fetch: _Fetch, feed: FeedID, now_s: float) -> None:
        after = fetch.through
        fetch.through = min(fetch.peer.ahead[feed], after + limits.WANT_ENTRIES[feed.lane])
        fetch.peer.wants[feed] = after, fetch.through
        fetch.peer.session.wake(now_s)

    def _drop(self, feed: FeedID) -> None:
        fetch = self._fetches.pop(feed, None)
        if fetch is not None:
            fetch.peer.wants.pop(feed, None)
            self._load[fetch.peer] -= 1

    def _forget_reached(self, feed: FeedID, have: int) -> None:
        for peer in self._peers.values():
            if 0 < peer.ahead.get(feed, 0) <= have:
                del peer.ahead[feed]

    def _watch(self, now_s: float) -> None:
        """While anything is under way, see to it that it moves."""
        if self._watching:
            return
        self._watching = True
        self._hub.agenda.at(now_s + self._hub.timing.fetch_stall_s / 2, self._check)

    def _check(self, now_s: float) -> None:
        self._watching = False
        stall_s = self._hub.timing.fetch_stall_s
        for feed, fetch in list(self._fetches.items()):
            if now_s - fetch.since_s >= stall_s and not fetch.peer.in_flight[feed.lane]:
                other = self._best(feed, but=fetch.peer)
                if other is not None:
                    self._drop(feed)
                    self._ask(other, feed, now_s)
        if self._fetches:
            self._watch(now_s)
