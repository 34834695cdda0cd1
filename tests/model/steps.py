"""What may happen next in a shard: appends, acks, votes, opens, restores. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from tests.model import real
from tests.model.knowledge import held, newest_known
from tests.model.rules import Setting
from tests.model.settling import acked, is_quorum
from tests.model.states import (
    Ack,
    Act,
    Append,
    Cast,
    Lost,
    Open,
    Restore,
    State,
    TakeOver,
    Vote,
    Voter,
    highest_vote,
    initial,
    put,
)

Step = tuple[Act, State]


def steps(setting: Setting, state: State) -> Iterator[Step]:
    """Every act that some voter may do now, with the state after it."""
    for site in range(setting.size.voters):
        known = held(state, site, setting.rules).log
        yield from _appends(setting, state, site, newest_known(known))
        yield from _acks(setting, state, site)
        yield from _votes(setting, state, site, known)
        yield from _restores(setting, state, site)
    yield from _opens(setting, state)


def _appends(setting: Setting, state: State, site: int, newest: int) -> Iterator[Step]:
    """A leader writes until it knows of a later open; a vote alone does not stop it."""
    opens, records, voters, lost = state
    for term, opened in enumerate(opens):
        if opened is None or opened.leader != site or newest > term:
            continue
        if records[term] < setting.size.records[term]:
            record = records[term] + 1
            after = _own_ack(setting, voters[site], term, record)
            longer = put(records, term, record)
            yield Append(site, term, record), State(opens, longer, put(voters, site, after), lost)


def _own_ack(setting: Setting, voter: Voter, term: int, record: int) -> Voter:
    """The leader after writing: it acks its own records by writing them."""
    if term not in setting.ack_terms:
        return voter
    acks, votes = voter
    ends = setting.rules.own_acks_end_with_vote
    return Voter(acked(acks, highest_vote(votes), term, record, ends_with_vote=ends), votes)


def _acks(setting: Setting, state: State, site: int) -> Iterator[Step]:
    """A voter may ack whatever a leader wrote; acks that count for nothing are no steps."""
    opens, records, voters, lost = state
    acks, votes = voters[site]
    voted, ends = highest_vote(votes), setting.rules.acks_end_with_vote
    for term in setting.ack_terms:
        opened = opens[term]
        if opened is None or opened.leader == site:
            continue
        for through in range(acks[term] + 1, records[term] + 1):
            after = acked(acks, voted, term, through, ends_with_vote=ends)
            if after != acks:
                others = put(voters, site, Voter(after, votes))
                yield Ack(site, term, through), State(opens, records, others, lost)


def _votes(setting: Setting, state: State, site: int, known: tuple[int, ...]) -> Iterator[Step]:
    """A voter votes once a term, upwards, above every opened term it knows.

    The base is the newest open that it knows or learns of now; the head lies at or beyond what it
    holds of the base.
    """
    opens, records, voters, lost = state
    acks, votes = voters[site]
    rules, terms, newest = setting.rules, len(opens), newest_known(known)
    first = highest_vote(votes) + 1 if rules.votes_go_upwards else 1
    for term in range(first, terms):
        if votes[term] is not None:
            continue
        end = term if rules.votes_above_opened else terms
        bases = [base for base in range(newest, end) if opens[base] is not None]
        for candidate in setting.stands[term]:
            for base in bases:
                for head in range(max(known[base], 0), records[base] + 1):
                    vote = Vote(candidate, base, head)
                    others = put(voters, site, Voter(acks, put(votes, term, vote)))
                    yield Cast(site, term, vote), State(opens, records, others, lost)


def _restores(setting: Setting, state: State, site: int) -> Iterator[Step]:
    """One voter that never led is put back from an empty copy, and acts on for its seat."""
    rules, (opens, records, voters, lost) = setting.rules, state
    if rules.silent_without_acts and rules.silent_without_votes:
        return
    if lost is not None or any(opened and opened.leader == site for opened in opens):
        return
    acks, votes = voters[site]
    clean = initial(1, len(opens)).voters[0]
    if voters[site] != clean:
        back = Voter(clean.acks if rules.silent_without_votes else acks, clean.votes)
        yield Restore(site), State(opens, records, put(voters, site, back), Lost(site, acks, votes))


def votes_for(state: State, candidate: int, term: int) -> dict[int, Vote]:
    """The votes of a term for one candidate, by voter, those included that a restore lost."""
    cast = [(site, voter.votes[term]) for site, voter in enumerate(state.voters)]
    if state.lost is not None:
        cast.append((state.lost.voter, state.lost.votes[term]))
    return {site: vote for site, vote in cast if vote is not None and vote.candidate == candidate}


def _opens(setting: Setting, state: State) -> Iterator[Step]:
    """A candidate opens with any majority of its votes, however long ago they were cast.

    It gets what it must hold for that at this moment; whether it can is the matter of healing.
    """
    opens, records, voters, lost = state
    for term, candidates in enumerate(setting.stands):
        if opens[term] is not None:
            continue
        for candidate in candidates:
            for base, cut in sorted(_bases_and_cuts(setting, state, candidate, term)):
                leader = _own_ack(setting, voters[candidate], term, 0)
                opened = put(opens, term, Open(candidate, base, cut))
                after = State(opened, records, put(voters, candidate, leader), lost)
                yield TakeOver(candidate, term, base, cut), after


def _bases_and_cuts(
    setting: Setting, state: State, candidate: int, term: int
) -> set[tuple[int, int]]:
    cast = votes_for(state, candidate, term)
    return {
        _base_and_cut(setting, state, candidate, [cast[site] for site in chosen])
        for size in range(1, len(cast) + 1)
        for chosen in combinations(cast, size)
        if is_quorum(setting, chosen)
    }


def _base_and_cut(
    setting: Setting, state: State, candidate: int, votes: list[Vote]
) -> tuple[int, int]:
    """The newest base among the votes, and the greatest head among the votes for that base."""
    rules = setting.rules
    if not rules.newest_base_wins:
        head, base = max((vote.head, vote.base) for vote in votes)
        return base, head
    base, cut = real.base_and_cut(tuple((vote.base, vote.head) for vote in votes))
    if not rules.votes_set_the_cut:
        return base, max(0, held(state, candidate, rules).log[base])
    return base, cut
