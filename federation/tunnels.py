"""Byte streams through one relay, between two sites that have no link with each other. Pure.

    opener ── link ── relay ── link ── far end

A relay passes on what it cannot read, at most a window of it at a time in each direction: the far
end says what it consumed, and the relay ends a tunnel whose sender does not wait for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from federation import limits
from federation.errors import PeerError, Unreachable
from federation.events import TunnelData, TunnelOpened, TunnelRoom, TunnelShut
from federation.hub import Hub
from federation.ids import SiteID
from federation.session import Session, Source, Urgency, cut
from federation.wire import Message, Room, Shut, Through, Tunnel, encode


@dataclass(slots=True, eq=False)
class TunnelEnd:
    """A tunnel as one link has it. At a relay, two of them make one tunnel."""

    session: Session
    number: int
    opened_here: bool  # by this end of the link
    site: SiteID  # at the far end, or, at a relay, where it leads
    other: TunnelEnd | None = None  # at a relay
    queue: deque[bytes] = field(default_factory=deque)  # to go out on this link
    rooms: int = 0  # consumed, and not said yet
    out: int = 0  # bytes handed to this end and not yet consumed at the far end
    into: int = 0  # bytes that came on this link and were not yet consumed
    moved_s: float = 0.0
    parked: bool = False  # at a relay, until there is a link to where it leads
    shut: bool = False

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return 0 if self.shut else limits.TUNNEL_WINDOW_BYTES - self.out


@dataclass(slots=True, eq=False)
class _Peer:
    session: Session
    opened: dict[int, TunnelEnd] = field(default_factory=dict)  # by this end of the link
    theirs: dict[int, TunnelEnd] = field(default_factory=dict)
    turn: deque[TunnelEnd] = field(default_factory=deque)  # those with something to send
    notices: deque[Message] = field(default_factory=deque)  # openings and endings
    number: int = 0


class Tunnels:
    """The plane of tunnels."""

    takes: Final = frozenset({Tunnel, Through, Room, Shut})

    def __init__(self, hub: Hub, want_link: Callable[[SiteID], None] | None = None) -> None:
        """want_link: asks for a link to a site, to which tunnels then lead; None: never."""
        self._hub = hub
        self._want_link = want_link
        self._peers: dict[Session, _Peer] = {}
        self._parked: dict[SiteID, list[TunnelEnd]] = {}  # until there is a link

    # The owner's side

    def open(self, relay: Session, site: SiteID, now_s: float) -> TunnelEnd:
        """Ask a relay for a tunnel; TunnelShut follows if there is none. Raises Unreachable."""
        peer = self._peers.get(relay)
        if peer is None:
            raise Unreachable("the link to the relay has ended")
        return self._open(peer, site, 1, site, now_s)

    def send(self, end: TunnelEnd, data: bytes, now_s: float) -> None:
        """Send at most `end.room` bytes."""
        if end.shut or not data:
            return
        assert len(data) <= end.room
        self._queue(end, data, now_s)

    def consumed(self, end: TunnelEnd, size: int, now_s: float) -> None:
        """Let as many more bytes come."""
        if not end.shut:
            end.into -= size
            end.rooms += size
            self._wake(end, now_s)

    def shut(self, end: TunnelEnd, now_s: float, words: str = "") -> None:
        """Close a tunnel; what is on its way in it is lost."""
        if not end.shut:
            self._say_shut(end, words, now_s)
            self._forget(end)

    def count(self, session: Session) -> int:
        """Tunnels that are open on a link."""
        peer = self._peers.get(session)
        return 0 if peer is None else len(peer.opened) + len(peer.theirs)

    # The hub's side

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        peer = self._peers[session] = _Peer(session)
        for waiting in self._parked.pop(session.peer, []):
            if not waiting.shut:
                self._join(waiting, peer, now_s)
        return [(Urgency.BULK, partial(self._frame, peer))]

    def lost(self, session: Session, now_s: float) -> None:
        peer = self._peers.pop(session)
        for end in [*peer.opened.values(), *peer.theirs.values()]:
            end.shut = True
            self._ended(end, "the link ended", now_s)

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        peer = self._peers[session]
        if isinstance(message, Tunnel):
            self._take_opening(peer, message, now_s)
            return
        ends = peer.theirs if message.opener else peer.opened
        end = ends.get(message.number)
        if end is None:
            return  # shut by this end, which the other did not know
        end.moved_s = now_s
        if isinstance(message, Through):
            self._take_data(end, message.data, now_s)
        elif isinstance(message, Room):
            self._take_room(end, message.size, now_s)
        else:
            self._forget(end)
            self._ended(end, message.words, now_s)

    # Opening

    def _open(
        self, peer: _Peer, site: SiteID, onward: int, named: SiteID, now_s: float
    ) -> TunnelEnd:
        if max(len(peer.opened), len(peer.notices) // 4) >= limits.TUNNELS_MAX:
            raise Unreachable(f"{limits.TUNNELS_MAX} tunnels are open on that link")
        peer.number = number = (peer.number + 1) % limits.TOKEN_MAX
        end = TunnelEnd(peer.session, number, True, site, moved_s=now_s)
        peer.opened[number] = end
        peer.notices.append(Tunnel(number, onward, named))
        peer.session.wake(now_s)
        return end

    def _take_opening(self, peer: _Peer, message: Tunnel, now_s: float) -> None:
        number = message.number
        if number in peer.theirs:
            raise PeerError("two tunnels with one number")
        if max(len(peer.theirs), len(peer.notices) // 4) >= limits.TUNNELS_MAX:
            raise PeerError(f"more than {limits.TUNNELS_MAX} tunnels at once")
        end = TunnelEnd(peer.session, number, False, message.site, moved_s=now_s)
        peer.theirs[number] = end
        if not message.onward:
            self._hub.events.append(TunnelOpened(end))
        elif onward := self._hub.sessions.get(message.site):
            self._join(end, self._peers[onward], now_s)
        else:
            self._park(end, now_s)

    def _park(self, end: TunnelEnd, now_s: float) -> None:
        """Wait for a link, if one can be had."""
        if self._want_link is None:
            self.shut(end, now_s, "the relay has no link there")
            return
        end.parked = True
        self._parked.setdefault(end.site, []).append(end)
        self._hub.agenda.at(now_s + limits.TUNNEL_WAIT_S, partial(self._unpark, end))
        self._want_link(end.site)

    def _unpark(self, end: TunnelEnd, now_s: float) -> None:
        waiting = self._parked.get(end.site, [])
        if end in waiting:
            waiting.remove(end)
            if not waiting:
                del self._parked[end.site]
            self.shut(end, now_s, "the relay got no link there")

    def _join(self, end: TunnelEnd, onward: _Peer, now_s: float) -> None:
        """Make one tunnel of a half that came here and a new one to where it leads."""
        try:
            if onward.session is end.session:
                raise Unreachable("a tunnel back to where it comes from")
            other = self._open(onward, end.site, 0, end.session.peer, now_s)
        except Unreachable as error:
            self.shut(end, now_s, str(error))
            return
        end.other, other.other = other, end
        end.parked = False
        while end.queue:  # what came while it was parked
            self._queue(other, end.queue.popleft(), now_s)
        self._watch(end, now_s)

    def _watch(self, end: TunnelEnd, now_s: float) -> None:
        """Forget a relayed tunnel through which nothing goes."""

        def check(now_s: float) -> None:
            other = end.other
            if end.shut or other is None:
                return
            if now_s - max(end.moved_s, other.moved_s) >= limits.TUNNEL_IDLE_S:
                self.shut(end, now_s, "nothing went through")
                self.shut(other, now_s, "nothing went through")
            else:
                self._watch(end, now_s)

        self._hub.agenda.at(now_s + limits.TUNNEL_IDLE_S, check)

    # What comes through

    def _take_data(self, end: TunnelEnd, data: bytes, now_s: float) -> None:
        end.into += len(data)
        if end.into > limits.TUNNEL_WINDOW_BYTES:
            raise PeerError("more bytes in a tunnel than there was room for")
        if end.other is not None:
            self._queue(end.other, data, now_s)
        elif end.parked:
            end.queue.append(data)
        else:
            self._hub.events.append(TunnelData(end, data))

    def _take_room(self, end: TunnelEnd, size: int, now_s: float) -> None:
        end.out -= size
        if end.out < 0:
            raise PeerError("more bytes of a tunnel consumed than were sent")
        if end.other is None:
            self._hub.events.append(TunnelRoom(end))
        else:
            self.consumed(end.other, size, now_s)

    def _ended(self, end: TunnelEnd, words: str, now_s: float) -> None:
        """The link's other end closed its half, or the link is gone."""
        if end.other is not None:
            self.shut(end.other, now_s, words)
        else:
            self._hub.events.append(TunnelShut(end, words))

    # What goes out

    def _queue(self, end: TunnelEnd, data: bytes, now_s: float) -> None:
        end.out += len(data)
        end.moved_s = now_s
        for start in range(0, len(data), limits.TUNNEL_CHUNK_BYTES):
            end.queue.append(data[start : start + limits.TUNNEL_CHUNK_BYTES])
        self._wake(end, now_s)

    def _wake(self, end: TunnelEnd, now_s: float) -> None:
        peer = self._peers.get(end.session)
        if peer is not None:
            if end not in peer.turn:
                peer.turn.append(end)
            end.session.wake(now_s)

    def _say_shut(self, end: TunnelEnd, words: str, now_s: float) -> None:
        peer = self._peers.get(end.session)
        if peer is not None:
            peer.notices.append(Shut(end.number, int(end.opened_here), cut(words)))
            end.session.wake(now_s)

    def _forget(self, end: TunnelEnd) -> None:
        end.shut = True
        end.queue.clear()
        peer = self._peers.get(end.session)
        if peer is not None:
            ends = peer.opened if end.opened_here else peer.theirs
            ends.pop(end.number, None)

    def _frame(self, peer: _Peer, now_s: float) -> bytes | None:
        if peer.notices:
            return encode(peer.notices.popleft())
        while peer.turn:
            end = peer.turn.popleft()
            opener = int(end.opened_here)
            if end.shut:
                continue
            if end.rooms:
                message: Message = Room(end.number, opener, end.rooms)
                end.rooms = 0
            elif end.queue:
                message = Through(end.number, opener, end.queue.popleft())
            else:
                continue
            if end.queue or end.rooms:
                peer.turn.append(end)
            return encode(message)
        return None
