"""What was offered to a shard and is not in its log, neither taken nor refused: from the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import apsw

from federation.ids import ShardID
from federation.records import Command, Dataset, decode
from node.fold.orders import Order
from node.leading.offers import Offer
from node.model.problems import Invalid


class OfferTables:
    """Implements `offers.Tables` over one reading connection."""

    def __init__(self, conn: apsw.Connection, read_command: Callable[[bytes], Order]) -> None:
        """read_command: the check of a signed order; raises Invalid."""
        self._conn = conn
        self._read_command = read_command

    def offers(self, shard: ShardID, most: int) -> Sequence[Offer]:
        rows: list[tuple[Any, ...]] = self._conn.execute(
            "SELECT o.id, o.idx, e.body FROM offer o JOIN shard s ON s.id = o.shard"
            " JOIN entry e ON e.no = o.entry WHERE o.shard = ? AND e.body IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM answered a WHERE a.shard = s.no AND a.id = o.id)"
            " ORDER BY o.entry, o.idx LIMIT ?",
            (shard, most),
        ).fetchall()
        found = []
        for id_, idx, body in rows:
            record = decode(body)[idx]
            if isinstance(record, Dataset | Command):
                found.append(Offer(id_, record, self._follows(record)))
        return found

    def _follows(self, record: Dataset | Command) -> Sequence[bytes]:
        if isinstance(record, Command):
            with suppress(Invalid):
                return self._read_command(record.doc).follows
        return ()
