"""Forks that links bring to light: two entries of one feed for one place. Pure.

Where the place of the difference is known, so are both headers, and they are the proof. Where only
a later entry, or a prefix in a vector, tells that there is a difference, the other end is asked for
its header. A proof is spread once a feed, before all else, and given to every new link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from federation import limits
from federation.entry import Entry, open_entry
from federation.errors import PeerError
from federation.events import ForkSeen
from federation.feed import ForkProof, check_fork, prove_fork
from federation.holdings import Holdings
from federation.hub import Hub
from federation.ids import FeedID, SiteID
from federation.session import Session, Source, Urgency
from federation.wire import ForkFound, Show, Shown, encode

_Place = tuple[FeedID, int]


@dataclass(slots=True, eq=False)
class _Peer:
    session: Session
    proofs: list[ForkProof] = field(default_factory=list)  # to be told
    shows: dict[_Place, Entry] = field(default_factory=dict)  # headers to be shown
    asks: dict[_Place, bool] = field(default_factory=dict)  # headers to ask for; True: asked


class Forks:
    """The plane of forks."""

    takes: Final = frozenset({ForkFound, Show, Shown})

    def __init__(self, hub: Hub, holdings: Holdings, known: Callable[[SiteID], bool]) -> None:
        """known: whether a site is or was a member; forks of others are nobody's business."""
        self.proofs: dict[FeedID, ForkProof] = {}
        self._hub = hub
        self._holdings = holdings
        self._known = known
        self._peers: dict[Session, _Peer] = {}

    def spread(self, proof: ForkProof, now_s: float, source: Session | None = None) -> None:
        """Tell everybody of a fork, once a feed. Raises PeerError for what proves none."""
        feed, seq = check_fork(proof)
        full = len(self.proofs) >= limits.FORKS_MAX
        if feed in self.proofs or not self._known(feed.site) or full:
            return
        self.proofs[feed] = proof
        self._hub.events.append(ForkSeen(feed, seq, proof))
        for session, peer in self._peers.items():
            if session is not source:
                peer.proofs.append(proof)
                session.wake(now_s)

    def differs(self, session: Session, entry: Entry, at: int, now_s: float) -> None:
        """An entry of a peer is on another branch than ours, which differs at a place for certain.

        Raises PeerError when that is before the feed's first entry.
        """
        held = self._holdings.at(entry.header.feed, at)
        if held is None:
            raise PeerError("a first entry of a feed that follows another")
        if at == entry.header.seq:
            self.spread(prove_fork(held, entry), now_s)
        else:
            self.suspect(session, entry.header.feed, at, now_s)

    def suspect(self, session: Session, feed: FeedID, seq: int, now_s: float) -> None:
        """A peer seems to hold another entry at a place than is here: ask it for the header."""
        peer = self._peers[session]
        if feed not in self.proofs and len(peer.asks) < limits.SHOWN_MAX:
            peer.asks.setdefault((feed, seq), False)
            session.wake(now_s)

    # The hub's side

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        peer = self._peers[session] = _Peer(session, list(self.proofs.values()))
        return [
            (Urgency.FIRST, partial(self._proof_frame, peer)),
            (Urgency.SMALL, partial(self._header_frame, peer)),
        ]

    def lost(self, session: Session, now_s: float) -> None:
        del self._peers[session]

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        peer = self._peers[session]
        if isinstance(message, ForkFound):
            proof = ForkProof(
                message.first, message.first_signature, message.second, message.second_signature
            )
            self.spread(proof, now_s, session)
        elif isinstance(message, Show):
            self._take_show(peer, message)
            session.wake(now_s)
        else:
            self._take_shown(peer, message, now_s)

    def _take_show(self, peer: _Peer, message: Show) -> None:
        if message.seq > self._holdings.tip(message.feed).seq:
            return
        entry = self._holdings.at(message.feed, message.seq)
        if entry is not None and len(peer.shows) < limits.SHOWN_MAX:
            peer.shows[message.feed, message.seq] = entry

    def _take_shown(self, peer: _Peer, message: Shown, now_s: float) -> None:
        entry = open_entry(message.header, message.signature, None)
        place = entry.header.feed, entry.header.seq
        if not peer.asks.pop(place, False):
            raise PeerError("a header that was not asked for")
        held = self._holdings.at(*place)
        if held is not None and held.id != entry.id:
            self.spread(prove_fork(held, entry), now_s)

    # What goes out

    def _proof_frame(self, peer: _Peer, now_s: float) -> bytes | None:
        if not peer.proofs:
            return None
        proof = peer.proofs.pop(0)
        return encode(
            ForkFound(proof.first, proof.first_signature, proof.second, proof.second_signature)
        )

    def _header_frame(self, peer: _Peer, now_s: float) -> bytes | None:
        if peer.shows:
            entry = peer.shows.pop(next(iter(peer.shows)))
            return encode(Shown(entry.header_bytes, entry.signature))
        for place, asked in peer.asks.items():
            if not asked:
                peer.asks[place] = True
                return encode(Show(*place))
        return None
