"""Machines, and the ways between them: how long bytes take, what is lost, what is cut.

Ways have a direction, so that cuts can be asymmetric, and each pair has its own, so that they need
not be transitive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from federation.ids import SiteID

if TYPE_CHECKING:
    from tests.simulation.network import Wire

Accept = Callable[["Wire"], None]


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes travel in one direction. delay_s: shortest and longest."""

    delay_s: tuple[float, float] = (0.01, 0.03)
    loss: float = 0.0  # of packets; they are sent again
    bytes_per_s: float = 12.5e6


@dataclass(slots=True, eq=False)
class Machine:
    """A place in the network. site: whose key it holds."""

    name: str
    site: SiteID
    powered: bool = True
    paused: bool = False  # the process there is; its system is not
    life: int = 0  # of the process there
    address: str = ""  # `host:port` at which its process listens,
    accept: Accept | None = None  # if it does


class Ways:
    """Between all machines. Unless something else was said, each is as usual, and whole."""

    def __init__(self, random: Random, usual: Way) -> None:
        self.usual = usual
        self._random = random
        self._ways: dict[tuple[str, str], Way] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()  # how many cuts lie upon each other

    def way(self, source: Machine, target: Machine) -> Way:
        return self._ways.get((source.name, target.name), self.usual)

    def draw_delay_s(self, source: Machine, target: Machine) -> float:
        return self._random.uniform(*self.way(source, target).delay_s)

    def passes(self, source: Machine, target: Machine) -> bool:
        """Whether a packet sent now would arrive."""
        return source.powered and target.powered and not self._cuts[source.name, target.name]

    @property
    def whole(self) -> bool:
        """Whether nothing is cut."""
        return not any(self._cuts.values())

    def set(self, source: str, target: str, way: Way) -> None:
        """How bytes travel in one direction, from the next connection on."""
        self._ways[source, target] = way

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from one to the other any more; what is on its way arrives."""
        self._cuts[source, target] += 1

    def cut_both(self, one: str, other: str) -> None:
        self.cut(one, other)
        self.cut(other, one)

    def split(self, *groups: Sequence[str]) -> None:
        """Machines of different groups do not reach each other."""
        for at, group in enumerate(groups):
            for other in (name for rest in groups[at + 1 :] for name in rest):
                for name in group:
                    self.cut_both(name, other)

    def mend(self, source: str, target: str) -> None:
        """Undo one cut."""
        self._cuts[source, target] = max(0, self._cuts[source, target] - 1)

    def mend_all(self) -> None:
        """Every way is whole, and as usual."""
        self._cuts.clear()
        self._ways.clear()
