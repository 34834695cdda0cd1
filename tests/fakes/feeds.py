"""Entries in memory: a FeedStore without a database. Passes tests/contract/test_feed_store.py."""

from __future__ import annotations

from collections.abc import Sequence

from federation.entry import Entry
from federation.errors import LocalError
from federation.feed import FeedTip
from federation.ids import EntryRef, FeedID


class MemoryFeeds:
    """What one site holds of all feeds."""

    def __init__(self) -> None:
        self._feeds: dict[FeedID, list[Entry]] = {}

    def copy(self) -> MemoryFeeds:
        """The same as it is now."""
        other = MemoryFeeds()
        other._feeds = {feed: list(entries) for feed, entries in self._feeds.items()}
        return other

    def tips(self) -> list[FeedTip]:
        return [self.tip(feed) for feed in self._feeds]

    def tip(self, feed: FeedID) -> FeedTip:
        held = self._feeds.get(feed)
        if not held:
            return FeedTip(feed)
        return FeedTip(feed, held[-1].header.seq, held[-1].id, held[-1].header.hlc)

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            tip = self.tip(entry.header.feed)
            if entry.header.seq != tip.seq + 1 or entry.header.prev != tip.id:
                raise LocalError(f"entry {entry.header.seq} does not follow {tip.seq}")
            self._feeds.setdefault(tip.feed, []).append(entry)

    def entries(self, feed: FeedID, after: int, limit: int) -> list[Entry]:
        return self._feeds.get(feed, [])[after : after + limit]

    def entry(self, ref: EntryRef) -> Entry | None:
        found = self.entries(ref.feed, ref.seq - 1, 1)
        return found[0] if found and found[0].id == ref.id else None
