"""What submissions and orders ask of the tables, in the reactor's thread: short questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import apsw
from twisted.internet.defer import Deferred

from federation import limits
from federation.ids import ShardID, SiteID
from node.fold.shape import TASKS_PER_DATASET
from node.model.commands import Command as Order
from node.model.commands import read_command
from node.model.dataset import DatasetSpec
from node.model.validate import read_submission
from node.services.blobs import BlobService
from node.services.commands import Target
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.submit import Known, Shape
from node.store import held, offers, shards, tasks

Counts = Callable[[int], dict[str, int]]


class Roll(Protocol):
    """The sites of the mesh, as `node.members` has them."""

    def members(self) -> Sequence[SiteID]: ...
    def name_of(self, site: SiteID) -> str: ...


class PeopleTable:
    """Everybody who may submit at a site. conn: a reading connection of the reactor's thread."""

    def __init__(self, conn: apsw.Connection, site: bytes, members: Roll | None = None) -> None:
        """members: whose people are let in too; None: nobody's."""
        self._conn = conn
        self._site = site
        self._members = members

    def read(self) -> list[Person]:
        """Each key once: as this site enrolled it, else as the first member in order of keys."""
        found = {
            row.key: Person(row.key, row.name, row.groups, row.roles)
            for row in tasks.people(self._conn)
            if row.site == self._site
        }
        for person in self._of_others():
            found.setdefault(person.key, person)
        return list(found.values())

    def _of_others(self) -> Iterable[Person]:
        if self._members is None:
            return
        order = {site: place for place, site in enumerate(self._members.members())}
        rows = [row for row in tasks.people(self._conn) if row.site in order]
        for row in sorted(rows, key=lambda row: order[SiteID(row.site)]):
            if row.site != self._site:
                at = self._members.name_of(SiteID(row.site))
                yield Person(row.key, f"{row.name}@{at}", row.groups, (), at)

    def seen(self, document: bytes) -> bool:
        """Whether the log has a document of this digest."""
        return tasks.seen(self._conn, document)


class SubmitLookups:
    """Implements `submit.Ports`.

    shapes: the workers that this site may offer; led: the shards that it leads; still: those that
    it led in an earlier generation, and that nobody leads now.
    """

    def __init__(
        self,
        conn: apsw.Connection,
        blobs: BlobService,
        shapes: Callable[[], Iterable[Shape]],
        led: Callable[[], Sequence[ShardID]],
        still: Callable[[], Sequence[ShardID]],
    ) -> None:
        self._conn = conn
        self._blobs = blobs
        self._shapes = shapes
        self._led = led
        self._still = still

    def known(self, dataset: bytes) -> Known | None:
        no = tasks.number(self._conn, dataset)
        if no is None:
            return None
        row = tasks.dataset(self._conn, no)
        shard = ShardID(row.shard)
        led, still = shard in self._led(), shard in self._still()
        return Known(row.id, row.name, row.jobs, row.tasks, shard, led, still)

    def read(self, document: bytes) -> DatasetSpec:
        return read_submission(document)

    def missing(self, digests: Sequence[bytes]) -> Deferred[list[bytes]]:
        return self._blobs.missing(digests)

    def shapes(self) -> Iterable[Shape]:
        return self._shapes()


class OrderLookups:
    """Implements `commands.Ports`.

    counts: of a dataset, by its local number; led: the shards that this site leads; still: those
    that it led, and that nobody leads now; name_of: a site's.
    """

    def __init__(
        self,
        conn: apsw.Connection,
        counts: Counts,
        led: Callable[[], Sequence[ShardID]],
        still: Callable[[], Sequence[ShardID]],
        name_of: Callable[[SiteID], str],
    ) -> None:
        self._conn = conn
        self._counts = counts
        self._led = led
        self._still = still
        self._name_of = name_of

    def read(self, document: bytes) -> Order:
        return read_command(document)

    def target(self, dataset: bytes) -> Target | None:
        no = tasks.number(self._conn, dataset)
        if no is None:
            return None
        row = tasks.dataset(self._conn, no)
        shard = ShardID(row.shard)
        still = shard in self._still()
        leader = self._name_of(shards.leader(self._conn, shard))
        # One that is on its way is led by nobody until it has arrived.
        led = shard in self._led() and not held.moving_to(self._conn, no)
        return Target(row.no, row.name, row.person, shard, led, still, leader)

    def seen(self, order: bytes) -> bool:
        return tasks.seen(self._conn, order)

    def refusal(self, target: Target, order: bytes) -> str:
        found = {each.id: each.refused for each in offers.open_orders(self._conn, target.no)}
        return found.get(order, "")

    def is_admin(self, target: Target, key: bytes) -> bool:
        leader = shards.leader(self._conn, target.shard)
        return any(
            row.site == leader and row.key == key and "admin" in row.roles
            for row in tasks.people(self._conn)
        )

    def counts(self, dataset: int) -> dict[str, int]:
        return self._counts(dataset)

    def check(self, target: Target, order: Order) -> None:
        """Raise Refusal for an order that names what the dataset does not have."""
        spec = tasks.spec(self._conn, target.no)
        names = [task.name for task in spec.tasks]
        select = order.args.get("select") or {}
        for name in [*select.get("tasks", ()), *(order.args.get("needs") or {})]:
            if name not in names:
                raise Refusal(
                    "invalid", f"{target.name} has no task {name!r}", f"tasks: {', '.join(names)}"
                )
        if order.verb == "extend" and not spec.extend:
            raise Refusal(
                "conflict",
                f"{target.name} cannot be extended: its units use {{jobs}}",
                "submit a new dataset",
            )
        if order.verb == "renew" and not self._can_renew(target, spec, order):
            raise Refusal(
                "conflict",
                f"nothing that was chosen of {target.name} came out otherwise when it was made"
                " again: what its units made first counts",
                f"floe why {target.name}",
            )

    def _can_renew(self, target: Target, spec: DatasetSpec, order: Order) -> bool:
        names, flat = order.tasks, order.jobs or (0, limits.JOBS_MAX)
        return any(
            held.differing(self._conn, target.no * TASKS_PER_DATASET + task.index, lo, hi)
            for task in spec.tasks
            if names is None or task.name in names
            for lo, hi in zip(flat[::2], flat[1::2], strict=True)
        )
