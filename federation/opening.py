"""Whether an `open` holds: its readers recompute what its author claims. Pure.

Source: docs/protocol.md, "Votes" and "Opens".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from federation.errors import PeerError
from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.quorum import majority
from federation.records import Open, Ref, Vote
from federation.segments import closed, segments
from federation.shard import Shard, Term


class BadOpen(PeerError):
    """An open that opens nothing: votes, base or cut are not what they have to be."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What must arrive before an open can be judged: entries, or a term that it is based on."""

    entries: Sequence[EntryRef] = ()
    base: int | None = None


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote that counts, and the entry of its author's control feed in which it stands."""

    vote: Vote
    at: EntryRef

    @property
    def voter(self) -> FeedID:
        return self.at.feed

    @property
    def head(self) -> tuple[int, EntryID]:
        return self.vote.seq, self.vote.entry


Ballots = Callable[[EntryRef], Sequence[Vote] | None]
"""The votes that count in an entry, all shards' or this one's; None if the entry is not here.

A vote counts if its term is above those of all earlier votes for its shard in the same feed.
"""
Holds = Callable[[EntryRef], bool]
"""Whether this very entry, and with it all of its feed before it, is here."""


def entry_ref(ref: Ref) -> EntryRef:
    """The entry of a control feed that a record's `ref` names."""
    site, generation, seq, id_ = ref
    return EntryRef(FeedID(SiteID(site), generation, Lane.CONTROL), seq, EntryID(id_))


def as_ref(entry: EntryRef) -> Ref:
    """`entry`, of a control feed, as records name it."""
    return [entry.feed.site, entry.feed.generation, entry.seq, entry.id]


def check_open(
    shard: Shard, record: Open, at: EntryRef, ballots: Ballots, holds: Holds, index: int = 0
) -> Term | Missing:
    """The term that an open in the entry `at` begins, or what is missing to judge it.

    Raises BadOpen for one that can never hold. Nothing depends on the order of arrival: the same
    entries give the same answer everywhere. That another open holds for the same term is no
    matter of this one: see `Shard.stopped`.
    """
    named = [entry_ref(ref) for ref in record.votes]
    if at.feed.lane is not Lane.CONTROL:
        raise BadOpen("a term is opened in a control feed")
    if len({ref.feed for ref in named}) != len(named):
        raise BadOpen("two votes of one seat")
    if record.base >= record.term:
        raise BadOpen(f"term {record.term} is not above its base, term {record.base}")
    found = {ref: ballots(ref) for ref in named}
    absent = tuple(ref for ref, votes in found.items() if votes is None)
    if absent:
        return Missing(absent)
    cast = [_ballot(record, at.feed.site, ref, found[ref] or ()) for ref in named]
    base, head = base_and_cut(cast)
    if (record.base, (record.seq, record.entry)) != (base, head):
        raise BadOpen("base and cut do not follow from the votes")
    return _with_base(shard, record, at, index, cast, holds)


def base_and_cut(cast: Sequence[Ballot]) -> tuple[int, tuple[int, EntryID]]:
    """The newest base among votes, and the greatest head (seq, id) among those of that base.

    Raises BadOpen when two name different entries for the greatest one: a fork.
    """
    base = max(ballot.vote.base for ballot in cast)
    heads = {ballot.head for ballot in cast if ballot.vote.base == base}
    seq = max(head[0] for head in heads)
    greatest = [head for head in heads if head[0] == seq]
    if len(greatest) != 1:
        raise BadOpen("two votes name different entries for one place of a forked feed")
    return base, greatest[0]


def seats_closed(shard: Shard, term: Term, through: EntryRef | None = None) -> dict[FeedID, int]:
    """Seats that the log of a term closes, each with the last seq of its feed that counts.

    through: only what stands in that log up to this entry of the term's feed.
    """
    path = segments(shard, term)
    found: dict[FeedID, int] = {}
    for segment, close in closed(shard, path):
        if through is None or segment.term != term or close.at.seq <= through.seq:
            found.setdefault(close.seat, close.through)
    return found


def _ballot(record: Open, candidate: SiteID, at: EntryRef, votes: Iterable[Vote]) -> Ballot:
    """The vote for this open in an entry that it names. Raises BadOpen."""
    for vote in votes:
        if (vote.shard, vote.term, vote.candidate) == (record.shard, record.term, candidate):
            return Ballot(vote, at)
    raise BadOpen(f"entry {at.seq} of a voter holds no vote for this term and author")


def _with_base(
    shard: Shard,
    record: Open,
    at: EntryRef,
    index: int,
    cast: Sequence[Ballot],
    holds: Holds,
) -> Term | Missing:
    """The checks that need the base's log. Raises BadOpen."""
    cuts = {
        EntryRef(term.feed, record.seq, record.entry): term
        for term in shard.terms
        if term.number == record.base
    }
    if not cuts:
        return Missing(base=record.base)
    cut = next((cut for cut in cuts if holds(cut)), None)  # an id is of one feed only
    if cut is None:
        return Missing(tuple(cuts))
    base = cuts[cut]
    if cut.seq < base.began.seq:
        raise BadOpen("the cut lies before its term")
    seats = shard.voters(base)
    if at.feed not in seats:
        raise BadOpen("only a seat of the council leads")
    if not all(ballot.voter in seats for ballot in cast):
        raise BadOpen("a vote of one who has no seat")
    if len(cast) < majority(len(seats)):
        raise BadOpen(f"{len(cast)} votes are no majority of {len(seats)} seats")
    shut = seats_closed(shard, base, cut)
    for act in (at, *(ballot.at for ballot in cast)):
        if act.seq > shut.get(act.feed, act.seq):
            raise BadOpen("an act of a seat that the log it inherits has closed")
    return Term(record.term, at.feed, at, base.number, cut, index)
