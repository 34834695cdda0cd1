"""One stored entry into the tables: what a fold is to the store, and what happens if it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import apsw
from twisted.logger import Logger

from federation.entry import Entry
from federation.ids import EntryRef
from federation.records import Record, Refused
from node.changes import Change

_log = Logger()

# What a disk does to any statement; the whole transaction is then tried again.
OF_THE_DISK = (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.NoMemError, apsw.CantOpenError)


class Fold(Protocol):
    """What entries mean. Runs inside the journal's transaction."""

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        """Change the shared tables by one entry; what takes long may be left for `go_on`."""

    def behind(self, conn: apsw.Connection) -> bool:
        """Whether something was left."""

    def go_on(self, conn: apsw.Connection) -> list[Change]:
        """Fold some of what was left."""

    def forget(self) -> None:
        """A transaction, or a part of it, was undone: trust nothing that is remembered."""


def fold_entry(connection: apsw.Connection, fold: Fold, entry: Entry, no: int) -> list[Change]:
    """Fold one stored entry, whose body is held; what changed.

    An unexpected exception undoes this entry's folding alone, quarantines the entry and is shouted
    about: a bug in the fold must lose neither records nor the node.
    """
    connection.execute("SAVEPOINT fold")
    try:
        changes = fold.apply(connection, entry.ref, no, entry.records())
    except OF_THE_DISK:
        raise
    except Exception as error:
        _log.failure(
            "store: folding entry {no} failed; it is kept and quarantined on this node", no=no
        )
        connection.execute("ROLLBACK TO fold; RELEASE fold")
        fold.forget()
        connection.execute(
            "INSERT OR REPLACE INTO quarantine (entry, why) VALUES (?, ?)",
            (no, f"{type(error).__name__}: {error}"[:1000]),
        )
        return []
    connection.execute("RELEASE fold")
    return changes
