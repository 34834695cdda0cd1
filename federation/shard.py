"""A shard: its name, its seats, and its terms as a tree. Pure.

Term 0 begins with the founding record and is the founder's. Every later term begins with an
`open`, or with an admin's `force`, and names a base and a cut: the log of the base's term through
the cut is the beginning of its own. So the terms are a tree, each with its base as parent, and the
path from the newest term to term 0 is the log (federation/segments.py).

A seat is a control feed: a site under one generation. What a site signs under a later generation
is no act of its seat.

Source: docs/protocol.md, "Shards", "Terms", "Forced".
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from federation import limits
from federation.errors import LocalError, PeerError
from federation.ids import EntryRef, FeedID, Lane, Place, ShardID, SiteID
from federation.records import Force, Found, FoundCouncil, SeatClose
from keys import signing
from keys.signing import Purpose


class BadFounding(PeerError):
    """A founding record that founds nothing: wrong id, wrong author, no honest council."""


class BadForce(PeerError):
    """A force record that forces nothing: another term, leader or cut than may be."""


class BadClose(PeerError):
    """A seat.close that closes no seat of its shard."""


@dataclass(frozen=True, slots=True)
class Term:
    """Who leads from where, behind which log.

    number: 0 for the founder's. feed: the leader's control feed, in which its records stand.
    began: the entry with the founding, open or force record, which is record `index` in it.
    base, cut: the term before and the last entry of its log that is inherited; None for term 0.
    forced: whether an admin began it, not votes.
    """

    number: int
    feed: FeedID
    began: EntryRef
    base: int | None = None
    cut: EntryRef | None = None
    index: int = 0
    forced: bool = False

    @property
    def leader(self) -> SiteID:
        return self.feed.site

    @property
    def place(self) -> Place:
        """Of the record that began it, in `feed`."""
        return self.began.seq, self.index


@dataclass(frozen=True, slots=True)
class Close:
    """A seat whose acts beyond `through` (a seq of its feed) do not count, once this is in a log.

    at, index: the seat.close itself, in the control feed of the leader that wrote it.
    """

    seat: FeedID
    through: int
    at: EntryRef
    index: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as founded, and what has been read of its terms so far.

    terms: every one that holds, ascending; two with one number only if two opens hold for it.
    marks: per control feed, where records stand that begin a term, whether they hold or not.
    closes: every valid seat.close, whichever term's log it is part of.
    """

    id: ShardID
    seats: Sequence[FeedID]
    terms: Sequence[Term]
    marks: Mapping[FeedID, Sequence[Place]] = field(default_factory=dict)
    closes: Sequence[Close] = ()

    @property
    def council(self) -> Sequence[SiteID]:
        return [seat.site for seat in self.seats]

    @property
    def founder(self) -> SiteID:
        return self.terms[0].leader

    @property
    def newest(self) -> Term:
        """The term that decides the path: the newest of `alive`.

        While the shard is stopped this decides nothing.
        """
        return max(self.alive, key=lambda term: term.number)

    @property
    def alive(self) -> Sequence[Term]:
        """The terms that count: all, or once an admin forced the shard what descends from that.

        Admins outrank votes: any other term counts no more then, whatever its number.
        """
        forced = max((term.number for term in self.terms if term.forced), default=None)
        if forced is None:
            return self.terms
        heads = [term for term in self.terms if term.forced and term.number == forced]
        return [term for term in self.terms if any(head in self.lineage(term) for head in heads)]

    @property
    def stopped(self) -> bool:
        """Whether two terms of one number hold; nobody acts then until an admin forces it."""
        numbers = [term.number for term in self.alive]
        return len(set(numbers)) < len(numbers)

    def leads(self, feed: FeedID) -> bool:
        """Whether the author of this control feed leads the newest term in it."""
        return self.newest.feed == feed

    def term(self, number: int, feed: FeedID | None = None) -> Term | None:
        """The term of this number, led in this feed if one is given; None if unknown."""
        for term in self.terms:
            if term.number == number and feed in (None, term.feed):
                return term
        return None

    def lineage(self, term: Term) -> list[Term]:
        """The terms whose records make up the log of `term`: itself first, term 0 last."""
        found = [term]
        while found[-1].base is not None:
            last = found[-1]
            base = self.term(last.base or 0, last.cut.feed if last.cut else None)
            if base is None:
                raise LocalError(f"term {last.number} without its base, term {last.base}")
            found.append(base)
        return found

    def voters(self, term: Term) -> Sequence[FeedID]:
        """The seats that ack under `term` and vote for terms based on it.

        Those of the founding; after a force its leader alone.
        """
        for each in self.lineage(term):
            if each.forced:
                return [each.feed]
        return self.seats

    def seat_of(self, site: SiteID) -> FeedID | None:
        """The seat that a site was founded with, if any."""
        return next((seat for seat in self.seats if seat.site == site), None)


def shard_id(founder: SiteID, nonce: bytes) -> ShardID:
    """BLAKE2b-256 of purpose prefix, founder and nonce."""
    return ShardID(signing.digest(Purpose.SHARD, founder + nonce))


def found(founder: FeedID, nonce: bytes, seats: Sequence[FeedID]) -> Found | FoundCouncil:
    """The record by which the author of `founder` opens a shard in it.

    nonce: limits.NONCE_BYTES random bytes. seats: control feeds of the voters, `founder` among
    them. Raises LocalError.
    """
    shard, sites = shard_id(founder.site, nonce), [seat.site for seat in seats]
    record: Found | FoundCouncil
    if list(seats) == [founder]:
        record = Found(shard, nonce, sites)
    else:
        record = FoundCouncil(shard, nonce, sites, [seat.generation for seat in seats])
    try:
        check_found(record, founder)
    except BadFounding as error:
        raise LocalError(str(error)) from None
    return record


def check_found(record: Found | FoundCouncil, feed: FeedID) -> list[FeedID]:
    """The seats of the shard that a founding record in this feed founds. Raises BadFounding."""
    if feed.lane is not Lane.CONTROL:
        raise BadFounding("a shard is founded in a control feed")
    if len(record.nonce) != limits.NONCE_BYTES or record.shard != shard_id(feed.site, record.nonce):
        raise BadFounding("a shard's id is made of its founder and its nonce")
    if feed.site not in record.council:
        raise BadFounding("a founder sits in the council of its shard")
    if len(set(record.council)) != len(record.council):
        raise BadFounding("a council in which a site sits twice")
    if len(record.council) % 2 == 0:
        raise BadFounding("a council has an odd number of voters")
    if isinstance(record, Found):
        if len(record.council) > 1:
            raise BadFounding("seats without generations")
        return [feed]
    if len(record.generations) != len(record.council):
        raise BadFounding("a council has one generation a seat")
    named = zip(record.council, record.generations, strict=True)
    seats = [FeedID(site, generation, Lane.CONTROL) for site, generation in named]
    if feed not in seats:
        raise BadFounding("a founder's seat has the generation of its feed")
    return seats


def open_founded(record: Found | FoundCouncil, at: EntryRef, index: int = 0) -> Shard:
    """The shard that a founding record in the entry `at` opens: term 0 is its author's.

    Raises BadFounding.
    """
    seats = check_found(record, at.feed)
    return Shard(record.shard, tuple(seats), (Term(0, at.feed, at, index=index),))


def with_mark(shard: Shard, at: EntryRef, index: int) -> Shard:
    """The shard after an open or a force record was read, whether it holds or not.

    It ends the author's term before it: what follows in that feed is no part of that term's log.
    """
    marks = list(shard.marks.get(at.feed, ()))
    if (at.seq, index) in marks:
        return shard
    insort(marks, (at.seq, index))
    return replace(shard, marks={**shard.marks, at.feed: tuple(marks)})


def with_term(shard: Shard, term: Term) -> Shard:
    """The shard with a term that `check_open` or `check_force` found to hold.

    Of several with one number in one feed the first counts; in two feeds the shard is stopped.
    """
    rest = []
    for known in shard.terms:
        if (known.number, known.feed) != (term.number, term.feed):
            rest.append(known)
        elif known.place <= term.place:
            return shard
    terms = sorted([*rest, term], key=_order)
    return with_mark(replace(shard, terms=tuple(terms)), term.began, term.index)


def with_close(shard: Shard, record: SeatClose, at: EntryRef, index: int) -> Shard:
    """The shard after a seat.close was read, in whoever's feed. Raises BadClose.

    Whether it is part of a log, `segments` says.
    """
    seat = FeedID(record.site, record.generation, Lane.CONTROL)
    if seat not in shard.seats:
        raise BadClose("closes a seat that the shard does not have")
    close = Close(seat, record.through, at, index)
    if close in shard.closes:
        return shard
    return replace(shard, closes=(*shard.closes, close))


def check_force(shard: Shard, record: Force, at: EntryRef, cut: EntryRef, index: int = 0) -> Term:
    """The term that a force record in the entry `at` begins; raises BadForce.

    cut: as its signed document names it. Who signed that, and that the cut's entry is held, is
    for the caller to check. The base is the term to which the cut belongs.
    """
    feed = at.feed
    if feed.lane is not Lane.CONTROL:
        raise BadForce("a shard is forced in a control feed")
    if feed.site not in shard.council:
        raise BadForce("who leads a shard sits in its council")
    if (record.seq, record.entry) != (cut.seq, cut.id):
        raise BadForce("the record names another cut than its document")
    base = term_at(shard, cut)
    if base is None:
        raise BadForce("the cut lies in no term's log")
    alone = len(shard.voters(base)) == 1
    if alone and feed.site == base.leader and feed.generation <= base.feed.generation:
        raise BadForce("a shard is forced under a later generation than its leader's")
    if record.term <= base.number:
        raise BadForce(f"term {record.term} is not above term {base.number}, which is open")
    return Term(record.term, feed, at, base.number, cut, index, forced=True)


def _order(term: Term) -> tuple[int, SiteID, int]:
    return term.number, term.feed.site, term.feed.generation


def term_at(shard: Shard, entry: EntryRef) -> Term | None:
    """The term to which the last log record of a control entry belongs, if to any."""
    mine = [term for term in shard.terms if term.feed == entry.feed]
    begun = [term for term in mine if term.place[0] <= entry.seq]
    if not begun:
        return None
    last = max(begun, key=lambda term: term.place)
    later = [mark for mark in shard.marks.get(entry.feed, ()) if mark > last.place]
    return None if later and later[0][0] <= entry.seq else last
