"""The sizes at which the protocol was seen to hold, and how many states each of them has.

A search that finds another number explores other behaviour: a rule, a bound or the symmetry of the
model changed, and the figures here change with it, knowingly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.move_invariants import MoveModel
from tests.model.moves import MoveSize
from tests.model.mutations import SLACK, SLACK_SIZE, without
from tests.model.rules import Size
from tests.model.search import Model
from tests.model.shard import ShardModel


class Sound(NamedTuple):
    """A model that must hold, and its number of states."""

    model: Model[Any]
    states: int


_ONE = ((1,),)
_TWO = ((1,), (2,))

CHECKED: dict[str, Sound] = {  # some 20 s on one core
    "3 voters, 1 take-over, racing": Sound(ShardModel(Size(3, (2, 1))), 6_135),
    "3 voters, 2 take-overs": Sound(ShardModel(Size(3, (1, 1, 0), _TWO)), 59_724),
    "5 voters, 1 take-over": Sound(ShardModel(Size(5, (2, 1), _ONE)), 19_007),
    **{
        f"3 voters, 2 take-overs, without {rule}": Sound(
            ShardModel(SLACK_SIZE, without(rule)), states
        )
        for rule, states in zip(SLACK, (127_939, 69_573), strict=True)
    },
    "moves, 1 take-over": Sound(MoveModel(MoveSize(1, 3)), 3_452),
    "moves, 2 take-overs, 2 records": Sound(MoveModel(MoveSize(2, 2)), 42_561),
}

_THREE = (1, 0, 0, 0)

LONGER: dict[str, Sound] = {  # python -m tests.model --longer
    "3 voters, 2 take-overs, 2 records": Sound(ShardModel(Size(3, (2, 1, 0), _TWO)), 441_467),
    "5 voters, 1 take-over, racing": Sound(ShardModel(Size(5, (2, 1))), 1_389_701),
    "3 voters, leaders 0 2 1 2": Sound(ShardModel(Size(3, _THREE, ((2,), (1,), (2,)))), 1_527_823),
    "3 voters, leaders 0 1 2 0": Sound(ShardModel(Size(3, _THREE, ((1,), (2,), (0,)))), 1_527_823),
    "3 voters, leaders 0 1 0 2": Sound(ShardModel(Size(3, _THREE, ((1,), (0,), (2,)))), 1_541_260),
    "3 voters, leaders 0 0 1 2": Sound(ShardModel(Size(3, _THREE, ((0,), (1,), (2,)))), 1_563_801),
    "moves, 2 take-overs": Sound(MoveModel(MoveSize(2, 3)), 355_867),
}
