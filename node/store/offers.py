"""SQL: submissions and orders that were offered to a shard and are not in its log."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from federation.records import Command, Dataset

# An order is looked for by its dataset: it may have been offered to the log from which that came.
# One whose dataset has not come yet waits.
_OPEN = (
    "SELECT o.id, o.entry, o.idx FROM shard s JOIN offer o ON o.shard = s.id AND o.kind = ?2"
    " WHERE s.id = ?1 AND NOT EXISTS"
    " (SELECT 1 FROM answered a WHERE a.shard = s.no AND a.id = o.id)"
    " UNION SELECT o.id, o.entry, o.idx FROM shard s JOIN dataset d ON d.shard = s.no"
    " JOIN offer o ON o.dataset = d.id AND o.kind = ?3"
    " WHERE s.id = ?1 AND NOT EXISTS"
    " (SELECT 1 FROM answered a WHERE a.shard = s.no AND a.id = o.id)"
    " ORDER BY 2, 3 LIMIT ?4"
)


def unanswered(conn: apsw.Connection, shard: bytes, most: int) -> Iterable[tuple[bytes, int, int]]:
    """(id of the document, local number of an entry that holds it, which of its records)."""
    bindings = (shard, Dataset.kind, Command.kind, most)
    return [(id_, entry, idx) for id_, entry, idx in conn.execute(_OPEN, bindings)]
