"""What this site holds of all feeds, and what is on its way into the store. Pure.

A feed's *tip* is durable: it may be told and given to others. Its *expected* tip includes entries
that were handed to the store and are not durable yet: what arrives is checked against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from federation import codec, limits
from federation.entry import Entry
from federation.errors import PeerError
from federation.feed import FeedTip
from federation.ids import EntryID, FeedID
from federation.ports import FeedStore
from federation.wire import Place
from keys.signing import DIGEST_BYTES


class Holdings:
    """See the module."""

    def __init__(self, store: FeedStore) -> None:
        self._store = store
        self._tips: dict[FeedID, FeedTip] = {}
        self.reload()
        self._expected: dict[FeedID, FeedTip] = {}
        self._coming: dict[tuple[FeedID, int], Entry] = {}

    def reload(self) -> None:
        """Read the tips anew, before the first link: entries may have come that were not told."""
        self._tips = {tip.feed: tip for tip in self._store.tips()}
        self._digest: bytes | None = None

    def tip(self, feed: FeedID) -> FeedTip:
        """The newest durable entry; seq 0 before the first."""
        return self._tips.get(feed) or FeedTip(feed)

    def expected(self, feed: FeedID) -> FeedTip:
        """The newest entry, those on their way into the store included."""
        return self._expected.get(feed) or self.tip(feed)

    def feeds(self) -> Iterable[FeedID]:
        return self._tips

    def coming(self, entry: Entry, tip: FeedTip) -> None:
        """An entry that follows what is expected goes into the store; `tip`: after it."""
        self._expected[tip.feed] = tip
        self._coming[tip.feed, tip.seq] = entry

    def durable(self, entries: Sequence[Entry]) -> None:
        """Entries, own or of others, are on disk."""
        for entry in entries:
            header = entry.header
            feed = header.feed
            self._coming.pop((feed, header.seq), None)
            if header.seq > self.tip(feed).seq:
                self._tips[feed] = FeedTip(feed, header.seq, entry.id, header.hlc)
            expected = self._expected.get(feed)
            if expected is not None and expected.seq <= self.tip(feed).seq:
                del self._expected[feed]
        self._digest = None

    def dropped(self, entries: Sequence[Entry]) -> None:
        """The store did not take entries in: nothing of their feeds is on its way any more."""
        for feed in {entry.header.feed for entry in entries}:
            expected = self._expected.pop(feed, None)
            last = 0 if expected is None else expected.seq
            for seq in range(self.tip(feed).seq + 1, last + 1):
                self._coming.pop((feed, seq), None)

    def at(self, feed: FeedID, seq: int) -> Entry | None:
        """The entry held at a place, durable or on its way; None for one that is damaged."""
        coming = self._coming.get((feed, seq))
        if coming is not None or not 1 <= seq <= self.tip(feed).seq:
            return coming
        try:
            found = self._store.entries(feed, seq - 1, 1)
        except PeerError:  # damaged; whoever is asked for it next says so
            return None
        return found[0] if found and found[0].header.seq == seq else None

    def id_at(self, feed: FeedID, seq: int) -> EntryID | None:
        """The id of the entry held at a place."""
        for tip in (self.expected(feed), self.tip(feed)):
            if tip.seq == seq and seq:
                return EntryID(tip.id)
        entry = self.at(feed, seq)
        return None if entry is None else entry.id

    def read(self, feed: FeedID, after: int, limit: int) -> Sequence[Entry]:
        """Durable entries above `after`, in order."""
        last = self.tip(feed).seq
        limit = min(limit, last - after)
        return self._store.entries(feed, after, limit) if limit > 0 else []

    def places(self) -> list[Place]:
        """The whole vector, in one order at every site."""
        tips = sorted(self._tips.values(), key=lambda tip: _order(tip.feed))
        return [Place(tip.feed, tip.seq, tip.id[: limits.PREFIX_BYTES]) for tip in tips]

    def digest(self) -> bytes:
        """BLAKE2b-256 of the vector's places, packed as one array."""
        if self._digest is None:
            packed = codec.pack([[*_order(p.feed), p.seq, p.prefix] for p in self.places()])
            self._digest = blake2b(packed, digest_size=DIGEST_BYTES).digest()
        return self._digest


def _order(feed: FeedID) -> tuple[bytes, int, int]:
    return feed.site, feed.generation, int(feed.lane)
