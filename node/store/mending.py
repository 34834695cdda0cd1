"""Entries whose bytes on disk are no longer those that were stored, put right."""

from __future__ import annotations

import apsw

from federation.entry import Entry, Header
from federation.errors import PeerError
from federation.ids import EntryID, EntryRef, FeedID
from node.store.feeds import Feeds


def name_of(conn: apsw.Connection, feed: FeedID, seq: int) -> EntryRef | None:
    """What the chain calls the entry at a place, whatever has become of its bytes; None if that
    cannot be told."""
    tip = Feeds(conn).tip(feed)
    if not 1 <= seq <= tip.seq:
        return None
    if seq == tip.seq:
        return EntryRef(feed, seq, EntryID(tip.id))
    row = conn.execute(f"SELECT header FROM entry WHERE {_AT}", _place(feed, seq + 1)).get
    try:
        following = Header.unpack(row)
    except (PeerError, TypeError):
        return None
    return EntryRef(feed, seq, EntryID(following.prev))


def replace(conn: apsw.Connection, entry: Entry) -> None:
    """Put an entry, checked and named by the chain, in place of what is stored there."""
    conn.execute(
        f"UPDATE entry SET id = ?5, header = ?6, signature = ?7, body = ?8 WHERE {_AT}",
        (
            *_place(entry.header.feed, entry.header.seq),
            entry.id,
            entry.header_bytes,
            entry.signature,
            entry.body,
        ),
    )


_AT = "feed = (SELECT no FROM feed WHERE site = ?1 AND generation = ?2 AND lane = ?3) AND seq = ?4"


def _place(feed: FeedID, seq: int) -> tuple[bytes, int, int, int]:
    return feed.site, feed.generation, int(feed.lane), seq
