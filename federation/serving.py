"""What one peer is given of the feeds: new own entries, and what it wants. Pure.

In each lane so many bytes may be on their way as the peer has not yet said it stored. Nothing is
kept for a peer that falls behind: it gets its pushes no more, and asks when it has compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from federation import limits
from federation.entry import Entry, verify_entry
from federation.errors import PeerError
from federation.holdings import Holdings
from federation.ids import FeedID, Lane
from federation.wire import Entries, Push, Span, encode

_ENTRY_EXTRA: Final = 16  # what msgpack puts around header, signature and body
_FRAME_EXTRA: Final = 16


@dataclass(slots=True)
class _Wanted:
    """A span under way: entries above `after` go out next."""

    after: int
    through: int


@dataclass(frozen=True, slots=True)
class PushFrame:
    """New entries of one own feed, encoded once for all peers."""

    feed: FeedID
    before: int  # seq of the entry before the first
    last: int
    content: bytes  # the frame
    count: int

    @property
    def size(self) -> int:
        return len(self.content) - 4


class Serving:
    """One peer's share. damaged: told of a feed and a seq that the store could not read."""

    def __init__(self, holdings: Holdings, damaged: Callable[[FeedID, int], None]) -> None:
        self._holdings = holdings
        self._damaged = damaged
        self._left = list(limits.WINDOW_BYTES)  # bytes that may go out, by lane
        self._pushes: tuple[deque[PushFrame], ...] = (deque(), deque())
        self._wanted: tuple[dict[FeedID, _Wanted], ...] = ({}, {})
        self._read_max = [limits.READ_ENTRIES_MAX, 2]
        self.lacks: dict[FeedID, int] = {}  # to be said: nothing of that feed above seq
        self.at: dict[FeedID, int] = {}  # own feeds: what the peer holds or is being sent
        self.sent = [0, 0]  # entries, by lane
        self.sent_bytes = [0, 0]
        self.pushed = 0
        self.starved = 0  # pushes that had no room

    def push(self, frame: PushFrame) -> bool:
        """Send new own entries on, if the peer holds what is before them and has room."""
        if (
            self.at.get(frame.feed, 0) != frame.before
            or frame.feed in self._wanted[frame.feed.lane]
        ):
            return False
        lane = frame.feed.lane
        if self._left[lane] < frame.size:
            self.starved += 1
            return False
        self._left[lane] -= frame.size
        self._pushes[lane].append(frame)
        self.at[frame.feed] = frame.last
        return True

    def holds(self, feed: FeedID, seq: int) -> None:
        """The peer says that it holds an own feed through an entry; more may be on its way."""
        self.at[feed] = max(self.at.get(feed, 0), seq)

    def want(self, spans: Iterable[Span]) -> None:
        """The peer asks. Raises PeerError when it asks for too many feeds at once."""
        for span in spans:
            tip = self._holdings.tip(span.feed)
            wanted = self._wanted[span.feed.lane]
            through = min(span.through, tip.seq)
            under_way = wanted.get(span.feed)
            if through <= span.after:
                self.lacks[span.feed] = span.after
            elif under_way and under_way.after <= span.after <= under_way.through:
                under_way.through = max(through, under_way.through)
            else:
                wanted[span.feed] = _Wanted(span.after, through)
            if len(wanted) + len(self.lacks) > limits.WANTED_MAX:
                raise PeerError(f"more than {limits.WANTED_MAX} feeds are asked for at once")

    def credit(self, lane: Lane, size: int) -> None:
        """The peer stored what it got. Raises PeerError when it stored more than was sent."""
        self._left[lane] += size
        if self._left[lane] > limits.WINDOW_BYTES[lane]:
            raise PeerError("a credit for more than was sent")

    def left(self, lane: Lane) -> int:
        """Bytes that may go out now."""
        return self._left[lane]

    def frame(self, lane: Lane) -> bytes | None:
        """The next message of a lane, or None when nothing is wanted or the window is used up."""
        pushes = self._pushes[lane]
        if pushes:
            push = pushes.popleft()
            self.pushed += push.count
            self.sent[lane] += push.count
            self.sent_bytes[lane] += push.size
            return push.content
        wanted = self._wanted[lane]
        for feed in list(wanted):
            span = wanted.pop(feed)
            entries = self._gather(feed, lane, span)
            if entries is None:  # no room: it stays first
                self._wanted[lane].clear()
                self._wanted[lane].update({feed: span, **wanted})
                return None
            if not entries:
                self.lacks[feed] = span.after
                continue
            span.after = entries[-1].header.seq
            if feed in self.at:
                self.at[feed] = max(self.at[feed], span.after)
            if span.after < span.through:
                wanted[feed] = span  # behind the others
            frame = encode(Entries(lane, sealed(entries)))
            self._left[lane] -= len(frame) - 4
            self.sent[lane] += len(entries)
            self.sent_bytes[lane] += len(frame) - 4
            return frame
        return None

    def _gather(self, feed: FeedID, lane: Lane, span: _Wanted) -> list[Entry] | None:
        """Entries for one message; none when they cannot be read, None when they do not fit."""
        room = min(self._left[lane], limits.ENTRIES_BYTES) - _FRAME_EXTRA
        if self._left[lane] < limits.FRAME_ROOM:
            return None
        limit = min(self._read_max[lane], span.through - span.after)
        read = self._read(feed, span.after, limit)
        taken: list[Entry] = []
        for entry in read:
            room -= entry_bytes(entry)
            if entry.body is None or (taken and room < 0):
                break
            taken.append(entry)
        fits = len(taken) == len(read)
        self._read_max[lane] = min(limits.READ_ENTRIES_MAX, max(1, len(taken) * (2 if fits else 1)))
        return taken

    def _read(self, feed: FeedID, after: int, limit: int) -> Sequence[Entry]:
        """Entries as their author signed them, up to the first that the store gives otherwise."""
        try:
            found = self._holdings.read(feed, after, limit)
        except PeerError:
            return self._read_singly(feed, after, limit)
        for index, entry in enumerate(found):
            if not _is_sound(entry, feed, after + 1 + index):
                self._damaged(feed, after + 1 + index)
                return found[:index]
        return found

    def _read_singly(self, feed: FeedID, after: int, limit: int) -> Sequence[Entry]:
        """What comes before one of several that cannot be read; it goes nowhere itself."""
        if limit == 1:
            self._damaged(feed, after + 1)
            return []
        found: list[Entry] = []
        while len(found) < limit and (one := self._read(feed, after + len(found), 1)):
            found += one
        return found


def push_frames(entries: Sequence[Entry]) -> list[PushFrame]:
    """Entries of one feed, in order, as few messages."""
    frames: list[PushFrame] = []
    batch: list[Entry] = []
    room = 0
    for entry in entries:
        size = entry_bytes(entry)
        if batch and (size > room or len(batch) == limits.ENTRIES_MAX):
            frames.append(_push_frame(batch))
            batch = []
        if not batch:
            room = limits.ENTRIES_BYTES - _FRAME_EXTRA
        batch.append(entry)
        room -= size
    return [*frames, _push_frame(batch)] if batch else frames


def _is_sound(entry: Entry, feed: FeedID, seq: int) -> bool:
    """Whether what was read at a place is what stands there, and signed."""
    try:
        verify_entry(entry)
    except PeerError:
        return False
    return (entry.header.feed, entry.header.seq) == (feed, seq)


def _push_frame(entries: Sequence[Entry]) -> PushFrame:
    first, last = entries[0].header, entries[-1].header
    content = encode(Push(first.lane, sealed(entries)))
    return PushFrame(first.feed, first.seq - 1, last.seq, content, len(entries))


def sealed(entries: Sequence[Entry]) -> list[list[bytes]]:
    return [[e.header_bytes, e.signature, e.body] for e in entries if e.body is not None]


def entry_bytes(entry: Entry) -> int:
    """What an entry takes of a message, at most."""
    body = b"" if entry.body is None else entry.body
    return len(entry.header_bytes) + len(entry.signature) + len(body) + _ENTRY_EXTRA
