"""SQL: submissions and orders that were offered to a shard and are not in its log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import apsw

from federation.records import Command, Dataset, Record, Refused, decode
from keys.signing import Purpose, digest
from node.fold.shape import select
from node.model.commands import read_command
from node.model.problems import Invalid
from node.store import openwork

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
# What the log refused that a dataset has just left is for the next one to judge.
_NOT_TAKEN = (
    "SELECT o.id, o.entry, o.idx, a.id IS NOT NULL AND d.moved IS NULL"
    " FROM dataset d JOIN shard s ON s.no = d.shard"
    " JOIN offer o ON o.dataset = d.id AND o.kind = ?2"
    " LEFT JOIN answered a ON a.shard = s.no AND a.id = o.id"
    " WHERE d.no = ?1"
    " AND NOT EXISTS (SELECT 1 FROM command c WHERE c.id = o.id AND c.dataset = d.no)"
    " ORDER BY o.entry DESC, o.idx DESC LIMIT ?3"
)
_REFUSED = (
    "SELECT r.entry, r.idx, r.why FROM dataset d JOIN refused r ON r.shard = d.shard"
    " WHERE d.no = ? ORDER BY r.entry DESC LIMIT ?"
)
SHOWN_MAX: Final = 5  # orders of a dataset that its log has not taken
LOOKED_AT_MAX: Final = 200  # refused records of a log, the newest, in search of these orders


def unanswered(conn: apsw.Connection, shard: bytes, most: int) -> Iterable[tuple[bytes, int, int]]:
    """(id of the document, local number of an entry that holds it, which of its records)."""
    bindings = (shard, Dataset.kind, Command.kind, most)
    return [(id_, entry, idx) for id_, entry, idx in conn.execute(_OPEN, bindings)]


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that stands in some site's feed, and not among those that its dataset's log took.

    refused: why the log refused it; "" while it has not answered.
    """

    id: bytes
    verb: str
    refused: str = ""


def open_orders(conn: apsw.Connection, dataset: int, most: int = SHOWN_MAX) -> list[OpenOrder]:
    """Orders about a dataset (by its local number) that have no effect; the newest first."""
    rows = select(conn, _NOT_TAKEN, (dataset, Command.kind, most))
    answered = any(row[3] for row in rows)
    why = dict(_refusals(conn, dataset)) if answered else {}
    found = []
    for id_, entry, idx, refused in rows:
        record = _record(conn, entry, idx)
        if isinstance(record, Command) and (verb := _verb(record)):
            reason = why.get(id_, "its log refused it") if refused else ""
            found.append(OpenOrder(id_, verb, reason))
    return found


def _refusals(conn: apsw.Connection, dataset: int) -> Iterator[tuple[bytes, str]]:
    """(id of an order, why the dataset's log refused it), the newest last."""
    for entry, idx, why in reversed(select(conn, _REFUSED, (dataset, LOOKED_AT_MAX))):
        record = _record(conn, entry, idx)
        if isinstance(record, Command):
            yield digest(Purpose.COMMAND, record.doc), why


def _record(conn: apsw.Connection, entry: int, idx: int) -> Record | Refused | None:
    records = decode(openwork.body(conn, entry) or b"")
    return records[idx] if idx < len(records) else None


def _verb(record: Command) -> str:
    try:
        return read_command(record.doc).verb
    except Invalid:
        return ""
