"""The model of one shard, as the search wants it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.model import invariants, steps, symmetry
from tests.model.rules import PROTOCOL, Rules, Setting, Size
from tests.model.states import Act, State, initial


class ShardModel:
    """Acks, votes, opens and what they settle, at a size, under the protocol or less than it."""

    def __init__(self, size: Size, rules: Rules = PROTOCOL) -> None:
        self.setting = Setting(size, rules)

    def initial(self) -> State:
        return initial(self.setting.size.voters, len(self.setting.size.records))

    def steps(self, state: State) -> Iterator[tuple[Act, State]]:
        return steps.steps(self.setting, state)

    def fault(self, state: State) -> invariants.Fault | None:
        return invariants.fault(self.setting, state)

    def order(self, state: State) -> list[int] | None:
        return symmetry.order(self.setting, state)

    def renamed(self, state: State, order: Sequence[int]) -> State:
        return symmetry.renamed(state, order)
