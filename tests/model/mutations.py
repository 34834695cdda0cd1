"""Each rule taken away, the size at which that must be caught, and what it then breaks."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from tests.model.invariants import Invariant
from tests.model.move_invariants import MoveModel
from tests.model.moves import MoveRules, MoveSize
from tests.model.rules import PROTOCOL, Rules, Size
from tests.model.search import Model, Outcome, Search
from tests.model.shard import ShardModel

ACTS_MAX = 10  # no shortest way to a fault is longer


class Mutation(NamedTuple):
    """A model without one rule, and the invariant that breaks first."""

    model: Model[Any]
    breaks: Invariant


@cache
def caught(rule: str) -> Outcome:
    """What the search finds without this rule; searched once in a process."""
    return Search(MUTATIONS[rule].model).run()


def without(rule: str) -> Rules:
    """The protocol without one rule."""
    return PROTOCOL._replace(**{rule: False})


_ONE = Size(3, (1, 0), ((1,),), healing=False)
_ONE_HEALED = Size(3, (1, 0), ((1,),))
_TWO_CANDIDATES = ((1, 2),)
_TWO = Size(3, (1, 0, 0), ((1,), (2,)), healing=False)
_TWO_LONGER = Size(3, (1, 1, 0), ((1,), (2,)), healing=False)
_THREE = Size(3, (1, 0, 0, 0), ((2,), (1,), (2,)), healing=False)

_SHARD: dict[str, tuple[Size, Invariant]] = {
    "acks_end_with_vote": (_ONE, Invariant.SETTLED_STAYS),
    "own_acks_end_with_vote": (_ONE, Invariant.SETTLED_STAYS),
    "one_term_settles": (_THREE, Invariant.SETTLED_STAYS),
    "whole_council_counts": (_ONE, Invariant.SETTLED_STAYS),
    "acks_need_the_log": (_TWO, Invariant.SETTLED_IS_HELD),
    "acks_need_results": (_ONE, Invariant.SETTLED_IS_HELD),
    "heads_need_results": (_ONE_HEALED, Invariant.GOES_ON),
    "votes_set_the_cut": (_ONE, Invariant.SETTLED_STAYS),
    "newest_base_wins": (_TWO_LONGER, Invariant.SETTLED_STAYS),
    "silent_without_acts": (
        Size(3, (0, 0), _TWO_CANDIDATES, healing=False),
        Invariant.ONE_LEADER,
    ),
    "silent_without_votes": (_ONE, Invariant.SETTLED_STAYS),
    "votes_at_once_if_voted": (Size(3, (1, 0), _TWO_CANDIDATES), Invariant.GOES_ON),
    "settled_opens_cut_off": (_TWO, Invariant.CUT_OFF_STAYS_OFF),
}

_MOVES: dict[str, Invariant] = {
    "adopts_need_a_settled_move": Invariant.ONE_OWNER,
    "every_leader_adopts": Invariant.SOME_OWNER,
    "repeated_adopts_are_void": Invariant.ONE_OWNER,
    "moves_end_accepts": Invariant.RESULT_STAYS,
    "never_forced": Invariant.ONE_OWNER,
}

MUTATIONS: dict[str, Mutation] = {
    **{
        rule: Mutation(ShardModel(size, without(rule)), breaks)
        for rule, (size, breaks) in _SHARD.items()
    },
    **{
        rule: Mutation(MoveModel(MoveSize(1, 3), MoveRules()._replace(**{rule: False})), breaks)
        for rule, breaks in _MOVES.items()
    },
}

# Rules that nothing rests on at this size: without them all holds as well.
SLACK = ("votes_above_opened", "votes_go_upwards")
SLACK_SIZE = _TWO_LONGER
