"""The ownership cursor: datasets, grants, orders and terms, as they come."""

from __future__ import annotations

from enum import Enum
from functools import partial

from federation.records import (
    Accept,
    Adopt,
    Command,
    Dataset,
    Force,
    Grant,
    Import,
    Move,
    Open,
    Release,
    Reproduce,
    SeatClose,
)
from federation.segments import LogRecord
from keys.signing import Purpose, digest
from node.changes import DatasetAdded, DatasetChanged, UnitsGranted, UnitsReleased
from node.fold import datasets, forcing, moving, offers, orders, owners, roots
from node.fold.documents import Documents
from node.fold.people import was_admin
from node.fold.proving import NotYet
from node.fold.shape import Member, Refusal, Shard, read_tasks, select
from node.fold.step import Step, member_of, site_no


class Taken(Enum):
    """What is left of a record of the log once the ownership cursor took it."""

    WHOLLY = 0  # nothing
    IN_TURN = 1  # the results cursor has a part of it
    NOT_YET = 2  # all of it: it names something that is not here


class Owning:
    """The records of one entry. Needs control feeds alone, and waits only to adopt a dataset."""

    def __init__(self, step: Step, documents: Documents, arrival: moving.Arrival) -> None:
        self.step = step
        self._arrival = arrival
        self._conn = step.conn
        self._documents = documents

    def take(self, shard: Shard, idx: int, record: LogRecord | Release) -> Taken:
        """Fold one record of the log. Raises Refusal; nothing changed then."""
        match record:
            case Accept() | Import() | Reproduce():
                return Taken.IN_TURN
            case Move():
                moving.leave(self.step, shard, idx, record)
                return Taken.IN_TURN
            case Adopt():
                return self._adopt(shard, record)
            case Dataset():
                return self._dataset(shard, idx, record)
            case Command():
                return self._command(shard, idx, record)
            case Grant() | Release():
                return self._grant_or_release(shard, record)
            case Open():
                feed = self.step.ref.feed
                shard.own_root = roots.extend(
                    shard.own_root,
                    b"open",
                    record.term,
                    feed.site,
                    feed.generation,
                    record.base,
                    record.entry,
                )
            case Force():
                forcing.force(self.step, shard, idx, record)
            case SeatClose():
                seat = (record.site, record.generation, record.through)
                shard.own_root = roots.extend(shard.own_root, b"close", *seat)
            case _:
                pass
        return Taken.WHOLLY

    def _adopt(self, shard: Shard, record: Adopt) -> Taken:
        try:
            self._arrival.adopt(self.step, shard, record)
        except NotYet:
            return Taken.NOT_YET
        return Taken.IN_TURN

    def _dataset(self, shard: Shard, idx: int, record: Dataset) -> Taken:
        spec = self._documents.dataset(record)
        offers.answer(self._conn, shard.no, spec.id)
        if offers.was_taken(self._conn, shard.no, spec.id):
            raise Refusal("the dataset is in the log already")
        offers.answer(self._conn, shard.no, spec.id, taken=True)

        def act() -> bool:
            step = self.step
            place = datasets.Place(shard.no, shard.own_pos, step.entry, idx, step.hlc())
            no = datasets.add(self._conn, place, spec, record.key)
            shard.own_root = roots.extend(shard.own_root, b"dataset", spec.id, record.key)
            step.changes.append(DatasetAdded(no))
            return True

        self.step.guarded(None, act)
        return Taken.WHOLLY

    def _command(self, shard: Shard, idx: int, record: Command) -> Taken:
        id_ = digest(Purpose.COMMAND, record.doc)
        order = self._documents.order(record)
        offers.answer(self._conn, shard.no, id_)
        member = member_of(self._conn, shard, order.dataset)
        leader = site_no(self._conn, self.step.ref.feed.site)
        if record.key != member.person and not was_admin(
            self._conn, leader, record.key, self.step.at(idx)
        ):
            raise Refusal("ordered by neither the dataset's user nor an admin of this site")
        sql = "SELECT 1 FROM command WHERE id = ? AND dataset = ?"
        if select(self._conn, sql, (id_, member.no)):
            raise Refusal("the order was taken before")

        def act() -> bool:
            orders.obey(self._conn, member, order)
            self._conn.execute(
                "INSERT INTO command VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id_,
                    member.no,
                    shard.own_pos,
                    self.step.entry,
                    idx,
                    order.verb,
                    record.key,
                    b"".join(order.follows),
                    self.step.hlc(),
                ),
            )
            shard.own_root = roots.extend(shard.own_root, b"command", id_)
            if order.verb not in orders.IN_TURN:
                self.step.changes.append(DatasetChanged(member.no, order.verb))
            return order.verb in orders.IN_TURN

        return Taken(self.step.guarded(member, act))

    def _grant_or_release(self, shard: Shard, record: Grant | Release) -> Taken:
        member = member_of(self._conn, shard, record.dataset)
        act = partial(self._give_or_take, shard, member, record)
        return Taken(self.step.guarded(member, act))

    def _give_or_take(self, shard: Shard, member: Member, record: Grant | Release) -> bool:
        tasks = read_tasks(self._conn, member.no)
        numbers = [member.base + index for index in record.tasks]
        ranges = list(record.ranges)
        if not all(task in tasks for task in numbers):
            raise Refusal("names tasks that the dataset does not have")
        if ranges[-1] > member.jobs:
            raise Refusal(f"names job {ranges[-1] - 1}; the dataset has {member.jobs}")
        site = record.to if isinstance(record, Grant) else self.step.ref.feed.site
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
            self.step.changes.append(UnitsGranted(member.no, numbers, ranges, record.to))
        else:
            self.step.changes.append(UnitsReleased(member.no, numbers, ranges, site))
        return isinstance(record, Grant)
