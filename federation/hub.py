"""The links of one site: one to each peer, what is due when, and what goes to whom. Pure.

A hub has planes, each of which takes some kinds of messages. Its owner (a shell, or a simulator)
gives it transports and the time, and acts on the events it returns. After every call into a hub or
a session, `take_ready` names the sessions that have bytes to send.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from federation.errors import PeerError
from federation.events import Event, LinkDown, LinkUp, Reason, TwinSeen
from federation.ids import SiteID
from federation.session import Session, Source, Urgency
from federation.timing import Timing
from federation.wire import Hello, Message

TWIN = "another process with this site's key, started later, has the link"
HELD_MAX = 4  # links to one peer that are not up yet; more are turned away


class Plane(Protocol):
    """One purpose of a link."""

    @property
    def takes(self) -> frozenset[type[Any]]:
        """The classes of the messages that are handed to `take`."""

    def opened(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        """A link is up: what gives its frames."""

    def lost(self, session: Session, now_s: float) -> None:
        """A link that was up is gone."""

    def take(self, session: Session, message: Any, size: int, now_s: float) -> None:
        """Act on a message of `size` bytes. Raises PeerError."""


class Agenda:
    """Calls that are due at some time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def at(self, due_s: float, act: Callable[[float], None]) -> None:
        """Call `act` with the time, once, at `due_s` or later."""
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, act))

    @property
    def due_s(self) -> float:
        return self._heap[0][0] if self._heap else float("inf")

    def run(self, now_s: float) -> None:
        """Call what is due; what that puts on the agenda for now waits for the next run.

        Raises what a call raises; those behind it are left for the next run.
        """
        due = []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heapq.heappop(self._heap))
        for done, (_, _, act) in enumerate(due, 1):
            try:
                act(now_s)
            except Exception:
                for left in due[done:]:
                    heapq.heappush(self._heap, left)
                raise


class Hub:
    """See the module. `hello` is what every link begins with."""

    def __init__(self, me: SiteID, hello: Hello, timing: Timing | None = None) -> None:
        self.me = me
        self.hello = hello
        self.timing = timing or Timing()
        self.agenda = Agenda()
        self.sessions: dict[SiteID, Session] = {}  # those that are up
        self.events: list[Event] = []
        self._held: list[Session] = []  # those that are not up yet
        self._ready: dict[Session, None] = {}
        self._planes: list[Plane] = []
        self._by_message: dict[type[Any], Plane] = {}

    def add(self, plane: Plane) -> None:
        """Give the hub a purpose; before the first link."""
        self._planes.append(plane)
        self._by_message.update(dict.fromkeys(plane.takes, plane))

    # The owner's side

    def open(self, peer: SiteID, now_s: float, *, dialled: bool) -> Session:
        """A transport to `peer`, as proved by its key, is open: the session that drives it."""
        session = Session(self.me, peer, self, now_s, dialled=dialled)
        self._held.append(session)
        if sum(1 for held in self._held if held.peer == peer) > HELD_MAX:
            session.close(Reason.DUPLICATE, now_s)
        else:
            self._watch(session, now_s)
        return session

    def tick(self, now_s: float) -> list[Event]:
        """Do what is due."""
        self.agenda.run(now_s)
        return self.take_events()

    @property
    def deadline_s(self) -> float:
        """When to call `tick` at the latest."""
        return self.agenda.due_s

    def take_ready(self) -> list[Session]:
        """The sessions that got something to send since the last call."""
        ready, self._ready = list(self._ready), {}
        return ready

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def close(
        self, reason: Reason, now_s: float, which: Callable[[SiteID], bool] = lambda site: True
    ) -> None:
        """End the links with those sites, whether they are up yet or not."""
        for session in [*self.sessions.values(), *self._held]:
            if which(session.peer):
                session.close(reason, now_s)

    # The sessions' side

    def greeted(self, session: Session, now_s: float) -> None:
        """Choose between two links to one process of a peer: of two young ones the first."""
        older = self.sessions.get(session.peer)
        same = older is not None and _boot(older) == _boot(session)
        if older is not None and same and now_s - older.opened_s < self.timing.young_s:
            session.close(Reason.DUPLICATE, now_s)
        else:
            self.chosen(session, now_s)

    def chosen(self, session: Session, now_s: float) -> bool:
        """Make a link the one with its peer, unless a later process of that has it: whether so."""
        older = self.sessions.get(session.peer)
        if older is not None and _boot(older) > _boot(session):
            self.events.append(TwinSeen(session.peer))
            session.close(Reason.TWIN, now_s, TWIN)
            return False
        if older is not None:
            same = _boot(older) == _boot(session)
            older.close(Reason.DUPLICATE if same else Reason.TWIN, now_s, "" if same else TWIN)
        self._held.remove(session)
        self.sessions[session.peer] = session
        session.start(now_s)
        self.events.append(LinkUp(session))
        return True

    def sources(self, session: Session, now_s: float) -> Sequence[tuple[Urgency, Source]]:
        return [source for plane in self._planes for source in plane.opened(session, now_s)]

    def take(self, session: Session, message: Message, size: int, now_s: float) -> None:
        plane = self._by_message.get(type(message))
        if plane is None:
            raise PeerError(f"a {type(message).__name__} message has no place on this link")
        plane.take(session, message, size, now_s)

    def ended(self, session: Session, reason: int, words: str, theirs: bool, now_s: float) -> None:
        was_up = self.sessions.get(session.peer) is session
        if was_up:
            del self.sessions[session.peer]
            for plane in self._planes:
                plane.lost(session, now_s)
        else:
            self._held.remove(session)
        self.events.append(LinkDown(session, reason, words, theirs, was_up))

    def wake(self, session: Session) -> None:
        self._ready[session] = None

    def _watch(self, session: Session, now_s: float) -> None:
        """Call the session's `tick` when it is due, as long as it lives."""

        def check(now_s: float) -> None:
            try:
                session.tick(now_s)
            except Exception:
                session.close(Reason.TROUBLE, now_s, "trouble of our own")
                raise
            if not session.finished:
                self._watch(session, now_s)

        # A deadline may move to an earlier time, but never by more than this.
        self.agenda.at(min(session.deadline_s, now_s + self.timing.ping_s), check)


def _boot(session: Session) -> int:
    assert session.their_hello is not None
    return session.their_hello.boot
