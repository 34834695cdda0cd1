"""The ownership cursor: datasets, grants, releases and orders, as they come."""

from __future__ import annotations

from federation.records import Accept, Command, Dataset, Grant, Release
from keys.signing import Purpose, digest
from node.changes import DatasetAdded, DatasetChanged, UnitsGranted, UnitsReleased
from node.fold import datasets, orders, owners, roots
from node.fold.documents import Documents
from node.fold.people import is_admin
from node.fold.shape import Member, Refusal, Shard, member_by_id, read_tasks, select
from node.fold.step import Step, member_of, site_no

LogRecord = Dataset | Command | Grant | Accept | Release
"""Records that belong to a shard's log."""


class Owning:
    """Needs the control feed alone, and never waits."""

    def __init__(self, step: Step, documents: Documents) -> None:
        self._step = step
        self._conn = step.conn
        self._documents = documents

    def take(self, shard: Shard, idx: int, record: LogRecord) -> bool:
        """Fold one record of the log; whether the results cursor has a part of it too.

        Raises Refusal.
        """
        if isinstance(record, Accept):
            return True
        if isinstance(record, Dataset):
            return self._step.guarded(None, lambda: self._dataset(shard, idx, record))
        if isinstance(record, Command):
            return self._command(shard, idx, record)
        member = member_of(self._conn, shard, record.dataset)
        return self._step.guarded(member, lambda: self._grant_or_release(shard, member, record))

    def _dataset(self, shard: Shard, idx: int, record: Dataset) -> bool:
        spec = self._documents.dataset(record)
        if member_by_id(self._conn, spec.id) is not None:
            raise Refusal("the dataset is in the log already")
        place = datasets.Place(shard.no, shard.own_pos, self._step.entry, idx, self._step.hlc())
        no = datasets.add(self._conn, place, spec, record.key)
        shard.own_root = roots.extend(shard.own_root, b"dataset", spec.id, record.key)
        self._step.changes.append(DatasetAdded(no))
        return False

    def _command(self, shard: Shard, idx: int, record: Command) -> bool:
        order = self._documents.order(record)
        member = member_of(self._conn, shard, order.dataset)
        leader = site_no(self._conn, self._step.ref.feed.site)
        if record.key != member.person and not is_admin(self._conn, leader, record.key):
            raise Refusal("ordered by neither the dataset's user nor an admin of this site")
        id_ = digest(Purpose.COMMAND, record.doc)
        if select(self._conn, "SELECT 1 FROM command WHERE id = ?", (id_,)):
            raise Refusal("the order was taken before")

        def act() -> bool:
            orders.obey(self._conn, member, order)
            self._conn.execute(
                "INSERT INTO command VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id_,
                    member.no,
                    shard.own_pos,
                    self._step.entry,
                    idx,
                    order.verb,
                    record.key,
                    b"".join(order.follows),
                    self._step.hlc(),
                ),
            )
            shard.own_root = roots.extend(shard.own_root, b"command", id_)
            if order.verb not in orders.IN_TURN:
                self._step.changes.append(DatasetChanged(member.no, order.verb))
            return order.verb in orders.IN_TURN

        return self._step.guarded(member, act)

    def _grant_or_release(self, shard: Shard, member: Member, record: Grant | Release) -> bool:
        tasks = read_tasks(self._conn, member.no)
        numbers = [member.base + index for index in record.tasks]
        ranges = list(record.ranges)
        if not all(task in tasks for task in numbers):
            raise Refusal("names tasks that the dataset does not have")
        if ranges[-1] > member.jobs:
            raise Refusal(f"names job {ranges[-1] - 1}; the dataset has {member.jobs}")
        site = record.to if isinstance(record, Grant) else self._step.ref.feed.site
        no = site_no(self._conn, site)
        act = owners.give if isinstance(record, Grant) else owners.take
        for task in numbers:
            for lo, hi in zip(ranges[::2], ranges[1::2], strict=True):
                act(self._conn, task, lo, hi, no)
        kind = b"grant" if isinstance(record, Grant) else b"release"
        shard.own_root = roots.extend(
            shard.own_root, kind, record.dataset, list(record.tasks), ranges, site
        )
        if isinstance(record, Grant):
            self._step.changes.append(UnitsGranted(member.no, numbers, ranges, record.to))
        else:
            self._step.changes.append(UnitsReleased(member.no, numbers, ranges, site))
        return isinstance(record, Grant)

    def give_back(self, shard: Shard, record: Release) -> None:
        """An owner's word to the leader: no part of the log, which names the next owner itself."""
        member = member_by_id(self._conn, record.dataset)
        if member is None or member.shard != shard.no:
            return  # of a dataset that has not come yet: its owner says it again
        site = self._step.ref.feed.site
        no = site_no(self._conn, site)
        tasks = read_tasks(self._conn, member.no)
        for task in (member.base + index for index in record.tasks):
            flat: list[int] = []
            if task in tasks:
                for lo, hi in zip(record.ranges[::2], record.ranges[1::2], strict=True):
                    flat += owners.give_back(self._conn, task, lo, hi, no)
            if flat:
                self._step.changes.append(UnitsReleased(member.no, [task], flat, site))
