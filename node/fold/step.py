"""The folding of one entry: what its parts share, and what happens when something goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import apsw
from twisted.logger import Logger

from federation.admins import At
from federation.entry import Header
from federation.ids import EntryRef, FeedID
from node.changes import Change, DatasetChanged
from node.fold.shape import ENVIRONMENT_ERRORS, HERE, Member, Refusal, Shard, member_by_id, select

_log = Logger()


class Scene:
    """A transaction in which records are folded. `changes` is what they changed so far."""

    def __init__(self, conn: apsw.Connection, changes: list[Change]) -> None:
        self.conn = conn
        self.changes = changes

    def refuse(self, entry: int, idx: int, why: str, shard: int = 0, *, keep: bool = False) -> None:
        """Note that a record is skipped.

        shard: local number of the one whose log it is in. keep: a reason that was noted before.
        """
        set_ = "NOTHING" if keep else "UPDATE SET why = excluded.why"
        sql = f"INSERT INTO refused VALUES (?, ?, ?, ?) ON CONFLICT DO {set_}"
        self.conn.execute(sql, (entry, idx, shard, why))
        _log.warn(
            "fold: record {idx} of entry {entry} is skipped: {why}", entry=entry, idx=idx, why=why
        )

    def guarded(self, member: Member | None, act: Callable[[], bool]) -> bool:
        """Do `act` whole or not at all; its answer.

        An exception that nobody foresaw sets the dataset aside on this node, or, for a record that
        is about none, only that record; False then. Raises Refusal as `act` does.
        """
        if member is not None and member.quarantined:
            return False
        self.conn.execute("SAVEPOINT record")
        changes = len(self.changes)
        try:
            done = act()
        except ENVIRONMENT_ERRORS:
            raise
        except Exception as error:
            self.conn.execute("ROLLBACK TO record; RELEASE record")
            del self.changes[changes:]
            if isinstance(error, Refusal):
                raise
            if member is None:
                raise Refusal(_unforeseen(error)) from error
            self._quarantine(member, error)
            return False
        self.conn.execute("RELEASE record")
        return done

    def _quarantine(self, member: Member, error: Exception) -> None:
        sql = "UPDATE dataset SET quarantined = ? WHERE no = ?"
        self.conn.execute(sql, (_unforeseen(error), member.no))
        self.changes.append(DatasetChanged(member.no, "quarantine"))
        _log.failure(
            "fold: dataset {dataset} is set aside on this node: folding it failed; its records are"
            " kept. Please report this. `floe store rebuild` tries again.",
            dataset=member.id.hex()[:12],
        )


class Step(Scene):
    """One entry on its way into the tables."""

    def __init__(
        self, conn: apsw.Connection, ref: EntryRef, entry: int, changes: list[Change]
    ) -> None:
        super().__init__(conn, changes)
        self.ref = ref
        self.entry = entry

    def at(self, idx: int) -> At:
        """Where among all records of its author one of this entry stands."""
        return self.ref.feed.generation, self.ref.seq, idx

    def hlc(self) -> int:
        """The entry's clock, for display."""
        sql = "SELECT header FROM entry WHERE no = ?"
        return Header.unpack(select(self.conn, sql, (self.entry,))[0][0]).hlc


RECORD_COST: Final = 10  # of a budget


@dataclass(slots=True)
class Budget:
    """How much may be folded in one go: rows of results, and records at a flat rate."""

    left: int

    @property
    def spent(self) -> bool:
        return self.left <= 0

    def spend(self, cost: int) -> None:
        self.left -= cost


def _unforeseen(error: Exception) -> str:
    _log.failure("fold: an exception that nobody foresaw; please report it")
    return f"{type(error).__name__}: {error}"[:1000]


def site_no(conn: apsw.Connection, key: bytes) -> int:
    """Local number of a site; a new one at first sight."""
    for (no,) in select(conn, "SELECT no FROM site WHERE key = ?", (key,)):
        return int(no)
    conn.execute("INSERT INTO site (key) VALUES (?)", (key,))
    return conn.last_insert_rowid()


def feed_no(conn: apsw.Connection, feed: FeedID) -> int:
    """Local number of a feed; -1 if nothing of it is here."""
    sql = "SELECT no FROM feed WHERE site = ? AND generation = ? AND lane = ?"
    rows = select(conn, sql, (feed.site, feed.generation, int(feed.lane)))
    return int(rows[0][0]) if rows else -1


_SHARD: Final = (
    "SELECT no, id, voters, at_term, at_feed, at_seq, at_idx, own_pos, results_pos,"
    " own_root, results_root, anew, waits_site, waits_generation, waits_seq, acts, last"
    " FROM shard JOIN judged ON judged.shard = shard.id"
)


def find_shard(conn: apsw.Connection, column: str, wanted: bytes | int) -> Shard | None:
    """The shard whose `column` (id or no) is `wanted`; None before its founding is here."""
    for row in select(conn, f"{_SHARD} WHERE {column} = ?", (wanted,)):
        no, id_, voters, term, feed, seq, idx, own, results, own_root, results_root, anew = row[:12]
        return Shard(
            no=no,
            id=id_,
            voters=voters,
            at_term=term,
            at_feed=feed,
            at_seq=seq,
            at_idx=idx,
            own_pos=own,
            results_pos=results,
            own_root=own_root,
            results_root=results_root,
            anew=bool(anew),
            waits=None if row[12] is None else (row[12], row[13], row[14]),
            mark=(row[15], row[16]),
        )
    return None


def save_shard(conn: apsw.Connection, shard: Shard) -> None:
    """Store where the cursors stand."""
    conn.execute(
        "UPDATE shard SET at_term = ?, at_feed = ?, at_seq = ?, at_idx = ?, own_pos = ?,"
        " results_pos = ?, own_root = ?, results_root = ?, anew = ?, behind = ?, stuck = ?,"
        " waits_site = ?, waits_generation = ?, waits_seq = ? WHERE no = ?",
        (
            shard.at_term,
            shard.at_feed,
            shard.at_seq,
            shard.at_idx,
            shard.own_pos,
            shard.results_pos,
            shard.own_root,
            shard.results_root,
            int(shard.anew),
            int(shard.behind),
            int(shard.stuck),
            *(shard.waits or (None, None, None)),
            shard.no,
        ),
    )


def number_of(conn: apsw.Connection, shard: int, dataset: bytes) -> int:
    """The local number of a dataset of a shard, which it keeps when that is folded anew."""
    key = (shard, dataset)
    conn.execute("INSERT OR IGNORE INTO numbered (shard, id) VALUES (?, ?)", key)
    return int(select(conn, "SELECT no FROM numbered WHERE shard = ? AND id = ?", key)[0][0])


def member_of(conn: apsw.Connection, shard: Shard, dataset: bytes) -> Member:
    """Raises Refusal for a dataset that is not in this log."""
    member = member_by_id(conn, dataset, shard.no)
    if member is None or member.moved:
        raise Refusal("no such dataset in this log")
    return member


def member_in_turn(conn: apsw.Connection, shard: Shard, dataset: bytes) -> Member:
    """The same for the results cursor, which may stand where it is not in the log yet."""
    member = member_by_id(conn, dataset, shard.no)
    if member is None or member.away != HERE or member.pos > shard.results_pos:
        raise Refusal("no such dataset in this log")
    return member
