"""What fate does to the ways between sites. Every cut heals after a while."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.ways import Way

if TYPE_CHECKING:
    from tests.simulation.logs.world import LogWorld
    from tests.simulation.world import World

LASTS_S = (5.0, 60.0, 400.0, 2500.0)
Cut = tuple[str, str]  # names of machines: from, to


class NetworkFaults:
    """One method a kind of event; everything about one is drawn."""

    def __init__(self, world: World | LogWorld) -> None:
        self._world = world
        self._ways = world.network.ways

    def happen(self, kind: str, random: Random) -> None:
        names = list(self._world.network.machines)
        if len(names) > 1:
            random.shuffle(names)
            getattr(self, f"_on_{kind}")(names, random)

    def _cut(self, cuts: Iterable[Cut], random: Random) -> None:
        """Cut some ways for some time."""
        cuts = sorted(set(cuts))
        lasts_s = random.choice(LASTS_S)
        self._world.note(f"cut for {lasts_s:.0f} s: {' '.join(f'{a}>{b}' for a, b in cuts)}")
        for source, target in cuts:
            self._ways.cut(source, target)
            self._world.clock.callLater(lasts_s, partial(self._ways.mend, source, target))

    def _on_partition(self, names: list[str], random: Random) -> None:
        """Two or three groups that do not reach each other."""
        many = random.choice([2, 2, 3])
        where = {name: at % many for at, name in enumerate(names)}
        self._cut(((a, b) for a in names for b in names if where[a] != where[b]), random)

    def _on_oneway(self, names: list[str], random: Random) -> None:
        """From one site nothing gets to some others, which still reach it."""
        some = names[1 : random.randint(2, len(names))]
        self._cut(((names[0], other) for other in some), random)

    def _on_apart(self, names: list[str], random: Random) -> None:
        """Some pairs do not reach each other, whoever else reaches both."""
        pairs = [(a, b) for a in names for b in names if a < b]
        some = random.sample(pairs, random.randint(1, len(pairs)))
        self._cut([*some, *((b, a) for a, b in some)], random)

    def _on_reset(self, names: list[str], random: Random) -> None:
        """All links of a site break; it may dial again at once."""
        self._world.network.reset(self._world.network.machines[names[0]])

    def _on_far(self, names: list[str], random: Random) -> None:
        """The ways of one site become long, thin or lossy, for good."""
        way = random.choice(
            [Way((0.3, 0.9), 0.05), Way((0.02, 0.05), 0.2), Way((0.02, 0.05), 0.0, 4096.0)]
        )
        for other in names[1:]:
            self._ways.set(names[0], other, way)
            self._ways.set(other, names[0], way)
        self._on_reset(names, random)
