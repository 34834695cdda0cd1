"""What fate does to a site, its disk, its pilots and its network: one method a kind of event."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.host import COMMIT_S, Host
from tests.simulation.networkfaults import NetworkFaults
from tests.simulation.pilots import Pilot
from tests.simulation.process import Unreachable
from tests.simulation.schedule import NETWORK_FAULTS, Event

if TYPE_CHECKING:
    from tests.simulation.world import World

YEAR_MS = 365 * 86_400_000


class Faults:
    """Brings about what a schedule says. Everything about an event is drawn from its number."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._network = NetworkFaults(world)

    def happen(self, event: Event) -> None:
        random = event.random()
        host = random.choice(self._world.hosts)
        if host.lost:
            return
        if event.kind in NETWORK_FAULTS:
            self._network.happen(event.kind, random)
        else:
            getattr(self, f"_on_{event.kind}")(host, random)

    # The machine

    def _on_kill(self, host: Host, random: Random) -> None:
        self._arm(host, "kill", random)

    def _on_power(self, host: Host, random: Random) -> None:
        self._arm(host, "power", random)

    def _arm(self, host: Host, mode: str, random: Random) -> None:
        """The node dies now, or in the middle of one of the next writes."""
        seed = random.getrandbits(32)
        operations = random.choice([0, random.randint(1, 12), random.randint(1, 60)])
        if not operations:
            host.die(mode, seed)
        elif host.node is not None:
            host.die_within(operations, mode, seed)

    def _on_stumble(self, host: Host, random: Random) -> None:
        """The next start of the node dies on its way, too."""
        host.stumble(random.randint(0, 25), random.choice(["kill", "power"]))

    def _on_full(self, host: Host, random: Random) -> None:
        host.disk.full = True

        def room() -> None:
            host.disk.full = False

        self._world.clock.callLater(random.choice([3.0, 30.0, 90.0]), room)

    def _on_slow(self, host: Host, random: Random) -> None:
        host.commit_s = random.choice([0.05, 0.5, 3.0])

        def quick() -> None:
            host.commit_s = COMMIT_S

        self._world.clock.callLater(random.uniform(5, 60), quick)

    def _on_clock(self, host: Host, random: Random) -> None:
        host.wall_jump_ms += random.choice([-YEAR_MS, YEAR_MS, -3_600_000, 10_000])

    def _on_copy(self, host: Host, random: Random) -> None:
        host.take_copy(str(random.getrandbits(48)))

    def _on_restore(self, host: Host, random: Random) -> None:
        variant = random.choice(["database", "database", "whole", "without-file"])
        if len(self._world.present) == len(self._world.hosts):  # see `World.can_spare`
            host.put_back(variant)

    def _on_recover(self, host: Host, random: Random) -> None:
        self._world.people.recover(host)

    # The site

    def _on_drain(self, host: Host, random: Random) -> None:
        """An admin wants it to be empty; its datasets go to others."""
        host.drain()
        self._world.clock.callLater(random.choice([60.0, 400.0, 2500.0]), host.no_more_drained)

    def _on_wipe(self, host: Host, random: Random) -> None:
        host.lose_files()

    def _on_lose(self, host: Host, random: Random) -> None:
        """A machine is gone for good, if the rest can do without; later it may be thrown out."""
        if not self._world.can_spare(host):
            return
        self._world.lose(host)
        if random.random() < 0.6:
            wait_s = random.choice([30.0, 300.0, 1500.0])
            self._world.clock.callLater(wait_s, partial(self._throw_out, host, random))

    def _throw_out(self, gone: Host, random: Random) -> None:
        up = [host for host in self._world.present if host.up]
        if up:
            self._world.people.revoke(random.choice(up), gone, random.randbytes(16))

    # Pilots

    def _on_vanish(self, host: Host, random: Random) -> None:
        """kill -9 of a pilot; the scheduler may notice."""
        pilot = self._some_pilot(random)
        if pilot is None:
            return
        pilot.vanish()
        if random.random() < 0.5:
            told = partial(self._world.spawn, self._told_end(pilot), "an end")
            self._world.clock.callLater(3.0, told)

    async def _told_end(self, pilot: Pilot) -> None:
        node = pilot.host.node
        session = None if node is None or not node.up else node.parts.work.session(pilot.session)
        if node is not None and session is not None:
            try:
                await node.process.answer(node.parts.work.arrivals.end(session, "killed"))
            except Unreachable:
                return

    def _on_silence(self, host: Host, random: Random) -> None:
        """A pilot is cut off: it works on, and reports late."""
        pilot = self._some_pilot(random)
        if pilot is not None:
            silence_s = random.choice([10.0, 60.0, 200.0, 400.0])
            pilot.silent_until_s = self._world.clock.seconds() + silence_s

    def _on_leave(self, host: Host, random: Random) -> None:
        pilot = self._some_pilot(random)
        if pilot is not None:
            pilot.leave()

    def _on_broken(self, host: Host, random: Random) -> None:
        """A worker on which nothing works any more."""
        pilot = self._some_pilot(random)
        if pilot is not None:
            pilot.broken = True

    def _some_pilot(self, random: Random) -> Pilot | None:
        there = [pilot for pilot in self._world.farm.pilots if not pilot.gone]
        return random.choice(there) if there else None

    # The way between pilots and node

    def _on_lossy(self, host: Host, random: Random) -> None:
        farm = self._world.farm
        farm.loss = random.choice([0.05, 0.3, 0.6])
        self._world.clock.callLater(random.uniform(5, 60), farm.lose_nothing)

    def _on_repeat(self, host: Host, random: Random) -> None:
        farm = self._world.farm
        farm.repeat = 0.7
        self._world.clock.callLater(random.uniform(5, 60), farm.repeat_nothing)
