"""Sites under a virtual clock, on disks and networks that fail, all from one seed.

A run is a phase of faults, then healing, then every check. `World.run` raises `Broken` when
something that was promised did not hold; the same seed and schedule fail in the same way.
"""

from __future__ import annotations

import gc
import shutil
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from federation.ids import FeedID, Lane
from tests.simulation.checkers import (
    check_chains,
    check_counts,
    check_end,
    check_log,
    check_owners,
    check_roots,
    check_shards,
    check_store,
    moving,
    read,
    unfinished,
)
from tests.simulation.clock import VirtualClock
from tests.simulation.farm import Farm
from tests.simulation.faults import Faults
from tests.simulation.host import Host
from tests.simulation.logreader import LogReader
from tests.simulation.naive import Reading
from tests.simulation.network import Network
from tests.simulation.parts import Rhythm
from tests.simulation.people import People
from tests.simulation.schedule import Event, Schedule, draw
from tests.simulation.terms import majority
from tests.simulation.witness import Witness

HEAL_S_MAX = 20_000.0
LOOK_S = 15.0
LOOK_AT_ALL_S = 60.0
QUIET_S = 60.0  # of healing, at least
REST_S = 110.0  # without news, with all up and linked: then nothing comes until something happens
TURNS_MAX = 3_000_000
NAMES = ("desy", "wisc", "msu", "kit", "tokyo", "pisa", "brno", "utrecht", "lund")


class Broken(AssertionError):
    """A promise that did not hold."""


class World:
    """Everything: clock, machines, people, pilots. Use it with `with`, or `run` it."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        schedule: Schedule | None = None,
        *,
        sites: int = 1,
        dial_only: int = 0,
        rhythm: Rhythm | None = None,
        entangled: bool = False,
    ) -> None:
        """folder: for the disks; it is removed at the end.

        dial_only: how many of the sites, the last ones, cannot be dialled. entangled: whether
        datasets wait for those of other sites, and in some lives units put out files for others.
        """
        self.seed = seed
        self.folder = folder
        self.schedule = draw(seed) if schedule is None else schedule
        self.random = Random(f"world {seed}")
        self.clock = VirtualClock()
        self.trace: list[str] = []
        self.broken: list[str] = []
        self.alarms: dict[str, int] = {}  # errors that may be logged, and how often they were
        self.calm = False
        self.rhythm = rhythm or Rhythm()
        self.network = Network(self.clock, Random(f"network {seed}"))
        self.hosts = [
            Host(self, name, dialable=number < sites - dial_only)
            for number, name in enumerate(NAMES[:sites])
        ]
        self.witness = Witness()
        self.people = People(self)
        self.farm = Farm(self)
        self.entangled = entangled
        self.farm.fates.put_out = entangled and Random(f"files {seed}").random() < 0.5
        self._faults = Faults(self)
        self._log = LogReader(self)
        self._turns = 0
        self._after: list[Callable[[], None]] = []
        self._coming = deque(sorted(self.schedule, key=lambda event: event.at_s))
        self._next: IDelayedCall | None = None  # of what is coming
        self._rest: tuple[float, object] = (0.0, None)  # since when all held the same, and what
        self.leapt_s = 0.0  # passed over

    @property
    def present(self) -> list[Host]:
        """The machines that are not lost for good."""
        return [host for host in self.hosts if not host.lost]

    # Time

    @property
    def now_s(self) -> float:
        """Since the beginning, with what was passed over."""
        return self.clock.seconds() + self.leapt_s

    def sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self.clock, seconds, lambda: None)

    def spawn(self, work: Coroutine[Deferred[Any], Any, Any], what: str) -> Deferred[None]:
        """Run something beside everything else; it must not raise."""
        return Deferred.fromCoroutine(work).addErrback(self._crashed, what)

    def _crashed(self, failure: Failure, what: str) -> None:
        self.failed(f"{what}: {failure.getTraceback()}")

    def after_this(self, act: Callable[[], None]) -> None:
        """Do something when what happens now has come to its end."""
        self._after.append(act)

    def note(self, text: str) -> None:
        self.trace.append(f"{self.now_s:10.3f} {text}")

    def failed(self, why: str) -> None:
        """Something that must not happen has happened."""
        self.note(f"BROKEN: {why}")
        self.broken.append(why)

    # A run

    def run(self) -> None:
        """Faults, healing, checks. Raises Broken."""
        with self:
            end_s = max((event.at_s for event in self.schedule), default=0.0) + 5.0
            self.until(lambda: self.now_s >= end_s)
            self.finish()

    def __enter__(self) -> World:
        """Everything starts."""
        self._collecting = gc.isenabled()
        gc.disable()  # when it collects is not drawn from the seed, and it resumes what is dead
        self._log.start()
        for host in self.hosts:
            host.start()
        self._await_next()
        self.spawn(self._watch(), "watching")
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left of it."""
        self._log.stop()
        for host in self.hosts:
            host.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._collecting:
            gc.enable()
            gc.collect()  # here, and not in the middle of whatever comes next

    def finish(self) -> None:
        """Healing, then every check. Raises Broken."""
        if not self.broken:
            self.heal()
        if not self.broken:
            self.check()
        self.raise_if_broken()

    def clone(self, host: Host, *, whole: bool) -> Host:
        """Another machine starts on a copy of a home, with the key, while the first goes on.

        whole: as an image of all of it, in which nothing tells the copy from the other.
        """
        twin = Host(self, f"{host.name}-twin", dialable=False, twin_of=host)
        twin.take_home(host, whole=whole)
        self.hosts.append(twin)
        self.witness.twins.add(host.site)
        twin.start()
        return twin

    def can_spare(self, host: Host) -> bool:
        """Whether every dataset's council keeps a majority, on disks of today, without a site."""
        if 2 * (len(self.present) - 1) <= len(self.hosts) or self.witness.puts_back:
            return False  # what was put back may have to ask all others
        left = {
            FeedID(each.site, self.witness.shown(each.site).generation, Lane.CONTROL)
            for each in self.present
            if each is not host
        }
        archive = self.witness.archive
        for settled in (False, True):
            reading = Reading((e for feed in archive.values() for e in feed), settled=settled)
            for shard in {each for found in reading.sets.values() for each in found.logs}:
                seats = reading.shards[shard].voters(reading.shards[shard].newest)
                if len(left & set(seats)) < majority(seats):
                    return False
        return True

    def lose(self, host: Host) -> None:
        """A machine is gone for good, and so is what only its disk held."""
        host.lose()
        self.witness.lost(host.nowhere())

    def raise_if_broken(self) -> None:
        if self.broken:
            raise Broken("\n".join([*self.broken[:5], *self.trace[-25:]]))

    def until(self, done: Callable[[], bool]) -> None:
        """Let things happen, one after the other, until `done` or something broke."""
        while not (done() or self.broken):
            self._turns += 1
            if self._turns > TURNS_MAX:
                self.failed("the run does not end")
                break
            self._turn()

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and what happens in it. Raises Broken."""
        end_s = self.clock.seconds() + seconds
        self.clock.callLater(seconds, lambda: None)
        self.until(lambda: self.clock.seconds() >= end_s)
        self.raise_if_broken()

    def _turn(self) -> None:
        try:
            self.clock.turn()
        except Exception:
            self.failed(f"an exception reached the clock: {Failure().getTraceback()}")
        after, self._after = self._after, []
        for act in after:
            act()

    def _await_next(self) -> None:
        if self._coming:
            wait_s = max(0.0, self._coming[0].at_s - self.now_s)
            self._next = self.clock.callLater(wait_s, self._come)

    def _come(self) -> None:
        event = self._coming.popleft()
        self._await_next()
        self._happen(event)

    def _leap(self) -> None:
        """Pass over quiet time: it would bring nothing but what comes round for ever.

        To the nodes it is as if all machines had slept: no timer went on, the clocks on the wall
        did. Nothing can come of it that a slow mesh may not do.
        """
        if self._next is None or not self._next.active() or not self._rests():
            return
        left_s = self._next.getTime() - self.clock.seconds()
        self._next.reset(0.0)
        self.leapt_s += left_s
        self.note(f"nothing happens for {left_s:.0f} s")

    def _rests(self) -> bool:
        """Whether all are up and linked, nobody has anything to do, and that for a while."""
        now_s = self.clock.seconds()
        held = self._held_by_all()
        if held is None or held != self._rest[1]:
            self._rest = now_s, held
        return held is not None and now_s - self._rest[0] >= REST_S

    def _held_by_all(self) -> object:
        """What every site holds, if all the same, and nobody is at work."""
        if self.people.waiting or any(pilot.busy for pilot in self.farm.pilots):
            return None
        nodes = [host.node for host in self.present if host.node is not None and host.node.idle]
        if len(nodes) < len(self.present) or not self.network.whole:
            return None
        held = [node.held() for node in nodes]
        return held[0] if all(each == held[0] for each in held) else None

    def _happen(self, event: Event) -> None:
        if self.calm:
            return
        self.note(f"event {event.kind}")
        if event.kind == "submit":
            self.people.submit(event.random())
        elif event.kind == "order":
            self.people.order(event.random())
        else:
            self._faults.happen(event)

    async def _watch(self) -> None:
        """Now and then somebody looks at the tables."""
        while True:
            await self.sleep(LOOK_S if len(self.hosts) == 1 else LOOK_AT_ALL_S)
            self.look()
            self._leap()

    def skip_s(self, seconds: float) -> None:
        """All machines sleep so long: only the clocks on the wall go on."""
        self.leapt_s += seconds

    def look(self) -> None:
        """Settled results stay: as a site alone shows them, or as councils have settled them."""
        if self.witness.twins:
            return  # which branch of a fork counts is seen at the end, at the sites
        if len(self.hosts) > 1:
            self.fail_all(self.witness.look_at_all())
        elif self.hosts[0].node is not None and self.hosts[0].up:
            self.fail_all(self.witness.look(self.hosts[0].node))

    # The end

    def heal(self) -> None:
        """No more faults: whatever can be done must now come to its end."""
        self.note("healing")
        self.calm = True
        self.farm.no_more_faults()
        self.network.ways.mend_all()
        for host in self.present:
            host.resume()
            host.no_more_faults()
            self.people.recover(host)
        self.clock.callLater(30.0, self.people.resume_all)
        begun_s = self.clock.seconds()

        def over() -> bool:
            healed_s = self.clock.seconds() - begun_s
            return (healed_s > QUIET_S and self._quiet()) or healed_s > HEAL_S_MAX

        self.until(over)
        if not self.broken and not self._quiet():
            self.failed(f"work that can be done is not done:\n{self._why()}")

    def _quiet(self) -> bool:
        """Whether nothing is left to do for anybody."""
        if self.people.waiting or any(pilot.busy for pilot in self.farm.pilots):
            return False
        nodes = [host.node for host in self.present if host.node is not None and host.node.idle]
        orders = self.witness.ordered_at([host.name for host in self.present])
        if len(nodes) < len(self.present) or any(unfinished(node, orders) for node in nodes):
            return False
        return all(node.held() == nodes[0].held() for node in nodes)

    def _why(self) -> str:
        """What does not move, and what the nodes say of it."""
        lines = [f"people wait for {self.people.waiting} answers"]
        lines += [
            f"{pilot.tag}: {pilot.loop.holding()}" for pilot in self.farm.pilots if pilot.busy
        ]
        for host in self.present:
            if host.node is None or host.node.journal is None:
                lines.append(f"{host.name} is not up")
                continue
            lines.append(f"{host.name}: {host.node.journal.backlog} {host.node.journal.trouble}")
            for no, jobs, *counts in moving(host.node)[:5]:
                lines.append(f"task {no}: {jobs} jobs, {counts}")
                explain = host.node.parts.work.explain
                lines += [f"  job {job}: {explain(no, job)}" for job in range(min(jobs, 4))]
        return "\n".join(lines)

    def check(self) -> None:
        """Everything that must hold in the end; the nodes stop, then the rest of it."""
        nodes = {host.name: host.node for host in self.present if host.node is not None}
        self.look()
        reading = read(next(iter(nodes.values())))
        reading.imports = self.rhythm.tends
        for shard in reading.shards.values():
            terms, voters = [term.number for term in shard.terms], len(shard.seats)
            self.note(f"shard {shard.shard.hex()[:8]}: {voters} voters, terms {terms}")
        self.fail_all(check_log(reading, self.witness, [host.name for host in self.present]))
        self.fail_all(check_shards(reading, nodes.values()))
        self.fail_all(check_owners(reading))
        self.fail_all(check_roots(nodes, finely=not self.witness.twins))
        whole = self.random.choice(self.present)  # the others' tables are equal to its own
        for host in self.present:
            node = nodes[host.name]
            root = node.fold(node.site).state_root(node.conn)
            self.note(f"{host.name}: {len(node.entries())} entries, state root {root}")
            problems = check_chains(node)
            problems += [*check_counts(node, reading), *check_end(reading, self.witness)]
            problems += [*host.stop(), *(check_store(node) if host is whole else ())]
            self.fail_all(f"{host.name}: {problem}" for problem in problems)

    def fail_all(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.failed(problem)


def quiet() -> None:
    """Keep what the node says of its failing disk off the terminal."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
