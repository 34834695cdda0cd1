"""The council's facts, from the folded tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.opening import Ballot
from federation.settle import Seats
from federation.shard import Shard
from keys.signing import KEY_BYTES
from node.fold.acts import Acts
from node.fold.proving import proof_of
from node.fold.seats import seats_of
from node.store.feeds import Feeds


class FoldedFacts:
    """Implements `ports.Facts` over a reading connection of the reactor's thread."""

    def __init__(self, conn: apsw.Connection, site: SiteID, acts: Acts) -> None:
        """acts: of the node's fold, for this connection alone."""
        self.feeds = Feeds(conn)
        self._conn = conn
        self._site = site
        self._acts = acts

    def councils(self) -> Sequence[ShardID]:
        return [id_ for id_, council in self._councils() if self._site in council]

    def seated(self) -> Mapping[SiteID, int]:
        return Counter(site for _, council in self._councils() for site in council)

    def _councils(self) -> list[tuple[ShardID, list[SiteID]]]:
        """Those of several voters."""
        sql = "SELECT id, council FROM shard WHERE length(council) > ? ORDER BY no"
        return [
            (
                ShardID(id_),
                [SiteID(keys[at : at + KEY_BYTES]) for at in range(0, len(keys), KEY_BYTES)],
            )
            for id_, keys in self._conn.execute(sql, (KEY_BYTES,))
        ]

    def shard(self, shard: ShardID) -> Shard | None:
        return self._acts.terms(self._conn, shard)

    def seats(self, shard: ShardID) -> Seats:
        return seats_of(self._conn, shard)

    def votes(self, shard: ShardID) -> Sequence[Ballot]:
        return self._acts.votes(self._conn, shard)

    def proof(
        self, shard: ShardID, place: EntryRef, index: int | None = None
    ) -> Sequence[EntryRef] | None:
        """Entries whose acks settle record `index` of an entry in a shard's log; None: none do.

        index: None for the last one of a log.
        """
        return proof_of(self._conn, self._acts, shard, place, index)

    def generations(self) -> Mapping[SiteID, int]:
        sql = (
            "SELECT site, max(generation) FROM (SELECT site, generation FROM feed UNION ALL"
            " SELECT site, generation + 1 FROM fork) GROUP BY site"
        )
        return {SiteID(site): generation for site, generation in self._conn.execute(sql)}

    def missing(self) -> Sequence[EntryRef]:
        """Entries that are not here, and for which logs wait: for opens, forces and accepts.

        The id of an accepted entry is empty: that of its place here is another one.
        """
        rows: list[tuple[Any, ...]] = self._conn.execute(
            "SELECT s.waits_site, s.waits_generation, s.waits_seq FROM shard s JOIN feed f"
            " ON f.site = s.waits_site AND f.generation = s.waits_generation AND f.lane = ?"
            " WHERE f.seq >= s.waits_seq",
            (int(Lane.RESULTS),),
        ).fetchall()
        accepted = [
            EntryRef(FeedID(SiteID(site), generation, Lane.RESULTS), seq, EntryID(b""))
            for site, generation, seq in rows
        ]
        return [*self._acts.missing(self._conn), *accepted]
