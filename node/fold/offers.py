"""Submissions and orders wherever they stand: first they are records of the node that took them.

A leader puts into its log what was offered to it and is not there yet; the log takes each once.
"""

from __future__ import annotations

from contextlib import suppress

import apsw

from federation.records import Command, Dataset
from keys.signing import Purpose, digest
from node.fold.documents import Documents
from node.fold.shape import Refusal, select
from node.fold.step import Step


def note(step: Step, idx: int, record: Dataset | Command, documents: Documents) -> None:
    """Keep where a document stands that its author signed and that can be read.

    Each is checked once, here, whatever else its writer offers. One that is forged must not stand
    in the place of the genuine one, which has the same id.
    """
    with suppress(Refusal):
        id_, dataset = _named(record, documents)
        step.conn.execute(
            "INSERT OR IGNORE INTO offer VALUES (?, ?, ?, ?, ?, ?)",
            (record.shard, id_, record.kind, dataset, step.entry, idx),
        )


def _named(record: Dataset | Command, documents: Documents) -> tuple[bytes, bytes]:
    """(id of the document, id of the dataset that it is about). Raises Refusal."""
    if isinstance(record, Dataset):
        id_ = documents.dataset(record).id
        return id_, id_
    return digest(Purpose.COMMAND, record.doc), documents.order(record).dataset


def answer(conn: apsw.Connection, shard: int, id_: bytes, *, taken: bool = False) -> None:
    """A log took or refused this document, which its author signed."""
    conn.execute(
        "INSERT INTO answered VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET taken = max(taken, excluded.taken)",
        (shard, id_, int(taken)),
    )


def was_taken(conn: apsw.Connection, shard: int, id_: bytes) -> bool:
    """Whether a log took this document before, or the dataset that it describes."""
    sql = "SELECT 1 FROM answered WHERE shard = ? AND id = ? AND taken"
    return bool(select(conn, sql, (shard, id_)))
