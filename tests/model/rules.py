"""The rules of ownership that the shard model can do without, and the size of what it explores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from federation.quorum import majority


class Rules(NamedTuple):
    """Each field is one rule; True is the protocol, False the protocol without it."""

    # Acks and what they settle.
    acks_end_with_vote: bool = True  # an ack that follows a vote for a later term does not count
    own_acks_end_with_vote: bool = True  # nor does a leader's own record after its own such vote
    one_term_settles: bool = True  # acks under different terms never add up
    whole_council_counts: bool = True  # a majority is one of all voters, not of those in reach
    acks_need_the_log: bool = True  # an ack needs the log of the base through the cut as well
    acks_need_results: bool = True  # and the results that those records accept
    # Votes and opens.
    heads_need_results: bool = True  # a vote's head goes only as far as the results are held
    votes_set_the_cut: bool = True  # the cut is the greatest head voted, not the candidate's own
    newest_base_wins: bool = True  # only votes for the newest base count for the cut
    votes_above_opened: bool = True  # no vote at or below a term that the voter knows to be open
    votes_go_upwards: bool = True  # no vote below one's own last vote
    # Seats and time.
    silent_without_acts: bool = True  # a voter restored from a copy never acts for its seat again
    silent_without_votes: bool = True  # nor one that got back its acks, but not its votes
    votes_at_once_if_voted: bool = True  # who voted above a leader need not await its silence
    settled_opens_cut_off: bool = True  # what a log lacks is final when its open is settled


PROTOCOL = Rules()


@dataclass(frozen=True, slots=True)
class Size:
    """How much of the shard's life is explored.

    records: most records of each term's leader, from term 0. candidates: who may stand in each
    term, from term 1; None for everybody. healing: whether every state is asked if it can go on.
    """

    voters: int
    records: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...] | None = None
    healing: bool = True

    def __post_init__(self) -> None:
        if self.voters < 1 or self.voters % 2 == 0:
            raise ValueError("a council has an odd number of voters")
        stand = self.candidates
        if stand is not None and len(stand) != self.take_overs:
            raise ValueError(f"{self.take_overs} take-overs need as many sets of candidates")
        if stand is not None and not all(
            0 <= site < self.voters for term in stand for site in term
        ):
            raise ValueError(f"candidates are voters: 0 to {self.voters - 1}")

    @property
    def take_overs(self) -> int:
        """How many terms after term 0 may be opened."""
        return len(self.records) - 1


class Setting:
    """A size under some rules, and what follows from the two.

    stands: candidates by term, nobody in term 0. ack_terms: the terms whose acks are explored; no
    log can lack what is acked under the last one. named: voters that are not like all others.
    """

    def __init__(self, size: Size, rules: Rules = PROTOCOL) -> None:
        everybody = tuple(range(size.voters))
        candidates = size.candidates or (everybody,) * size.take_overs
        last = size.take_overs if rules.one_term_settles else size.take_overs + 1
        self.size = size
        self.rules = rules
        self.majority = majority(size.voters)
        self.stands: tuple[tuple[int, ...], ...] = ((), *candidates)
        self.ack_terms = range(last)
        self.named = frozenset({0}.union(*size.candidates or ()))
