"""What federation asks of the world; node implements it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from federation.entry import Entry
from federation.feed import FeedTip
from federation.ids import EntryRef, FeedID


class FeedStore(Protocol):
    """Entries on disk, each as received. All calls are quick enough for the reactor's thread."""

    def tips(self) -> Iterable[FeedTip]:
        """The newest held entry of every feed that has any."""

    def tip(self, feed: FeedID) -> FeedTip:
        """The newest held entry of a feed; seq 0 when there is none."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Store entries that were checked and follow their tips; durable when the commit is.

        Raises LocalError when one does not follow.
        """

    def entries(self, feed: FeedID, after: int, limit: int) -> Sequence[Entry]:
        """Up to `limit` entries of a feed with seq above `after`, ascending."""

    def entry(self, ref: EntryRef) -> Entry | None:
        """The entry of this very place and id, or None."""
