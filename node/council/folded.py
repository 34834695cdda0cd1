"""What the folded tables say of shards, for the council: implements `ports.Facts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from federation.ids import ShardID, SiteID
from federation.opening import Ballot
from federation.settle import Seats
from federation.shard import Shard
from keys.signing import KEY_BYTES
from node.fold import Fold
from node.fold.seats import seats_of
from node.store.feeds import Feeds


class FoldedFacts:
    """Over one reading connection of the reactor's thread."""

    def __init__(self, conn: apsw.Connection, site: SiteID, fold: Fold) -> None:
        """fold: its rules of signed documents; its own memory is not used."""
        self.feeds = Feeds(conn)
        self._conn = conn
        self._site = site
        self._acts = fold.acts()

    def councils(self) -> Sequence[ShardID]:
        sql = "SELECT id, council FROM shard WHERE length(council) > ? ORDER BY no"
        return [
            ShardID(id_)
            for id_, council in self._conn.execute(sql, (KEY_BYTES,))
            if self._site in _keys(council)
        ]

    def shard(self, shard: ShardID) -> Shard | None:
        return self._acts.terms(self._conn, shard)

    def seats(self, shard: ShardID) -> Seats:
        return seats_of(self._conn, shard)

    def votes(self, shard: ShardID) -> Sequence[Ballot]:
        return self._acts.votes(self._conn, shard)

    def generations(self) -> Mapping[SiteID, int]:
        sql = "SELECT site, max(generation) FROM feed GROUP BY site"
        return {SiteID(site): int(generation) for site, generation in self._conn.execute(sql)}


def _keys(joined: bytes) -> set[bytes]:
    return {joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)}
