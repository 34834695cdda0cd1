"""What must hold in every state of a dataset that moves between two shards. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.model import moves
from tests.model.invariants import Fault, Invariant
from tests.model.moves import (
    SOURCE,
    TARGET,
    Branch,
    MoveRules,
    MoveSize,
    MoveState,
    MoveStep,
    Name,
    Record,
    has_accept,
    left_alone,
    ownership,
)

ROUNDS = 4  # more than the moves that a healed pair of logs can still adopt


class MoveModel:
    """The model of moves, as the search wants it; no two shards are alike."""

    def __init__(self, size: MoveSize, rules: MoveRules | None = None) -> None:
        self.size = size
        self.rules = rules or MoveRules()

    def initial(self) -> MoveState:
        return moves.initial()

    def steps(self, state: MoveState) -> Iterator[MoveStep]:
        return moves.steps(self.size, self.rules, state)

    def fault(self, state: MoveState) -> Fault | None:
        return fault(self.rules, state)

    def order(self, state: MoveState) -> None:
        return None

    def renamed(self, state: MoveState, order: Sequence[int]) -> MoveState:
        raise AssertionError("shards keep their names")


def fault(rules: MoveRules, state: MoveState) -> Fault | None:
    """The first invariant that this state breaks, now or when all is healed; None if all hold."""
    if _owners(rules, state.settled) == 2:
        return Fault(Invariant.ONE_OWNER, "both shards own the dataset")
    before = result(rules, state.settled)
    logs = [branches[-1] for branches in state.branches]
    if before is not None and result(rules, logs) is None:
        return Fault(Invariant.RESULT_STAYS, "a settled result is not in the newest logs")
    healed = _healed(rules, state, logs)
    owners = _owners(rules, healed)
    if owners == 2:
        return Fault(Invariant.ONE_OWNER, "once healed, both shards own the dataset")
    if owners == 0:
        return Fault(Invariant.SOME_OWNER, "once healed, no shard owns the dataset or adopts it")
    if before is not None and before != result(rules, healed):
        return Fault(Invariant.RESULT_STAYS, "once healed, the settled result is another")
    return None


def _owners(rules: MoveRules, logs: Sequence[Branch]) -> int:
    return sum(ownership(shard, logs[shard], rules).owns for shard in (SOURCE, TARGET))


def _healed(rules: MoveRules, state: MoveState, logs: Sequence[Branch]) -> list[Branch]:
    """The newest leaders settle all that they wrote, and adopt what is due."""
    healed = list(logs)
    for _ in range(ROUNDS):
        for shard, other in ((SOURCE, TARGET), (TARGET, SOURCE)):
            adopted = ownership(shard, healed[shard], rules).adopted
            for name in ownership(other, healed[other], rules).moved:
                if name not in adopted and not left_alone(rules, state, shard, name):
                    healed[shard] += (Record("adopt", name),)
    return healed


def result(rules: MoveRules, logs: Sequence[Branch]) -> Name | None:
    """The dataset's first result that counts: its log is the source's through the move, and so on.

    logs: one of each shard.
    """
    shard, places = SOURCE, [0, 0]
    while True:
        name, move = _next_result(rules, logs[shard], places[shard])
        if name is not None or move is None:
            return name
        places[shard] = move + 1
        adopt = Record("adopt", logs[shard][move].name)
        shard = TARGET if shard == SOURCE else SOURCE
        if adopt not in logs[shard]:
            return None
        places[shard] = logs[shard].index(adopt) + 1


def _next_result(rules: MoveRules, log: Branch, start: int) -> tuple[Name | None, int | None]:
    """The first accept from `start` on, or else where the move stands that comes before any."""
    for place in range(start, len(log)):
        kind, name = log[place]
        if kind == "accept":
            return name, None
        if kind == "move" and (rules.moves_end_accepts or not has_accept(log[place:])):
            return None, place
    return None, None
