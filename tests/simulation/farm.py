"""The worker nodes of a site: as many pilots as there should be, and the network to their node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from node.dispatch import Room
from tests.simulation.fates import Fates
from tests.simulation.host import Host
from tests.simulation.pilots import MEMORY_BYTES, Pilot
from tests.simulation.process import Unreachable

if TYPE_CHECKING:
    from tests.simulation.world import World

PILOTS = 3  # at each site
TRIP_S = (0.0005, 0.01)
GIVE_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class StillRoom:
    """What a batch system would give."""

    pilots: int

    def more(self) -> tuple[Room, int]:
        return Room(2, 0, MEMORY_BYTES, MEMORY_BYTES), self.pilots


class Farm:
    """Every pilot of the world, and the ways on which they reach their nodes."""

    def __init__(self, world: World) -> None:
        self.pilots: list[Pilot] = []
        self.fates = Fates(world.seed)
        self.loss = 0.0  # of requests, and of answers
        self.repeat = 0.0  # of reports that go out twice
        self.closed: set[Host] = set()  # sites whose batch systems start nothing
        self._world = world
        self._random = Random(f"farm {world.seed}")
        self._born = 0
        self._providing: set[Host] = set()

    def came_up(self, host: Host) -> None:
        """A node is up: give it pilots whenever it has units for them."""
        assert host.node is not None
        host.node.parts.work.leases.on_ready = partial(self._wanted, host)
        self._wanted(host)

    def _wanted(self, host: Host) -> None:
        if host not in self._providing:
            self._providing.add(host)
            self._world.spawn(self._provide(host), f"provisioning at {host.name}")

    async def _provide(self, host: Host) -> None:
        """As many pilots as there should be, as long as there are units for them."""
        await self._world.sleep(self._random.uniform(0.5, 3.0))
        while self._has_units(host):
            self.pilots = [pilot for pilot in self.pilots if not pilot.gone]
            have = sum(pilot.host is host for pilot in self.pilots)
            while have < self._most(host) and await self._add(host):
                have += 1
            await self._world.sleep(5.0)
        self._providing.discard(host)

    def room(self, host: Host) -> StillRoom:
        """The pilots that could be started at a site."""
        have = sum(pilot.host is host and not pilot.gone for pilot in self.pilots)
        return StillRoom(max(0, self._most(host) - have))

    def _most(self, host: Host) -> int:
        return 0 if host in self.closed else PILOTS

    def _has_units(self, host: Host) -> bool:
        return (
            host.up and host.node is not None and bool(host.node.parts.work.dispatch.ready.active)
        )

    async def _add(self, host: Host) -> bool:
        self._born += 1
        number, token = self._born, f"token {self._born}"
        try:
            await host.of_node(
                lambda node: node.parts.work.arrivals.expect(f"sim-{number}", token, 1, "local")
            )
        except Unreachable:
            return False
        pilot = Pilot(self._world, host, number, token)
        self.pilots.append(pilot)
        pilot.start()
        return True

    async def ask(
        self, pilot: Pilot, what: str, token: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """A pilot's request and its answer. Raises Unreachable, Refusal."""
        host, witness = pilot.host, self._world.witness
        await self._world.sleep(self._random.uniform(*TRIP_S))
        if self._lost(pilot):
            await self._world.sleep(GIVE_UP_S)
            raise Unreachable("the request was lost")
        host.arriving(what)
        answer: dict[str, Any] = await host.of_node(lambda node: node.serve(what, token, body))
        puts_back = witness.puts_back
        if self._lost(pilot):
            if what == "poll" and host.node is not None and self._random.random() < 0.5:
                host.node.unread(token)
            await self._world.sleep(GIVE_UP_S)
            raise Unreachable("the answer was lost")
        await self._world.sleep(self._random.uniform(*TRIP_S))
        if pilot.gone or puts_back != witness.puts_back:
            raise Unreachable("the pilot ended, or the answer was lost with the database")
        return answer

    def _lost(self, pilot: Pilot) -> bool:
        return pilot.cut_off or pilot.gone or self._random.random() < self.loss

    def lose_nothing(self) -> None:
        self.loss = 0.0

    def repeat_nothing(self) -> None:
        self.repeat = 0.0

    def lose(self, host: Host) -> None:
        """Nothing is left of a site's pilots."""
        for pilot in self.pilots:
            if pilot.host is host:
                pilot.vanish()

    def no_more_faults(self) -> None:
        """Workers and the network do what they should; units may still fail by their nature."""
        self.lose_nothing()
        self.repeat_nothing()
        self.fates.calm = True
        for pilot in self.pilots:
            pilot.silent_until_s = 0.0
            pilot.broken = False
