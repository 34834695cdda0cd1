"""The worker nodes of a site: as many pilots as there should be, and the network to their node."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.host import Host
from tests.simulation.pilots import Fates, Pilot
from tests.simulation.process import Unreachable

if TYPE_CHECKING:
    from tests.simulation.world import World

PILOTS = 3  # at each site
TRIP_S = (0.0005, 0.01)
GIVE_UP_S = 2.0


class Farm:
    """Every pilot of the world, and the ways on which they reach their nodes."""

    def __init__(self, world: World) -> None:
        self.pilots: list[Pilot] = []
        self.fates = Fates(world.seed)
        self.loss = 0.0  # of requests, and of answers
        self.repeat = 0.0  # of reports that go out twice
        self._world = world
        self._random = Random(f"farm {world.seed}")
        self._born = 0

    def start(self) -> None:
        for host in self._world.hosts:
            self._world.spawn(self._provide(host), f"provisioning at {host.name}")

    async def _provide(self, host: Host) -> None:
        """As many pilots as there should be, as far as the node is up to say what they may."""
        while True:
            self.pilots = [pilot for pilot in self.pilots if not pilot.gone]
            have = sum(pilot.host is host for pilot in self.pilots)
            while have < PILOTS and await self._add(host):
                have += 1
            await self._world.sleep(5.0)

    async def _add(self, host: Host) -> bool:
        self._born += 1
        number, token = self._born, f"token {self._born}"
        try:
            await host.of_node(
                lambda node: node.work.arrivals.expect(f"sim-{number}", token, 1, "local")
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

    def no_more_faults(self) -> None:
        """Workers and the network do what they should; units may still fail by their nature."""
        self.lose_nothing()
        self.repeat_nothing()
        self.fates.calm = True
        for pilot in self.pilots:
            pilot.silent_until_s = 0.0
            pilot.broken = False
