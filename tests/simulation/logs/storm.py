"""Councils of sites that keep logs, in a random life: faults, healing, and what must hold."""

from __future__ import annotations

from random import Random

from federation.election import Pace
from federation.entry import Entry
from federation.ids import EntryRef, FeedID, Lane, ShardID
from federation.records import Dataset
from federation.settle import settled
from federation.shard import found
from tests.simulation.logs.site import LogSite
from tests.simulation.logs.world import LogWorld
from tests.simulation.networkfaults import NetworkFaults
from tests.simulation.schedule import NETWORK_FAULTS, Event, Schedule, draw
from tests.simulation.terms import Reading, holders, majority, read_shards
from tests.unit.federation.builders import results

FAULTS = {"kill": 6, "power": 6, "pause": 5, "copy": 2, "restore": 1, **NETWORK_FAULTS}
STEPS = 40
SPAN_S = 3000.0
PACE = Pace(patience_s=60.0)
JOIN_S = 30.0
HEAL_S_MAX = 4000.0
LOOK_S = 60.0
PEOPLE_S = (2.0, 20.0)
AWAY_S = (0.5, 5.0, 40.0, 300.0)


class Storm:
    """One life. `run` raises AssertionError when something that must hold did not."""

    def __init__(
        self,
        seed: int,
        *,
        sites: int = 5,
        council: int = 3,
        steps: int = STEPS,
        schedule: Schedule | None = None,
    ) -> None:
        self.random = Random(f"storm {seed}")
        self.world = LogWorld(seed, sites, pace=PACE)
        self.schedule = draw(seed, steps, FAULTS, SPAN_S, {}) if schedule is None else schedule
        self.calm = False
        self.restores = 0
        self._network = NetworkFaults(self.world)
        self._shards: list[ShardID] = []
        self._council = council
        self._number = 0
        self._waiting: dict[EntryRef, ShardID] = {}  # submitted, and not told to be settled
        self._told: dict[ShardID, dict[EntryRef, bytes]] = {}
        self.world.authors.append(self._authored)

    def run(self) -> None:
        with self.world:
            self.begin()
            for event in self.schedule:
                self.world.clock.callLater(event.at_s, self._happen, event)
            end_s = max((event.at_s for event in self.schedule), default=0.0) + 5.0
            while self.world.clock.seconds() < end_s:
                self.world.pass_s(LOOK_S)
                self.check()
            self.finish()

    def begin(self) -> None:
        """All sites meet; two of them found shards; people and workers begin."""
        world = self.world
        world.pass_s(JOIN_S)
        for founder in world.sites[:2]:
            self.found(founder, self._council)
        world.pass_s(JOIN_S)
        self._people()

    def found(self, founder: LogSite, council: int) -> ShardID:
        """A site founds a shard with some others."""
        others = self.random.sample([s for s in self.world.sites if s is not founder], council - 1)
        seats = [FeedID(s.site, s.generation, Lane.CONTROL) for s in (founder, *others)]
        record = found(seats[0], self.random.randbytes(16), seats)
        founder.write(lambda: [record])
        self._shards.append(record.shard)
        return record.shard

    # People and workers

    def _people(self) -> None:
        """Somebody submits to whoever leads; somebody's units end."""
        for shard in self._shards:
            leader = self.leader(shard)
            if leader is not None and self.random.random() < 0.7:
                self._number += 1
                leader.submit(shard, self._number)
        site = self.random.choice(self.world.sites)
        if site.up:
            site.write(lambda: [results(2)], Lane.RESULTS)
        self._tell()
        self.world.clock.callLater(self.random.uniform(*PEOPLE_S), self._people)

    def leader(self, shard: ShardID) -> LogSite | None:
        """Some site that takes itself for the leader."""
        leading = self._leading(shard)
        return self.random.choice(leading) if leading else None

    def _leading(self, shard: ShardID) -> list[LogSite]:
        return [site for site in self.world.sites if site.up and site.facts.leads(shard)]

    def _authored(self, entry: Entry) -> None:
        if entry.header.lane is Lane.CONTROL:
            for record in entry.records():
                if isinstance(record, Dataset):
                    self._waiting[entry.ref] = record.shard

    def _tell(self) -> None:
        """Leaders tell people what is settled."""
        for site in self.world.sites:
            for shard in self._shards if site.up else ():
                own = site.facts.own_log(shard)
                for ref in self._unsettled(site, shard, 0) if own else ():
                    if own and own[0] <= ref.seq <= own[1]:
                        self._told.setdefault(shard, {})[ref] = ref.id
                        del self._waiting[ref]

    def _unsettled(self, site: LogSite, shard: ShardID, first: int) -> list[EntryRef]:
        """What a site has submitted in its own feed from an entry on, and nobody was told of."""
        return [
            ref
            for ref, each in self._waiting.items()
            if each == shard and ref.feed == site.control and ref.seq >= first
        ]

    # Faults

    def _happen(self, event: Event) -> None:
        if self.calm:
            return
        random = event.random()
        self.world.note(f"event {event.kind}")
        if event.kind in NETWORK_FAULTS:
            self._network.happen(event.kind, random)
        else:
            site = random.choice(self.world.sites)
            self.world.note(f"{event.kind}: {site.name}")
            getattr(self, f"_on_{event.kind}")(site, random)

    def _on_kill(self, site: LogSite, random: Random) -> None:
        site.die()
        self.world.clock.callLater(random.choice(AWAY_S), site.start)

    def _on_power(self, site: LogSite, random: Random) -> None:
        site.die(quietly=True)
        self.world.clock.callLater(random.choice(AWAY_S), site.start)

    def _on_pause(self, site: LogSite, random: Random) -> None:
        site.pause()
        self.world.clock.callLater(random.choice(AWAY_S), site.resume)

    def _on_copy(self, site: LogSite, random: Random) -> None:
        site.keep_copy()

    def _on_restore(self, site: LogSite, random: Random) -> None:
        if site.generation == 1:
            self.restores += 1
            site.restore()
            self.world.clock.callLater(random.choice(AWAY_S), site.start)

    # What must hold

    def check(self) -> dict[ShardID, Reading]:
        """At any moment: terms have one leader, and what is settled stays (I1, I2)."""
        readings = read_shards(self.world.archive)
        held = {site.site: {t.feed: t.seq for t in site.feeds.tips()} for site in self.world.sites}
        for shard in self._shards:
            reading = readings.get(shard)
            if reading is None:
                continue
            problems = [*reading.faults, *self._not_kept(shard, reading)]
            for term, seq in reading.settled.items():
                if seq and not self.restores:  # a disk that was put back holds less
                    have = len(holders(reading, term, seq, held))
                    if have < majority(reading.voters(term)):
                        problems.append(f"I2: {seq} of term {term.number} is held by {have}")
            for problem in problems:
                self.world.failed(f"shard {shard.hex()[:8]}: {problem}")
        assert not self.world.broken, "\n".join([*self.world.broken, *self.world.trace[-25:]])
        return readings

    def _not_kept(self, shard: ShardID, reading: Reading) -> list[str]:
        """What people were told is settled, and no log has."""
        log = {act.entry.id for act in reading.log(reading.newest)}
        return [
            f"entry {ref.seq} was told to be settled and is lost"
            for ref, id in self._told.get(shard, {}).items()
            if id not in log
        ]

    def finish(self) -> None:
        """Healing: then all hold the same, see the same, and leaders settle what they write."""
        self.world.note("healing")
        self.calm = True
        self.world.network.ways.mend_all()
        for site in self.world.sites:
            site.resume()
            site.start()
        until_s = self.world.clock.seconds() + HEAL_S_MAX
        while self.world.clock.seconds() < until_s:
            self.world.pass_s(LOOK_S)
            self._tell()
            if all(self._goes_on(shard) for shard in self._shards):
                break
        readings = self.check()
        for shard in self._shards:
            if self._can_go_on(readings[shard]):
                assert self._goes_on(shard), self._why(shard, readings[shard])
            self._compare(shard, readings[shard])

    def _can_go_on(self, reading: Reading) -> bool:
        """Whether a majority of the seats is in the generation of its site."""
        writing = {FeedID(s.site, s.generation, Lane.CONTROL) for s in self.world.sites}
        return len(writing & set(reading.seats)) >= majority(reading.seats)

    def _goes_on(self, shard: ShardID) -> bool:
        """Whether one site leads, and all that it wrote more than a moment ago is settled."""
        leading = self._leading(shard)
        if len(leading) != 1 or not self.world.equal():
            return False
        own = leading[0].facts.own_log(shard)
        return own is not None and not self._unsettled(leading[0], shard, own[0])

    def _why(self, shard: ShardID, reading: Reading) -> str:
        seen = {
            site.name: (known.newest.number, site.council.standing(shard))
            for site in self.world.sites
            if (known := site.facts.shard(shard)) is not None
        }
        lines = [
            f"shard {shard.hex()[:8]} does not go on: {seen}, settled {self._settled(reading)}"
        ]
        return "\n".join([*lines, *self.world.trace[-30:]])

    def _compare(self, shard: ShardID, reading: Reading) -> None:
        """The sites' own reading is the second one's."""
        for site in self.world.sites:
            known = site.facts.shard(shard)
            if known is None or not self.world.equal():
                continue
            terms = [(term.number, term.feed, term.place) for term in known.terms]
            naive = [(term.number, term.feed, term.first) for term in reading.terms]
            assert terms == naive, f"{site.name} reads other terms: {terms}, {naive}"
            position = settled(known, site.facts.seats(shard))
            seen = None if position is None else (position[0].number, position[1])
            assert seen == self._settled(reading), (
                f"{site.name} takes {seen} for settled, not {self._settled(reading)}"
            )

    @staticmethod
    def _settled(reading: Reading) -> tuple[int, int] | None:
        """The newest term of which anything is settled, and through which seq."""
        found = [(term.number, seq) for term, seq in reading.settled.items() if seq]
        return max(found, default=None)
