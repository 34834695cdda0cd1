"""Whether entries that a record names show that a place of another shard's log is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from federation.evidence import BadProof, check_proof, proof
from federation.ids import EntryID, EntryRef, FeedID, Lane
from federation.opening import Missing
from federation.records import (
    Ack,
    Force,
    Found,
    FoundCouncil,
    Open,
    Record,
    Ref,
    Refused,
    Vote,
    decode,
)
from federation.segments import LogRecord
from federation.settle import Acked
from node.fold.acts import Acts, entry_no
from node.fold.seats import seats_of
from node.fold.shape import Refusal, select


class NotYet(Exception):
    """Something that a record names is not here."""


def settled_at(
    conn: apsw.Connection,
    acts: Acts,
    shard: bytes,
    place: EntryRef,
    acks: Sequence[Ref],
    index: int | None = None,
) -> None:
    """Return if the acks settle the place in the log of the shard.

    index: of a record in the entry; None for the last one of a log. Raises Refusal if they do not,
    NotYet while that cannot be told.
    """
    terms = acts.terms(conn, shard)
    if terms is None:
        raise NotYet
    try:
        found = check_proof(
            terms,
            place,
            acks,
            lambda ref: _acks_in(conn, acts, shard, ref),
            lambda ref: acts.holds(conn, ref),
            index,
        )
    except BadProof as error:
        raise Refusal(str(error)) from None
    if isinstance(found, Missing):
        raise NotYet


def _acks_in(
    conn: apsw.Connection, acts: Acts, shard: bytes, ref: EntryRef
) -> Sequence[Acked] | None:
    """The acks of a shard that count in an entry; None if it is not here."""
    no = entry_no(conn, ref, acts.horizon)
    if no is None:
        return None
    body = select(conn, "SELECT body FROM entry WHERE no = ?", (no,))[0][0]
    if body is None:
        return ()  # dropped, as acks that later ones stand for may be
    said = _said_before(conn, shard, no)
    found: list[Acked] = []
    logged = False
    for record in decode(body):
        if getattr(record, "shard", None) != shard:
            continue
        said.hear(record)
        logged = logged or isinstance(record, LogRecord)
        if isinstance(record, Ack) and record.term >= said.voted:
            leader = FeedID(record.site, record.generation, Lane.CONTROL)
            named = EntryRef(leader, record.seq, record.entry)
            found.append(Acked(record.term, named, ref))
    if logged and said.leads is not None and said.voted <= said.leads:
        found.append(Acked(said.leads, ref, ref))
    return found


@dataclass(slots=True)
class _Said:
    """What an author has said of a shard so far."""

    voted: int = 0  # the highest term that it voted for
    leads: int | None = None  # the term that it leads

    def hear(self, record: Record | Refused) -> None:
        match record:
            case Vote(term=term):
                self.voted = max(self.voted, term)
            case Open(term=term) | Force(term=term):
                self.leads = term
            case Found() | FoundCouncil():
                self.leads = 0 if self.leads is None else self.leads
            case _:
                pass


_EARLIER: Final = (
    "SELECT e.body FROM act a JOIN entry e ON e.no = a.entry WHERE a.shard = ? AND e.no < ?"
    " AND e.feed = (SELECT feed FROM entry WHERE no = ?) ORDER BY e.no"
)


def _said_before(conn: apsw.Connection, shard: bytes, no: int) -> _Said:
    """What the author of an entry had said before it."""
    said = _Said()
    for (body,) in select(conn, _EARLIER, (shard, no, no)):
        for record in decode(body):
            if getattr(record, "shard", None) == shard:
                said.hear(record)
    return said


def proof_of(
    conn: apsw.Connection, acts: Acts, shard: bytes, place: EntryRef, index: int | None = None
) -> list[EntryRef] | None:
    """Entries to name as those whose acks settle a place of a log; None while it is not."""
    terms = acts.terms(conn, shard)
    if terms is None:
        return None
    if len(terms.voters(terms.newest)) > 1:
        return proof(terms, seats_of(conn, shard), place, index)
    return _own_word(conn, shard, terms.newest.feed, place)


def _own_word(
    conn: apsw.Connection, shard: bytes, feed: FeedID, place: EntryRef
) -> list[EntryRef] | None:
    """Where only the leader acks, it does by writing: the newest entry of its log."""
    sql = (
        "SELECT e.seq, e.id FROM log_entry l JOIN feed f ON f.no = l.feed"
        " JOIN entry e ON e.no = l.entry WHERE l.shard = ? AND f.site = ? AND f.generation = ?"
        " AND f.lane = ? ORDER BY l.seq DESC LIMIT 1"
    )
    rows = select(conn, sql, (shard, feed.site, feed.generation, int(Lane.CONTROL)))
    return [EntryRef(feed, seq, EntryID(id_)) for seq, id_ in rows] or None
