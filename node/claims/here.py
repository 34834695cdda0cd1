"""What the claimer and the releases read of this site: tables, dispatch, beacons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import apsw

from federation.beacon import Beacon, Want
from federation.ids import DatasetID, EntryRef, ShardID, SiteID
from federation.ports import FeedStore
from federation.shapes import Shape, Workers
from node.beacon.keeper import Beacons
from node.changes import READ_AGAIN, Change, DatasetAdded, DatasetChanged, TermOpened
from node.claims.capacity import Capacity
from node.claims.policy import Owner, Stock
from node.claims.stock import StockTaking
from node.dispatch import Dispatch
from node.leading.ledger import shape_of
from node.ranges import Flat
from node.store import ledgers

Place = tuple[DatasetID, ShardID, SiteID]
"""A dataset's id, its shard, and who leads that."""

LABELS_MAX: Final = 10_000  # datasets whose person is remembered


class Here:
    """Implements `claimer.Here` and `releasing.Places` over one reading connection."""

    def __init__(
        self,
        conn: apsw.Connection,
        site: SiteID,
        feeds: FeedStore,
        dispatch: Dispatch,
        capacity: Capacity,
        beacons: Beacons,
        own_wants: Callable[[], Sequence[Want]],
    ) -> None:
        self._conn = conn
        self._site = site
        self._feeds = feeds
        self._dispatch = dispatch
        self._capacity = capacity
        self._beacons = beacons
        self._own_wants = own_wants
        self._stock = StockTaking(dispatch.ready, self._id_and_leader)
        self._owners: dict[bytes, Owner] = {}  # by label
        self._places: dict[int, Place] = {}  # by number of the dataset

    def workers(self) -> Sequence[Workers]:
        return self._capacity.workers()

    def stocks(self) -> Sequence[Stock]:
        return self._stock.stocks()

    def own_wants(self) -> Sequence[Want]:
        return self._own_wants()

    def beacons(self) -> Iterable[Beacon]:
        return self._beacons.fresh()

    def owner(self, dataset: bytes) -> tuple[Owner, tuple[float, float]]:
        owner = self._owners.get(dataset)
        if owner is None:
            owner = ledgers.account_of(self._conn, dataset)
            if owner is None:
                # It is on its way: whose it is does not matter yet.
                return ("", dataset), (0.0, 0.0)
            if len(self._owners) >= LABELS_MAX:
                self._owners.clear()
            self._owners[dataset] = owner
        group, person = owner
        shares = self._dispatch.shares
        return owner, shares.standing(shares.account(person, group))

    def shapes(self, tasks: Sequence[int]) -> set[Shape]:
        known = self._dispatch.ready.tasks
        return {shape_of(known[no].needs) for no in tasks if no in known}

    def leader(self, dataset: int) -> SiteID | None:
        place = self.place(dataset)
        return None if place is None else place[2]

    def holds(self, entry: EntryRef) -> bool:
        return self._feeds.tip(entry.feed).seq >= entry.seq

    # Places

    def place(self, dataset: int) -> Place | None:
        place = self._places.get(dataset)
        if place is None:
            place = ledgers.place(self._conn, dataset)
            if place is not None:
                self._places[dataset] = place
        return place

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber, before all others here."""
        for change in changes:
            moved = isinstance(change, DatasetChanged) and change.verb in READ_AGAIN
            if moved or isinstance(change, TermOpened | DatasetAdded):
                self._places.clear()

    def number(self, dataset: DatasetID, shard: ShardID) -> int | None:
        return ledgers.number(self._conn, dataset, shard)

    def released(self) -> Mapping[int, Flat]:
        return ledgers.all_released(self._conn, self._site)

    def _id_and_leader(self, dataset: int) -> tuple[DatasetID, SiteID] | None:
        place = self.place(dataset)
        return None if place is None else (place[0], place[2])
