"""One end of one link: hello, versions, pings, the order of what goes out, the end. Pure.

Bytes come in by `receive`, go out by `bytes_to_send`; `tick` is called when `deadline_s` is past.
What the messages mean is the business of planes (sync, gossip, calls): a session hands them what
comes and asks them for one frame after another when the transport has room. Nothing is buffered
for a peer that does not read: planes remember what they owe it, not the bytes.

    HELLO --hello--> HELD --settled by the smaller key--> UP --bye, fault, loss--> CLOSED

The site with the smaller key chooses between two links and speaks first on the one it keeps; the
other keeps silent, after its hello, until it is spoken to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from typing import Final, Protocol

from federation import limits, wire
from federation.errors import PeerError
from federation.events import Event, Reason
from federation.ids import Lane, SiteID
from federation.timing import Timing
from federation.wire import Bye, Credit, Hello, Message, Ping, Pong

_LANES: Final = tuple(Lane)

Source = Callable[[float], bytes | None]
"""Gives the next frame that goes out, or None; takes the time in seconds."""


class Urgency(IntEnum):
    """What goes out before what."""

    FIRST = 0  # proofs of forks; the session's own is before all
    SMALL = 1  # vectors, wants, offers, floods
    CONTROL = 2
    BULK = 3  # results, requests: in turns


class State(Enum):
    HELLO = "hello"
    HELD = "held"
    UP = "up"
    CLOSED = "closed"


class Hub(Protocol):
    """What a session needs of its owner."""

    hello: Hello
    timing: Timing

    def greeted(self, session: Session, now_s: float) -> None:
        """The peer said hello, and it is ours to choose: call `session.start` or `close`."""

    def chosen(self, session: Session, now_s: float) -> bool:
        """The peer chose this link."""

    def sources(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]: ...
    def take(self, session: Session, message: Message, size: int, now_s: float) -> None:
        """Act on a message. Raises PeerError."""

    def ended(
        self, session: Session, reason: int, words: str, theirs: bool, now_s: float
    ) -> None: ...
    def wake(self, session: Session) -> None:
        """The session has bytes to send."""

    def take_events(self) -> list[Event]: ...


class Session:
    """See the module. One transport's life; all times are the caller's monotonic clock."""

    def __init__(self, me: SiteID, peer: SiteID, hub: Hub, now_s: float, *, dialled: bool) -> None:
        """peer: as TLS proved it. dialled: by this end."""
        self.peer = peer
        self.dialled = dialled
        self.opened_s = now_s
        self.state = State.HELLO
        self.protocol = 0  # what both speak, after the hello
        self.their_hello: Hello | None = None
        self.rtt_s: float | None = None
        self.heard_s = now_s  # when something last came
        self.bytes_in = 0
        self.bytes_in_max = float("inf")  # for strangers
        self.bytes_out = 0
        self._hub = hub
        self._chooses = me < peer
        self._frames = wire.Frames()
        self._first: deque[bytes] = deque()  # hello and bye
        self._ping_s: float | None = None  # when the ping without a pong went out
        self._ping_due = False
        self._ping_token = 0
        self._pong: int | None = None
        self._credit = [0, 0]
        self._owes_since_s: float | None = None  # that bytes have been waiting for the transport
        self._sources: list[Source] = [self._own_frame]  # the most urgent first
        self._turns: deque[Source] = deque()  # the least urgent, in turns
        self._say(hub.hello, now_s)

    # The transport's side

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Act on bytes from the peer, however they are cut."""
        if self.state is not State.CLOSED:
            self.heard_s = now_s
            self.bytes_in += len(data)
            self._frames.add(data)
            try:
                if self.bytes_in > self.bytes_in_max:
                    raise PeerError(f"more than {self.bytes_in_max} bytes")
                self._read(now_s)
            except PeerError as error:
                self._end(Reason.PROTOCOL, str(error), now_s, theirs=True)
        return self._hub.take_events()

    def bytes_to_send(self, now_s: float, bytes_max: int = limits.SEND_BYTES) -> bytes:
        """What goes out next: a little more than `bytes_max` at most by one frame."""
        parts: list[bytes] = []
        size = 0
        while size < bytes_max:
            frame = self._next_frame(now_s)
            if frame is None:
                break
            parts.append(frame)
            size += len(frame)
        self._owes_since_s = now_s if size >= bytes_max else None
        self.bytes_out += size
        return b"".join(parts)

    def lost(self, now_s: float, words: str = "") -> list[Event]:
        """The transport is gone; words: why, if that is known."""
        if self.state is not State.CLOSED:
            self._end(Reason.LOST, words, now_s, theirs=True, say=False)
        return self._hub.take_events()

    def close(self, reason: Reason, now_s: float, words: str = "") -> None:
        """End the link: what is left to send is a bye, and then the transport is to be closed."""
        if self.state is not State.CLOSED:
            self._end(reason, words, now_s, theirs=False)

    @property
    def finished(self) -> bool:
        """Nothing more will be sent or read: close the transport once all bytes are out."""
        return self.state is State.CLOSED

    @property
    def deadline_s(self) -> float:
        """When to call `tick` at the latest."""
        timing = self._hub.timing
        if self.state is State.CLOSED:
            return float("inf")
        if self.state is not State.UP:
            return self.opened_s + timing.hello_s
        pinged = self._ping_due or self._ping_s is not None  # due: the transport has no room for it
        wait_s = timing.silence_s if pinged else timing.ping_s
        due_s = self.heard_s + wait_s
        if self._owes_since_s is not None:
            due_s = min(due_s, self._owes_since_s + timing.stall_s)
        return due_s

    def tick(self, now_s: float) -> None:
        """Ping a silent peer; give up one that stays silent, or reads nothing."""
        timing = self._hub.timing
        if self.state is State.CLOSED or now_s < self.deadline_s:
            return
        if self.state is not State.UP:
            self._end(Reason.SILENT, "no hello in time", now_s, theirs=True)
        elif self._owes_since_s is not None and now_s >= self._owes_since_s + timing.stall_s:
            self._end(Reason.SILENT, "what waits for you is not read", now_s, theirs=True)
        elif now_s >= self.heard_s + timing.silence_s:
            self._end(Reason.SILENT, "nothing was heard of you", now_s, theirs=True)
        else:
            self._ping(now_s)

    # The hub's side

    def start(self, now_s: float) -> None:
        """This is the link between the two sites: planes may speak on it."""
        self.state = State.UP
        self._frames.bytes_max = limits.FRAME_BYTES_MAX
        given = sorted(self._hub.sources(self, now_s), key=lambda each: each[0])
        self._sources += [source for urgency, source in given if urgency < Urgency.BULK]
        self._turns.extend(source for urgency, source in given if urgency == Urgency.BULK)
        self._ping(now_s)

    def wake(self, now_s: float) -> None:
        """Some plane has something to say."""
        if self._owes_since_s is None:
            self._owes_since_s = now_s
        self._hub.wake(self)

    def credit(self, lane: Lane, size: int, now_s: float) -> None:
        """Let the peer send as many more bytes of entries."""
        self._credit[lane] += size
        if self._credit[lane] >= limits.CREDIT_BYTES_MIN[lane] and self.state is State.UP:
            self.wake(now_s)

    # Within

    def _say(self, message: Message, now_s: float) -> None:
        self._first.append(wire.encode(message))
        self.wake(now_s)

    def _ping(self, now_s: float) -> None:
        self._ping_due = True
        self.wake(now_s)

    def _own_frame(self, now_s: float) -> bytes | None:
        if self._first:
            return self._first.popleft()
        if self.state is not State.UP:
            return None
        if self._pong is not None:
            token, self._pong = self._pong, None
            return wire.encode(Pong(token))
        for lane in _LANES:
            if self._credit[lane] >= limits.CREDIT_BYTES_MIN[lane]:
                size = min(self._credit[lane], limits.WINDOW_BYTES[lane])
                self._credit[lane] -= size
                return wire.encode(Credit(lane, size))
        if self._ping_due:
            self._ping_due = False
            self._ping_s = now_s
            self._ping_token = (self._ping_token + 1) % limits.TOKEN_MAX
            return wire.encode(Ping(self._ping_token))
        return None

    def _next_frame(self, now_s: float) -> bytes | None:
        for source in self._sources:
            frame = source(now_s)
            if frame is not None:
                return frame
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            frame = self._turns[-1](now_s)
            if frame is not None:
                return frame
        return None

    def _read(self, now_s: float) -> None:
        while self.state is not State.CLOSED:
            content = self._frames.next()
            if content is None:
                return
            newer = self.their_hello is not None and (
                self.their_hello.protocol_max > self._hub.hello.protocol_max
            )
            message = wire.decode(content, newer=newer)
            if message is not None:
                self._take(message, len(content), now_s)

    def _take(self, message: Message, size: int, now_s: float) -> None:
        if isinstance(message, Bye):
            self._end(message.reason, message.words, now_s, theirs=True, say=False)
        elif isinstance(message, Hello):
            self._greet(message, now_s)
        elif self.their_hello is None:
            raise PeerError("the first message is no hello")
        elif self.state is State.HELD and not self._chooses:
            if self._hub.chosen(self, now_s):
                self._take(message, size, now_s)
        elif self.state is not State.UP:
            raise PeerError("a message on a link that waits for its settling")
        elif isinstance(message, Ping):
            self._pong = message.token
            self.wake(now_s)
        elif isinstance(message, Pong):
            self._ponged(message, now_s)
        else:
            self._hub.take(self, message, size, now_s)

    def _greet(self, hello: Hello, now_s: float) -> None:
        if self.their_hello is not None:
            raise PeerError("a second hello")
        ours = self._hub.hello
        self.their_hello = hello
        self.protocol = min(ours.protocol_max, hello.protocol_max)
        if hello.protocol_min > hello.protocol_max:
            raise PeerError("a hello whose newest protocol is older than its oldest")
        if self.protocol < max(ours.protocol_min, hello.protocol_min):
            words = f"this site speaks protocols {ours.protocol_min} to {ours.protocol_max}"
            self._end(Reason.VERSION, words, now_s, theirs=False)
            return
        self.state = State.HELD
        # While nobody chose, one frame may come; it is as large as any.
        self._frames.bytes_max = limits.FRAME_BYTES_MAX
        if self._chooses:
            self._hub.greeted(self, now_s)

    def _ponged(self, pong: Pong, now_s: float) -> None:
        if self._ping_s is None or pong.token != self._ping_token:
            raise PeerError("an answer to a ping that was not sent")
        self.rtt_s = now_s - self._ping_s
        self._ping_s = None

    def _end(
        self, reason: int, words: str, now_s: float, *, theirs: bool, say: bool = True
    ) -> None:
        self.state = State.CLOSED
        self._frames = wire.Frames()
        self._sources = [self._own_frame]
        self._turns.clear()
        if say:
            self._say(Bye(int(reason), cut(words)), now_s)
        else:
            self._first.clear()
            self.wake(now_s)
        self._hub.ended(self, reason, words, theirs, now_s)


def cut(words: str) -> str:
    """As much of a text as a message may hold."""
    return words.encode("utf-8", "replace")[: limits.WHY_BYTES_MAX].decode("utf-8", "ignore")
