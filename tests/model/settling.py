"""What acks settle in a state, and which voters are enough: as sites judge it, or less. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from federation.quorum import majority
from tests.model import real
from tests.model.rules import Setting
from tests.model.states import NOTHING, Acks, State, log, put


class Settled(NamedTuple):
    """The furthest settled record of a term, and the newest term whose acks that took."""

    term: int
    record: int
    under: int


def acked(acks: Acks, voted: int, term: int, through: int, *, ends_with_vote: bool) -> Acks:
    """The acks that count after one more; the same if it changes nothing.

    voted: the voter's highest vote so far. ends_with_vote: False to count acks after it as well.
    """
    if ends_with_vote:
        return real.countable(acks, voted, term, through)
    return put(acks, term, max(acks[term], through))


def is_quorum(setting: Setting, sites: Collection[int]) -> bool:
    """Whether these voters are enough to open a term."""
    if setting.rules.whole_council_counts:
        return len(sites) >= setting.majority
    # Voter 0 and the others are cut apart, and each side takes the other for gone.
    return 0 in sites or len(sites) >= majority(setting.size.voters - 1)


def _furthest(setting: Setting, acks: tuple[int, ...]) -> int:
    """The furthest record that enough voters acked; acks: the furthest of each voter."""
    if setting.rules.whole_council_counts:
        return real.settled_through(acks)
    return max(acks[0], real.settled_through(acks[1:]))


def settled(setting: Setting, state: State) -> Iterator[Settled]:
    """What is settled of every term that was opened, but for the founding record alone."""
    for term, opened in enumerate(state.opens):
        if opened is None:
            continue
        acks = _acks_of(state, term)
        best = Settled(term, _furthest(setting, acks), term)
        if not setting.rules.one_term_settles:
            best = _over_terms(setting, state, acks, best)
        if best.record > (NOTHING if term else 0):
            yield best


def _acks_of(state: State, term: int) -> tuple[int, ...]:
    """For each voter, how far it acked the term's records."""
    acks = [voter.acks[term] for voter in state.voters]
    if state.lost is not None:
        site = state.lost.voter
        acks[site] = max(acks[site], state.lost.acks[term])
    return tuple(acks)


def _over_terms(setting: Setting, state: State, acks: tuple[int, ...], best: Settled) -> Settled:
    """The furthest that is settled if acks of later terms, which contain the record, count too."""
    for later in range(best.term + 1, len(state.opens)):
        if state.opens[later] is None:
            continue
        inherited = dict(log(state.opens, later)).get(best.term, NOTHING)
        acks = tuple(
            max(ack, inherited) if voter.acks[later] >= 0 else ack
            for ack, voter in zip(acks, state.voters, strict=True)
        )
        record = _furthest(setting, acks)
        if record > best.record:
            best = Settled(best.term, record, later)
    return best
