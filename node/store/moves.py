"""SQL: which datasets stand in a shard's log, and which are on their way to one."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from federation.ids import DatasetID, EntryRef, ShardID
from node.fold.shape import HERE
from node.store.feeds import Feeds
from node.store.openwork import LEFT_TO_DO


def standing(conn: apsw.Connection, shard: bytes, most: int) -> list[DatasetID]:
    """Up to so many datasets of a log, those with units to run first, then the newest."""
    rows = conn.execute(
        "SELECT id FROM dataset WHERE shard = (SELECT no FROM shard WHERE id = ? AND anew = 0)"
        " AND moved IS NULL AND away = ? AND quarantined IS NULL"
        f" ORDER BY NOT {LEFT_TO_DO}, no DESC LIMIT ?",
        (shard, HERE, most),
    )
    return [DatasetID(id_) for (id_,) in rows]


def leaving(conn: apsw.Connection, to: bytes) -> list[tuple[DatasetID, ShardID]]:
    """(dataset, shard that it left) of those that moved to a shard whose log has not got them."""
    rows: Iterable[tuple[bytes, bytes]] = conn.execute(
        "SELECT d.id, s.id FROM dataset d JOIN shard s ON s.no = d.shard"
        " WHERE d.moved = ? AND s.anew = 0 ORDER BY d.no",
        (to,),
    )
    return [(DatasetID(id_), ShardID(source)) for id_, source in rows]


def place(
    conn: apsw.Connection, source: bytes, dataset: bytes, to: bytes
) -> tuple[EntryRef, int] | None:
    """The entry by which a dataset left one shard for another, and which of its records does;
    None if it has not left."""
    rows: Iterable[tuple[int, int]] = conn.execute(
        "SELECT d.moved_entry, d.moved_idx FROM dataset d JOIN shard s ON s.no = d.shard"
        " WHERE d.id = ? AND s.id = ? AND d.moved = ?",
        (dataset, source, to),
    )
    for no, index in rows:
        return Feeds(conn).by_number(no).ref, index
    return None
