"""Requests and their answers on links: in chunks, bounded in size, number and time. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from federation import limits
from federation.errors import LocalError, PeerError, Unreachable
from federation.events import Answered, Asked, Outcome
from federation.hub import Hub
from federation.session import Session, Source, Urgency
from federation.wire import Cancel, Message, More, Reply, Request, encode

_ANSWERED: Final = 0
_REFUSED: Final = 1


@dataclass(slots=True)
class _Gathering:
    """A body that comes in chunks."""

    size: int
    what: str = ""
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    @property
    def whole(self) -> bool:
        return len(self.body) == self.size

    def add(self, chunk: bytes) -> None:
        """Raises PeerError for a chunk that is not as long as it has to be."""
        if len(chunk) != min(limits.REQUEST_CHUNK_BYTES, self.size - len(self.body)):
            raise PeerError("a chunk of a request that is too short or too long")
        self.body += chunk


@dataclass(slots=True, eq=False)
class _Sending:
    """A body that goes out in chunks; `first` makes the message that carries the first one."""

    number: int
    answer: int
    body: bytes
    first: Callable[[bytes], Message]
    offset: int = 0

    def next(self) -> Message:
        chunk = self.body[self.offset : self.offset + limits.REQUEST_CHUNK_BYTES]
        began = self.offset > 0
        self.offset += len(chunk)
        return More(self.number, self.answer, chunk) if began else self.first(chunk)

    @property
    def done(self) -> bool:
        return self.offset >= len(self.body)


@dataclass(slots=True, eq=False)
class _Peer:
    session: Session
    asked: dict[int, _Gathering | None] = field(default_factory=dict)  # by us; None: no reply yet
    theirs: dict[int, _Gathering] = field(default_factory=dict)  # by them, until answered
    sending: deque[_Sending] = field(default_factory=deque)
    cancels: deque[int] = field(default_factory=deque)
    number: int = 0
    count: int = 0  # requests so far, of both ends


class Calls:
    """The plane of requests."""

    takes: Final = frozenset({Request, More, Reply, Cancel})

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._peers: dict[Session, _Peer] = {}
        self._gathered = 0  # bytes promised by all peers' unfinished requests

    # The owner's side

    def ask(
        self, session: Session, what: str, body: bytes, now_s: float, wait_s: float | None = None
    ) -> int:
        """Ask the other end of a link; an Answered event with this number is the end of it.

        Raises Unreachable when the link is gone or too much is under way on it, LocalError for
        a body or a kind that is too long.
        """
        peer = self._peers.get(session)
        if peer is None:
            raise Unreachable("that link has ended")
        if len(peer.asked) + len(peer.cancels) >= limits.REQUESTS_MAX:
            raise Unreachable(f"{limits.REQUESTS_MAX} requests are under way on that link")
        if len(body) > limits.REQUEST_BYTES_MAX:
            raise LocalError(f"a request of {len(body)} bytes; one has {limits.REQUEST_BYTES_MAX}")
        peer.number = number = (peer.number + 1) % limits.TOKEN_MAX
        peer.asked[number] = None
        peer.count += 1
        first = partial(Request, number, what, len(body))
        peer.sending.append(_Sending(number, 0, body, first))
        wait_s = self._hub.timing.request_s if wait_s is None else wait_s
        self._hub.agenda.at(now_s + wait_s, partial(self._late, peer, number))
        session.wake(now_s)
        return number

    def answer(self, asked: Asked, body: bytes, now_s: float) -> None:
        """Answer a question; too late is no error. Raises LocalError for a body too long."""
        if len(body) > limits.REQUEST_BYTES_MAX:
            raise LocalError(f"an answer of {len(body)} bytes; one has {limits.REQUEST_BYTES_MAX}")
        self._reply(asked.session, asked.number, _ANSWERED, body, now_s)

    def refuse(self, asked: Asked, words: str, now_s: float) -> None:
        """Say why a question gets no answer; too late is no error."""
        body = words.encode("utf-8", "replace")[: limits.REFUSAL_BYTES_MAX]
        self._reply(asked.session, asked.number, _REFUSED, body, now_s)

    def cancel(self, session: Session, number: int, now_s: float) -> None:
        """Nobody waits for an answer any more."""
        peer = self._peers.get(session)
        if peer is None or number not in peer.asked:
            return
        del peer.asked[number]
        if self._unsend(peer, number, answer=0) != 0:
            peer.cancels.append(number)
        session.wake(now_s)

    def activity(self, session: Session) -> tuple[int, int]:
        """Requests on a link so far, of either end, and those that have not ended."""
        peer = self._peers.get(session)
        if peer is None:
            return 0, 0
        return peer.count, len(peer.asked) + len(peer.theirs) + len(peer.sending)

    # The hub's side

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        peer = self._peers[session] = _Peer(session)
        return [(Urgency.BULK, partial(self._frame, peer))]

    def lost(self, session: Session, now_s: float) -> None:
        peer = self._peers.pop(session)
        for gathering in peer.theirs.values():
            self._gathered -= gathering.size
        for number in peer.asked:
            self._end(session, number, Outcome.LOST, b"the link ended")

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        peer = self._peers[session]
        if isinstance(message, Request):
            self._take_request(peer, message, now_s)
        elif isinstance(message, Reply):
            self._take_reply(peer, message)
        elif isinstance(message, Cancel):
            self._forget(peer, message.number)
            self._unsend(peer, message.number, answer=1)
        elif message.answer:
            self._take_more_of_answer(peer, message)
        else:
            self._take_more_of_request(peer, message)

    # Their questions

    def _take_request(self, peer: _Peer, message: Request, now_s: float) -> None:
        number = message.number
        if number in peer.theirs:
            raise PeerError("two requests with one number")
        unsent = sum(sending.answer for sending in peer.sending)  # read some, before you ask more
        if len(peer.theirs) + unsent >= limits.REQUESTS_MAX:
            raise PeerError(f"more than {limits.REQUESTS_MAX} requests at once")
        peer.count += 1
        gathering = peer.theirs[number] = _Gathering(message.size, message.what)
        self._gathered += message.size
        if self._gathered > limits.REQUESTS_BYTES_MAX:
            self._reply(peer.session, number, _REFUSED, b"busy: ask again in a while", now_s)
            return
        gathering.add(message.chunk)
        self._hub.agenda.at(
            now_s + 2 * self._hub.timing.request_s, partial(self._stale, peer, number)
        )
        self._asked(peer, number, gathering)

    def _take_more_of_request(self, peer: _Peer, message: More) -> None:
        gathering = peer.theirs.get(message.number)
        if gathering is None:
            return  # refused or given up already, which the asker did not know
        if gathering.whole:
            raise PeerError("more of a request than was announced")
        gathering.add(message.chunk)
        self._asked(peer, message.number, gathering)

    def _asked(self, peer: _Peer, number: int, gathering: _Gathering) -> None:
        if gathering.whole:
            event = Asked(peer.session, number, gathering.what, bytes(gathering.body))
            self._hub.events.append(event)

    def _reply(self, session: Session, number: int, status: int, body: bytes, now_s: float) -> None:
        peer = self._peers.get(session)
        if peer is None or not self._forget(peer, number):
            return
        peer.sending.append(_Sending(number, 1, body, partial(Reply, number, status, len(body))))
        session.wake(now_s)

    def _forget(self, peer: _Peer, number: int) -> bool:
        gathering = peer.theirs.pop(number, None)
        if gathering is None:
            return False
        self._gathered -= gathering.size
        return True

    def _stale(self, peer: _Peer, number: int, now_s: float) -> None:
        """A request that did not come whole, or was not answered, for twice as long as it may."""
        if peer.session in self._peers:
            self._forget(peer, number)

    # Our questions

    def _take_reply(self, peer: _Peer, message: Reply) -> None:
        number = message.number
        if number not in peer.asked:
            return  # nobody waits for it any more
        if peer.asked[number] is not None:
            raise PeerError("two answers to one request")
        gathering = peer.asked[number] = _Gathering(message.size, status=message.status)
        gathering.add(message.chunk)
        self._answered(peer, number, gathering)

    def _take_more_of_answer(self, peer: _Peer, message: More) -> None:
        if message.number not in peer.asked:
            return
        gathering = peer.asked[message.number]
        if gathering is None:
            raise PeerError("more of an answer that did not begin")
        gathering.add(message.chunk)
        self._answered(peer, message.number, gathering)

    def _answered(self, peer: _Peer, number: int, gathering: _Gathering) -> None:
        if gathering.whole:
            del peer.asked[number]
            self._unsend(peer, number, answer=0)  # a refusal may come before all of it went out
            outcome = Outcome.REFUSED if gathering.status else Outcome.ANSWERED
            self._end(peer.session, number, outcome, bytes(gathering.body))

    def _late(self, peer: _Peer, number: int, now_s: float) -> None:
        if peer.session in self._peers and number in peer.asked:
            self.cancel(peer.session, number, now_s)
            self._end(peer.session, number, Outcome.LOST, b"no answer in time")

    def _end(self, session: Session, number: int, outcome: Outcome, body: bytes) -> None:
        self._hub.events.append(Answered(session, number, outcome, body))

    # What goes out

    def _unsend(self, peer: _Peer, number: int, *, answer: int) -> int | None:
        """Send no more of a body; how much of it went out, or None if it was not being sent."""
        for sending in peer.sending:
            if (sending.number, sending.answer) == (number, answer):
                peer.sending.remove(sending)
                return sending.offset
        return None

    def _frame(self, peer: _Peer, now_s: float) -> bytes | None:
        if peer.cancels:
            return encode(Cancel(peer.cancels.popleft()))
        if not peer.sending:
            return None
        sending = peer.sending.popleft()
        message = sending.next()
        if not sending.done:
            peer.sending.append(sending)
        return encode(message)
