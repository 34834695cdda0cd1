"""Documents that are flooded, not logged: beacons and leads; and who has links with whom. Pure.

A flood is kept once for each (origin, kind, topic), the newest; its signature is checked once, and
it is passed on to those links whose other end is not linked with its origin. A peer that does not
read gets the newest one in the end, not all that were missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.events import FloodHeard, FloodKind
from federation.hub import Hub
from federation.ids import SiteID
from federation.neighbourhood import Neighbourhood
from federation.session import Session, Source, Urgency
from federation.wire import Flood, Neighbours, encode
from keys import signing
from keys.identity import SiteKey
from keys.signing import KEY_BYTES, BadSignature, Purpose

_PURPOSES: Final = {FloodKind.BEACON: Purpose.BEACON, FloodKind.LEAD: Purpose.LEAD}
_WITH_TOPIC: Final = frozenset({FloodKind.LEAD})  # its fifth field says what it is about

Key = tuple[SiteID, FloodKind, bytes]  # origin, kind, topic


@dataclass(frozen=True, slots=True)
class Heading:
    """The first fields of every flooded document."""

    origin: SiteID
    generation: int
    boot: int
    counter: int
    topic: bytes

    @property
    def age(self) -> tuple[int, int, int]:
        """What makes one document newer than another of its origin, kind and topic."""
        return self.generation, self.boot, self.counter


@dataclass(frozen=True, slots=True)
class _Held:
    heading: Heading
    frame: bytes  # the message that passes it on
    since_s: float  # when it came


@dataclass(slots=True)
class _Bucket:
    """How many floods of an origin are taken now; fills with time."""

    left: float = limits.FLOOD_BURST
    since_s: float = 0.0

    def take(self, now_s: float) -> bool:
        filled = self.left + (now_s - self.since_s) * limits.FLOODS_PER_S
        self.left, self.since_s = min(filled, limits.FLOOD_BURST), now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True, eq=False)
class _Peer:
    session: Session
    neighbours: bool = True  # to be told
    floods: dict[Key, None] = field(default_factory=dict)  # to be sent


class Gossip:
    """The plane of floods and neighbours."""

    takes: Final = frozenset({Neighbours, Flood})

    def __init__(
        self,
        hub: Hub,
        key: SiteKey,
        is_member: Callable[[SiteID], bool],
        parted: Callable[[SiteID, set[bytes], float], None] = lambda site, lost, now_s: None,
    ) -> None:
        """parted: told of a neighbour that has lost its links with sites, by their prefixes."""
        self.boot = hub.hello.boot  # for own documents; see `_own`
        self.refused = 0  # floods that came too fast
        self.neighbourhood = Neighbourhood(hub.me, hub.sessions.keys())
        self._hub = hub
        self._key = key
        self._is_member = is_member
        self._parted = parted
        self._peers: dict[Session, _Peer] = {}
        self._held: dict[Key, _Held] = {}
        self._topics: dict[tuple[SiteID, FloodKind], dict[bytes, None]] = {}
        self._buckets: dict[SiteID, _Bucket] = {}
        self._sent_s: dict[Key, float] = {}
        self._telling = False

    # The owner's side

    def flood(self, kind: FloodKind, document: bytes, now_s: float) -> None:
        """Sign a document of this site and send it to all links, now or after `flood_s`.

        document: a msgpack array that begins with this site, its generation, `boot`, a counter
        that grows, and for a lead the shard. Raises LocalError for anything else.
        """
        try:
            heading = read_heading(kind, document)
        except PeerError as error:
            raise LocalError(f"no document to flood: {error}") from None
        if heading.origin != self._hub.me:
            raise LocalError("a site floods its own documents")
        signature = self._key.sign(_PURPOSES[kind], document)
        key = heading.origin, kind, heading.topic
        self._keep(key, _Held(heading, encode(Flood(kind, document, signature)), now_s))
        due_s = self._sent_s.get(key, float("-inf")) + self._hub.timing.flood_s
        if due_s <= now_s:
            self._send_own(key, now_s)
        elif self._sent_s[key] <= now_s:
            self._sent_s[key] = due_s
            self._hub.agenda.at(due_s, partial(self._send_own, key))

    def members_changed(self) -> None:
        """Forget the documents of sites that are no members."""
        for key in [key for key in self._held if not self._is_member(key[0])]:
            if key[0] != self._hub.me:
                del self._held[key]
                self._topics.pop(key[:2], None)

    # The hub's side

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        peer = self._peers[session] = _Peer(session)
        peer.floods = {key: None for key in self._held if key[0] == self._hub.me}
        self._links_changed(now_s)
        self._hub.agenda.at(now_s + self._hub.timing.introduce_s, partial(self._introduce, peer))
        return [(Urgency.SMALL, partial(self._frame, peer))]

    def lost(self, session: Session, now_s: float) -> None:
        del self._peers[session]
        self.neighbourhood.forget(session.peer)
        self._links_changed(now_s)

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        if isinstance(message, Neighbours):
            lost = self.neighbourhood.told(session.peer, message.prefixes)
            if lost:
                self._parted(session.peer, lost, now_s)
        else:
            self._take_flood(session, message, now_s)

    # Neighbours

    def _links_changed(self, now_s: float) -> None:
        """Tell everybody soon; who just came hears it at once."""
        self.neighbourhood.changed()
        if self._telling:
            return
        self._telling = True

        def tell(now_s: float) -> None:
            self._telling = False
            for peer in self._peers.values():
                peer.neighbours = True
                peer.session.wake(now_s)

        self._hub.agenda.at(now_s + self._hub.timing.neighbours_s, tell)

    def _introduce(self, peer: _Peer, now_s: float) -> None:
        """Once it is known with whom a new peer has links: what others flooded before it came.

        Nobody can tell the age of a document, so what is old is not passed on as if it were new: a
        site that is gone would seem to live for whoever has just started.
        """
        if self._peers.get(peer.session) is not peer:
            return
        site = peer.session.peer
        for key, held in self._held.items():
            # Its own at any age: a site that was put back learns what it had said.
            lately = now_s - held.since_s < limits.FLOOD_OLD_S
            if key[0] == site or (lately and site in self.neighbourhood.targets(key[0])):
                self._send(site, key, now_s)

    # Floods

    def _take_flood(self, session: Session, message: Flood, now_s: float) -> None:
        if message.flood not in set(FloodKind):
            return  # of a later version: what it is signed for is not known here
        kind = FloodKind(message.flood)
        heading = read_heading(kind, message.document)
        origin = heading.origin
        if origin == self._hub.me:
            self._own(heading)
            return
        key = origin, kind, heading.topic
        held = self._held.get(key)
        if not self._is_member(origin) or (held and held.heading.age >= heading.age):
            return
        if not self._buckets.setdefault(origin, _Bucket()).take(now_s):
            self.refused += 1
            return
        try:
            signing.verify(origin, _PURPOSES[kind], message.document, message.signature)
        except BadSignature as error:
            raise PeerError(f"a flood that its origin did not sign: {error}") from None
        self._keep(key, _Held(heading, encode(message), now_s))
        self._hub.events.append(FloodHeard(kind, origin, message.document))
        for site in self.neighbourhood.targets(origin):
            if site != session.peer:
                self._send(site, key, now_s)

    def _own(self, heading: Heading) -> None:
        """An own document came back. A newer one is of a later boot, forgotten with a disk."""
        if heading.boot > self.boot:
            self.boot = min(heading.boot + 1, limits.BOOT_MAX)

    def _keep(self, key: Key, held: _Held) -> None:
        self._held[key] = held
        topics = self._topics.setdefault(key[:2], {})
        topics.pop(key[2], None)
        topics[key[2]] = None
        if len(topics) > limits.FLOOD_TOPICS_MAX:
            oldest = next(iter(topics))
            del topics[oldest]
            del self._held[key[0], key[1], oldest]
            self._sent_s.pop((key[0], key[1], oldest), None)

    def _send_own(self, key: Key, now_s: float) -> None:
        self._sent_s[key] = now_s
        for site in self._hub.sessions:
            self._send(site, key, now_s)

    def _send(self, site: SiteID, key: Key, now_s: float) -> None:
        peer = self._peers[self._hub.sessions[site]]
        peer.floods[key] = None
        peer.session.wake(now_s)

    # What goes out

    def _frame(self, peer: _Peer, now_s: float) -> bytes | None:
        if peer.neighbours:
            peer.neighbours = False
            return encode(Neighbours(self.neighbourhood.own()))
        while peer.floods:
            held = self._held.get(peer.floods.popitem()[0])
            if held is not None:
                return held.frame
        return None


def read_heading(kind: FloodKind, document: bytes) -> Heading:
    """The first fields of a flooded document. Raises PeerError."""
    fields = codec.unpack(document, bytes_max=limits.FLOOD_BYTES_MAX)
    count = 5 if kind in _WITH_TOPIC else 4
    if type(fields) is not list or len(fields) < count:
        raise PeerError("a flood that does not begin with site, generation, boot and counter")
    origin, generation, boot, counter = fields[:4]
    topic = fields[4] if kind in _WITH_TOPIC else b""
    if type(origin) is not bytes or len(origin) != KEY_BYTES:
        raise PeerError("a flood without a site")
    for value, low, high in (
        (generation, limits.GENERATION_MIN, limits.GENERATION_MAX),
        (boot, 0, limits.BOOT_MAX),
        (counter, 0, limits.BOOT_MAX),
    ):
        if type(value) is not int or not low <= value <= high:
            raise PeerError("a flood whose generation, boot or counter is out of bounds")
    if type(topic) is not bytes or len(topic) > limits.FLOOD_TOPIC_BYTES_MAX:
        raise PeerError("a flood whose topic is not up to 32 bytes")
    return Heading(SiteID(origin), generation, boot, counter, topic)
