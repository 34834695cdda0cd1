"""What a state of the shard model holds, and the acts that lead from one to the next. Pure.

A state is what has been *written*: the opens, how many records each leader wrote after its open,
and each voter's acks and votes. What a voter has *received* is no part of it. Gossip may bring any
prefix of any feed at any time, so a voter learns what an act of its own expresses (an ack, the base
and head of a vote, an open) at the moment of that act; what it learned and never acts upon cannot
matter. Delay, loss, reordering, partition and restart are all covered by "not yet learned". What a
voter must hold follows from its acts: see `knowledge`.

Voters are numbered; voter 0 is the founder and leads term 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

NOTHING = -1  # in place of a record: not even the open; in place of a base: none
ENDLESS = 1 << 30  # through whatever a leader will ever write

Position = tuple[int, int]  # (term, record): (t, 0) is the open of t, (t, 1) the first after it
Acks = tuple[int, ...]  # for each term, the furthest record acked; NOTHING for none

T = TypeVar("T")


class Open(NamedTuple):
    """The open of a term: its log is the log of `base` through record `cut`, then its own."""

    leader: int
    base: int
    cut: int


class Vote(NamedTuple):
    """A vote in some term: the voter could ack the log of `base` through record `head`."""

    candidate: int
    base: int
    head: int


Votes = tuple[Vote | None, ...]


class Voter(NamedTuple):
    """The acts of one voter's seat: its countable acks and its votes, each by term."""

    acks: Acks
    votes: Votes


class Lost(NamedTuple):
    """What a voter had published before it was restored from a copy that lacks it."""

    voter: int
    acks: Acks
    votes: Votes


class State(NamedTuple):
    """What is written. opens, records: by term, None and 0 for one that is not open."""

    opens: tuple[Open | None, ...]
    records: tuple[int, ...]
    voters: tuple[Voter, ...]
    lost: Lost | None


def initial(voters: int, terms: int) -> State:
    """The shard as founded: every voter holds the founding record, nobody has acted."""
    after = terms - 1
    voter = Voter((0,) + (NOTHING,) * after, (None,) * terms)
    opens = (Open(0, NOTHING, 0),) + (None,) * after
    return State(opens, (0,) * terms, (voter,) * voters, None)


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The same tuple with another item at `index`."""
    return (*items[:index], item, *items[index + 1 :])


def log(opens: Sequence[Open | None], term: int, record: int = ENDLESS) -> list[Position]:
    """For each term that the log of `term` runs through, newest first, its last record in it."""
    runs = []
    while term != NOTHING:
        runs.append((term, record))
        opened = opens[term]
        assert opened is not None, f"a log over term {term}, which nobody opened"
        _, term, record = opened
    return runs


def in_log(opens: Sequence[Open | None], term: int, position: Position) -> bool:
    """Whether the log of `term` holds the record at `position`."""
    wanted, record = position
    return any(run == wanted and record <= last for run, last in log(opens, term))


def highest_vote(votes: Votes) -> int:
    """The highest term voted for; 0 for none."""
    for term in range(len(votes) - 1, 0, -1):
        if votes[term] is not None:
            return term
    return 0


class Append(NamedTuple):
    """A leader writes its next record."""

    site: int
    term: int
    record: int

    def __str__(self) -> str:
        return f"site {self.site}, leader of term {self.term}, writes record {self.record}"

    def renamed(self, names: Sequence[int]) -> Append:
        return self._replace(site=names[self.site])


class Ack(NamedTuple):
    """A voter acks the log of a term, through one record of its leader."""

    site: int
    term: int
    through: int

    def __str__(self) -> str:
        return f"site {self.site} acks term {self.term} through record {self.through}"

    def renamed(self, names: Sequence[int]) -> Ack:
        return self._replace(site=names[self.site])


class Cast(NamedTuple):
    """A voter votes in a term."""

    site: int
    term: int
    vote: Vote

    def __str__(self) -> str:
        candidate, base, head = self.vote
        return (
            f"site {self.site} votes in term {self.term} for {candidate}: base {base}, head {head}"
        )

    def renamed(self, names: Sequence[int]) -> Cast:
        vote = self.vote._replace(candidate=names[self.vote.candidate])
        return Cast(names[self.site], self.term, vote)


class TakeOver(NamedTuple):
    """A candidate opens a term."""

    site: int
    term: int
    base: int
    cut: int

    def __str__(self) -> str:
        return f"site {self.site} opens term {self.term}: base {self.base}, cut {self.cut}"

    def renamed(self, names: Sequence[int]) -> TakeOver:
        return self._replace(site=names[self.site])


class Restore(NamedTuple):
    """A voter is restored from a copy that lacks its acts."""

    site: int

    def __str__(self) -> str:
        return f"site {self.site} is restored from a copy"

    def renamed(self, names: Sequence[int]) -> Restore:
        return Restore(names[self.site])


Act = Append | Ack | Cast | TakeOver | Restore
