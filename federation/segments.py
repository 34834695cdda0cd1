"""The log of a term, named and not copied: which records of which feeds, in which order. Pure.

A record belongs to the term of the newest `open` (or founding, or `force`) of its shard before it
in the same feed. An `open` that does not hold, or whose votes are not here yet, ends the term
before it all the same: its author no longer wrote for that one.

What a reader does with a later term: `segments` of the newest one is the path. While the place up
to which it has folded is still in that log (`contains`), it goes on from there; where it stands
beyond a cut, it folds the shard anew.

Source: docs/protocol.md, "Terms".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.ids import EntryRef, FeedID, Place, ShardID
from federation.records import (
    Accept,
    Adopt,
    Command,
    Dataset,
    Force,
    Found,
    FoundCouncil,
    Grant,
    Import,
    Move,
    Open,
    Record,
    Refused,
    Reproduce,
    SeatClose,
)
from federation.shard import Close, Shard, Term

LogRecord = (
    Found
    | FoundCouncil
    | Open
    | Force
    | Dataset
    | Command
    | Grant
    | Accept
    | Import
    | Reproduce
    | Move
    | Adopt
    | SeatClose
)
"""Records that a leader writes into a shard's log."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a log that stands in one leader's control feed.

    first: the record that began the term, which is the first of the segment.
    through: the last entry that counts, cut there by the next term; None: the log goes on.
    until: a later open of the same author; from there on nothing belongs to this term.
    """

    term: Term
    first: Place
    through: EntryRef | None = None
    until: Place | None = None

    @property
    def feed(self) -> FeedID:
        return self.term.feed

    def holds(self, place: Place) -> bool:
        """Whether a record of the shard at this place of the feed is part of the log."""
        before_cut = self.through is None or place[0] <= self.through.seq
        before_end = self.until is None or place < self.until
        return self.first <= place and before_cut and before_end


def segments(shard: Shard, term: Term | None = None) -> list[Segment]:
    """The log of `term` (by default the newest), oldest part first."""
    found: list[Segment] = []
    through: EntryRef | None = None
    for each in shard.lineage(term or shard.newest):
        found.append(Segment(each, each.place, through, _ended(shard, each)))
        through = each.cut
    return found[::-1]


def term_of(shard: Shard, entry: EntryRef, index: int) -> Term | None:
    """The term to which a log record belongs, record `index` of an entry; None if to none."""
    place = entry.seq, index
    for term in shard.terms:
        if term.feed == entry.feed and segments(shard, term)[-1].holds(place):
            return term
    return None


def contains(path: Sequence[Segment], term: int, feed: FeedID, seq: int) -> bool:
    """Whether the log holds all that a term's log held through an entry of its leader's feed."""
    for segment in path:
        if segment.term.number == term and segment.feed == feed:
            return segment.through is None or seq <= segment.through.seq
    return False


def log_records(
    shard: ShardID, segment: Segment, at: EntryRef, records: Sequence[Record | Refused]
) -> list[tuple[int, LogRecord]]:
    """The records of one entry that belong to the segment, each with its index in the entry."""
    if at.feed != segment.feed:
        return []
    return [
        (index, record)
        for index, record in enumerate(records)
        if isinstance(record, LogRecord)
        and record.shard == shard
        and segment.holds((at.seq, index))
    ]


def closed(shard: Shard, path: Iterable[Segment]) -> list[tuple[Segment, Close]]:
    """The seats that a log closes, in its order, each with the segment in which that stands."""
    return [
        (segment, close)
        for segment in path
        for close in sorted(shard.closes, key=lambda close: (close.at.seq, close.index))
        if close.at.feed == segment.feed and segment.holds((close.at.seq, close.index))
    ]


def _ended(shard: Shard, term: Term) -> Place | None:
    marks = shard.marks.get(term.feed, ())
    return next((mark for mark in marks if mark > term.place), None)
