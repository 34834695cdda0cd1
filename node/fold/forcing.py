"""A shard whose leader is gone for good goes on under another, by an admin's signed word.

What the fold holds of the shard's log through the cut stays as it is: datasets, owners, grants,
positions of accepted results feeds, settled units. Only the leader changes.
"""

from __future__ import annotations

import apsw

from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.records import Force
from federation.shard import BadForce, Term, check_force
from federation.shard import Shard as Founded
from node.changes import DatasetChanged
from node.fold import people, roots
from node.fold.documents import Documents
from node.fold.following import save_results
from node.fold.shape import Refusal, Shard, select
from node.fold.step import Step, find_shard, site_no
from node.model.force import read_force
from node.model.problems import Invalid

VERB = "force"


def force(step: Step, idx: int, record: Force, documents: Documents) -> None:
    """The author of the entry leads the shard from here. Raises Refusal; nothing changed then."""
    shard = find_shard(step.conn, "id", record.shard)
    cut = _checked(step, shard, record, documents)
    waits = shard.results_pos < shard.own_pos
    shard.own_pos += 1
    feed = step.ref.feed
    shard.own_root = roots.extend(
        shard.own_root, b"force", record.term, feed.site, feed.generation, record.entry, record.key
    )
    step.conn.execute(
        "UPDATE shard SET term = ?, generation = ?, own_pos = ?, own_root = ? WHERE no = ?",
        (record.term, feed.generation, shard.own_pos, shard.own_root, shard.no),
    )
    if not waits:
        shard.results_pos = shard.own_pos
        save_results(step.conn, shard)
    step.conn.execute(
        "INSERT INTO forced VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            shard.no,
            record.term,
            shard.own_pos,
            step.entry,
            idx,
            site_no(step.conn, feed.site),
            feed.generation,
            cut.generation,
            record.seq,
            record.entry,
            record.key,
            step.hlc(),
        ),
    )
    step.changes += [DatasetChanged(no, VERB) for no in _open_datasets(step.conn, shard.no)]


def _checked(step: Step, shard: Shard, record: Force, documents: Documents) -> FeedID:
    """The control feed of the leader before. Raises Refusal."""
    conn, at = step.conn, step.ref
    (term, council) = select(conn, "SELECT term, council FROM shard WHERE no = ?", (shard.no,))[0]
    seats = [SiteID(council[i : i + 32]) for i in range(0, len(council), 32)]
    leader = FeedID(SiteID(shard.founder), shard.generation, Lane.CONTROL)
    if len(seats) != 1:
        raise Refusal("only the shard of a council of one is forced as yet")
    before = Term(term, leader, EntryRef(leader, 1, EntryID(bytes(32))))
    cut = EntryRef(leader, record.seq, record.entry)
    try:
        check_force(Founded(record.shard, [leader], [before]), record, at, cut)
        order = read_force(record.doc)
    except BadForce as error:
        raise Refusal(str(error)) from None
    except Invalid as error:
        raise Refusal(f"bad document: {error}"[:1000]) from None
    if (order.shard, order.term, order.cut) != (record.shard, record.term, cut):
        raise Refusal("the record says something else than its signed document")
    if order.leader != at.feed:
        raise Refusal("the document was signed for another leader")
    if documents.signer(record.doc, record.signature) != record.key:
        raise Refusal("signed by another key than it says")
    if not people.is_admin(conn, site_no(conn, at.feed.site), record.key):
        raise Refusal("the signer is no admin of this site")
    if _newest(conn, leader, step.entry) != (record.seq, record.entry):
        raise Refusal("the cut is not the newest entry of the old leader's feed")
    return leader


def _newest(conn: apsw.Connection, feed: FeedID, before: int) -> tuple[int, bytes] | None:
    """(seq, id) of the newest entry of a feed that came before another, by local number."""
    found = select(
        conn,
        "SELECT e.seq, e.id FROM entry e JOIN feed f ON f.no = e.feed"
        " WHERE f.site = ? AND f.generation = ? AND f.lane = ? AND e.no < ?"
        " ORDER BY e.seq DESC LIMIT 1",
        (feed.site, feed.generation, int(feed.lane), before),
    )
    return (found[0][0], found[0][1]) if found else None


def _open_datasets(conn: apsw.Connection, shard: int) -> list[int]:
    """Datasets of a shard with units that are neither settled nor cancelled."""
    sql = (
        "SELECT no FROM dataset WHERE shard = ? AND EXISTS (SELECT 1 FROM task WHERE"
        " task.dataset = dataset.no AND task.settled + task.cancelled < task.jobs) ORDER BY no"
    )
    return [no for (no,) in select(conn, sql, (shard,))]
