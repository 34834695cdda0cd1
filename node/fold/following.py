"""The results cursor: accepts, and what has to stand before or after them, in the log's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from federation.ids import Lane
from federation.records import Accept, Command, Grant, Record, Refused, Results
from node.changes import DatasetChanged
from node.fold import orders, owners, roots
from node.fold.attempts import Attempts
from node.fold.documents import Documents
from node.fold.shape import Member, Refusal, Shard, member_by_id, read_tasks, select
from node.fold.step import RECORD_COST, Budget, Scene, member_of, site_no

InTurn = Accept | Command | Grant
"""Records that the results cursor has a part of."""
Decode = Callable[[bytes, bytes], Sequence[Record | Refused]]
"""(entry id, body) -> its records."""

ENTRIES_AT_ONCE: Final = 16  # bodies read together: a megabyte
_PENDING: Final = "SELECT pos, entry, idx FROM pending WHERE shard = ? ORDER BY pos LIMIT 64"
_ENTRIES: Final = (
    "SELECT e.seq, e.no, e.id, e.body FROM entry e JOIN feed f ON f.no = e.feed"
    " WHERE f.site = ? AND f.generation = ? AND f.lane = ? AND e.seq > ? AND e.seq <= ?"
    f" ORDER BY e.seq LIMIT {ENTRIES_AT_ONCE}"
)


class Following:
    """Waits at an accept that names results entries which are not here yet."""

    def __init__(
        self,
        scene: Scene,
        documents: Documents,
        decoded: Decode,
        read: Callable[[int], Sequence[Record | Refused]],
        budget: Budget,
    ) -> None:
        """read: the records of a control entry, by local number."""
        self._scene = scene
        self._conn = scene.conn
        self._documents = documents
        self._decoded = decoded
        self._read = read
        self._budget = budget

    def advance(self, shard: Shard) -> None:
        """Take the waiting records in order, until one waits for a results entry, or the budget
        is spent."""
        while rows := select(self._conn, _PENDING, (shard.no,)):
            for pos, entry, idx in rows:
                self._pass(shard, pos - 1)
                if self._budget.spent:
                    shard.behind = True
                    return
                record = self._read(entry)[idx]
                assert isinstance(record, InTurn)
                if not self.take(shard, record, entry, idx):
                    return
                sql = "DELETE FROM pending WHERE shard = ? AND pos = ?"
                self._conn.execute(sql, (shard.no, pos))
        self._pass(shard, shard.own_pos)

    def take(self, shard: Shard, record: InTurn, entry: int, idx: int) -> bool:
        """The results cursor's part of a record; False if it has to wait."""
        if isinstance(record, Accept):
            if not self._accept(shard, record):
                return False
        else:
            try:
                self._order_or_grant(shard, record)
            except Refusal as refusal:
                self._scene.refuse(entry, idx, str(refusal), shard.no)
        self.passed(shard)
        return True

    def passed(self, shard: Shard) -> None:
        """The results cursor is done with one more record."""
        self._pass(shard, shard.results_pos + 1)
        self._budget.spend(RECORD_COST)

    def _pass(self, shard: Shard, pos: int) -> None:
        """The results cursor has nothing more to do with the records up to a position."""
        before, shard.results_pos = shard.results_pos, pos
        roots.keep(self._conn, shard.no, roots.RESULTS, before, pos, shard.results_root)

    def _order_or_grant(self, shard: Shard, record: Grant | Command) -> None:
        if isinstance(record, Grant):
            member = member_of(self._conn, shard, record.dataset)
            site = site_no(self._conn, record.to)
            ranges = list(record.ranges)
            for index in record.tasks:
                for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                    owners.remember(self._conn, member.base + index, lo, hi, site)
        else:
            order = self._documents.order(record)
            member = member_of(self._conn, shard, order.dataset)

            def act() -> bool:
                changed = orders.obey_in_turn(self._conn, member, order)
                names = [[each[0] - member.base, *each[1:]] for each in changed]
                shard.results_root = roots.extend(
                    shard.results_root, order.verb.encode(), member.id, names, self._counts(member)
                )
                self._scene.changes.append(DatasetChanged(member.no, order.verb))
                return True

            self._scene.guarded(member, act)

    def _counts(self, member: Member) -> list[list[int]]:
        return [
            [row.settled, row.failed, row.blocked, row.cancelled, row.ready, row.duplicates]
            for row in read_tasks(self._conn, member.no).values()
        ]

    def _accept(self, shard: Shard, record: Accept) -> bool:
        """Take a results feed through an entry, entry by entry; False if it has to wait."""
        conn = self._conn
        feed = (record.site, record.generation)
        site = site_no(conn, record.site)
        key = (shard.no, site, record.generation)
        sql = "SELECT through FROM position WHERE shard = ? AND site = ? AND generation = ?"
        through = next((row[0] for row in select(conn, sql, key)), 0)
        if record.through <= through:
            return True
        if not self._here(record):
            shard.waits = (*feed, record.through)
            return False
        shard.waits = None
        while through < record.through:
            rows = select(conn, _ENTRIES, (*feed, int(Lane.RESULTS), through, record.through))
            for seq, no, id_, body in rows:
                if body is None or self._budget.spent:
                    shard.behind = body is not None
                    return False
                self._results(shard, site, no, self._decoded(id_, body))
                sql = "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)"
                conn.execute(sql, (*key, seq))
                through = seq
        return True

    def _here(self, record: Accept) -> bool:
        """Whether the entry that an accept names is here, and so all before it in its feed."""
        sql = (
            "SELECT 1 FROM entry WHERE feed = (SELECT no FROM feed WHERE site = ? AND"
            " generation = ? AND lane = ?) AND seq = ? AND id = ?"
        )
        lane = int(Lane.RESULTS)
        place = (record.site, record.generation, lane, record.through, record.entry)
        return bool(select(self._conn, sql, place))

    def _results(
        self, shard: Shard, site: int, entry: int, records: Iterable[Record | Refused]
    ) -> None:
        pos = shard.results_pos + 1
        self._conn.execute("INSERT INTO accepted VALUES (?, ?, ?)", (entry, shard.no, pos))
        first = 0
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._scene.refuse(entry, idx, record.why, shard.no)
            elif isinstance(record, Results):
                self._attempts(shard, site, entry, idx, first, record)
                first += len(record.jobs)

    def _attempts(
        self, shard: Shard, site: int, entry: int, idx: int, first: int, record: Results
    ) -> None:
        member = member_by_id(self._conn, record.dataset, shard.no)
        if member is None or member.quarantined or member.pos > shard.results_pos:
            return  # another shard's, or parked, or not in the log yet where the accept stands

        self._budget.spend(len(record.jobs))

        def act() -> bool:
            task, effect = Attempts(self._conn, member).fold(record, entry, first, site)
            counts = self._counts(member)[record.task]
            shard.results_root = roots.extend(
                shard.results_root, b"results", member.id, record.task, effect.packed(), counts
            )
            self._scene.changes.extend(effect.told(task))
            return True

        try:
            self._scene.guarded(member, act)
        except Refusal as refusal:
            self._scene.refuse(entry, idx, str(refusal), shard.no)
