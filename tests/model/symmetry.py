"""Voters that are alike may trade names: of such states the search looks at one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tests.model.rules import Setting
from tests.model.states import Lost, Open, State, Vote, Voter, Votes

Key = tuple[object, ...]


def order(setting: Setting, state: State) -> list[int] | None:
    """Who gets which name: place i is for the voter that was called order[i]. None: all stay.

    The founder and those whom the size names as candidates keep theirs.
    """
    alike = [site for site in range(setting.size.voters) if site not in setting.named]
    if len(alike) < 2:
        return None
    by_acts = sorted(alike, key=lambda site: _key(setting, state, site))
    if by_acts == alike:
        return None
    result = list(range(setting.size.voters))
    for place, site in zip(alike, by_acts, strict=True):
        result[place] = site
    return result


def _key(setting: Setting, state: State, site: int) -> Key:
    """What is known of a voter without its name."""
    acks, votes = state.voters[site]
    stranger, itself = setting.size.voters + 1, setting.size.voters

    def seen(vote: Vote | None) -> tuple[int, ...]:
        if vote is None:
            return ()
        candidate, base, head = vote
        if candidate not in setting.named:
            candidate = itself if candidate == site else stranger
        return candidate, base, head

    backers = tuple(
        sum(1 for voter in state.voters if (vote := voter.votes[term]) and vote.candidate == site)
        for term in range(1, len(votes))
    )
    leads = tuple(opened is not None and opened.leader == site for opened in state.opens)
    lost = state.lost is not None and state.lost.voter == site
    return acks, tuple(map(seen, votes)), backers, leads, lost


def renamed(state: State, order: Sequence[int]) -> State:
    """The same state with the names that `order` gives."""
    names = [0] * len(order)
    for new, old in enumerate(order):
        names[old] = new

    def in_votes(votes: Votes) -> Votes:
        return tuple(vote and Vote(names[vote.candidate], vote.base, vote.head) for vote in votes)

    opens = tuple(o and Open(names[o.leader], o.base, o.cut) for o in state.opens)
    voters = (state.voters[old] for old in order)
    moved = tuple(Voter(voter.acks, in_votes(voter.votes)) for voter in voters)
    lost = state.lost and Lost(names[state.lost.voter], state.lost.acks, in_votes(state.lost.votes))
    return State(opens, state.records, moved, lost)
