"""A shard whose leader is gone for good goes on under another, by an admin's signed word.

What the document says is checked here; whether the record begins a term, `federation.shard` says.
What the fold holds of the log through the cut stays as it is: datasets, owners, grants, positions
of accepted results feeds, settled units.
"""

from __future__ import annotations

import apsw

from federation.ids import EntryRef
from federation.records import Force
from node.changes import DatasetChanged
from node.fold import people, roots
from node.fold.documents import Documents
from node.fold.shape import Refusal, Shard, select
from node.fold.step import Step, site_no
from node.model.force import ForceOrder, read_force
from node.model.problems import Invalid

VERB = "force"


def checked(
    conn: apsw.Connection, documents: Documents, record: Force, at: EntryRef, idx: int
) -> EntryRef:
    """The cut that an admin of the author's site named in a signed document. Raises Refusal."""
    order = _read(record)
    if (order.shard, order.term) != (record.shard, record.term) or (
        (order.cut.seq, order.cut.id) != (record.seq, record.entry)
    ):
        raise Refusal("the record says something else than its signed document")
    if order.leader != at.feed:
        raise Refusal("the document was signed for another leader")
    if documents.signer(record.doc, record.signature) != record.key:
        raise Refusal("signed by another key than it says")
    place = (at.feed.generation, at.seq, idx)
    if not people.was_admin(conn, site_no(conn, at.feed.site), record.key, place):
        raise Refusal("the signer is no admin of this site")
    return order.cut


def _read(record: Force) -> ForceOrder:
    try:
        return read_force(record.doc)
    except Invalid as error:
        raise Refusal(f"bad document: {error}"[:1000]) from None


def force(step: Step, shard: Shard, idx: int, record: Force) -> None:
    """The author of the entry leads the shard from here: note it for ever."""
    feed, cut = step.ref.feed, _read(record).cut
    shard.own_root = roots.extend(
        shard.own_root, b"force", record.term, feed.site, feed.generation, record.entry, record.key
    )
    step.conn.execute(
        "INSERT INTO forced VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            shard.no,
            record.term,
            shard.own_pos,
            step.entry,
            idx,
            site_no(step.conn, feed.site),
            feed.generation,
            site_no(step.conn, cut.feed.site),
            cut.feed.generation,
            record.seq,
            record.entry,
            record.key,
            step.hlc(),
        ),
    )
    step.changes += [DatasetChanged(no, VERB) for no in _open_datasets(step.conn, shard.no)]


def _open_datasets(conn: apsw.Connection, shard: int) -> list[int]:
    """Datasets of a shard with units that are neither settled nor cancelled."""
    sql = (
        "SELECT no FROM dataset WHERE shard = ? AND EXISTS (SELECT 1 FROM task WHERE"
        " task.dataset = dataset.no AND task.settled + task.cancelled < task.jobs) ORDER BY no"
    )
    return [no for (no,) in select(conn, sql, (shard,))]
