"""The two cursors over a shard's log, moved as far as what is here allows.

The log is a path through the control feeds of its leaders (federation/segments.py). The *ownership*
cursor takes each record as it comes: datasets, grants, orders. It waits only where an entry of an
earlier term up to its cut is not here, and to adopt a dataset. The *results* cursor follows in the
same order and does what depends on results: accepts, and the orders and grants that an accept must
stand before or after. It waits at an accept that names a results entry which is not here yet; what
follows then waits in the `pending` table. With all entries at hand both stand at the same record.

When a later term cuts the log below the place where the ownership cursor stands, the shard is
folded anew. That, and catching up, may take long: a walk ends when its budget is spent, and goes on
in a later transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import apsw

from federation.ids import EntryID, EntryRef, ShardID
from federation.records import Found, FoundCouncil, Record, Refused, Release, decode
from federation.segments import LogRecord, Segment
from node.changes import Change, DatasetChanged, ShardFolded
from node.fold import anew, roots
from node.fold.acts import Acts
from node.fold.documents import Documents
from node.fold.following import Decode, Following, InTurn
from node.fold.made import Made
from node.fold.moving import Arrival
from node.fold.owning import Owning, Taken
from node.fold.shape import Refusal, Shard, select
from node.fold.step import RECORD_COST, Budget, Scene, Step, find_shard, save_shard

ENTRIES_AT_ONCE: Final = 64
ANEW: Final = "anew"  # the verb of a DatasetChanged

Records = Sequence[Record | Refused]


class Walk:
    """Walks over the logs of shards within one transaction."""

    def __init__(
        self,
        conn: apsw.Connection,
        acts: Acts,
        documents: Documents,
        decoded: Decode,
        changes: list[Change],
        budget: Budget,
        fresh: Mapping[int, Records],
        made: Made,
    ) -> None:
        """fresh: records of entries that have just arrived, by local number."""
        self._made = made
        self._conn = conn
        self._acts = acts
        self._documents = documents
        self._decoded = decoded
        self._changes = changes
        self._budget = budget
        self._records: dict[int, Records] = dict(fresh)

    def walk(self, column: str, wanted: bytes | int) -> bool:
        """Move both cursors of the shard whose `column` is `wanted`; whether they moved."""
        shard = find_shard(self._conn, column, wanted)
        if shard is None:
            return False  # its founding is not here
        before = shard.own_pos, shard.results_pos
        path = self._acts.path(self._conn, shard.id, shard.mark)
        at = self._index(shard, path)
        if at is None:
            at = self._restart(shard, path)
        # Nobody listens to single units of a log that is read again.
        changes = [] if shard.anew else self._changes
        following = Following(
            Scene(self._conn, changes),
            self._documents,
            self._decoded,
            self._read,
            self._budget,
            self._acts,
            self._made,
        )
        self._own(shard, path, at, changes, following)
        if shard.results_pos < shard.own_pos and not self._budget.spent:
            following.advance(shard)
        shard.behind = shard.behind or self._budget.spent
        if shard.anew and not shard.behind:
            self._arrive(shard)
        save_shard(self._conn, shard)
        moved = (shard.own_pos, shard.results_pos) != before
        if moved and shard.voters > 1:
            self._changes.append(ShardFolded(ShardID(shard.id)))
        return moved

    def _index(self, shard: Shard, path: Sequence[Segment]) -> int | None:
        """The segment in which the ownership cursor stands; None where it stands beyond a cut."""
        for index, segment in enumerate(path):
            if segment.term.number != shard.at_term:
                continue
            seq = shard.at_seq if not shard.at_idx else self._next(shard)
            here = segment.through is None or seq <= segment.through.seq
            if here and self._acts.feed_no(self._conn, segment.feed) == shard.at_feed:
                return index
        return None

    def _next(self, shard: Shard) -> int:
        """The entry of which the ownership cursor has passed some records."""
        sql = "SELECT min(seq) FROM log_entry WHERE shard = ? AND feed = ? AND seq > ?"
        return int(select(self._conn, sql, (shard.id, shard.at_feed, shard.at_seq))[0][0])

    def _restart(self, shard: Shard, path: Sequence[Segment]) -> int:
        """Forget what was folded of the log, and of those that are tied to it."""
        for no in anew.tied(self._conn, shard.no) - {shard.no}:
            other = find_shard(self._conn, "no", no)
            assert other is not None
            self._forget(other, self._acts.path(self._conn, other.id))
            other.behind = True
            save_shard(self._conn, other)
        self._forget(shard, path)
        return 0

    def _forget(self, shard: Shard, path: Sequence[Segment]) -> None:
        self._changes += [DatasetChanged(no, ANEW) for no in anew.forget(self._conn, shard.no)]
        shard.anew = True
        shard.own_pos = shard.results_pos = 0
        shard.own_root = shard.results_root = anew.first_root(self._conn, shard)
        shard.waits = None
        self._enter(shard, path[0])

    def _arrive(self, shard: Shard) -> None:
        """What is here of the log was folded again."""
        shard.anew = False
        rows = select(self._conn, "SELECT no FROM dataset WHERE shard = ?", (shard.no,))
        self._changes += [DatasetChanged(no, ANEW) for (no,) in rows]

    def _enter(self, shard: Shard, segment: Segment) -> None:
        shard.at_term = segment.term.number
        shard.at_feed = self._acts.feed_no(self._conn, segment.feed)
        shard.at_seq, shard.at_idx = segment.first[0] - 1, 0

    # The ownership cursor

    def _own(
        self,
        shard: Shard,
        path: Sequence[Segment],
        at: int,
        changes: list[Change],
        following: Following,
    ) -> None:
        while self._segment(shard, path[at], changes, following):
            through = path[at].through
            if through is None or not self._acts.holds(self._conn, through):
                return
            at += 1
            self._enter(shard, path[at])

    def _segment(
        self, shard: Shard, segment: Segment, changes: list[Change], following: Following
    ) -> bool:
        """Take the records of one segment that are here; False if the budget was spent first."""
        last = 2**62 if segment.through is None else segment.through.seq
        while True:
            key = (shard.id, shard.at_feed, shard.at_seq, last)
            rows = select(self._conn, _LOG_ENTRIES, key)
            for seq, entry, id_ in rows:
                if self._budget.spent:
                    return False
                step = Step(self._conn, EntryRef(segment.feed, seq, EntryID(id_)), entry, changes)
                if not self._entry(shard, segment, step, following):
                    return False
                shard.at_seq, shard.at_idx = seq, 0
            if len(rows) < ENTRIES_AT_ONCE:
                return True

    def _entry(self, shard: Shard, segment: Segment, step: Step, following: Following) -> bool:
        """Take the records of one entry; False if one of them has to wait."""
        owning = Owning(step, self._documents, Arrival(self._acts, self._read))
        for idx, record in enumerate(self._read(step.entry)):
            ours = isinstance(record, LogRecord | Release) and record.shard == shard.id
            if idx < shard.at_idx or not ours or isinstance(record, Found | FoundCouncil):
                continue
            if segment.holds((step.ref.seq, idx)):
                assert isinstance(record, LogRecord | Release)
                if not self._take(shard, idx, record, owning, following):
                    shard.at_idx, shard.stuck = idx, True
                    return False
        return True

    def _take(
        self,
        shard: Shard,
        idx: int,
        record: LogRecord | Release,
        owning: Owning,
        following: Following,
    ) -> bool:
        step = owning.step
        taken = Taken.WHOLLY
        shard.own_pos += 1
        try:
            taken = owning.take(shard, idx, record)
        except Refusal as refusal:
            step.refuse(step.entry, idx, str(refusal), shard.no)
            shard.own_root = roots.extend(shard.own_root, b"refused", shard.own_pos)
        if taken is Taken.NOT_YET:
            shard.own_pos -= 1
            return False
        self._budget.spend(RECORD_COST)
        pos = shard.own_pos
        roots.keep(self._conn, shard.no, roots.OWNERSHIP, pos - 1, pos, shard.own_root)
        waits = shard.results_pos < shard.own_pos - 1
        if taken is Taken.WHOLLY:
            if not waits:
                following.passed(shard)
            return True
        assert isinstance(record, InTurn)
        if waits or not following.take(shard, record, step.entry, idx):
            sql = "INSERT INTO pending VALUES (?, ?, ?, ?)"
            self._conn.execute(sql, (shard.no, shard.own_pos, step.entry, idx))
        return True

    def _read(self, entry: int) -> Records:
        """Records of a control entry, decoded once in a walk."""
        found = self._records.get(entry)
        if found is None:
            body = select(self._conn, "SELECT body FROM entry WHERE no = ?", (entry,))[0][0]
            found = self._records[entry] = decode(body)
            if len(self._records) > ENTRIES_AT_ONCE:
                del self._records[next(iter(self._records))]
        return found


_LOG_ENTRIES: Final = (
    "SELECT l.seq, l.entry, e.id FROM log_entry l JOIN entry e ON e.no = l.entry"
    " WHERE l.shard = ? AND l.feed = ? AND l.seq > ? AND l.seq <= ? ORDER BY l.seq"
    f" LIMIT {ENTRIES_AT_ONCE}"
)
