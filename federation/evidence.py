"""Which acks show that a place of a log is settled, and whether a list of them does. Pure.

An adopt or an import names such a list, so that its readers need no view of their own.

Source: docs/protocol.md, "Acks and settled", "Moves".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from federation.errors import PeerError
from federation.ids import EntryRef
from federation.opening import Holds, Missing, entry_ref
from federation.quorum import majority
from federation.records import Ref
from federation.segments import contains, segments, term_of
from federation.settle import Acked, Seats, acked_through, below_closes
from federation.shard import Shard, Term, term_at


class BadProof(PeerError):
    """A list of acks that does not settle the place it is given for."""


AcksIn = Callable[[EntryRef], Sequence[Acked] | None]
"""The acks of one shard that count in an entry; None if the entry is not here.

An ack counts if no vote for a later term of its shard stands before it in the same feed; an entry
of a log counts as its author's ack, if none stands in or before it.
"""


def proof(
    shard: Shard, seats: Seats, place: EntryRef, index: int | None = None
) -> list[EntryRef] | None:
    """The entries whose acks settle a place of a log, a majority and no more; None if none do.

    index: of a record in the entry; None for its last record of a log. (An entry has records of
    two terms where its author opens one while it leads another.)
    """
    for term in sorted(_with_place(shard, place, index), key=lambda term: term.number):
        least = _least(term, place)
        ackers = [
            seats[voter].acked[term.number, term.feed].at
            for voter, seq in acked_through(shard, seats, term).items()
            if seq >= least
        ]
        needed = majority(len(shard.voters(term)))
        if len(ackers) >= needed:
            return ackers[:needed]
    return None


def check_proof(
    shard: Shard,
    place: EntryRef,
    refs: Sequence[Ref],
    acks_in: AcksIn,
    holds: Holds,
    index: int | None = None,
) -> Term | Missing:
    """The term under which the named acks settle a place of its log, or what is missing to judge.

    shard: that of the place, as far as it is known here. index: as for `proof`. Raises BadProof
    for a list that shows nothing. Like `check_open` this does not depend on the order of arrival.
    """
    named = [entry_ref(ref) for ref in refs]
    if len({ref.feed for ref in named}) != len(named):
        raise BadProof("two acks of one seat")
    found = {ref: acks_in(ref) for ref in named}
    absent = [ref for ref, acks in found.items() if acks is None]
    absent += [place] if not holds(place) else []
    if absent:
        return Missing(tuple(absent))
    acks = [ack for each in found.values() for ack in each or ()]
    for term in _with_place(shard, place, index):
        serving = [ack for ack in acks if _serves(shard, term, place, ack)]
        if len({ack.at.feed for ack in serving}) < majority(len(shard.voters(term))):
            continue
        ahead = tuple(ack.entry for ack in serving if not holds(ack.entry))
        return Missing(ahead) if ahead else term
    return _unknown_term(shard, acks)


def _with_place(shard: Shard, place: EntryRef, index: int | None) -> list[Term]:
    """The terms whose log has this place."""
    own = term_at(shard, place) if index is None else term_of(shard, place, index)
    if own is None:
        return []
    return [
        term
        for term in shard.terms
        if contains(segments(shard, term), own.number, own.feed, place.seq)
    ]


def _least(term: Term, place: EntryRef) -> int:
    """The lowest seq of the term's feed at which an ack settles the place."""
    inherited = place.feed != term.feed or place.seq < term.began.seq
    return term.began.seq if inherited else place.seq


def _serves(shard: Shard, term: Term, place: EntryRef, ack: Acked) -> bool:
    """Whether an ack is one of a seat of the term, at or beyond the place."""
    voter = ack.at.feed
    if ack.log != (term.number, term.feed) or voter not in shard.voters(term):
        return False
    counts = below_closes(shard, term, {voter: ack.entry.seq})[voter]
    return counts >= _least(term, place)


def _unknown_term(shard: Shard, acks: Sequence[Acked]) -> Missing:
    """What is missing if an ack may belong to a term that is not known here. Raises BadProof."""
    for ack in acks:
        if shard.term(ack.term, ack.entry.feed) is None:
            return Missing(base=ack.term)
    raise BadProof("the acks that are named do not settle the place")
