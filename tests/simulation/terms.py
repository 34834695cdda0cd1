"""A second reading of shards: who led which term, what its log is, what is settled.

One who sees every entry at once reads docs/protocol.md as it stands: no order of arrival, no state
that grows. Shares nothing with federation's own reading but the decoder. Slow, and easy to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from federation.entry import Entry
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import (
    Accept,
    Ack,
    Force,
    Found,
    FoundCouncil,
    Open,
    Record,
    Refused,
    SeatClose,
    Vote,
)
from federation.segments import LogRecord

Feeds = Mapping[FeedID, Sequence[Entry]]  # each whole, from its first entry
Place = tuple[int, int]  # seq of an entry, index of a record in it
END: Place = (1 << 60, 0)


@dataclass(frozen=True, slots=True)
class Act:
    """A record of one shard in somebody's control feed."""

    feed: FeedID
    place: Place
    record: Record
    entry: Entry


@dataclass(frozen=True, slots=True)
class Term:
    """cut: the place in the base's feed up to which its log is inherited."""

    number: int
    feed: FeedID
    first: Place
    until: Place  # the author's next open or force: from there on it writes for another term
    base: Term | None = None
    cut: int = 0
    forced: bool = False

    def lineage(self) -> Iterator[tuple[Term, int]]:
        """The terms whose records are its log, newest first, each with its last seq that counts."""
        term, through = self, END[0]
        while True:
            yield term, through
            if term.base is None:
                return
            term, through = term.base, term.cut


@dataclass(slots=True)
class Reading:
    """A shard, read from all feeds. faults: what must never happen (I1, I2)."""

    shard: ShardID
    seats: Sequence[FeedID]
    terms: list[Term]
    acts: Mapping[FeedID, Sequence[Act]]
    settled: dict[Term, int] = field(default_factory=dict)  # through which seq of its feed
    faults: list[str] = field(default_factory=list)

    @property
    def newest(self) -> Term:
        return max(self.alive(), key=lambda term: term.number)

    def alive(self) -> list[Term]:
        """What descends from the newest force, or all terms."""
        forces = [term for term in self.terms if term.forced]
        if not forces:
            return self.terms
        last = max(forces, key=lambda term: term.number)
        return [term for term in self.terms if any(each is last for each, _ in term.lineage())]

    def voters(self, term: Term) -> Sequence[FeedID]:
        for each, _ in term.lineage():
            if each.forced:
                return [each.feed]
        return self.seats

    def log(self, term: Term, through: int = END[0]) -> list[Act]:
        """The records of the term's log, oldest first. through: of the term's own feed."""
        found: list[list[Act]] = []
        for each, last in term.lineage():
            last = min(last, through) if each is term else last
            found.append(
                [
                    act
                    for act in self.acts.get(each.feed, ())
                    if isinstance(act.record, LogRecord)
                    and each.first <= act.place < each.until
                    and act.place[0] <= last
                ]
            )
        return [act for part in reversed(found) for act in part]

    def settled_log(self) -> list[Act]:
        """The records of the log that are settled, oldest first."""
        found = [term for term in self.alive() if self.settled[term]]
        if not found:
            return []
        term = max(found, key=lambda term: term.number)
        return self.log(term, self.settled[term])

    def contains(self, term: Term, other: Term, seq: int) -> bool:
        """Whether the term's log holds what the other's own part holds through a seq."""
        return any(each is other and seq <= last for each, last in term.lineage())

    def names(self, term: Term, through: int) -> list[tuple[FeedID, int]]:
        """The results that the log through a seq names: each feed, through which seq."""
        return [
            (FeedID(act.record.site, act.record.generation, Lane.RESULTS), act.record.through)
            for act in self.log(term, through)
            if isinstance(act.record, Accept)
        ]


def majority(seats: Sequence[FeedID]) -> int:
    return len(seats) // 2 + 1


def read_shards(feeds: Feeds) -> dict[ShardID, Reading]:
    """Every shard that was founded, with what is wrong about it."""
    founded: dict[ShardID, Act] = {}
    acts: dict[ShardID, dict[FeedID, list[Act]]] = {}
    for feed, entries in feeds.items():
        if feed.lane is not Lane.CONTROL:
            continue
        for act in _acts(feed, entries):
            shard = ShardID(act.record.shard)  # type: ignore[union-attr]
            acts.setdefault(shard, {}).setdefault(feed, []).append(act)
            if isinstance(act.record, Found | FoundCouncil):
                founded.setdefault(shard, act)
    return {shard: _read(feeds, act, acts[shard]) for shard, act in founded.items()}


def _acts(feed: FeedID, entries: Iterable[Entry]) -> Iterator[Act]:
    for entry in entries:
        for index, record in enumerate(entry.records()):
            if not isinstance(record, Refused) and hasattr(record, "shard"):
                yield Act(feed, (entry.header.seq, index), record, entry)


def _read(feeds: Feeds, founding: Act, acts: Mapping[FeedID, Sequence[Act]]) -> Reading:
    record = founding.record
    if isinstance(record, FoundCouncil):
        pairs = zip(record.council, record.generations, strict=True)
        seats = [FeedID(site, generation, Lane.CONTROL) for site, generation in pairs]
    else:
        seats = [founding.feed]
    first = Term(0, founding.feed, founding.place, _next_mark(acts, founding))
    reading = Reading(ShardID(record.shard), seats, [first], acts)  # type: ignore[union-attr]
    marks = [act for each in acts.values() for act in each if isinstance(act.record, Open | Force)]
    for act in sorted(marks, key=lambda act: act.record.term):  # type: ignore[union-attr]
        term = _opened(feeds, reading, act)
        known = [(each.number, each.feed) for each in reading.terms]
        if term is not None and (term.number, term.feed) not in known:
            reading.terms.append(term)
    for term in reading.terms:
        reading.settled[term] = _settled(feeds, reading, term)
    reading.faults += [*two_leaders([reading]), *_lost(reading)]
    return reading


def _next_mark(acts: Mapping[FeedID, Sequence[Act]], after: Act) -> Place:
    marks = [
        act.place
        for act in acts.get(after.feed, ())
        if isinstance(act.record, Open | Force) and act.place > after.place
    ]
    return min(marks, default=END)


def _opened(feeds: Feeds, reading: Reading, act: Act) -> Term | None:
    """The term that an open or a force begins, if it holds."""
    record = act.record
    base = None
    if isinstance(record, Force):
        base = _term_of(feeds, reading, record.seq, record.entry)
    elif isinstance(record, Open):
        base = _base_of(feeds, reading, act, record)
    if base is None:
        return None
    if isinstance(record, Open) and act.feed not in reading.voters(base):
        return None
    assert isinstance(record, Open | Force)
    return Term(
        record.term, act.feed, act.place, _next_mark(reading.acts, act), base, record.seq,
        isinstance(record, Force),
    )  # fmt: skip


def _base_of(feeds: Feeds, reading: Reading, act: Act, record: Open) -> Term | None:
    """The base of an open, if the votes that it names are a majority and say the same."""
    votes: dict[FeedID, tuple[Vote, int]] = {}
    for site, generation, seq, id in record.votes:
        feed = FeedID(SiteID(site), generation, Lane.CONTROL)
        if feed in votes or not _is(feeds, feed, seq, id):
            return None
        vote = _vote(reading.acts.get(feed, ()), seq, record.term, act.feed.site)
        if vote is None:
            return None
        votes[feed] = vote, seq
    base = max(vote.base for vote, _ in votes.values())
    heads = {(vote.seq, vote.entry) for vote, _ in votes.values() if vote.base == base}
    cut = max(heads)
    if (record.base, record.seq, record.entry) != (base, *cut):
        return None
    term = _term_of(feeds, reading, *cut)
    if term is None or term.number != base or term.first[0] > record.seq:
        return None
    closed = _closed(reading, term, record.seq)
    seats = reading.voters(term)
    good = [feed for feed, (_, seq) in votes.items() if feed in seats and seq <= closed(feed)]
    if len(good) < len(votes) or len(good) < majority(seats) or act.place[0] > closed(act.feed):
        return None
    return term


def _vote(acts: Iterable[Act], seq: int, term: int, candidate: SiteID) -> Vote | None:
    """The vote in an entry for this candidate, if its voter had not voted as high before."""
    highest = 0
    for act in acts:
        if isinstance(act.record, Vote):
            wanted = (act.record.term, act.record.candidate) == (term, candidate)
            if act.place[0] == seq and wanted and act.record.term > highest:
                return act.record
            highest = max(highest, act.record.term)
    return None


def _is(feeds: Feeds, feed: FeedID, seq: int, id: bytes) -> bool:
    """Whether the entry at a place of a feed is this one."""
    entries = feeds.get(feed, ())
    return 1 <= seq <= len(entries) and entries[seq - 1].id == id


def _term_of(feeds: Feeds, reading: Reading, seq: int, id: bytes) -> Term | None:
    """The term in whose own part this entry stands."""
    found = None
    for term in reading.terms:
        inside = term.first[0] <= seq and (seq, 0) < term.until
        later = found is None or term.first > found.first
        if inside and later and _is(feeds, term.feed, seq, id):
            found = term
    return found


def _closed(reading: Reading, term: Term, through: int = END[0]) -> Callable[[FeedID], int]:
    """Up to which seq of its feed the acts of a seat count, by what a log says."""
    found: dict[FeedID, int] = {}
    for act in reading.log(term, through):
        if isinstance(act.record, SeatClose):
            seat = FeedID(act.record.site, act.record.generation, Lane.CONTROL)
            found.setdefault(seat, act.record.through)
    return lambda feed: found.get(feed, END[0])


def _settled(feeds: Feeds, reading: Reading, term: Term) -> int:
    """Through which seq of the leader's feed a majority's acks under this term go; 0 for none."""
    closed = _closed(reading, term)
    seats = reading.voters(term)
    acked = sorted(
        (_acked(feeds, reading, term, seat, closed(seat)) for seat in seats), reverse=True
    )
    return acked[majority(seats) - 1]


def _acked(feeds: Feeds, reading: Reading, term: Term, seat: FeedID, closed: int) -> int:
    """How far a seat acked the log of a term, before it voted for a later one."""
    acked = 0
    for act in reading.acts.get(seat, ()):
        record = act.record
        if act.place[0] > closed or (isinstance(record, Vote) and record.term > term.number):
            break
        if isinstance(record, Ack):
            leader = FeedID(record.site, record.generation, Lane.CONTROL)
            known = _is(feeds, leader, record.seq, record.entry)
            if known and (record.term, leader) == (term.number, term.feed):
                acked = max(acked, record.seq)
        elif seat == term.feed and isinstance(record, LogRecord):
            own = term.first <= act.place < term.until
            acked = max(acked, act.place[0]) if own else acked
    return acked


def _lost(reading: Reading) -> list[str]:
    """Settled places that a later term does not have."""
    alive = reading.alive()
    return [
        f"I2: {seq} of term {term.number} is settled, and term {later.number} lacks it"
        for term, seq in reading.settled.items()
        for later in alive
        if seq and term in alive and later.number > term.number
        if not reading.contains(later, term, seq)
    ]


def two_leaders(readings: Iterable[Reading]) -> list[str]:
    """Terms that have more than one leader, in the eyes of all who read a shard (I1)."""
    leaders: dict[int, set[FeedID]] = {}
    for reading in readings:
        for term in reading.alive():
            leaders.setdefault(term.number, set()).add(term.feed)
    return [
        f"I1: {len(feeds)} sites opened term {number}"
        for number, feeds in sorted(leaders.items())
        if len(feeds) > 1
    ]


def holders(
    reading: Reading, term: Term, seq: int, held: Mapping[SiteID, Mapping[FeedID, int]]
) -> list[SiteID]:
    """The voters that hold a term's log through a seq, and the results that it names.

    held: for each site how much of each feed it has on disk.
    """
    needed = [
        (each.feed, min(last, seq) if each is term else last) for each, last in term.lineage()
    ]
    needed += reading.names(term, seq)
    return [
        seat.site
        for seat in reading.voters(term)
        if all(held[seat.site].get(feed, 0) >= through for feed, through in needed)
    ]
