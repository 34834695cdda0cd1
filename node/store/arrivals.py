"""Entries of other sites on their way into the store: each checked against its feed, all bounded.

Everything here is in memory; `take` gives the journal what its next transaction holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from federation.entry import Entry
from federation.feed import FeedTip, Fork, Known, check_same, follow
from federation.ids import FeedID


@dataclass(slots=True, eq=False)
class Call:
    """One call of `put`: fires when all of its entries that fit are durable."""

    left: int = 0
    refusals: list[Exception] = field(default_factory=list)  # why others did not fit: a feed, one
    waiter: Deferred[None] = field(default_factory=Deferred)

    def end_if_done(self) -> None:
        if self.left or self.waiter.called:
            return
        if self.refusals:
            self.waiter.errback(self.refusals[0])
        else:
            self.waiter.callback(None)


@dataclass(slots=True, eq=False)
class Arrived:
    """An entry and the calls that brought it."""

    entry: Entry
    calls: list[Call]

    @property
    def size_bytes(self) -> int:
        return len(self.entry.header_bytes) + len(self.entry.body or b"")


class Arrivals:
    """A queue that knows the tip of every feed, with what waits already counted in."""

    def __init__(
        self, tips: Iterable[FeedTip], stored: Callable[[FeedID, int], Entry | None]
    ) -> None:
        """tips: of all feeds in the store; stored: the durable entry of a place, if it is here."""
        self._tips = {tip.feed: tip for tip in tips}
        self._stored = stored
        self._queue: deque[Arrived] = deque()
        self._held: dict[tuple[FeedID, int], Arrived] = {}  # not durable yet
        self.bytes = 0  # of all that is not durable yet

    def __len__(self) -> int:
        """How many wait for a transaction."""
        return len(self._queue)

    def put(self, entries: Sequence[Entry], refuse: Callable[[Entry], None]) -> Call:
        """Queue the entries that fit.

        refuse: raises for an entry that is not to be taken in. The feed of an entry that does not
        fit gets no more in this call; those of other feeds go on. The call's refusals are Forks,
        Gaps, and what `refuse` raised.
        """
        call = Call()
        shut: set[FeedID] = set()
        for entry in entries:
            feed = entry.header.feed
            if feed in shut:
                continue
            try:
                self._put(entry, call, refuse)
            except Exception as error:
                shut.add(feed)
                call.refusals.append(error)
        return call

    def _put(self, entry: Entry, call: Call, refuse: Callable[[Entry], None]) -> None:
        feed = entry.header.feed
        tip = self._tips.get(feed, FeedTip(feed))
        try:
            after = follow(tip, entry)
        except Known:
            self._repeat(entry, call)
            return
        refuse(entry)
        arrived = Arrived(entry, [call])
        call.left += 1
        self._tips[feed] = after
        self._held[feed, after.seq] = arrived
        self._queue.append(arrived)
        self.bytes += arrived.size_bytes

    def _repeat(self, entry: Entry, call: Call) -> None:
        """An entry of a place that is taken: the same one, or a Fork."""
        place = (entry.header.feed, entry.header.seq)
        waiting = self._held.get(place)
        held = waiting.entry if waiting is not None else self._stored(*place)
        if held is not None:
            check_same(held.id, entry)
        if waiting is not None and call not in waiting.calls:
            waiting.calls.append(call)
            call.left += 1

    def held(self, fork: Fork) -> Entry | None:
        """Our entry at the place of a fork."""
        place = (fork.entry.header.feed, fork.at)
        waiting = self._held.get(place)
        return waiting.entry if waiting is not None else self._stored(*place)

    def own(self, tip: FeedTip) -> None:
        """An entry of our own was written: the tip of its feed."""
        self._tips[tip.feed] = tip

    def take(self, bytes_max: int) -> list[Arrived]:
        """The oldest entries that fit into `bytes_max`; at least one, if any waits."""
        taken: list[Arrived] = []
        while self._queue and (not taken or self._queue[0].size_bytes <= bytes_max):
            taken.append(self._queue.popleft())
            bytes_max -= taken[-1].size_bytes
        return taken

    def durable(self, taken: Iterable[Arrived]) -> None:
        """Entries that `take` gave are on disk: tell who brought them."""
        ended: dict[Call, None] = {}
        for arrived in taken:
            del self._held[arrived.entry.header.feed, arrived.entry.header.seq]
            self.bytes -= arrived.size_bytes
            for call in arrived.calls:
                call.left -= 1
                ended[call] = None
        for call in ended:
            call.end_if_done()

    def give_up(self, error: Exception) -> None:
        """What waits and was not taken will not be written."""
        self.abandon((), error)

    def abandon(self, taken: Iterable[Arrived], error: Exception) -> None:
        """Neither what waits nor what was taken will be written. Nothing may be put after this."""
        calls: dict[Call, None] = {}
        for arrived in (*taken, *self._queue):
            calls.update(dict.fromkeys(arrived.calls))
            self.bytes -= arrived.size_bytes
        self._queue.clear()
        for call in calls:
            if not call.waiter.called:
                call.waiter.errback(error)
