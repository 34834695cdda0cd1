"""Histories of the model, read by the rules that sites run, settle and open the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.feeds import Feeds
from tests.model.mutations import MUTATIONS, caught
from tests.model.rules import Size
from tests.model.settling import settled
from tests.model.shard import ShardModel
from tests.model.states import NOTHING, Ack, Act, Position, State, TakeOver, highest_vote, in_log

pytestmark = pytest.mark.model

Choices = list[tuple[int, int]]

ACTS_MAX = 60
KINDS = 4  # of acts: append, ack, vote, open; chosen first, as votes are many and opens are few


many_choices = st.lists(
    st.tuples(st.integers(0, KINDS - 1), st.integers(0, 4095)),
    min_size=ACTS_MAX // 2,
    max_size=ACTS_MAX,
)


def late_acks(model: ShardModel, state: State) -> list[tuple[Act, State]]:
    """Acks that voters may well write after a vote for a later term; they change nothing."""
    return [
        (Ack(site, term, state.records[term]), state)
        for site, voter in enumerate(state.voters)
        for term in model.setting.ack_terms
        if state.opens[term] and highest_vote(voter.votes) > term
    ]


def history(model: ShardModel, feeds: Feeds, choices: Choices) -> Iterator[State]:
    """The states of a random history, each when the acts before it are written into `feeds`."""
    state = model.initial()
    yield state
    for kind, choice in choices:
        steps = [*model.steps(state), *late_acks(model, state)]
        kinds = sorted({type(act).__name__ for act, _ in steps})
        if not kinds:
            break
        name = kinds[kind % len(kinds)]
        alike = [step for step in steps if type(step[0]).__name__ == name]
        act, state = alike[choice % len(alike)]
        feeds.add(act)
        yield state


def positions(state: State) -> list[Position]:
    """Every record that was written."""
    return [
        (term, record)
        for term, opened in enumerate(state.opens)
        if opened
        for record in range(state.records[term] + 1)
    ]


@given(st.sampled_from([1, 3, 5]), many_choices)
def test_random_histories_settle_the_same(voters: int, choices: Choices) -> None:
    candidates = tuple(range(voters))[:3]
    model = ShardModel(Size(voters, (3, 2, 1, 0), (candidates,) * 3))
    feeds = Feeds(voters)
    for state in history(model, feeds, choices):
        by_model = {term: record for term, record, _ in settled(model.setting, state)}
        for term in model.setting.ack_terms:
            if state.opens[term]:
                # The founding record, which all hold from the start, the model does not mention.
                assert feeds.settled(term) == by_model.get(term, NOTHING if term else 0)


@given(st.sampled_from([1, 3]), many_choices)
def test_random_histories_can_open_the_same(voters: int, choices: Choices) -> None:
    model, feeds = ShardModel(Size(voters, (2, 1, 1, 0))), Feeds(voters)
    for state in history(model, feeds, choices):
        opens = {act for act, _ in model.steps(state) if isinstance(act, TakeOver)}
        unopened = [term for term, opened in enumerate(state.opens) if not opened]
        for term in unopened if opens else ():
            by_rule = [feeds.take_overs(term, site) for site in range(voters)]
            assert set.union(*by_rule) == {act for act in opens if act.term == term}


@given(st.sampled_from([1, 3]), many_choices)
def test_random_histories_make_the_same_logs(voters: int, choices: Choices) -> None:
    model, feeds = ShardModel(Size(voters, (2, 2, 2, 1))), Feeds(voters)
    *_, state = history(model, feeds, choices)
    for term, opened in enumerate(state.opens):
        for position in positions(state) if opened else ():
            assert feeds.in_log(term, position) == in_log(state.opens, term, position)


@pytest.mark.parametrize(
    "rule",
    ["acks_end_with_vote", "own_acks_end_with_vote", "one_term_settles", "whole_council_counts"],
)
def test_what_a_mutation_settles_and_loses_sites_do_not_settle(rule: str) -> None:
    model, outcome = MUTATIONS[rule].model, caught(rule)
    assert isinstance(model, ShardModel)
    feeds = Feeds(model.setting.size.voters)
    for act in outcome.acts:
        feeds.add(act)
    assert outcome.fault is not None
    assert feeds.settled(0) == 0, outcome.story()


@pytest.mark.parametrize("rule", ["newest_base_wins", "votes_set_the_cut"])
def test_what_a_mutation_opens_sites_do_not_accept(rule: str) -> None:
    model, outcome = MUTATIONS[rule].model, caught(rule)
    assert isinstance(model, ShardModel)
    feeds = Feeds(model.setting.size.voters)
    for act in outcome.acts[:-1]:
        feeds.add(act)
    with pytest.raises(AssertionError, match="does not hold"):
        feeds.add(outcome.acts[-1])
