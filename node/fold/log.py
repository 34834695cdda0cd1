"""What stored entries mean: records become rows of the shared tables.

Three steps for an entry of a control feed: what it states by itself is kept, and noted for which
logs it holds records (`control`); what its acts come to decides who leads each shard (`acts`,
`seats`); then the cursors of the shards that it concerns walk on (`walking`). An entry of a results
feed lets those cursors go on that waited for it.

Everything runs inside the caller's transaction. What is remembered besides the tables is checked
against them, and forgotten when a transaction was undone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import apsw
from twisted.logger import Logger

from federation.ids import EntryRef, Lane, SiteID
from federation.records import Force, Record, Refused, decode
from node.changes import Change
from node.fold import copies, forcing, people, roots
from node.fold.acts import Acts
from node.fold.control import Control
from node.fold.documents import Documents, signer
from node.fold.made import Made
from node.fold.orders import Order
from node.fold.shape import ENVIRONMENT_ERRORS, Refusal, select
from node.fold.step import Budget, Step
from node.fold.walking import Walk
from node.model.dataset import DatasetSpec

_log = Logger()

ENTRIES_CACHED: Final = 16  # up to half a megabyte each; an accept follows within about a second
AT_ONCE: Final = 20_000  # rows of results, or a tenth of it records: some tens of milliseconds


class Fold:
    """Folds entries into the shared tables; one a process suffices for all connections."""

    def __init__(
        self,
        site: SiteID,
        read_submission: Callable[[bytes], DatasetSpec],
        read_command: Callable[[bytes], Order],
        check_signature: people.CheckSignature = signer,
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        """site: this one; its own entries get no privilege.

        read_submission, read_command: the checks of signed documents; raise Invalid.
        check_signature: (document, signature) -> key; raises BadSignature.
        at_once: how much one call folds; see `Budget`.
        """
        self.site = site
        self._documents = Documents(read_submission, read_command, check_signature)
        self._acts = Acts(self._cut_of)
        self._made = Made()
        self._at_once = at_once
        self._decoded: OrderedDict[bytes, Sequence[Record | Refused]] = OrderedDict()

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        """Fold one entry, whose rows are in the transaction already; what changed.

        What is too much for one go is left: see `behind`.
        Exceptions are the disk's or the process's, and the caller must roll back; what is wrong
        with the entry itself is noted in the tables.
        """
        changes: list[Change] = []
        self._acts.horizon = entry_no
        if ref.feed.lane is Lane.RESULTS:
            self._remember(ref.id, records)
            copies.note(Step(conn, ref, entry_no, changes), records)
            feed = (ref.feed.site, ref.feed.generation, ref.seq)
            self._walk(conn, changes, "no", [no for (no,) in select(conn, _WAITING, feed)])
        else:
            step = Step(conn, ref, entry_no, changes)
            touched = Control(step, self._documents, self._acts).read(records)
            self._walk(conn, changes, "id", touched, {entry_no: records})
        return changes

    def behind(self, conn: apsw.Connection) -> bool:
        """Whether something was left for later."""
        return bool(select(conn, "SELECT 1 FROM shard WHERE behind = 1 LIMIT 1"))

    def go_on(self, conn: apsw.Connection) -> list[Change]:
        """Fold some of what was left; what changed."""
        changes: list[Change] = []
        for (no,) in select(conn, "SELECT no FROM shard WHERE behind = 1 ORDER BY no"):
            self._walk(conn, changes, "no", [no])
        return changes

    def acts(self) -> Acts:
        """The terms of shards, for the questions of a connection that reads."""
        return Acts(self._cut_of)

    def forget(self) -> None:
        """A transaction was undone: what is remembered may not be so."""
        self._acts.forget()

    def state_root(self, conn: apsw.Connection) -> str:
        """One hash over the roots and positions of all shards, in hex."""
        return roots.state_root(conn)

    def digest(self, conn: apsw.Connection) -> bytes:
        """A hash over all shared tables, free of local numbers."""
        return roots.digest(conn)

    def _walk(
        self,
        conn: apsw.Connection,
        changes: list[Change],
        column: str,
        shards: Iterable[bytes | int],
        fresh: Mapping[int, Sequence[Record | Refused]] | None = None,
    ) -> None:
        walk = Walk(
            conn,
            self._acts,
            self._documents,
            self._decode,
            changes,
            Budget(self._at_once),
            fresh or {},
            self._made,
        )

        def walked(column: str, shard: bytes | int) -> bool:
            return self._guarded(conn, changes, column, shard, walk)

        moved = [walked(column, shard) for shard in shards]
        # Control entries may be what another log waits for, and so may be what was folded now.
        look = any(moved) or bool(fresh)
        while look and any(walked("no", no) for (no,) in select(conn, _STUCK)):
            pass  # what one of them waits for may be another's

    def _guarded(
        self,
        conn: apsw.Connection,
        changes: list[Change],
        column: str,
        shard: bytes | int,
        walk: Walk,
    ) -> bool:
        """Walk over one log, whole or not at all; whether it moved.

        A log of which folding fails unexpectedly is left where it stands, which is noted and
        shouted about; it is tried again with its next entry. What made it go on is no part of that.
        """
        told = len(changes)
        conn.execute("SAVEPOINT walk")
        try:
            moved = walk.walk(column, shard)
        except ENVIRONMENT_ERRORS:
            raise
        except Exception as error:
            _log.failure("fold: a shard cannot be folded on; please report this")
            conn.execute("ROLLBACK TO walk; RELEASE walk")
            del changes[told:]
            self.forget()
            why = f"{type(error).__name__}: {error}"[:1000]
            conn.execute(f"INSERT OR REPLACE INTO quarantine {_STANDS} WHERE s.{column} = ?",
                         (why, shard))  # fmt: skip
            conn.execute(f"UPDATE shard SET behind = 0 WHERE {column} = ?", (shard,))
            return False
        conn.execute("RELEASE walk")
        return moved

    def _remember(self, entry: bytes, records: Sequence[Record | Refused]) -> None:
        self._decoded[entry] = records
        while len(self._decoded) > ENTRIES_CACHED:
            self._decoded.popitem(last=False)

    def _decode(self, entry: bytes, body: bytes) -> Sequence[Record | Refused]:
        """Records of an entry, decoded at most once in a short while."""
        found = self._decoded.pop(entry, None)
        return decode(body) if found is None else found

    def _cut_of(
        self, conn: apsw.Connection, record: Force, at: EntryRef, idx: int
    ) -> EntryRef | None:
        try:
            return forcing.checked(conn, self._documents, record, at, idx)
        except Refusal:
            return None


# The entry of its log at which a shard stands; the newest one if it waits for results there.
_STANDS: Final = (
    "SELECT coalesce((SELECT min(l.entry) FROM log_entry l WHERE l.shard = s.id"
    " AND l.feed = s.at_feed AND l.seq > s.at_seq),"
    " (SELECT max(l.entry) FROM log_entry l WHERE l.shard = s.id)), ? FROM shard s"
)
_STUCK: Final = "SELECT no FROM shard WHERE stuck = 1 ORDER BY no"
_WAITING: Final = (
    "SELECT no FROM shard WHERE waits_site = ? AND waits_generation = ? AND waits_seq <= ?"
)
