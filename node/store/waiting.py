"""What waits for the journal's next transaction: our own records, a lane each, and statements."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apsw
from twisted.internet.defer import Deferred

from federation.errors import Busy
from federation.ids import FeedID
from federation.records import Record
from node.store.database import StoreError
from node.store.highwater import Head

Statement = Callable[[apsw.Connection], None]
Compose = Callable[[], Sequence[Record]]
"""Makes records for the entry that is sealed right now; all entries of ours before it are durable.

What does not fit into that entry is dropped: it is composed anew when asked again.
"""


class JournalFull(StoreError, Busy):
    """Too much is waiting for the disk: ask again later. Nothing was taken in."""


class JournalClosed(StoreError):
    """The node is stopping; the record was not written."""


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Bounds of the journal. Raising a wait saves commits and signatures, and costs latency."""

    gather_s: float = 0.2
    spacing_s: float = 0.004
    retry_s_min: float = 0.5
    retry_s_max: float = 10.0
    waiting_bytes_max: int = 8 << 20
    waiting_max: int = 20_000
    free_bytes_min: int = 100_000_000  # below it no new work is taken in, nor others' results
    # Entries of other sites: in memory, and in one transaction. A full entry takes a few
    # milliseconds to fold: so long, and a commit, our own records wait for others' at most.
    arrived_bytes_max: int = 32 << 20
    arrived_bytes_a_cycle: int = 256 << 10


@dataclass(slots=True, eq=False)
class Waiting:
    """One record or statement and whoever waits for it."""

    encoded: bytes
    intake: bool
    statement: Statement | None = None
    behind: int = 0  # results records, counted from the start, that go before it
    compose: Compose | None = None
    waiter: Deferred[None] = field(default_factory=Deferred)


@dataclass(slots=True)
class OwnLane:
    """Records on their way into one of the site's own feeds."""

    feed: FeedID
    head: Head
    queue: deque[Waiting] = field(default_factory=deque)
    queued_bytes: int = 0
    since_s: float = 0.0  # when the oldest of the queue came
    written_s: float = float("-inf")  # when a cycle last took records
    taken: int = 0  # records that cycles took so far

    def put(self, waiting: Waiting, now_s: float) -> None:
        if not self.queue:
            self.since_s = now_s
        self.queue.append(waiting)
        self.queued_bytes += len(waiting.encoded)

    def take(self, bytes_max: int, count_max: int) -> list[Waiting]:
        """Records for one entry, oldest first."""
        taken: list[Waiting] = []
        room = bytes_max
        while self.queue and len(taken) < count_max and len(self.queue[0].encoded) <= room:
            taken.append(self.queue.popleft())
            room -= len(taken[-1].encoded)
        self.taken += len(taken)
        self.queued_bytes -= sum(len(waiting.encoded) for waiting in taken)
        return taken

    def give_up_intake(self) -> list[Waiting]:
        """Take out what is new work."""
        refused = [waiting for waiting in self.queue if waiting.intake]
        for waiting in refused:
            self.queue.remove(waiting)
            self.queued_bytes -= len(waiting.encoded)
        return refused
