"""Who leads a shard: the acts of its council, from all control feeds, and the terms they make.

The tables keep which entries hold acts; what they come to is computed by `federation.ledger` and
remembered while the tables still say that it has read all of them, so that no rollback misleads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.ledger import Ledger
from federation.opening import Ballot
from federation.records import (
    Force,
    Found,
    FoundCouncil,
    Open,
    Record,
    Refused,
    SeatClose,
    Vote,
    decode,
)
from federation.segments import Segment, segments
from federation.shard import Shard as Terms
from node.changes import TermOpened
from node.fold import roots
from node.fold.shape import select
from node.fold.step import Step, feed_no

Act = Found | FoundCouncil | Open | Force | Vote | SeatClose
CutOf = Callable[[apsw.Connection, Force, EntryRef, int], EntryRef | None]
"""The cut of a force record at a place, by its signed document; None if that is not good."""

Mark = tuple[int, bytes]
"""So many acts of a shard are in the tables, the newest in the entry of this id."""

SHARDS_CACHED: Final = 4096
_MASKED: Final = Refused(0, "")  # in place of records that are no acts, so that indices stay
_REF: Final = (
    "SELECT f.site, f.generation, f.lane, e.seq, e.id, e.no, e.body"
    " FROM entry e JOIN feed f ON f.no = e.feed"
)


@dataclass(slots=True)
class _Known:
    """What was read of one shard: so many acts, the newest in the entry `last`."""

    ledger: Ledger
    acts: int = 0
    last: bytes = b""
    ref: EntryRef | None = None  # of an entry with acts
    path: Sequence[Segment] | None = None


class Acts:
    """The terms of all shards, for one connection at a time."""

    def __init__(self, cut_of: CutOf) -> None:
        self._cut_of = cut_of
        self._conn: apsw.Connection | None = None
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._feeds: dict[FeedID, int] = {}
        # Entries above this local number are in the store and not folded yet, as in a rebuild.
        self.horizon = 2**62

    # What the tables say

    def terms(self, conn: apsw.Connection, shard: bytes) -> Terms | None:
        """The shard as founded, with its terms; None before its founding is here."""
        return self._current(conn, shard).ledger.shard

    def path(
        self, conn: apsw.Connection, shard: bytes, mark: Mark | None = None
    ) -> Sequence[Segment]:
        """The log of a founded shard's newest term, oldest part first.

        mark: how far its acts were judged, by the tables, if the caller has looked.
        """
        known = self._current(conn, shard, mark)
        if known.path is None:
            assert known.ledger.shard is not None
            known.path = segments(known.ledger.shard)
        return known.path

    def votes(self, conn: apsw.Connection, shard: bytes) -> Sequence[Ballot]:
        """The votes that count, of all terms."""
        return self._current(conn, shard).ledger.votes_above(-1)

    def missing(self, conn: apsw.Connection) -> list[EntryRef]:
        """Entries that are not here, for which opens and forces of all shards wait."""
        shards = [bytes(shard) for (shard,) in select(conn, _WAITING)]
        return [ref for shard in shards for ref in self._current(conn, shard).ledger.missing]

    def holds(self, conn: apsw.Connection, ref: EntryRef) -> bool:
        """Whether this very entry is here."""
        return entry_no(conn, ref, self.horizon) is not None

    def feed_no(self, conn: apsw.Connection, feed: FeedID) -> int:
        """Local number of a feed; -1 if nothing of it is here."""
        if conn is not self._conn:
            self._conn = conn
            self.forget()
        found = self._feeds.get(feed)
        if found is None:
            found = feed_no(conn, feed)
            if found >= 0:
                self._feeds[feed] = found
        return found

    def _current(self, conn: apsw.Connection, shard: bytes, mark: Mark | None = None) -> _Known:
        if conn is not self._conn:
            self._conn = conn
            self.forget()
        known = self._known.get(shard)
        if mark is None:
            sql = "SELECT acts, last FROM judged WHERE shard = ?"
            mark = next(iter(select(conn, sql, (shard,))), (0, b""))
        acts, last = mark
        if known is None or (known.acts, known.last) != (acts, last):
            known = self._known[shard] = self._read(conn, shard, acts, last)
            while len(self._known) > SHARDS_CACHED:
                self._known.popitem(last=False)
        elif known.ledger.pending and known.ref is not None:
            known.ledger.take(known.ref, [])  # what was missing may have come
            known.path = None
        return known

    def _read(self, conn: apsw.Connection, shard: bytes, acts: int, last: bytes) -> _Known:
        """Every act of the tables, in the order of arrival."""
        ledger = Ledger(
            ShardID(shard),
            lambda ref: self.holds(conn, ref),
            lambda record, at: self._cut(conn, record, at),
        )
        horizon, ref = self.horizon, None
        sql = f"{_REF} JOIN act a ON a.entry = e.no WHERE a.shard = ? ORDER BY e.no"
        for *place, no, body in select(conn, sql, (shard,)):
            self.horizon = no  # what came later must not be missed in what the ledger has read
            ref = _entry_ref(place)
            ledger.take(ref, _masked(decode(body)))
        self.horizon = horizon
        if ref is not None:
            ledger.take(ref, [])
        return _Known(ledger, acts, last, ref)

    def _cut(self, conn: apsw.Connection, record: Force, at: EntryRef) -> EntryRef | None:
        no = entry_no(conn, at, self.horizon)
        body = select(conn, "SELECT body FROM entry WHERE no = ?", (no,))[0][0]
        return self._cut_of(conn, record, at, decode(body).index(record))

    def forget(self) -> None:
        """A transaction was undone."""
        self._known.clear()
        self._feeds.clear()

    # What arrives

    def take(self, step: Step, records: Sequence[Record | Refused], *, waiting: bool) -> set[bytes]:
        """Read the acts of a control entry; the ids of shards whose terms may have changed.

        waiting: whether any shard waits for something, which may be this very entry.
        """
        conn = step.conn
        acting = {bytes(record.shard) for record in records if isinstance(record, Act)}
        waits = {bytes(shard) for (shard,) in select(conn, _WAITING)} if waiting else set()
        waits -= acting
        if not acting and not waits:
            return acting
        self.horizon = step.entry - 1
        read = {shard: self._current(conn, shard) for shard in acting}
        self.horizon = step.entry
        for shard, known in read.items():
            self._note(conn, shard, step, known)
            self._judge(step, known, _masked(records))
        for shard in waits:
            self._judge(step, self._current(conn, shard), [])
        return acting | waits

    def _note(self, conn: apsw.Connection, shard: bytes, step: Step, known: _Known) -> None:
        conn.execute("INSERT INTO act VALUES (?, ?)", (shard, step.entry))
        known.acts, known.last, known.ref = known.acts + 1, step.ref.id, step.ref
        conn.execute(
            "INSERT INTO judged VALUES (?1, ?2, ?3, 0) ON CONFLICT DO UPDATE"
            " SET acts = ?2, last = ?3",
            (shard, known.acts, known.last),
        )

    def _judge(self, step: Step, known: _Known, records: Sequence[Record | Refused]) -> None:
        """Let the ledger read an entry, and write down what comes of it."""
        ledger, conn = known.ledger, step.conn
        void = len(ledger.void)
        ledger.take(step.ref, records)
        known.path = None
        for (_, at, index), why in ledger.void[void:]:
            no = entry_no(conn, at, self.horizon)
            assert no is not None
            step.refuse(no, index, why, keep=True)
        waits = int(bool(ledger.pending))
        sql = "UPDATE judged SET waits = ?1 WHERE shard = ?2 AND waits != ?1"
        conn.execute(sql, (waits, ledger.id))
        if ledger.shard is not None:
            _save(step, ledger.shard)


_WAITING: Final = "SELECT shard FROM judged WHERE waits = 1"


def _masked(records: Sequence[Record | Refused]) -> list[Record | Refused]:
    return [record if isinstance(record, Act) else _MASKED for record in records]


def _save(step: Step, terms: Terms) -> None:
    """Keep what the newest term is, and its path."""
    conn, newest = step.conn, terms.newest
    now = (
        newest.number,
        newest.feed.site,
        newest.feed.generation,
        len(terms.voters(newest)),
        int(terms.stopped),
    )
    sql = "SELECT term, leader, generation, voters, stopped FROM shard WHERE id = ?"
    before = select(conn, sql, (terms.id,))
    if before and before[0] == now:
        _save_path(conn, terms)
        return
    if before:
        conn.execute(
            "UPDATE shard SET term = ?, leader = ?, generation = ?, voters = ?, stopped = ?"
            " WHERE id = ?",
            (*now, terms.id),
        )
    else:
        _insert(conn, terms, now)
    _save_path(conn, terms)
    step.changes.append(TermOpened(terms.id, newest.number, newest.feed))


def _insert(conn: apsw.Connection, terms: Terms, now: tuple[object, ...]) -> None:
    root = roots.of_founding(terms.id, terms.council)
    first = terms.terms[0]
    conn.execute(
        "INSERT INTO shard (id, founder, council, term, leader, generation, voters, stopped,"
        " at_term, at_feed, at_seq, own_root, results_root, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        (
            terms.id,
            terms.founder,
            b"".join(terms.council),
            *now,
            feed_no(conn, first.feed),
            first.began.seq - 1,
            root,
            root,
            roots.VERSION,
        ),
    )


def _save_path(conn: apsw.Connection, terms: Terms) -> None:
    no = select(conn, "SELECT no FROM shard WHERE id = ?", (terms.id,))[0][0]
    rows = [
        (
            no,
            at,
            segment.term.number,
            feed_no(conn, segment.feed),
            segment.first[0],
            None if segment.through is None else segment.through.seq,
            None if segment.until is None else segment.until[0] + bool(segment.until[1]),
        )
        for at, segment in enumerate(segments(terms))
    ]
    if select(conn, "SELECT * FROM segment WHERE shard = ? ORDER BY no", (no,)) != rows:
        conn.execute("DELETE FROM segment WHERE shard = ?", (no,))
        conn.executemany("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def entry_no(conn: apsw.Connection, ref: EntryRef, horizon: int) -> int | None:
    """Local number of this very entry, if it is here and at or below the horizon."""
    feed = ref.feed
    found: int | None = conn.execute(
        "SELECT no FROM entry WHERE feed = (SELECT no FROM feed WHERE site = ? AND generation = ?"
        " AND lane = ?) AND seq = ? AND id = ? AND no <= ?",
        (feed.site, feed.generation, int(feed.lane), ref.seq, ref.id, horizon),
    ).get
    return found


def _entry_ref(row: Sequence[object]) -> EntryRef:
    site, generation, lane, seq, id_ = row
    return EntryRef(FeedID(SiteID(site), generation, Lane(lane)), seq, EntryID(id_))  # type: ignore[arg-type]
