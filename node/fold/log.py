"""The two cursors over each shard's log.

Records of a log stand in its leader's control feed. The *ownership* cursor takes each as it comes:
datasets, grants, releases, orders. The *results* cursor follows in the same order and does what
depends on results: accepts, and the orders and grants that an accept must stand before or after.
It waits at an accept that names a results entry which is not here yet; what follows then waits in
the `pending` table. With all entries at hand both stand at the same record.

Everything runs inside the caller's transaction. The only memory besides the tables is a cache of
decoded results entries by id, which no rollback can make false.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import apsw

from federation.ids import EntryRef, Lane, SiteID
from federation.records import (
    Address,
    Force,
    Forked,
    Found,
    MemberAdd,
    MemberRemove,
    Policy,
    Record,
    Refused,
    Release,
    Results,
    Site,
    Unknown,
    UserAdd,
    UserRemove,
    decode,
)
from keys.signing import Purpose, digest
from node.changes import Change
from node.fold import forcing, forks, members, people, roots
from node.fold.documents import Documents, signer
from node.fold.following import Following, save_results
from node.fold.orders import Order
from node.fold.owning import LogRecord, Owning
from node.fold.shape import Refusal, Shard, select
from node.fold.step import Step, find_shard
from node.model.dataset import DatasetSpec

ENTRIES_CACHED = 16  # up to half a megabyte each; an accept follows within about a second


class Fold:
    """Folds entries into the shared tables; one a process suffices for all connections."""

    def __init__(
        self,
        site: SiteID,
        read_submission: Callable[[bytes], DatasetSpec],
        read_command: Callable[[bytes], Order],
        check_signature: people.CheckSignature = signer,
    ) -> None:
        """site: this one; its own entries get no privilege.

        read_submission, read_command: the checks of signed documents; raise Invalid.
        check_signature: (document, signature) -> key; raises BadSignature.
        """
        self.site = site
        self._documents = Documents(read_submission, read_command, check_signature)
        self._decoded: OrderedDict[bytes, Sequence[Record | Refused]] = OrderedDict()

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        """Fold one entry, whose rows are in the transaction already; what changed.

        Exceptions are the disk's or the process's, and the caller must roll back; what is wrong
        with the entry itself is noted in the tables.
        """
        step = Step(conn, ref, entry_no)
        following = Following(step, self._documents, self._decode)
        if ref.feed.lane is Lane.RESULTS:
            self._remember(ref.id, records)
            catch_up(step, following)
        else:
            _Control(step, self._documents, following).fold(records)
        return step.changes

    def state_root(self, conn: apsw.Connection) -> str:
        """One hash over the roots and positions of all shards, in hex."""
        return roots.state_root(conn)

    def digest(self, conn: apsw.Connection) -> bytes:
        """A hash over all shared tables, free of local numbers."""
        return roots.digest(conn)

    def _remember(self, entry: bytes, records: Sequence[Record | Refused]) -> None:
        self._decoded[entry] = records
        while len(self._decoded) > ENTRIES_CACHED:
            self._decoded.popitem(last=False)

    def _decode(self, entry: bytes, body: bytes) -> Sequence[Record | Refused]:
        """Records of an entry, decoded at most once in a short while."""
        found = self._decoded.pop(entry, None)
        return decode(body) if found is None else found


def catch_up(step: Step, following: Following) -> None:
    """A results entry came: let the results cursors that wait go on."""
    for (no,) in select(step.conn, "SELECT DISTINCT shard FROM pending"):
        following.advance(find_shard(step.conn, "no", no))


class _Control:
    """Folding of one entry of a control feed."""

    def __init__(self, step: Step, documents: Documents, following: Following) -> None:
        self._step = step
        self._documents = documents
        self._owning = Owning(step, documents)
        self._following = following

    def fold(self, records: Sequence[Record | Refused]) -> None:
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._step.refuse(self._step.entry, idx, record.why)
            elif not isinstance(record, Unknown | Results):
                self._record(idx, record)

    def _record(self, idx: int, record: Record) -> None:
        try:
            if isinstance(record, LogRecord):
                self._log_record(idx, record)
            else:
                self._step.guarded(None, lambda: self._fact(idx, record))
        except Refusal as refusal:
            self._step.refuse(self._step.entry, idx, str(refusal))

    def _fact(self, idx: int, record: Record) -> bool:
        """A record that its author writes without leading the shard's log, if it is of one."""
        if isinstance(record, Site):
            members.hear_site(self._step, record)
        elif isinstance(record, Address):
            members.hear_address(self._step, record)
        elif isinstance(record, UserAdd | UserRemove):
            people.enrol(self._step, idx, record, self._documents.signer)
        elif isinstance(record, MemberAdd | MemberRemove | Policy):
            members.take(self._step, idx, record, self._documents.signer)
        elif isinstance(record, Found):
            self._found(record)
        elif isinstance(record, Forked):
            forks.note(self._step, record)
        elif isinstance(record, Force):
            forcing.force(self._step, idx, record, self._documents)
        return True

    def _found(self, record: Found) -> None:
        feed = self._step.ref.feed
        if digest(Purpose.SHARD, feed.site + record.nonce) != record.shard:
            raise Refusal("the shard's id does not follow from its founder and nonce")
        if feed.site not in record.council:
            raise Refusal("the founder does not sit in the shard's council")
        root = roots.extend(roots.EMPTY, b"found", record.shard, list(record.council))
        self._step.conn.execute(
            "INSERT OR IGNORE INTO shard (id, founder, generation, council, own_root,"
            " results_root, version) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                record.shard,
                feed.site,
                feed.generation,
                b"".join(record.council),
                root,
                root,
                roots.VERSION,
            ),
        )

    # Records of a shard's log

    def _log_record(self, idx: int, record: LogRecord) -> None:
        shard = find_shard(self._step.conn, "id", record.shard)
        feed = self._step.ref.feed
        if (feed.site, feed.generation) != (shard.founder, shard.generation):
            if isinstance(record, Release):
                self._owning.give_back(shard, record)
                return
            raise Refusal("not written by the shard's leader")
        shard.own_pos += 1
        in_turn = False
        try:
            in_turn = self._owning.take(shard, idx, record)
        except Refusal as refusal:
            self._step.refuse(self._step.entry, idx, str(refusal))
            shard.own_root = roots.extend(shard.own_root, b"refused", shard.own_pos)
        self._save_own(shard)
        waits = shard.results_pos < shard.own_pos - 1
        if not in_turn:
            if not waits:
                shard.results_pos = shard.own_pos
                save_results(self._step.conn, shard)
        elif waits or not self._following.take(shard, record, self._step.entry, idx):
            sql = "INSERT INTO pending VALUES (?, ?, ?, ?)"
            self._step.conn.execute(sql, (shard.no, shard.own_pos, self._step.entry, idx))

    def _save_own(self, shard: Shard) -> None:
        self._step.conn.execute(
            "UPDATE shard SET own_pos = ?, own_root = ? WHERE no = ?",
            (shard.own_pos, shard.own_root, shard.no),
        )
