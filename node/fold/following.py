"""The results cursor: accepts, and what has to stand before or after them, in the log's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import apsw

from federation.ids import Lane
from federation.records import Accept, Command, Grant, Record, Refused, Results, decode
from node.changes import DatasetChanged
from node.fold import orders, owners, roots
from node.fold.attempts import Attempts
from node.fold.documents import Documents
from node.fold.owning import LogRecord
from node.fold.shape import Member, Refusal, Shard, member_by_id, read_tasks, select
from node.fold.step import Step, member_of, site_no

Decode = Callable[[bytes, bytes], Sequence[Record | Refused]]
"""(entry id, body) -> its records."""


class Following:
    """Waits at an accept that names results entries which are not here yet."""

    def __init__(self, step: Step, documents: Documents, decoded: Decode) -> None:
        self._step = step
        self._conn = step.conn
        self._documents = documents
        self._decoded = decoded

    def advance(self, shard: Shard) -> None:
        """Take the waiting records in order, until one waits for a results entry."""
        sql = "SELECT pos, entry, idx FROM pending WHERE shard = ? ORDER BY pos"
        for pos, entry, idx in select(self._conn, sql, (shard.no,)):
            body = select(self._conn, "SELECT body FROM entry WHERE no = ?", (entry,))
            record = decode(body[0][0])[idx]
            assert isinstance(record, LogRecord)
            shard.results_pos = pos - 1
            if not self.take(shard, record, entry, idx):
                save_results(self._conn, shard)
                return
            self._conn.execute("DELETE FROM pending WHERE shard = ? AND pos = ?", (shard.no, pos))
        shard.results_pos = shard.own_pos
        save_results(self._conn, shard)

    def take(self, shard: Shard, record: LogRecord, entry: int, idx: int) -> bool:
        """The results cursor's part of a record; False if it has to wait."""
        if isinstance(record, Accept):
            if not self._accept(shard, record):
                return False
        else:
            try:
                self._order_or_grant(shard, record)
            except Refusal as refusal:
                self._step.refuse(entry, idx, str(refusal))
        shard.results_pos += 1
        save_results(self._conn, shard)
        return True

    def _order_or_grant(self, shard: Shard, record: LogRecord) -> None:
        if isinstance(record, Grant):
            member = member_of(self._conn, shard, record.dataset)
            site = site_no(self._conn, record.to)
            ranges = list(record.ranges)
            for index in record.tasks:
                for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                    owners.remember(self._conn, member.base + index, lo, hi, site)
        elif isinstance(record, Command):
            order = self._documents.order(record)
            member = member_of(self._conn, shard, order.dataset)

            def act() -> bool:
                changed = orders.obey_in_turn(self._conn, member, order)
                names = [[each[0] - member.base, *each[1:]] for each in changed]
                shard.results_root = roots.extend(
                    shard.results_root, order.verb.encode(), member.id, names, self._counts(member)
                )
                self._step.changes.append(DatasetChanged(member.no, order.verb))
                return True

            self._step.guarded(member, act)

    def _counts(self, member: Member) -> list[list[int]]:
        return [
            [row.settled, row.failed, row.blocked, row.cancelled, row.ready, row.duplicates]
            for row in read_tasks(self._conn, member.no).values()
        ]

    def _accept(self, shard: Shard, record: Accept) -> bool:
        """Take a results feed through an entry; False while one of the entries is not here."""
        conn = self._conn
        site = site_no(conn, record.site)
        key = (shard.no, site, record.generation)
        sql = "SELECT through FROM position WHERE shard = ? AND site = ? AND generation = ?"
        through = next((row[0] for row in select(conn, sql, key)), 0)
        if record.through <= through:
            return True
        entries = select(
            conn,
            "SELECT e.no, e.id, e.body FROM entry e JOIN feed f ON f.no = e.feed"
            " WHERE f.site = ? AND f.generation = ? AND f.lane = ? AND e.seq > ? AND e.seq <= ?"
            " ORDER BY e.seq",
            (record.site, record.generation, int(Lane.RESULTS), through, record.through),
        )
        whole = len(entries) == record.through - through and all(row[2] for row in entries)
        if not whole or entries[-1][1] != record.entry:
            return False
        for no, id_, body in entries:
            self._results(shard, site, no, self._decoded(id_, body))
        conn.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (*key, record.through))
        return True

    def _results(
        self, shard: Shard, site: int, entry: int, records: Iterable[Record | Refused]
    ) -> None:
        pos = shard.results_pos + 1
        self._conn.execute("INSERT INTO accepted VALUES (?, ?, ?)", (entry, shard.no, pos))
        first = 0
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._step.refuse(entry, idx, record.why)
            elif isinstance(record, Results):
                self._attempts(shard, site, entry, idx, first, record)
                first += len(record.jobs)

    def _attempts(
        self, shard: Shard, site: int, entry: int, idx: int, first: int, record: Results
    ) -> None:
        member = member_by_id(self._conn, record.dataset)
        if member is None or member.shard != shard.no or member.quarantined:
            return  # another shard's, or parked

        def act() -> bool:
            task, effect = Attempts(self._conn, member).fold(record, entry, first, site)
            counts = self._counts(member)[record.task]
            shard.results_root = roots.extend(
                shard.results_root, b"results", member.id, record.task, effect.packed(), counts
            )
            self._step.changes.extend(effect.told(task))
            return True

        try:
            self._step.guarded(member, act)
        except Refusal as refusal:
            self._step.refuse(entry, idx, str(refusal))


def save_results(conn: apsw.Connection, shard: Shard) -> None:
    """Store where the results cursor stands."""
    conn.execute(
        "UPDATE shard SET results_pos = ?, results_root = ? WHERE no = ?",
        (shard.results_pos, shard.results_root, shard.no),
    )
