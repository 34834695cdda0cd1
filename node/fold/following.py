"""The results cursor: accepts, and what has to stand before or after them, in the log's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from federation.ids import Lane, SiteID
from federation.records import (
    Accept,
    Adopt,
    Command,
    Grant,
    Import,
    Move,
    Record,
    Refused,
    Reproduce,
    Results,
)
from node.changes import DatasetChanged, OutputsChanged, ResultsRefused
from node.fold import importing, moving, orders, owners, renewing, reproducing, roots
from node.fold.acts import Acts
from node.fold.attempts import Attempts
from node.fold.documents import Documents
from node.fold.made import Made
from node.fold.orders import Order
from node.fold.proving import NotYet
from node.fold.shape import HERE, Member, Refusal, Shard, member_by_id, read_tasks, select
from node.fold.step import RECORD_COST, Budget, Scene, member_in_turn, site_no
from node.ranges import ranges_of

InTurn = Accept | Command | Grant | Import | Reproduce | Move | Adopt
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
        acts: Acts,
        made: Made,
    ) -> None:
        """read: the records of a control entry, by local number."""
        self._acts = acts
        self._made = made
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
        try:
            if not self._taken(shard, record, entry):
                return False
        except NotYet:
            shard.stuck = True
            return False
        except Refusal as refusal:
            self._scene.refuse(entry, idx, str(refusal), shard.no)
        self.passed(shard)
        return True

    def _taken(self, shard: Shard, record: InTurn, entry: int) -> bool:
        """Raises Refusal, NotYet."""
        match record:
            case Accept():
                return self._accept(shard, record)
            case Grant() | Command():
                self._order_or_grant(shard, record)
            case Import():
                importing.take(self._scene, self._acts, shard, record, entry)
            case Reproduce():
                reproducing.order(self._scene, shard, record)
            case Move():
                moving.leave_in_turn(self._scene, shard, record, entry)
            case Adopt():
                self._adopt(shard, record)
        return True

    def _adopt(self, shard: Shard, record: Adopt) -> None:
        """What this log accepted and the one that the dataset left had not counts now."""
        member = moving.adopt_in_turn(self._scene, shard, record)
        for feed, through, last in moving.lacking(self._conn, shard, member):
            site = site_no(self._conn, feed.site)
            while through < last:
                key = (feed.site, feed.generation, int(feed.lane), through, last)
                for seq, no, id_, body in select(self._conn, _ENTRIES, key):
                    records = self._decoded(id_, body)
                    for idx, first, each in _results_of(records):
                        if each.dataset == member.id:
                            self._attempts(member, shard, site, no, idx, first, each)
                    through = seq

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
            member = member_in_turn(self._conn, shard, record.dataset)
            site = site_no(self._conn, record.to)
            ranges = list(record.ranges)
            for index in record.tasks:
                for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                    owners.remember(self._conn, member.base + index, lo, hi, site)
        else:
            order = self._documents.order(record)
            member = member_in_turn(self._conn, shard, order.dataset)

            def act() -> bool:
                changed = self._obey(member, order)
                names = [[each[0] - member.base, *each[1:]] for each in changed]
                shard.results_root = roots.extend(
                    shard.results_root, order.verb.encode(), member.id, names, self._counts(member)
                )
                self._scene.changes.append(DatasetChanged(member.no, order.verb))
                return True

            self._scene.guarded(member, act)

    def _obey(self, member: Member, order: Order) -> list[list[int]]:
        """[task, lo, hi, lo, hi, ...] of the units that an order changed."""
        if order.verb != orders.RENEW:
            return orders.obey_in_turn(self._conn, member, order)
        tasks = orders.chosen_tasks(self._conn, member, order.args)
        chosen = orders.chosen_jobs(order.args)
        changed = renewing.renew(self._conn, self._made, member, tasks, chosen)
        self._scene.changes += [OutputsChanged(task, jobs) for task, jobs in changed.items()]
        return [[task, *ranges_of(jobs)] for task, jobs in changed.items()]

    def _counts(self, member: Member) -> list[list[int]]:
        return [
            [row.settled, row.failed, row.blocked, row.cancelled, row.ready, row.duplicates]
            for row in read_tasks(self._conn, member.no).values()
        ]

    def _accept(self, shard: Shard, record: Accept) -> bool:
        """Take a results feed through an entry, entry by entry; False if it has to wait."""
        conn = self._conn
        site, through = self._through(shard, record)
        if record.through <= through:
            return True
        feed = (record.site, record.generation, int(Lane.RESULTS))
        rows = select(conn, _ENTRIES, (*feed, through, record.through))
        if not self._here(record, rows):
            shard.waits = (record.site, record.generation, record.through)
            return False
        shard.waits = None
        while rows:
            for seq, no, id_, body in rows:
                if body is None or self._budget.spent:
                    shard.behind = body is not None
                    return False
                self._results(shard, site, record.generation, seq, no, self._decoded(id_, body))
                sql = "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)"
                conn.execute(sql, (shard.no, site, record.generation, seq))
            if seq == record.through:
                break
            rows = select(conn, _ENTRIES, (*feed, seq, record.through))
        return True

    def _through(self, shard: Shard, record: Accept) -> tuple[int, int]:
        """Local number of the site, and how far its feed was accepted."""
        sql = (
            "SELECT s.no, coalesce(p.through, 0) FROM site s LEFT JOIN position p"
            " ON p.shard = ? AND p.site = s.no AND p.generation = ? WHERE s.key = ?"
        )
        for no, through in select(self._conn, sql, (shard.no, record.generation, record.site)):
            return no, through
        return site_no(self._conn, record.site), 0

    def _here(self, record: Accept, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Whether the entry that an accept names is here, and so all before it in its feed.

        rows: (seq, no, id, body) of the first ones.
        """
        if not rows or rows[-1][0] == record.through:
            return bool(rows) and rows[-1][2] == record.entry
        sql = (
            "SELECT 1 FROM entry WHERE feed = (SELECT no FROM feed WHERE site = ? AND"
            " generation = ? AND lane = ?) AND seq = ? AND id = ?"
        )
        lane = int(Lane.RESULTS)
        place = (record.site, record.generation, lane, record.through, record.entry)
        return bool(select(self._conn, sql, place))

    def _results(
        self,
        shard: Shard,
        site: int,
        generation: int,
        seq: int,
        entry: int,
        records: Sequence[Record | Refused],
    ) -> None:
        pos = shard.results_pos + 1
        self._conn.execute("INSERT INTO accepted VALUES (?, ?, ?)", (entry, shard.no, pos))
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._scene.refuse(entry, idx, record.why, shard.no)
        for idx, first, each in _results_of(records):
            member = member_by_id(self._conn, each.dataset, shard.no)
            if member is None or member.away != HERE or member.pos > shard.results_pos:
                continue  # another log's, or not in the log yet where the accept stands
            if member.adopted:
                before = moving.counted_before(self._conn, member, site, generation)
                if seq <= before:
                    continue
            self._attempts(member, shard, site, entry, idx, first, each)

    def _attempts(
        self,
        member: Member,
        shard: Shard,
        site: int,
        entry: int,
        idx: int,
        first: int,
        record: Results,
    ) -> None:
        self._budget.spend(len(record.jobs))

        def act() -> bool:
            attempts = Attempts(self._conn, member, self._made)
            task, effect = attempts.fold(record, entry, first, site)
            counts = self._counts(member)[record.task]
            shard.results_root = roots.extend(
                shard.results_root, b"results", member.id, record.task, effect.packed(), counts
            )
            self._scene.changes.extend(effect.told(task))
            for index, jobs in effect.withdrawn:
                self._scene.changes.append(OutputsChanged(member.base + index, jobs))
            if effect.withdrawn:
                self._scene.changes.append(DatasetChanged(member.no, "anew"))
            return True

        try:
            self._scene.guarded(member, act)
        except Refusal as refusal:
            self._scene.refuse(entry, idx, str(refusal), shard.no)
            for (key,) in select(self._conn, "SELECT key FROM site WHERE no = ?", (site,)):
                self._scene.changes.append(ResultsRefused(member.no, SiteID(key)))


def _results_of(records: Sequence[Record | Refused]) -> Iterator[tuple[int, int, Results]]:
    """(index, number of its first row within the entry, record) of every results record."""
    first = 0
    for idx, record in enumerate(records):
        if isinstance(record, Results):
            yield idx, first, record
            first += len(record.jobs)
