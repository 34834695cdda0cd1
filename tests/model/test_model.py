"""The rules of ownership hold at small sizes, and each of them is needed there."""

from __future__ import annotations

from random import Random

import pytest

from tests.model.moves import MoveRules
from tests.model.mutations import ACTS_MAX, MUTATIONS, SLACK, caught
from tests.model.rules import Rules, Size
from tests.model.search import Search, walk
from tests.model.shard import ShardModel
from tests.model.sizes import CHECKED

WALKS = 200

pytestmark = pytest.mark.model


@pytest.mark.parametrize("name", CHECKED)
def test_every_invariant_holds_in_every_state(name: str) -> None:
    sound = CHECKED[name]
    outcome = Search(sound.model).run()
    assert outcome.fault is None, f"{name}\n{outcome.story()}"
    assert outcome.exhausted
    assert outcome.states == sound.states, "the model explores other behaviour than it did"


@pytest.mark.parametrize("rule", MUTATIONS)
def test_the_protocol_without_one_rule_is_caught_in_few_acts(rule: str) -> None:
    mutation = MUTATIONS[rule]
    outcome = caught(rule)
    print(f"without {rule}:\n{outcome.story()}")
    assert outcome.fault is not None, f"nothing breaks without {rule}"
    assert outcome.fault.invariant is mutation.breaks, outcome.story()
    assert len(outcome.acts) <= ACTS_MAX, outcome.story()


def test_every_rule_is_taken_away_somewhere() -> None:
    assert {*MUTATIONS, *SLACK} == {*Rules._fields, *MoveRules._fields}


def test_random_walks_find_no_fault_where_there_are_too_many_states() -> None:
    random, seen = Random(1), set[int]()
    model = ShardModel(Size(5, (2, 2, 2, 1), ((0, 1, 2),) * 3))
    for _ in range(WALKS):
        outcome = walk(model, random, seen)
        assert outcome.fault is None, outcome.story()


def test_a_way_to_a_fault_can_be_walked_from_the_start() -> None:
    """With names that voters keep, though the search trades those of voters that are alike."""
    model = ShardModel(Size(3, (1, 0)), Rules(acks_end_with_vote=False))
    outcome = Search(model).run()
    state = model.initial()
    for act in outcome.acts:
        state = dict(model.steps(state))[act]
    assert outcome.fault is not None
    assert model.fault(state) is not None
