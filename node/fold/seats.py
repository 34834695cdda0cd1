"""What control feeds promised shards: acks and votes, and how far that settles a log.

An ack counts unless a vote for a later term stands before it in its feed, and once the entry that
it names is here. Whoever leads acks what it writes. Kept for every author, as foundings may come
later than acks; where the leader alone acks, nothing is kept: all that it wrote is settled.

Source: docs/protocol.md, "Acks and settled".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import apsw

from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.records import Ack, Force, Found, FoundCouncil, Open, Record, Refused, Vote
from federation.settle import WAITING_ACKS_MAX, Acked, Seat, settled
from federation.shard import Shard as Terms
from node.changes import ShardSettled
from node.fold.acts import entry_no
from node.fold.shape import select
from node.fold.step import Step

Named = tuple[bytes, int, int, bytes]  # of the acked entry: site, generation, seq, id


class Seats:
    """Reads the promises of one control entry into the tables."""

    def __init__(self, step: Step, feed: int, horizon: int) -> None:
        """feed: local number of the entry's feed."""
        self._step = step
        self._conn = step.conn
        self._feed = feed
        self._horizon = horizon

    def take(
        self, records: Sequence[Record | Refused], logs: Iterable[bytes], *, awaited: bool
    ) -> set[bytes]:
        """The shards whose acks changed.

        logs: of which log records stand in the entry. awaited: whether acks name it that came
        before it.
        """
        changed: set[bytes] = set()
        for record in records:
            match record:
                case Vote():
                    self._author(record.shard, "voted = max(voted, ?)", record.term)
                case Open() | Force():
                    self._author(record.shard, "leads = ?", record.term)
                case Found() | FoundCouncil():
                    self._author(record.shard, "leads = coalesce(leads, ?)", 0)
                case Ack():
                    if self._ack(record):
                        changed.add(record.shard)
                case _:
                    pass
        changed.update(shard for shard in logs if self._log_entry(shard))
        return changed | self._arrived() if awaited else changed

    def _author(self, shard: bytes, change: str, value: int) -> None:
        key = (shard, self._feed)
        self._conn.execute("INSERT OR IGNORE INTO author (shard, feed) VALUES (?, ?)", key)
        sql = f"UPDATE author SET {change} WHERE shard = ? AND feed = ?"
        self._conn.execute(sql, (value, *key))

    def _known(self, shard: bytes) -> tuple[int, int | None]:
        sql = "SELECT voted, leads FROM author WHERE shard = ? AND feed = ?"
        for voted, leads in select(self._conn, sql, (shard, self._feed)):
            return voted, leads
        return 0, None

    def _ack(self, record: Ack) -> bool:
        """Count an ack, or keep it until the entry that it names is here."""
        if self._known(record.shard)[0] > record.term:
            return False
        feed = FeedID(record.site, record.generation, Lane.CONTROL)
        here = entry_no(self._conn, EntryRef(feed, record.seq, record.entry), self._horizon)
        named = (record.site, record.generation, record.seq, record.entry)
        ref = self._step.ref
        if here is not None:
            return self._count(record.shard, self._feed, record.term, named, ref.seq, ref.id)
        self._conn.execute(
            "INSERT OR REPLACE INTO ack_ahead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*named, record.shard, self._feed, record.term, ref.seq, ref.id),
        )
        self._conn.execute(_FORGET, (record.shard, self._feed))
        return False

    def _log_entry(self, shard: bytes) -> bool:
        """The author acks what it writes as a leader, unless it voted for a later term by then."""
        rows = select(self._conn, _LEADING, (shard, self._feed))
        if not rows:
            return False
        leads = rows[0][0]
        ref = self._step.ref
        named = (ref.feed.site, ref.feed.generation, ref.seq, ref.id)
        return self._count(shard, self._feed, leads, named, ref.seq, ref.id)

    def _arrived(self) -> set[bytes]:
        """Acks that waited for this entry count now."""
        ref = self._step.ref
        place = (ref.feed.site, ref.feed.generation, ref.seq)
        changed = set()
        for id_, shard, feed, term, at_seq, at_id in select(self._conn, _AHEAD, place):
            if id_ == ref.id and self._count(shard, feed, term, (*place, id_), at_seq, at_id):
                changed.add(bytes(shard))
        return changed

    def _count(
        self, shard: bytes, feed: int, term: int, named: Named, at_seq: int, at_id: bytes
    ) -> bool:
        """Keep an ack that counts; whether it goes further than those before it."""
        self._conn.execute(
            "INSERT INTO acked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " seq = excluded.seq, id = excluded.id, at_seq = excluded.at_seq,"
            " at_id = excluded.at_id WHERE excluded.seq > seq",
            (shard, feed, term, *named, at_seq, at_id),
        )
        return bool(self._conn.changes())


# Where only the leader acks, nothing is kept.
_LEADING: Final = (
    "SELECT leads FROM author WHERE shard = ?1 AND feed = ?2 AND leads >= voted"
    " AND NOT EXISTS (SELECT 1 FROM shard WHERE id = ?1 AND voters = 1)"
)
_AHEAD: Final = (
    "DELETE FROM ack_ahead WHERE site = ? AND generation = ? AND seq = ?"
    " RETURNING id, shard, feed, term, at_seq, at_id"
)
_FORGET: Final = (
    "DELETE FROM ack_ahead WHERE (site, generation, seq, shard, feed, term) IN"
    " (SELECT site, generation, seq, shard, feed, term FROM ack_ahead WHERE shard = ? AND feed = ?"
    f" ORDER BY at_seq DESC LIMIT -1 OFFSET {WAITING_ACKS_MAX})"
)


def seats_of(conn: apsw.Connection, shard: bytes) -> dict[FeedID, Seat]:
    """The acks that count, and the votes, of every author."""
    found: dict[FeedID, Seat] = {}
    votes = "SELECT f.site, f.generation, a.voted FROM author a JOIN feed f ON f.no = a.feed"
    for site, generation, voted in select(conn, f"{votes} WHERE a.shard = ?", (shard,)):
        found[FeedID(SiteID(site), generation, Lane.CONTROL)] = Seat(voted=voted)
    acks = (
        "SELECT f.site, f.generation, a.term, a.site, a.generation, a.seq, a.id, a.at_seq, a.at_id"
        " FROM acked a JOIN feed f ON f.no = a.feed WHERE a.shard = ?"
    )
    logs: dict[FeedID, dict[tuple[int, FeedID], Acked]] = {}
    for row in select(conn, acks, (shard,)):
        author = FeedID(SiteID(row[0]), row[1], Lane.CONTROL)
        leader = FeedID(SiteID(row[3]), row[4], Lane.CONTROL)
        entry = EntryRef(leader, row[5], EntryID(row[6]))
        ack = Acked(row[2], entry, EntryRef(author, row[7], EntryID(row[8])))
        logs.setdefault(author, {})[ack.log] = ack
    for author, acked in logs.items():
        found[author] = Seat(acked=acked, voted=found[author].voted if author in found else 0)
    return found


def settle(step: Step, terms: Terms) -> None:
    """Keep how far the log of the newest term is settled by the acks that are here."""
    conn = step.conn
    for no, voters in select(conn, "SELECT no, voters FROM shard WHERE id = ?", (terms.id,)):
        position = None if voters == 1 else settled(terms, seats_of(conn, terms.id))
        sql = "SELECT term, site, generation, seq FROM settlement WHERE shard = ?"
        before = select(conn, sql, (no,))
        if position is None:
            conn.execute("DELETE FROM settlement WHERE shard = ?", (no,))
            return
        term, seq = position
        now = (term.number, term.feed.site, term.feed.generation, seq)
        if before and before[0] == now:
            return
        conn.execute("INSERT OR REPLACE INTO settlement VALUES (?, ?, ?, ?, ?)", (no, *now))
        step.changes.append(ShardSettled(terms.id, term.number, term.feed, seq))
