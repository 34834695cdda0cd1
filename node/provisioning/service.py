"""All batch systems of a node: one plan over them, and what people and other sites are told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from node.claims.capacity import More
from node.dispatch import Room
from node.model.dataset import Needs
from node.provisioning.changes import CannotChange, differences, elsewhere, where
from node.provisioning.demand import ages_s, bins_of, busy_rooms, fresh_rooms, largest, room_of
from node.provisioning.leaving import roster, why
from node.provisioning.plan import Facts, Plan, plan, waiting_words
from node.provisioning.ports import House, Tools
from node.provisioning.settings import Factory, SystemConfig
from node.provisioning.shapes import queue_of
from node.provisioning.system import BatchSystem
from node.store import submissions as store
from node.work.sessions import Session

_log = Logger()


class BatchSystems:
    """Starts, stops and plans for all batch systems of this node."""

    def __init__(
        self,
        house: House,
        systems: Sequence[SystemConfig],
        tools_of: Callable[[SystemConfig], Tools],
    ) -> None:
        """tools_of: how to speak to a batch system."""
        self._house = house
        self._tools_of = tools_of
        self._numbers = itertools.count(store.next_number(house.conn))
        self._turn = DeferredLock()  # of those who begin and stop batch systems
        found = roster(house.conn, systems)
        self.systems = [self._made(each) for each in found.begin]
        for system in self.systems:
            system.leaving = found.leaving.get(system.settings.name, "")
        self._later = found.later  # by the names of some that are leaving
        self._strays = found.strays
        self._stopped = False
        if self.strays:
            _log.warn("{words}", words=self.strays)
        self.why: dict[Needs, dict[str, str]] = {}  # of the last plan: why no more pilots come

    def start(self) -> None:
        """Begin. The local provision must have started: both are told when units wait."""
        work = self._house.work
        before = work.leases.on_ready

        def ready() -> None:
            if before is not None:
                before()
            self.wanted()

        work.leases.on_ready = ready
        work.arrivals.on_announced = self._announced
        work.arrivals.on_ended = self._ended
        for system in self.systems:
            self._begin(system)

    def _made(self, settings: SystemConfig) -> BatchSystem:
        return BatchSystem(self._house, settings, self._tools_of(settings), self._numbers)

    def _begin(self, system: BatchSystem) -> None:
        system.start(self.plan, partial(self._rested, system))

    async def change(self, systems: Sequence[SystemConfig], *, anyway: bool = False) -> list[str]:
        """Go on with these settings; what that changes, in words. Raises CannotChange before.

        anyway: pilots that could not be followed any more are given up.
        """
        await self._turn.acquire()
        try:
            return await self._change(systems, anyway)
        finally:
            self._turn.release()

    async def _change(self, systems: Sequence[SystemConfig], anyway: bool) -> list[str]:
        wanted = {each.name: each for each in systems}
        if not anyway:
            for system in self.systems:
                self._may_change(system, wanted.get(system.settings.name))
        words = []
        self._later = {}
        for system in list(self.systems):
            new = wanted.get(system.settings.name)
            if new is not None and where(system.settings) == where(new):
                words += await self._go_on(system, new)
            elif system.book.empty or anyway:
                words.append(await self._part(system))
                continue
            else:  # it is leaving
                system.leaving = why(new)
                self._later |= {} if new is None else {new.name: new}
            wanted.pop(system.settings.name, None)
        for new in wanted.values():
            self.systems.append(self._made(new))
            self._begin(self.systems[-1])
            words.append(f"site.{new.name} is used from now on")
        self._strays = roster(self._house.conn, systems).strays
        return words

    async def _go_on(self, system: BatchSystem, new: SystemConfig) -> list[str]:
        """Under other settings."""
        mine, words = system.settings, []
        if system.leaving:
            words = [f"site.{new.name} is used again"]
        elif new != mine:
            words = [f"site.{new.name}: {', '.join(differences(mine, new))}"]
        system.leaving = ""
        await system.change(new, self._tools_of(new) if elsewhere(mine, new) else None)
        return words

    async def _part(self, system: BatchSystem) -> str:
        """It is not used any more; what is left there is given up."""
        left = 0 if system.book.empty else system.book.queued() + system.book.running()
        await system.give_up()
        self.systems.remove(system)
        await system.stop()
        given_up = f"; given up: {left} pilot{'s' if left > 1 else ''}" if left else ""
        return f"site.{system.settings.name} is not used any more{given_up}"

    def _rested(self, system: BatchSystem) -> None:
        if system.leaving and system.book.empty and not self._stopped:
            done = Deferred.fromCoroutine(self._follow(system))
            done.addErrback(lambda failure: _log.failure("provisioning: cannot part", failure))

    async def _follow(self, system: BatchSystem) -> None:
        """The last job of one that was left out is over: what has its name now begins."""
        await self._turn.acquire()
        try:
            if system not in self.systems or not (system.leaving and system.book.empty):
                return
            _log.info("{words}", words=await self._part(system))
            new = self._later.pop(system.settings.name, None)
            if new is not None and not self._stopped:
                self.systems.append(self._made(new))
                self._begin(self.systems[-1])
        finally:
            self._turn.release()

    def _may_change(self, system: BatchSystem, new: SystemConfig | None) -> None:
        """Its jobs have to be found where they are. Raises CannotChange."""
        mine = system.settings
        left = system.book.queued() + system.book.running()
        if system.book.empty or system.leaving:
            return
        if new is not None and where(mine) == where(new):
            return
        what = "be left out" if new is None else "be another batch system"
        raise CannotChange(
            f"site.{mine.name} cannot {what}: {left} of its pilots wait or run there; let them go "
            f"first: floe site limits {mine.name} --pilots 0; or give them up: floe config reload "
            "--anyway"
        )

    def limit(self, name: str, running_max: int | None, queued_max: int | None) -> bool:
        """Other limits of one batch system, until they are read again; False if there is none.

        Raises CannotChange for one that config.toml left out.
        """
        for system in self.systems:
            mine = system.settings
            if mine.name == name and system.leaving:
                raise CannotChange(f"site.{name} gets no more pilots: {system.leaving}")
            if mine.name == name:
                most = mine.running_max if running_max is None else running_max
                queued = mine.queued_max if queued_max is None else queued_max
                least = min(mine.pilots_min, most)
                system.settings = replace(
                    mine, running_max=most, queued_max=queued, pilots_min=least
                )
                system.wanted()
                return True
        return False

    async def stop(self) -> None:
        """Look no more; pilots go on."""
        await _all(system.stop() for system in self.systems)

    def wanted(self) -> None:
        """Units wait and no pilot takes them."""
        for system in self.systems:
            system.wanted()

    def _announced(self, session: Session) -> None:
        for system in self.systems:
            if system.announced(session):
                return

    def _ended(self, session: Session) -> None:
        for system in self.systems:
            system.ended(session)

    # -- the plan

    def plan(self, name: str) -> Plan:
        """What to do now; `name` asks, and does its part."""
        work = self._house.work
        now_s, now_ms = self._house.reactor.seconds(), self._house.wall_ms()
        able = [each for each in work.sessions if not work.leases.hosts.barred(each.host, now_s)]
        facts = Facts(
            bins_of(work.dispatch, ages_s(work.sessions, now_ms)),
            [*work.leases.idle_rooms(), *fresh_rooms(able, now_s)],
            busy_rooms(work.sessions, now_ms),
            [system.facts() for system in self.systems],
            work.leases.draining,
        )
        made = plan(facts)
        self.why = made.why
        for each in facts.bins:
            for system in facts.systems:
                if words := waiting_words(system, each.needs):
                    self.why.setdefault(each.needs, {}).setdefault(system.settings.name, words)
        return made

    # -- people and other sites

    def explain(self, needs: Needs) -> dict[str, str]:
        """Why units that ask for this do not start, by batch system; {} if nothing is known."""
        found = dict(self.why.get(needs, {}))
        for system in self.systems:  # the last plan may be an hour old
            if system.settings.name in found and system.away:
                found[system.settings.name] = system.away[0]
            elif words := system.limit_of(needs):
                found.setdefault(system.settings.name, words)  # met after that plan
        return found

    @property
    def trouble(self) -> str:
        """What hinders submissions, for people; "" if nothing does."""
        said = [f"site.{name}: {words}" for name, (words, _) in self.troubles.items()]
        return "; ".join([self.strays, *said] if self.strays else said)

    @property
    def strays(self) -> str:
        """Of batch systems that config.toml left out, for people; "" if nothing is left there."""
        leaving = [each for each in self.systems if each.leaving]
        return "; ".join([
            *self._strays, *(f"site.{each.settings.name}: {each.leaving}" for each in leaving)
        ])  # fmt: skip

    @property
    def used(self) -> list[BatchSystem]:
        """Those that config.toml names."""
        return [each for each in self.systems if not each.leaving]

    @property
    def troubles(self) -> dict[str, tuple[str, str]]:
        """What hinders submissions, by batch system: for people, and what it has said itself."""
        now_s = self._house.reactor.seconds()
        found = {}
        for system in self.systems:
            broken = [each for each in system.breakers.values() if each.opened]
            if away := system.away:
                found[system.settings.name] = away
            elif broken:
                found[system.settings.name] = (broken[0].words(now_s), broken[0].why)
            elif system.looked_s is None and system.trouble:
                found[system.settings.name] = (system.trouble, system.trouble)
        return found

    @property
    def kinds(self) -> list[str]:
        """Of the batch systems, for other sites."""
        return sorted({system.settings.kind for system in self.systems})

    @property
    def starting(self) -> int:
        """Pilots that were submitted and have not announced themselves."""
        return sum(system.book.coming().total() for system in self.systems)

    def shapes(self) -> list[tuple[int, int, int | None, int | None]]:
        """CPUs, GPUs, memory and disk of the largest pilots, whether or not there are any now."""
        return [
            largest(factory, queue_of(factory, system.queues))
            for system in self.systems
            for factory in system.settings.factories
            if system.settings.running_max and factory.running_max
        ]

    def shown(self) -> list[dict[str, Any]]:
        """Facts about each, for `floe site show`."""
        return [system.shown() for system in self.systems]

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Every job that has not ended, for `floe pilots`."""
        for system in self.systems:
            yield from system.jobs_shown()

    def hosts(self) -> list[dict[str, object]]:
        """Workers that get no units, and why."""
        return self._house.work.leases.hosts.shown(self._house.reactor.seconds())

    def more(self) -> list[More]:
        """Pilots that may still be started, for claims."""
        return [
            _More(system, factory)
            for system in self.systems
            for factory in system.settings.factories
        ]

    async def end(self, *, running: bool) -> None:
        """End every job that waits; and those that run, too, whose units run again elsewhere."""
        await _all(system.end(running=running) for system in self.systems)

    def staying(self) -> int:
        """Jobs that nobody ended, and pilots that are still here."""
        return sum(system.staying() for system in self.systems)

    def hindrances(self) -> list[str]:
        """Why jobs may still be there, for people."""
        return [words for system in self.systems if (words := system.hindrance())]


async def _all(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Side by side: a batch system that hangs keeps no other one waiting."""
    await gatherResults([Deferred.fromCoroutine(each) for each in tasks], consumeErrors=True)


class _More:
    """What one factory could still start."""

    def __init__(self, system: BatchSystem, factory: Factory) -> None:
        self._system = system
        self._factory = factory

    def more(self) -> tuple[Room, int]:
        """See node/claims/capacity.py."""
        system, factory = self._system, self._factory
        left = system.settings.running_max - system.book.queued() - system.book.running()
        left = min(left, factory.running_max)
        if system.looked_s is None or system.leaving:
            left = 0
        return room_of(factory, queue_of(factory, system.queues), left)
