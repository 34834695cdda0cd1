"""A history of the model, written into control feeds and read by federation's own rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

from federation import settle
from federation.ids import EntryRef
from federation.opening import BadOpen, Missing, check_open
from federation.records import Vote as VoteRecord
from federation.segments import contains, segments
from federation.settle import Acked, Seat
from federation.shard import Shard, Term, with_term
from tests.model.states import NOTHING, Ack, Act, Append, Cast, Position, TakeOver
from tests.unit.federation.seats import at, council, opened, seat, vote


class Feeds:
    """One entry for each act, in the feed of its author.

    shard: with the terms that hold. The model begins when all voters have the founding record.
    """

    def __init__(self, voters: int) -> None:
        self.shard: Shard = council(voters)
        self._voters = [Seat()] * voters
        self._entries = [0] * voters
        self._records: dict[Position, EntryRef] = {}
        self._votes: dict[EntryRef, VoteRecord] = {}
        self._lead((0, 0), self._write(0))
        for site in range(1, voters):
            self._ack(site, self._write(site), (0, 0))

    def add(self, act: Act) -> None:
        """Write one more act; raises AssertionError for an open that does not hold."""
        entry = self._write(act.site)
        if isinstance(act, Ack):
            self._ack(act.site, entry, (act.term, act.through))
        elif isinstance(act, Append):
            self._lead((act.term, act.record), entry)
        elif isinstance(act, Cast):
            self._vote(act, entry)
        elif isinstance(act, TakeOver):
            self._open(act, entry)
        else:
            raise AssertionError(f"{act} stands in no feed")

    def settled(self, term: int) -> int:
        """The furthest settled record of a term; NOTHING for none."""
        voters = {seat(site): voter for site, voter in enumerate(self._voters)}
        opened_term = self.shard.term(term)
        assert opened_term is not None, f"term {term} is not open"
        seq = settle.settled_through(self.shard, voters, opened_term)
        places = [(record, entry) for (of, record), entry in self._records.items() if of == term]
        return max((record for record, entry in places if entry.seq <= seq), default=NOTHING)

    def in_log(self, term: int, position: Position) -> bool:
        """Whether the log of an opened term holds a record."""
        entry = self._records[position]
        path = segments(self.shard, self.shard.term(term))
        return contains(path, position[0], entry.feed, entry.seq)

    def take_overs(self, term: int, candidate: int) -> set[TakeOver]:
        """Every open that would hold as the candidate's next entry, whatever votes it names."""
        entry = at(seat(candidate), self._entries[candidate] + 1)
        cast = [ref for ref, record in self._votes.items() if record.term == term]
        subsets = chain.from_iterable(combinations(cast, size) for size in range(1, len(cast) + 1))
        return {
            TakeOver(candidate, term, base, cut)
            for votes in subsets
            for base, cut in self._records
            if self._judged(TakeOver(candidate, term, base, cut), entry, votes)
        }

    def _write(self, site: int) -> EntryRef:
        self._entries[site] += 1
        return at(seat(site), self._entries[site])

    def _ack(self, site: int, entry: EntryRef, through: Position) -> None:
        ack = Acked(through[0], self._records[through], entry)
        self._voters[site] = settle.with_ack(self._voters[site], 0, ack)

    def _lead(self, position: Position, entry: EntryRef) -> None:
        """A leader acks its own records by writing them."""
        self._records[position] = entry
        leader = next(site for site in range(len(self._voters)) if seat(site) == entry.feed)
        self._voters[leader] = settle.with_log_entry(self._voters[leader], entry, 1, position[0])

    def _vote(self, act: Cast, entry: EntryRef) -> None:
        candidate, base, head = act.vote
        known = self._records[base, head]
        self._votes[entry] = vote(self.shard.id, act.term, seat(candidate), base, known)
        self._voters[act.site] = settle.with_vote(self._voters[act.site], (entry.seq, 0), act.term)

    def _open(self, act: TakeOver, entry: EntryRef) -> None:
        """Names all the votes that its base and cut can follow from."""
        cut = self._records[act.base, act.cut]
        votes = [
            ref
            for ref, record in self._votes.items()
            if (record.term, record.candidate) == (act.term, seat(act.site).site)
            and (record.base, record.seq) <= (act.base, cut.seq)
        ]
        term = self._judged(act, entry, votes)
        assert term is not None, f"{act}, and it does not hold"
        self.shard = with_term(self.shard, term)
        self._lead((act.term, 0), entry)

    def _judged(self, act: TakeOver, entry: EntryRef, votes: Sequence[EntryRef]) -> Term | None:
        cut = self._records[act.base, act.cut]
        record = opened(self.shard.id, act.term, votes, act.base, cut)
        try:
            term = check_open(
                self.shard, record, entry, lambda ref: [self._votes[ref]], lambda ref: True
            )
        except BadOpen:
            return None
        assert not isinstance(term, Missing), f"{act} cannot be judged"
        return term
