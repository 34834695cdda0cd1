"""A shard: its name, its council, its terms, and which records of a feed are its log. Pure.

The log of a shard is the sequence of its records in the leader's control feed. Term 0 begins
with the founding record and is the founder's; later terms begin with an `open`, or with an admin's
`force`, which name the cut: where the log of the term before ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from federation import limits
from federation.errors import LocalError, PeerError
from federation.ids import EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Accept, Command, Dataset, Force, Found, Grant, Record, Refused
from keys import signing
from keys.signing import Purpose

_LEADERS = (Found, Dataset, Command, Grant, Accept, Force)


class BadFounding(PeerError):
    """A founding record that founds nothing: wrong id, wrong author, no honest council."""


class BadForce(PeerError):
    """A force record that forces nothing: another term, leader or cut than may be."""


@dataclass(frozen=True, slots=True)
class Term:
    """Who leads from where: the control feed whose records count, and the entry that began it."""

    number: int
    feed: FeedID
    began: EntryRef
    cut: EntryRef | None = None  # the last entry of the log before it, if it was forced

    @property
    def leader(self) -> SiteID:
        return self.feed.site


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as founded, with its terms in ascending order; the last one is the newest opened."""

    id: ShardID
    council: Sequence[SiteID]
    terms: Sequence[Term]

    @property
    def founder(self) -> SiteID:
        return self.terms[0].leader

    @property
    def newest(self) -> Term:
        return self.terms[-1]

    def leads(self, feed: FeedID) -> bool:
        """Whether the author of this control feed leads the newest opened term in it."""
        return self.newest.feed == feed


def shard_id(founder: SiteID, nonce: bytes) -> ShardID:
    """BLAKE2b-256 of purpose prefix, founder and nonce."""
    return ShardID(signing.digest(Purpose.SHARD, founder + nonce))


def found(founder: SiteID, nonce: bytes, council: Sequence[SiteID]) -> Found:
    """The record by which `founder` opens a shard.

    nonce: limits.NONCE_BYTES random bytes. council: the voters, the founder among them.
    Raises LocalError.
    """
    record = Found(shard_id(founder, nonce), nonce, list(council))
    try:
        check_found(record, founder)
    except BadFounding as error:
        raise LocalError(str(error)) from None
    return record


def check_found(record: Found, author: SiteID) -> None:
    """Raise BadFounding unless `author` may found this shard with this council."""
    if len(record.nonce) != limits.NONCE_BYTES or record.shard != shard_id(author, record.nonce):
        raise BadFounding("a shard's id is made of its founder and its nonce")
    if author not in record.council:
        raise BadFounding("a founder sits in the council of its shard")
    if len(set(record.council)) != len(record.council):
        raise BadFounding("a council in which a site sits twice")
    if len(record.council) % 2 == 0:
        raise BadFounding("a council has an odd number of voters")


def open_founded(record: Found, at: EntryRef) -> Shard:
    """The shard that a founding record in the entry `at` opens: term 0 is its author's.

    Raises BadFounding.
    """
    if at.feed.lane is not Lane.CONTROL:
        raise BadFounding("a shard is founded in a control feed")
    check_found(record, at.feed.site)
    return Shard(record.shard, tuple(record.council), (Term(0, at.feed, at),))


def force_shard(shard: Shard, record: Force, at: EntryRef) -> Shard:
    """The shard as forced by a record in the entry `at`, whose author leads from there.

    Who signed the record's document is for the caller to check. Raises BadForce.
    """
    cut = check_force(shard.council, shard.newest.number, shard.newest.feed, record, at)
    return replace(shard, terms=(*shard.terms, Term(record.term, at.feed, at, cut)))


def check_force(
    council: Sequence[SiteID], term: int, leader: FeedID, record: Force, at: EntryRef
) -> EntryRef:
    """The cut that a force record in the entry `at` names.

    council, term, leader: of the shard, its newest opened term and that term's control feed.
    Raises BadForce.
    """
    feed = at.feed
    if feed.lane is not Lane.CONTROL:
        raise BadForce("a shard is forced in a control feed")
    if len(council) != 1:
        raise BadForce("only the shard of a council of one is forced as yet")
    if feed.site not in council:
        raise BadForce("who leads a shard sits in its council")
    if feed.site == leader.site and feed.generation <= leader.generation:
        raise BadForce("a shard is forced under a later generation than its leader's")
    if record.term <= term:
        raise BadForce(f"term {record.term} is not above term {term}, which is open")
    return EntryRef(leader, record.seq, record.entry)


def log_records(shard: Shard, at: EntryRef, records: Iterable[Record | Refused]) -> list[Record]:
    """The records of one entry that belong to the shard's newest term, in order.

    Records of other authors, of other shards and from before the term are no part of the log.
    """
    if not shard.leads(at.feed) or at.seq < shard.newest.began.seq:
        return []
    return [
        record for record in records if isinstance(record, _LEADERS) and record.shard == shard.id
    ]
