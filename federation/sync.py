"""Both ends of every link come to hold the same entries. Pure.

    compare   each says what it holds: whole on connecting, later its digest, whole if that differs
    want      who lacks entries asks *one* peer that has them, span by span, control and results
              apart; another one if nothing comes
    push      an author sends new entries to all its links; who takes them in offers them on
    fork      two entries for one place are the business of federation/forks.py

Each entry is checked as it arrives: bytes, signature, place in its feed. Nothing that was said of
a peer is remembered when its link ends.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from federation import limits
from federation.entry import Entry, read_entry, verify_entry
from federation.errors import LocalError, PeerError
from federation.events import Damaged, OwnAhead, TakeIn
from federation.feed import Fork, Gap, Known, check_same, follow
from federation.fetching import Fetching
from federation.forks import Forks
from federation.holdings import Holdings
from federation.hub import Hub
from federation.ids import EntryRef, FeedID, Lane, SiteID
from federation.serving import Serving, push_frames
from federation.session import Session, Source, Urgency
from federation.wire import (
    Credit,
    Entries,
    IHave,
    Lack,
    Place,
    Push,
    Summary,
    Vector,
    Want,
    encode,
)

Targets = Callable[[SiteID], Sequence[SiteID]]
"""The neighbours to which this site offers what a site wrote: see federation/neighbourhood.py."""


@dataclass(slots=True, eq=False)
class Peer:
    """What is known of the other end of one link, as far as feeds go."""

    session: Session
    serving: Serving
    ahead: dict[FeedID, int] = field(default_factory=dict)  # it holds more: through which seq
    split: set[FeedID] = field(default_factory=set)  # it holds another branch of these
    in_flight: list[int] = field(default_factory=lambda: [0, 0])  # bytes not yet stored here
    got_bytes: list[int] = field(default_factory=lambda: [0, 0])  # of entries so far, by lane
    wants: dict[FeedID, tuple[int, int]] = field(default_factory=dict)  # to be asked
    offers: dict[FeedID, None] = field(default_factory=dict)  # to be offered
    offered_s: float = float("-inf")
    offer_waits: bool = False
    summary: bool = False  # to be sent
    pages: list[Vector] = field(default_factory=list)  # to be sent
    compared_s: float = float("-inf")  # the latest comparison
    seen: set[FeedID] = field(default_factory=set)  # own feeds in the vector that is coming
    told: bool = False  # all that it holds, once on this link
    strays: bool = False  # it holds of what this site writes something that is not here
    empty: int = 0  # offers that led to nothing
    taken: int = 0  # entries it gave that were new
    repeated: int = 0  # entries it gave that were here already
    early: int = 0  # entries it gave that did not follow
    strange: int = 0  # entries of sites that are not known here


class Sync:
    """The plane of feeds. `durable`, `taken` and `refused` are the owner's to call."""

    takes: Final = frozenset({Credit, Summary, Vector, Want, Lack, IHave, Entries, Push})

    def __init__(
        self,
        hub: Hub,
        holdings: Holdings,
        forks: Forks,
        known: Callable[[SiteID], bool],
        targets: Targets,
        jitter: Callable[[], float],
    ) -> None:
        """known: whether a site is or was a member, so that its feeds are taken.

        jitter: a number from 0 to 1, so that links do not all compare at once.
        """
        self._hub = hub
        self._holdings = holdings
        self._forks = forks
        self._known = known
        self._targets = targets
        self._jitter = jitter
        self._peers: dict[Session, Peer] = {}
        self._fetching = Fetching(hub, holdings, self._peers)
        self.writing: int | None = None  # the generation in which this site writes now
        self.longer: set[FeedID] = set()  # forked ones of which peers hold a longer branch
        self.agreed: dict[FeedID, int] = {}  # own feeds: how far some peer holds what is here
        self.pins: dict[FeedID, EntryRef] = {}  # of forked feeds: an entry of the branch to take
        self._damaged: set[tuple[FeedID, int]] = set()
        self._comparing = False

    # The owner's side

    def durable(self, entries: Sequence[Entry], now_s: float) -> None:
        """Entries are on disk: own ones go to all links, others are offered on."""
        self._holdings.durable(entries)
        feeds: dict[FeedID, list[Entry]] = {}
        for entry in entries:
            feeds.setdefault(entry.header.feed, []).append(entry)
        for feed, of_feed in feeds.items():
            if feed.site == self._hub.me:
                self._push(of_feed, now_s)
            else:
                self._pass_on(feed, of_feed[-1].header.seq, now_s)

    def taken(self, event: TakeIn, now_s: float) -> None:
        """The entries of an event are stored: their sender may send more."""
        self._release(event, now_s)

    def refused(self, event: TakeIn, now_s: float) -> None:
        """The store could not take them in: they are asked for again after a while."""
        self._holdings.dropped(event.entries)
        feeds = {entry.header.feed for entry in event.entries}

        def again(now_s: float) -> None:
            self._release(event, now_s)
            self._fetching.resume(feeds, now_s)

        self._fetching.pause(feeds)
        self._hub.agenda.at(now_s + self._hub.timing.ingest_retry_s, again)

    def compare_soon(self, now_s: float) -> None:
        """More feeds may be taken in than before, of new members or our own."""
        if self._comparing:
            return
        self._comparing = True

        def compare(now_s: float) -> None:
            self._comparing = False
            for peer in self._peers.values():
                self._summarise(peer, now_s)

        self._hub.agenda.at(now_s + self._hub.timing.neighbours_s, compare)

    def mended(self, feed: FeedID, seq: int, now_s: float) -> None:
        """A damaged entry was replaced: who asked for it in vain may ask again."""
        self._damaged.discard((feed, seq))
        self.compare_soon(now_s)

    def neighbour_lost(self, site: SiteID, prefixes: Container[bytes], now_s: float) -> None:
        """A neighbour lost links: what their other ends sent last may have gone astray."""
        peer = self._peers[self._hub.sessions[site]]
        for feed in self._holdings.feeds():
            lost = feed.site[: limits.PREFIX_BYTES] in prefixes
            if lost and site in self._targets(feed.site):
                self._offer(peer, feed, now_s)

    def peers(self) -> Sequence[Peer]:
        return list(self._peers.values())

    def abreast(self) -> set[SiteID]:
        """The peers of which all is stored here that they said to hold, ours included."""
        return {
            peer.session.peer
            for peer in self._peers.values()
            if peer.told and not (peer.strays or peer.ahead or any(peer.in_flight))
        }

    # The hub's side

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        peer = Peer(session, Serving(self._holdings, self._note_damage))
        self._peers[session] = peer
        self._send_vector(peer, now_s, answer=0)
        self._compare_later(peer, now_s)
        return [
            (Urgency.SMALL, partial(self._small_frame, peer)),
            (Urgency.CONTROL, lambda now_s: peer.serving.frame(Lane.CONTROL)),
            (Urgency.BULK, lambda now_s: peer.serving.frame(Lane.RESULTS)),
        ]

    def lost(self, session: Session, now_s: float) -> None:
        peer = self._peers.pop(session, None)
        if peer is not None:
            self._fetching.lost(peer, now_s)

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        peer = self._peers[session]
        if isinstance(message, Entries | Push):
            self._take_entries(peer, message, size, now_s)
        elif isinstance(message, Credit):
            peer.serving.credit(message.lane, message.size)
            self._offer_rest(peer, now_s)
            session.wake(now_s)
        elif isinstance(message, IHave):
            for place in message.places:
                patient = self._pushes_here(place.feed.site, peer)
                self._compare(peer, place, now_s, patient=patient)
        elif isinstance(message, Want):
            peer.serving.want(message.spans)
            session.wake(now_s)
        elif isinstance(message, Vector):
            self._take_vector(peer, message, now_s)
        elif isinstance(message, Summary):
            self._take_summary(peer, message, now_s)
        else:
            self._take_lack(peer, message, now_s)

    # Compare

    def _compare_later(self, peer: Peer, now_s: float) -> None:
        """Compare again when nobody has for a while."""
        wait_s = self._hub.timing.compare_s * (0.9 + 0.2 * self._jitter())

        def due(now_s: float) -> None:
            if peer.session in self._peers:
                if now_s >= peer.compared_s + wait_s:
                    self._summarise(peer, now_s)
                self._compare_later(peer, now_s)

        since_s = max(peer.compared_s, now_s - wait_s / 2)
        self._hub.agenda.at(since_s + wait_s, due)

    def _summarise(self, peer: Peer, now_s: float) -> None:
        peer.summary = True
        peer.compared_s = now_s
        peer.session.wake(now_s)

    def _send_vector(self, peer: Peer, now_s: float, answer: int) -> None:
        places = self._holdings.places()
        step = limits.VECTOR_FEEDS_MAX
        pages = [places[i : i + step] for i in range(0, len(places), step)] or [[]]
        last = len(pages) - 1
        peer.pages = [Vector(page, int(i < last), answer) for i, page in enumerate(pages)]
        peer.compared_s = now_s
        peer.session.wake(now_s)

    def _take_summary(self, peer: Peer, message: Summary, now_s: float) -> None:
        peer.compared_s = now_s
        if message.digest == self._holdings.digest():
            peer.told = True
            peer.ahead.clear()
            for feed in self._own_feeds():
                peer.serving.holds(feed, self._holdings.tip(feed).seq)
        elif not peer.pages:
            self._send_vector(peer, now_s, answer=1)

    def _take_vector(self, peer: Peer, message: Vector, now_s: float) -> None:
        for place in message.places:
            if place.feed.site == self._hub.me:
                peer.seen.add(place.feed)
            self._compare(peer, place, now_s, patient=False)
        if message.more:
            if len(peer.seen) > limits.AHEAD_FEEDS_MAX:
                raise PeerError("a vector of too many feeds")
            return
        for feed in self._own_feeds():
            if feed not in peer.seen:
                peer.serving.holds(feed, 0)
        peer.seen.clear()
        peer.told = True
        if message.answer and not peer.pages:
            self._send_vector(peer, now_s, answer=0)

    def _compare(self, peer: Peer, place: Place, now_s: float, *, patient: bool) -> None:
        """What a peer holds of one feed, against what is here."""
        feed, ours = place.feed, self._holdings.expected(place.feed)
        if not self._known(feed.site):
            return
        if place.seq > ours.seq:
            if self._is_written_here(feed):
                peer.strays = True
                self._hub.events.append(OwnAhead(peer.session.peer, feed, place.seq))
            elif len(peer.ahead) < limits.AHEAD_FEEDS_MAX or feed in peer.ahead:
                peer.ahead[feed] = place.seq
                self._fetching.plan(feed, now_s, patient=patient)
            return
        peer.ahead.pop(feed, None)
        held = self._holdings.id_at(feed, place.seq)
        if held is not None and held[: limits.PREFIX_BYTES] != place.prefix:
            peer.strays = peer.strays or self._is_written_here(feed)
            self._forks.suspect(peer.session, feed, place.seq, now_s)
        elif feed.site == self._hub.me:
            self.agreed[feed] = max(self.agreed.get(feed, 0), place.seq)
            peer.serving.holds(feed, place.seq)

    def _is_written_here(self, feed: FeedID) -> bool:
        """Whether this site writes a feed itself, or would before it took it from others."""
        writing = self.writing
        return feed.site == self._hub.me and writing is not None and feed.generation >= writing

    def _own_feeds(self) -> list[FeedID]:
        return [feed for feed in self._holdings.feeds() if feed.site == self._hub.me]

    def _pushes_here(self, author: SiteID, peer: Peer) -> bool:
        """Whether an author, not this peer, is sending its entries here anyway."""
        return author in self._hub.sessions and author != peer.session.peer

    # Entries

    def _take_entries(self, peer: Peer, message: Entries | Push, size: int, now_s: float) -> None:
        lane = message.lane
        peer.in_flight[lane] += size
        peer.got_bytes[lane] += size
        if peer.in_flight[lane] > limits.WINDOW_BYTES[lane]:
            raise PeerError("more entries than there was room for")
        new = []
        feeds: dict[FeedID, None] = {}
        for header, signature, body in message.sealed:
            entry = read_entry(header, signature, body)
            if entry.header.lane is not lane:
                raise PeerError("an entry in a message of the other lane")
            feeds[entry.header.feed] = None
            if self._take_entry(peer, entry, now_s):
                new.append(entry)
        for feed in feeds:
            self._fetching.arrived(peer, feed, now_s)
        event = TakeIn(peer.session, new, lane, size)
        if new:
            self._hub.events.append(event)
        else:
            self._release(event, now_s)

    def _take_entry(self, peer: Peer, entry: Entry, now_s: float) -> bool:
        """Whether an entry is new and may be stored."""
        header = entry.header
        feed = header.feed
        if not self._known(feed.site):
            peer.strange += 1
            return False
        tip = self._holdings.expected(feed)
        if header.seq <= tip.seq and self._holdings.id_at(feed, header.seq) in (entry.id, None):
            peer.repeated += 1
            return False
        verify_entry(entry)
        pin = self.pins.get(feed)
        if pin is not None and pin.seq == header.seq and pin.id != entry.id:
            self._split_from(peer, feed, now_s)
            return False
        try:
            tip = self._follow(entry)
        except Gap:
            peer.early += 1
            if feed not in peer.split:
                peer.ahead[feed] = max(peer.ahead.get(feed, 0), header.seq)
                self._fetching.plan(feed, now_s)
            return False
        except Fork as fork:
            if header.seq > tip.seq and self._known(feed.site):
                self.longer.add(feed)
            self._split_from(peer, feed, now_s)
            self._forks.differs(peer.session, entry, fork.at, now_s)
            return False
        if self._is_written_here(feed):
            self._hub.events.append(OwnAhead(peer.session.peer, feed, header.seq))
            return False
        self._holdings.coming(entry, tip)
        peer.taken += 1
        return True

    def _split_from(self, peer: Peer, feed: FeedID, now_s: float) -> None:
        """A peer holds a branch of a feed that is not wanted: it is asked for none of it."""
        peer.split.add(feed)
        peer.ahead.pop(feed, None)
        self._fetching.gave_up(peer, feed, now_s)

    def _follow(self, entry: Entry) -> Any:
        """The feed's tip after an entry that is not held. Raises Gap or Fork."""
        feed, seq = entry.header.feed, entry.header.seq
        try:
            return follow(self._holdings.expected(feed), entry)
        except Known:
            held = self._holdings.id_at(feed, seq)
            assert held is not None  # else it was let be
            check_same(held, entry)
            raise LocalError("an entry that is held was taken for a new one") from None

    def _release(self, event: TakeIn, now_s: float) -> None:
        peer = self._peers.get(event.session)
        if peer is not None:
            peer.in_flight[event.lane] -= event.size
            event.session.credit(event.lane, event.size, now_s)

    # Push and offer

    def _push(self, entries: Sequence[Entry], now_s: float) -> None:
        frames = push_frames(entries)
        for peer in self._peers.values():
            if all(peer.serving.push(frame) for frame in frames):
                peer.session.wake(now_s)
            else:
                self._offer(peer, entries[0].header.feed, now_s)

    def _pass_on(self, feed: FeedID, seq: int, now_s: float) -> None:
        for site in self._targets(feed.site):
            peer = self._peers[self._hub.sessions[site]]
            if peer.ahead.get(feed, 0) < seq:
                self._offer(peer, feed, now_s)

    def _offer(self, peer: Peer, feed: FeedID, now_s: float) -> None:
        """Offer a feed's newest entry soon, with what else there is then."""
        peer.offers[feed] = None
        if peer.offer_waits:
            return
        peer.session.wake(now_s)
        due_s = peer.offered_s + self._hub.timing.offer_s
        if due_s <= now_s:
            return
        peer.offer_waits = True

        def due(now_s: float) -> None:
            peer.offer_waits = False
            peer.session.wake(now_s)

        self._hub.agenda.at(due_s, due)

    def _offer_rest(self, peer: Peer, now_s: float) -> None:
        """A peer that had no room for pushes has some again: let it ask for the rest."""
        for feed, at in peer.serving.at.items():
            if at < self._holdings.tip(feed).seq:
                self._offer(peer, feed, now_s)

    # Other messages

    def _take_lack(self, peer: Peer, message: Lack, now_s: float) -> None:
        if peer.ahead.pop(message.feed, None) is not None:
            peer.empty += 1
        if peer.empty > limits.EMPTY_OFFERS_MAX:
            raise PeerError(f"{peer.empty} offers of entries that are not there")
        self._fetching.gave_up(peer, message.feed, now_s)

    def _note_damage(self, feed: FeedID, seq: int) -> None:
        if (feed, seq) not in self._damaged and len(self._damaged) < limits.FORKS_MAX:
            self._damaged.add((feed, seq))
            self._hub.events.append(Damaged(feed, seq))

    # What goes out

    def _small_frame(self, peer: Peer, now_s: float) -> bytes | None:
        if peer.pages:
            return encode(peer.pages.pop(0))
        if peer.summary:
            peer.summary = False
            return encode(Summary(self._holdings.digest()))
        if peer.wants:
            return encode(Want(self._fetching.spans(peer)))
        if peer.serving.lacks:
            feed, after = peer.serving.lacks.popitem()
            return encode(Lack(feed, after))
        if peer.offers and not peer.offer_waits:
            return self._offer_frame(peer, now_s)
        return None

    def _offer_frame(self, peer: Peer, now_s: float) -> bytes:
        feeds = list(peer.offers)[: limits.VECTOR_FEEDS_MAX]
        for feed in feeds:
            del peer.offers[feed]
        peer.offered_s = now_s
        tips = [self._holdings.tip(feed) for feed in feeds]
        return encode(IHave([Place(t.feed, t.seq, t.id[: limits.PREFIX_BYTES]) for t in tips]))
