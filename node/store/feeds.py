"""Entries and feeds in SQL: append, tips, ranges, bodies. Functions of one connection each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from federation.entry import Entry, read_entry
from federation.errors import LocalError
from federation.feed import FeedTip
from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.records import Record, Refused
from node.store.database import StoreError
from node.store.highwater import NO_HEADS, Head, Heads

ENTRIES_AT_ONCE_MAX = 256
BODIES_CACHED = 64  # decoded: a full one takes about half a megabyte

_ENTRY = "SELECT header, signature, body FROM entry"
_TIP = "SELECT site, generation, lane, seq, id, hlc FROM feed"


class EntryMissing(StoreError):
    """The store holds no such entry."""


class NotNext(LocalError):
    """An entry that does not follow the one held last of its feed."""


class Feeds:
    """The feeds as one connection sees them. Implements the FeedStore port."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    # Tips

    def tip(self, feed: FeedID) -> FeedTip:
        """The newest entry held of a feed; seq 0 before the first."""
        row = self._db.execute(
            f"{_TIP} WHERE site = ? AND generation = ? AND lane = ?",
            (feed.site, feed.generation, int(feed.lane)),
        ).fetchone()
        return FeedTip(feed) if row is None else _tip(row)

    def tips(self) -> list[FeedTip]:
        """The newest entry of every feed held."""
        return [_tip(row) for row in self._db.execute(f"{_TIP} ORDER BY no")]

    def own_heads(self, site: SiteID) -> Heads:
        """Heads of a site's newest generation here; NO_HEADS if there is none."""
        return self._heads(site, "seq, id")

    def own_heads_before(self, site: SiteID) -> Heads:
        """`own_heads` with each lane one entry earlier."""
        earlier = (
            "seq - 1, coalesce((SELECT e.id FROM entry e WHERE e.feed = feed.no"
            " AND e.seq = feed.seq - 1), x'')"
        )
        return self._heads(site, earlier)

    def holds(self, site: SiteID, heads: Heads) -> bool:
        """True if the entries that these heads name are here."""
        lanes = ((Lane.CONTROL, heads.control), (Lane.RESULTS, heads.results))
        refs = [
            EntryRef(FeedID(site, heads.generation, lane), head.seq, EntryID(head.id))
            for lane, head in lanes
            if head.seq
        ]
        return all(self.number(ref) is not None for ref in refs)

    def _heads(self, site: SiteID, columns: str) -> Heads:
        rows: list[tuple[Any, ...]] = self._db.execute(
            f"SELECT generation, lane, {columns} FROM feed WHERE site = ?1 AND generation ="
            " (SELECT max(generation) FROM feed WHERE site = ?1)",
            (site,),
        ).fetchall()
        if not rows:
            return NO_HEADS
        lanes = {lane: Head(seq, id) for _, lane, seq, id in rows}
        return Heads(rows[0][0], lanes.get(Lane.CONTROL, Head()), lanes.get(Lane.RESULTS, Head()))

    # Writing

    def append(self, entries: Sequence[Entry]) -> None:
        """Store entries that follow their tips. Raises NotNext."""
        for entry in entries:
            self.insert(entry)

    def insert(self, entry: Entry) -> int:
        """Store the entry that follows its feed's tip; its local number.

        Signature and chain were checked before (`seal`, or `open_entry` and `follow`).
        Raises NotNext; nothing is then changed.
        """
        header = entry.header
        feed = self._db.execute(
            "INSERT INTO feed (site, generation, lane, seq, id, hlc) SELECT ?1, ?2, ?3, ?4, ?5, ?6"
            " WHERE ?4 = 1 OR EXISTS (SELECT 1 FROM feed WHERE site = ?1 AND generation = ?2 AND"
            " lane = ?3) ON CONFLICT (site, generation, lane) DO UPDATE SET seq = excluded.seq,"
            " id = excluded.id, hlc = excluded.hlc WHERE seq = excluded.seq - 1 AND id = ?7"
            " RETURNING no",
            (
                header.site,
                header.generation,
                int(header.lane),
                header.seq,
                entry.id,
                header.hlc,
                header.prev,
            ),
        ).get
        if feed is None:
            raise NotNext(f"entry {header.seq} does not follow what is held of its feed")
        self._db.execute(
            "INSERT INTO entry (feed, seq, id, header, signature, body) VALUES (?, ?, ?, ?, ?, ?)",
            (feed, header.seq, entry.id, entry.header_bytes, entry.signature, entry.body),
        )
        return self._db.last_insert_rowid()

    # Reading

    def entries(
        self, feed: FeedID, after: int = 0, limit: int = ENTRIES_AT_ONCE_MAX
    ) -> list[Entry]:
        """Entries of a feed above seq `after`, in order, at most `limit`."""
        rows = self._db.execute(
            f"{_ENTRY} WHERE feed = (SELECT no FROM feed WHERE site = ? AND generation = ? AND"
            " lane = ?) AND seq > ? ORDER BY seq LIMIT ?",
            (feed.site, feed.generation, int(feed.lane), after, min(limit, ENTRIES_AT_ONCE_MAX)),
        )
        return [read_entry(*row) for row in rows]

    def entry(self, ref: EntryRef) -> Entry | None:
        """The entry of this very place and id, or None."""
        no = self.number(ref)
        return None if no is None else self.by_number(no)

    def by_number(self, no: int) -> Entry:
        """One entry by its local number. Raises EntryMissing."""
        row = self._db.execute(f"{_ENTRY} WHERE no = ?", (no,)).fetchone()
        if row is None:
            raise EntryMissing(f"no entry has the number {no} here")
        return read_entry(*row)

    def at(self, feed: FeedID, seq: int) -> Entry | None:
        """The entry at a place of a feed, or None."""
        row = self._db.execute(
            f"{_ENTRY} WHERE feed = (SELECT no FROM feed WHERE site = ? AND generation = ? AND"
            " lane = ?) AND seq = ?",
            (feed.site, feed.generation, int(feed.lane), seq),
        ).fetchone()
        return None if row is None else read_entry(*row)

    def number(self, ref: EntryRef) -> int | None:
        """Local number of an entry; None if it, or that branch of it, is not here."""
        feed = ref.feed
        number: int | None = self._db.execute(
            "SELECT no FROM entry WHERE feed = (SELECT no FROM feed WHERE site = ? AND"
            " generation = ? AND lane = ?) AND seq = ? AND id = ?",
            (feed.site, feed.generation, int(feed.lane), ref.seq, ref.id),
        ).get
        return number

    def in_order(self, after: int = 0) -> Iterator[tuple[int, Entry]]:
        """Every entry above local number `after` with its number, in the order of arrival.

        Reads in pages, so that the caller may write between two entries.
        """
        while True:
            rows: list[tuple[Any, ...]] = self._db.execute(
                "SELECT no, header, signature, body FROM entry WHERE no > ? ORDER BY no LIMIT ?",
                (after, ENTRIES_AT_ONCE_MAX),
            ).fetchall()
            if not rows:
                return
            for no, *parts in rows:
                yield no, read_entry(*parts)
            after = rows[-1][0]


class Bodies:
    """Decoded records by local number, the latest few kept. Entries never change."""

    def __init__(self, kept_max: int = BODIES_CACHED) -> None:
        self._kept: OrderedDict[int, list[Record | Refused]] = OrderedDict()
        self._kept_max = kept_max

    def records(self, connection: apsw.Connection, no: int) -> list[Record | Refused]:
        """Records of entry `no`. Raises EntryMissing; LocalError when its body was pruned."""
        found = self._kept.get(no)
        if found is None:
            found = Feeds(connection).by_number(no).records()
            self._kept[no] = found
            if len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(no)
        return found


def _tip(row: tuple[Any, ...]) -> FeedTip:
    site, generation, lane, seq, id, hlc = row
    return FeedTip(FeedID(SiteID(site), generation, Lane(lane)), seq, EntryID(id), hlc)
