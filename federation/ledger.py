"""What the control entries read so far say about one shard: terms, acks, votes. No I/O.

Feed it the entries of all control feeds, each feed in its own order, the feeds in any: the same
entries give the same answers. It keeps what is needed to judge opens and proofs, and waits with
those whose votes, bases or cuts have not come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from federation.ids import EntryRef, FeedID, ShardID
from federation.opening import BadOpen, Ballot, Missing, check_open
from federation.records import (
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
from federation.settle import Acked, Seat, with_ack, with_arrived, with_log_entry, with_vote
from federation.shard import (
    BadClose,
    BadForce,
    BadFounding,
    Shard,
    Term,
    check_force,
    open_founded,
    with_close,
    with_mark,
    with_term,
)

CutOf = Callable[[Force, EntryRef], EntryRef | None]
"""The cut of a force record at a place, by its signed document; None if that is not good."""
Begun = tuple[Open | Force, EntryRef, int]
"""A record that begins a term, its entry, and its index in the entry."""


def no_force(record: Force, at: EntryRef) -> None:
    """A CutOf for those who know no admins: nothing is ever forced."""


@dataclass(slots=True)
class _Author:
    """One control feed, as far as it was read."""

    seat: Seat = field(default_factory=Seat)
    leads: int | None = None  # the number of the term to which its log records belong


class Ledger:
    """One shard, as the entries that were taken so far have it."""

    def __init__(
        self, shard: ShardID, holds: Callable[[EntryRef], bool], cut_of: CutOf = no_force
    ) -> None:
        """holds: whether this very entry of a control feed is here; at once when it is taken."""
        self.id = shard
        self.shard: Shard | None = None  # None: its founding is not here yet
        self.void: list[tuple[Begun, str]] = []  # what begins no term, and why
        self._holds = holds
        self._cut_of = cut_of
        self._authors: dict[FeedID, _Author] = {}
        self._votes: dict[EntryRef, list[Vote]] = {}
        self._acks: dict[EntryRef, list[Acked]] = {}
        self._marks: list[tuple[EntryRef, int]] = []
        self._closes: list[tuple[SeatClose, EntryRef, int]] = []
        self._pending: list[Begun] = []

    @property
    def seats(self) -> dict[FeedID, Seat]:
        return {feed: author.seat for feed, author in self._authors.items()}

    @property
    def pending(self) -> Sequence[Begun]:
        """Opens and forces that cannot be judged yet."""
        return tuple(self._pending)

    @property
    def missing(self) -> list[EntryRef]:
        """The entries that those wait for."""
        if self.shard is None:
            return []
        found = [self._term(self.shard, begun) for begun in self._pending]
        return [ref for each in found if isinstance(each, Missing) for ref in each.entries]

    def votes_in(self, ref: EntryRef) -> Sequence[Vote] | None:
        """The votes that count in an entry; None if it is not here."""
        return self._votes.get(ref, ()) if self._holds(ref) else None

    def acks_in(self, ref: EntryRef) -> Sequence[Acked] | None:
        """The acks that count in an entry; None if it is not here."""
        return self._acks.get(ref, ()) if self._holds(ref) else None

    def votes_above(self, term: int) -> list[Ballot]:
        """The votes that count for terms above this one."""
        return [
            Ballot(vote, ref)
            for ref, votes in self._votes.items()
            for vote in votes
            if vote.term > term
        ]

    def take(self, at: EntryRef, records: Sequence[Record | Refused]) -> None:
        """Read the next entry of a control feed."""
        author = self._authors.setdefault(at.feed, _Author())
        ours = [
            (index, record)
            for index, record in enumerate(records)
            if getattr(record, "shard", None) == self.id
        ]
        for index, record in ours:
            self._read(author, at, index, record)
        if author.leads is not None and any(isinstance(each, LogRecord) for _, each in ours):
            self._log_entry(author, at, len(records))
        self._judge()
        for each in self._authors.values():
            each.seat = with_arrived(each.seat, self._holds)

    def _read(self, author: _Author, at: EntryRef, index: int, record: Record | Refused) -> None:
        match record:
            case Vote():
                self._vote(author, at, index, record)
            case Ack():
                self._ack(author, at, index, record)
            case Found() | FoundCouncil():
                self._found(author, at, index, record)
            case Open() | Force():
                author.leads = record.term
                self._marks.append((at, index))
                self._pending.append((record, at, index))
            case SeatClose():
                self._closes.append((record, at, index))
            case _:
                pass

    def _vote(self, author: _Author, at: EntryRef, index: int, vote: Vote) -> None:
        if vote.term > author.seat.voted:
            self._votes.setdefault(at, []).append(vote)
        author.seat = with_vote(author.seat, (at.seq, index), vote.term)

    def _ack(self, author: _Author, at: EntryRef, index: int, record: Ack) -> None:
        leader = FeedID(record.site, record.generation, at.feed.lane)
        ack = Acked(record.term, EntryRef(leader, record.seq, record.entry), at)
        if author.seat.voted <= record.term:
            self._acks.setdefault(at, []).append(ack)
        author.seat = with_ack(author.seat, index, ack, here=self._holds(ack.entry))

    def _log_entry(self, author: _Author, at: EntryRef, records: int) -> None:
        assert author.leads is not None
        if author.seat.voted <= author.leads:
            self._acks.setdefault(at, []).append(Acked(author.leads, at, at))
        author.seat = with_log_entry(author.seat, at, records, author.leads)

    def _found(
        self, author: _Author, at: EntryRef, index: int, record: Found | FoundCouncil
    ) -> None:
        if self.shard is not None:
            return
        try:
            self.shard = open_founded(record, at, index)
        except BadFounding:
            return
        author.leads = 0

    def _judge(self) -> None:
        """Apply what waited for the founding, and judge what can be judged by now."""
        if self.shard is None:
            return
        for at, index in self._marks:
            self.shard = with_mark(self.shard, at, index)
        self._marks.clear()
        for close, at, index in self._closes:
            self._close(close, at, index)
        self._closes.clear()
        while any(self._judged(begun) for begun in tuple(self._pending)):
            pass  # a term may be the base for which another waits

    def _close(self, record: SeatClose, at: EntryRef, index: int) -> None:
        assert self.shard is not None
        with suppress(BadClose):
            self.shard = with_close(self.shard, record, at, index)

    def _judged(self, begun: Begun) -> bool:
        """Whether a term began with it, so that others that wait may be judged."""
        assert self.shard is not None
        try:
            term = self._term(self.shard, begun)
        except (BadOpen, BadForce) as error:
            self._pending.remove(begun)
            self.void.append((begun, str(error)))
            return False
        if isinstance(term, Missing):
            return False
        self._pending.remove(begun)
        self.shard = with_term(self.shard, term)
        return True

    def _term(self, shard: Shard, begun: Begun) -> Term | Missing:
        record, at, index = begun
        if isinstance(record, Open):
            return check_open(shard, record, at, self.votes_in, self._holds, index)
        cut = self._cut_of(record, at)
        if cut is None:
            raise BadForce("the signed document is not good")
        if not self._holds(cut) or self._waits_before(cut, begun):
            return Missing((cut,))
        return check_force(shard, record, at, cut, index)

    def _waits_before(self, cut: EntryRef, begun: Begun) -> bool:
        """Whether the term of the cut may be one that cannot be judged yet."""
        return any(
            at.feed == cut.feed and at.seq <= cut.seq
            for record, at, index in self._pending
            if (record, at, index) != begun
        )
