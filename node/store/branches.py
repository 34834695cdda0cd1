"""Going over to the other branch of a forked feed.

A store holds one branch of each feed. When the log goes on in the other one (an `open` names a cut
there, a leader accepted results there), or this site's own past has another branch that is longer,
the entries from the first difference on are dropped, everything is folded anew, and sync fetches
the other branch, told apart by the id of its first entry. That happens once a feed, between two
lives of a node. What this site itself wrote on the branch that it leaves is written again, as far
as it is people's words or work that was done.

Source: docs/protocol.md, "Restored copies".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import apsw

from federation import codec
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import (
    Address,
    Command,
    Dataset,
    Holds,
    MemberAdd,
    MemberRemove,
    Policy,
    Record,
    Results,
    UserAdd,
    UserRemove,
    decode,
    encode,
)
from node.store.feeds import Feeds
from node.store.verify import CheckedFold, finish, rebuild

WRITTEN_AGAIN: Final = (
    Address, Command, Dataset, Holds, MemberAdd, MemberRemove, Policy, Results, UserAdd, UserRemove,
)  # fmt: skip


def want(conn: apsw.Connection, first: EntryRef) -> None:
    """Go over, at the next start, to the branch that differs from this entry on."""
    feed = first.feed
    conn.execute(
        "INSERT OR IGNORE INTO branch (site, generation, lane, seq, id) VALUES (?, ?, ?, ?, ?)",
        (feed.site, feed.generation, int(feed.lane), first.seq, first.id),
    )


def chosen(conn: apsw.Connection) -> Mapping[FeedID, EntryRef]:
    """The first entry of each branch that was chosen, gone over to or not yet."""
    return {ref.feed: ref for ref, _ in _rows(conn)}


def take(writer: apsw.Connection, site: SiteID, fold: CheckedFold) -> list[FeedID]:
    """Leave the branches that were not chosen; of which feeds. Blocks: folds everything anew.

    site: this one; fold: a fresh one. For a database that no node runs on.
    """
    due = [ref for ref, taken in _rows(writer) if not taken]
    if not due:
        return []
    with writer:
        for ref in due:
            if ref.feed.site == site:
                _salvage(writer, ref)
            _drop(writer, ref)
        writer.execute("UPDATE branch SET taken = 1")
        finish(rebuild(writer, fold))
    return [ref.feed for ref in due]


def salvaged(conn: apsw.Connection) -> list[tuple[int, Lane, Record]]:
    """(number, lane, record) of what is to be written again."""
    rows: list[tuple[int, int, bytes]] = list(
        conn.execute("SELECT no, lane, record FROM salvage ORDER BY no")
    )
    return [(no, Lane(lane), _one(record)) for no, lane, record in rows]


def may_take(conn: apsw.Connection, shard: ShardID, me: FeedID) -> bool:
    """Whether a shard has, or may come to have, a leader that takes what is submitted to it.

    It has none if it was founded on a branch that is gone, or if an earlier generation of this
    site (me: its control feed now) is its only voter.
    """
    sql = "SELECT leader, generation, voters FROM shard WHERE id = ?"
    for leader, generation, voters in conn.execute(sql, (shard,)):
        past = leader == me.site and generation != me.generation
        return not (past and voters == 1)
    return False


def forget(conn: apsw.Connection, no: int) -> None:
    """A salvaged record was written again."""
    conn.execute("DELETE FROM salvage WHERE no = ?", (no,))


def _rows(conn: apsw.Connection) -> list[tuple[EntryRef, bool]]:
    rows = conn.execute("SELECT site, generation, lane, seq, id, taken FROM branch")
    return [
        (
            EntryRef(FeedID(SiteID(site), generation, Lane(lane)), seq, EntryID(id_)),
            bool(taken),
        )
        for site, generation, lane, seq, id_, taken in rows
    ]


def _salvage(conn: apsw.Connection, first: EntryRef) -> None:
    feeds, after = Feeds(conn), first.seq - 1
    while entries := feeds.entries(first.feed, after):
        for entry in entries:
            for record in entry.records() if entry.body is not None else ():
                if isinstance(record, WRITTEN_AGAIN):
                    conn.execute(
                        "INSERT INTO salvage (lane, record) VALUES (?, ?)",
                        (int(first.feed.lane), codec.pack_array([encode(record)])),
                    )
        after = entries[-1].header.seq


def _drop(conn: apsw.Connection, first: EntryRef) -> None:
    """Cut a feed off before a place."""
    feed = first.feed
    place = (feed.site, feed.generation, int(feed.lane), first.seq)
    beyond = f"entry WHERE feed = ({_FEED}) AND seq >= ?4"
    conn.execute(f"DELETE FROM quarantine WHERE entry IN (SELECT no FROM {beyond})", place)
    conn.execute(f"DELETE FROM {beyond}", place)
    last = Feeds(conn).at(feed, first.seq - 1)
    if last is None:
        conn.execute(f"DELETE FROM feed WHERE no = ({_FEED})", place[:3])
        return
    conn.execute(
        f"UPDATE feed SET seq = ?4, id = ?5, hlc = ?6 WHERE no = ({_FEED})",
        (*place[:3], last.header.seq, last.id, last.header.hlc),
    )


_FEED: Final = "SELECT no FROM feed WHERE site = ?1 AND generation = ?2 AND lane = ?3"


def _one(record: bytes) -> Record:
    found = decode(record)[0]
    assert isinstance(found, WRITTEN_AGAIN)
    return found
