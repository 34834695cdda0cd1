"""The folding of one entry: what its parts share, and what happens when something goes wrong."""

from __future__ import annotations

from collections.abc import Callable

import apsw
from twisted.logger import Logger

from federation.entry import Header
from federation.ids import EntryRef
from node.changes import Change, DatasetChanged
from node.fold.shape import ENVIRONMENT_ERRORS, Member, Refusal, Shard, member_by_id, select

_log = Logger()


class Step:
    """One entry on its way into the tables. `changes` is what it changed so far."""

    def __init__(self, conn: apsw.Connection, ref: EntryRef, entry: int) -> None:
        self.conn = conn
        self.ref = ref
        self.entry = entry
        self.changes: list[Change] = []

    def hlc(self) -> int:
        """The entry's clock, for display."""
        sql = "SELECT header FROM entry WHERE no = ?"
        return Header.unpack(select(self.conn, sql, (self.entry,))[0][0]).hlc

    def refuse(self, entry: int, idx: int, why: str) -> None:
        sql = "INSERT INTO refused VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET why = excluded.why"
        self.conn.execute(sql, (entry, idx, why))
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


def _unforeseen(error: Exception) -> str:
    _log.failure("fold: an exception that nobody foresaw; please report it")
    return f"{type(error).__name__}: {error}"[:1000]


def site_no(conn: apsw.Connection, key: bytes) -> int:
    """Local number of a site; a new one at first sight."""
    for (no,) in select(conn, "SELECT no FROM site WHERE key = ?", (key,)):
        return int(no)
    conn.execute("INSERT INTO site (key) VALUES (?)", (key,))
    return conn.last_insert_rowid()


def find_shard(conn: apsw.Connection, column: str, wanted: bytes | int) -> Shard:
    """Raises Refusal for a shard that nobody founded."""
    sql = (
        "SELECT no, id, founder, generation, own_pos, results_pos, own_root, results_root"
        f" FROM shard WHERE {column} = ?"
    )
    for row in select(conn, sql, (wanted,)):
        return Shard(*row)
    raise Refusal("no such shard")


def member_of(conn: apsw.Connection, shard: Shard, dataset: bytes) -> Member:
    """Raises Refusal for a dataset that is not in this log."""
    member = member_by_id(conn, dataset)
    if member is None or member.shard != shard.no:
        raise Refusal("no such dataset in this log")
    return member
