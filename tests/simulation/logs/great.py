"""One dataset, run to its end by hundreds of sites: python -m tests.simulation.logs.great

Stores are reduced to logs, units to the time that they take; links, council, claims and the
leader's book are the real ones. Most sites only dial out, to a few that are the council.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random

import msgpack
from twisted.internet.defer import Deferred

from federation.asking import Asking
from federation.claims import (
    CLAIM,
    RECALL,
    Answer,
    Claim,
    Recall,
    Recalled,
    Verdict,
    read_answer,
    read_claim,
    read_recall,
    read_recalled,
    write_answer,
    write_claim,
    write_recall,
    write_recalled,
)
from federation.entry import Entry
from federation.ids import EntryID, FeedID, Lane, SiteID
from federation.records import Accept, Dataset, Grant, Release, Results
from federation.shard import found
from federation.timing import Timing
from node.claims.policy import Claiming, Demand
from node.leading.book import Ask, Book, Peer
from node.leading.desk import Decision, Desk, recall_key
from node.leading.ledger import DatasetFacts, TaskFacts
from node.ranges import JobRanges, jobs_of, ranges_of
from tests.simulation.logs.site import LogSite
from tests.simulation.logs.world import LogWorld
from tests.simulation.shareout import DATASET, NEEDS, OWNER, SHAPE, TASK, Owner, last_of
from tests.simulation.terms import read_shards
from tests.unit.federation.builders import results

JOIN_S = 30.0
LOOK_S = 10.0
WANTS_S = 20.0  # between two words of the leader about what is to be had
GRANT_S = 1.0  # in which grants gather
ACCEPT_S = 20.0  # in which results gather
REPORT_S = 120.0  # likewise, at each site
FIRST_REPORT_S = 15.0  # sites whose pace is not known get samples only
LOST_S = 240.0  # of silence
TIMING = Timing(compare_s=600.0)
COUNCIL = 5


class Great:
    """`run` returns once every unit is accepted and settled. Raises AssertionError if that, or
    anything that must hold, does not."""

    def __init__(
        self,
        seed: int = 1,
        *,
        sites: int = 300,
        jobs: int = 1_000_000,
        slots: int = 100,
        unit_s: float = 10.0,
        lost: int = 3,
    ) -> None:
        """slots: of the usual site. lost: how many sites are gone for good halfway."""
        self.random = Random(f"great {seed}")
        self.world = LogWorld(seed, sites, dial_only=sites - COUNCIL, timing=TIMING)
        self.jobs = jobs
        self.lost = lost
        self.leader = Leader(self, self.world.sites[-1])
        self.workers = {
            site.site: Worker(self, site, round(slots * self.random.uniform(0.5, 1.5)), unit_s)
            for site in self.world.sites
        }
        self._grants: dict[EntryID, list[Grant]] = {}

    def run(self) -> None:
        with self.world as world:
            world.watchers.append(self._arrived)
            world.authors.append(lambda entry: self._arrived(self.site_of(entry), entry))
            world.pass_s(JOIN_S)
            self.leader.begin()
            world.pass_s(JOIN_S)
            for worker in self.workers.values():
                worker.begin()
            self._until(lambda: self.leader.settled.count >= self.jobs // 2)
            for site in self.random.sample(world.sites[:-COUNCIL], self.lost):
                site.die(quietly=True)
            self._until(lambda: self.leader.settled.count >= self.jobs)
            world.pass_s(JOIN_S)
            self._check()

    def site_of(self, entry: Entry) -> LogSite:
        return self.workers[entry.header.site].site

    def _until(self, done: object) -> None:
        while not done():  # type: ignore[operator]
            self.world.pass_s(LOOK_S)

    def _arrived(self, site: LogSite, entry: Entry) -> None:
        """An entry is durable at a site, which may be its author's."""
        if site is self.leader.site:
            self.leader.arrived(entry)
        if entry.header.site == self.leader.site.site and entry.header.lane is Lane.CONTROL:
            if entry.id not in self._grants:
                self._grants[entry.id] = [r for r in entry.records() if isinstance(r, Grant)]
            for grant in self._grants[entry.id]:
                if grant.to == site.site:
                    self.workers[site.site].granted(grant)

    # The end

    def _check(self) -> None:
        """All sites hold the same; the log is settled, and has every unit once, from an owner."""
        alive = [site for site in self.world.sites if site.up]
        assert self.world.equal(alive)
        reading = read_shards(self.world.archive)[self.leader.shard]
        assert not reading.faults, reading.faults
        term = reading.newest
        log = reading.log(term, reading.settled[term])
        owners: dict[bytes, JobRanges] = {}
        through: Counter[FeedID] = Counter()
        done = JobRanges()
        for act in log:
            record = act.record
            if isinstance(record, Grant):
                owners.setdefault(record.to, JobRanges()).add_all(record.ranges)
            elif isinstance(record, Accept):
                feed = FeedID(record.site, record.generation, Lane.RESULTS)
                for entry in self.world.archive[feed][through[feed] : record.through]:
                    for each in entry.records():
                        assert isinstance(each, Results)
                        flat = ranges_of(each.jobs)
                        assert not owners[record.site].lacking(flat), "a unit was never granted"
                        done.add_all(flat)
                through[feed] = max(through[feed], record.through)
        assert done.flat == [0, self.jobs], "what is settled is not every unit"


class Leader:
    """The book of the dataset, and the log."""

    def __init__(self, great: Great, site: LogSite) -> None:
        self.site = site
        self.settled = JobRanges()
        self.twice = 0  # units of which a second result came
        self._great = great
        self._book = Book()
        self._desk = Desk(self._book, Asking(great.random))
        self._peers: dict[SiteID, Peer] = {}
        self._heard_s: dict[SiteID, float] = {}
        self._told = 0  # words about what is to be had
        self._grants: list[Grant] = []  # not written yet
        self._new: dict[FeedID, list[Entry]] = {}  # results that are not accepted

    @property
    def now_s(self) -> float:
        return self._great.world.clock.seconds()

    def begin(self) -> None:
        seats = [FeedID(s.site, 1, Lane.CONTROL) for s in self._great.world.sites[-COUNCIL:]]
        seats.reverse()
        record = found(seats[0], bytes(16), seats)
        self.shard = record.shard
        dataset = Dataset(self.shard, b"great", b"s", self.site.site)  # type: ignore[arg-type]
        self.site.write(lambda: [record, dataset])
        task = TaskFacts(TASK, 0, NEEDS, {}, (), {}, (), (), None)
        self._book.load(
            DatasetFacts(
                1, DATASET, self.shard, OWNER[1], OWNER[0], 50, 1, self._great.jobs, False, [task]
            )
        )
        self.site.voice.serve(CLAIM, self._claimed)
        self._every(GRANT_S, self._write_grants)
        self._every(ACCEPT_S, self._accept)
        self._every(WANTS_S, self._look)
        self._every(WANTS_S, self._tell_wants)

    def _every(self, period_s: float, act: object) -> None:
        def again() -> None:
            act()  # type: ignore[operator]
            self._great.world.clock.callLater(period_s, again)

        self._great.world.clock.callLater(period_s, again)

    def wants(self) -> list[tuple[int, int]]:
        return [(want.free, want.movable) for want in self._book.wants()]

    def _tell_wants(self) -> None:
        self._told += 1
        word = [self.site.site, 1, self.site.voice.boot, self._told, self.wants()]
        self.site.voice.flood("beacon", msgpack.packb(word))
        self._great.workers[self.site.site].hear(self.wants())

    def arrived(self, entry: Entry) -> None:
        self._heard_s[entry.header.site] = self.now_s
        if entry.header.lane is Lane.RESULTS:
            self._new.setdefault(entry.header.feed, []).append(entry)
            return
        for record in entry.records():
            if isinstance(record, Release):
                self._book.released([TASK], record.ranges, entry.header.site)
                self._desk.recalling.arrived((entry.header.site, 1, 0))

    def _accept(self) -> None:
        new, self._new = self._new, {}
        if not new:
            return
        accepts = [
            Accept(self.shard, feed.site, feed.generation, last.header.seq, last.id)
            for feed, (*_, last) in new.items()
        ]
        written = self.site.write(lambda: accepts)
        written.addCallback(
            lambda _: [self._count(each) for every in new.values() for each in every]
        )

    def _count(self, entry: Entry) -> None:
        for record in entry.records():
            assert isinstance(record, Results)
            flat = ranges_of(record.jobs)
            fresh = self.settled.lacking(flat)
            self.twice += len(record.jobs) - sum(fresh[1::2]) + sum(fresh[::2])
            self.settled.add_all(flat)
            self._book.settled(TASK, flat)
            self._book.learn_unit_s(TASK, record.wall_ms / 1000)  # type: ignore[operator]

    # Claims

    async def _claimed(self, site: SiteID, body: bytes) -> bytes:
        return write_answer(await self.claim(site, read_claim(body)))

    async def claim(self, site: SiteID, claim: Claim) -> Answer:
        peer = self._peers[site] = Peer(site, "", claim.workers)
        self._heard_s[site] = self.now_s
        decision = self._desk.claim(peer, claim, self._able(), self.now_s)
        self._recall(decision.asks)
        self._grant(site, decision)
        units = sum(give.units for give in decision.gives)
        return Answer(decision.verdict, (), units, decision.retry_s)

    def _grant(self, to: SiteID, decision: Decision) -> None:
        self._grants += [
            Grant(self.shard, DATASET, [0], give.ranges, to) for give in decision.gives
        ]

    def _write_grants(self) -> None:
        """Those of a moment stand in one entry."""
        grants, self._grants = self._grants, []
        if grants:
            self.site.write(lambda: grants)

    def _able(self) -> list[Peer]:
        return [peer for site, peer in self._peers.items() if site not in self._book.lost]

    def _look(self) -> None:
        gone = [site for site, at_s in self._heard_s.items() if self.now_s - at_s > LOST_S]
        self._book.set_lost(gone)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        served, asks = self._desk.again(self._able(), self.now_s)
        for site, gives in served:
            self._grant(site, Decision(gives, [], Verdict.GRANTED, 0))
        self._recall(asks)

    def _recall(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            recall = Recall(self.shard, DATASET, 0, ask.beside, ask.units)
            refused = partial(self._desk.recalling.refused, recall_key(ask), self.now_s)
            if ask.owner == self.site.site:
                if not self._great.workers[ask.owner].give_back(recall):
                    refused()
                continue

            def answered(body: bytes, refused: object = refused) -> None:
                if not read_recalled(body).units:
                    refused()  # type: ignore[operator]

            asked = self.site.voice.request(ask.owner, RECALL, write_recall(recall))
            asked.addCallbacks(answered, lambda _, refused=refused: refused())


class Worker:
    """A site that runs units: in waves, as many as it has slots."""

    def __init__(self, great: Great, site: LogSite, slots: int, unit_s: float) -> None:
        self.site = site
        self._great = great
        self._owner = Owner(site.site, slots, unit_s, Claiming(Asking(great.random)))
        self._runs = False
        self._done: list[int] = []  # not reported
        self._wants: list[tuple[int, int]] = []

    def begin(self) -> None:
        self.site.voice.serve(RECALL, self._recalled)
        self.site.voice.on_flood(
            "beacon", lambda _, document: self.hear(msgpack.unpackb(document)[-1])
        )
        self._later(self._great.random.uniform(0, LOOK_S), self._tick)
        self._later(self._great.random.uniform(1.0, 2.0) * FIRST_REPORT_S, self._report)

    def _later(self, delay_s: float, act: object) -> None:
        def check() -> None:
            if self.site.up:
                act()  # type: ignore[operator]

        self._great.world.clock.callLater(delay_s, check)

    def hear(self, wants: list[tuple[int, int]]) -> None:
        """What the leader says is to be had."""
        if any(free for free, _ in wants) and not any(free for free, _ in self._wants):
            self._owner.claiming.news(self._great.leader.site.site, SHAPE)
        self._wants = wants

    def _tick(self) -> None:
        self._look()
        self._later(LOOK_S, self._tick)

    def _look(self) -> None:
        leader, owner = self._great.leader, self._owner
        demands = [
            Demand(leader.site.site, DATASET[:8], OWNER, (0.0, 0.0), SHAPE, free, movable)
            for free, movable in self._wants
        ]
        now_s, stocks = leader.now_s, [owner.stock(leader.site.site)]
        for _, claim in owner.claiming.look(now_s, owner.workers(), demands, stocks):
            done = Deferred.fromCoroutine(self._claim(claim))
            done.addErrback(lambda failure: self._great.world.failed(failure.getTraceback()))

    async def _claim(self, claim: Claim) -> None:
        leader, claiming = self._great.leader, self._owner.claiming
        to = leader.site.site
        if self.site is leader.site:
            answer = await leader.claim(to, claim)
        else:
            try:
                body = await self.site.voice.request(to, CLAIM, write_claim(claim))
            except Exception:
                claiming.failed(to, claim, leader.now_s)
                return
            answer = read_answer(body)
        if answer.verdict is not Verdict.GRANTED:
            claiming.refused(to, claim, leader.now_s, answer.retry_s)

    def granted(self, grant: Grant) -> None:
        self._owner.held.add_all(grant.ranges)
        self._owner.claiming.arrived(self._great.leader.site.site, SHAPE)
        self._wave()

    async def _recalled(self, _: SiteID, body: bytes) -> bytes:
        return write_recalled(Recalled(self.give_back(read_recall(body))))

    def give_back(self, recall: Recall) -> int:
        """Release units that are not begun; how many."""
        flat = last_of(self._owner.held, recall.units)
        if flat:
            self._owner.held.remove_all(flat)
            release = Release(recall.shard, DATASET, [0], flat, "recalled")
            self.site.write(lambda: [release])
        return len(jobs_of(flat))

    def _wave(self) -> None:
        """Begin as many units as there are slots, unless some run."""
        owner = self._owner
        if self._runs or not owner.held:
            return
        jobs = list(jobs_of(owner.held.take(owner.slots)))
        owner.begun.update(jobs)
        self._runs = True
        took_s = owner.unit_s * self._great.random.uniform(0.8, 1.2)
        self._later(took_s, partial(self._ran, jobs, took_s))

    def _ran(self, jobs: list[int], took_s: float) -> None:
        self._runs = False
        self._owner.begun.difference_update(jobs)
        self._owner.learnt_s = took_s
        self._done += jobs
        self._wave()
        if self._owner.held.count < 2 * self._owner.slots:
            self._look()

    def _report(self) -> None:
        done, self._done = sorted(self._done), []
        if done:
            wall_ms = int(self._owner.unit_s * 1000)
            record = results(
                len(done), dataset=DATASET, task=0, jobs=done, offset_ms=0, wall_ms=wall_ms,
                cpu_ms=wall_ms, memory_kib=4096, outputs=b"",
            )  # fmt: skip
            self.site.write(lambda: [record], Lane.RESULTS)
        self._later(self._great.random.uniform(0.5, 1.5) * REPORT_S, self._report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    great = Great(options.seed, sites=options.sites, jobs=options.jobs)
    begun_s, cpu_s = time.monotonic(), time.process_time()
    great.run()
    print(
        f"{options.jobs} units over {options.sites} sites: {time.monotonic() - begun_s:.0f} s,"
        f" {time.process_time() - cpu_s:.0f} s of CPU, {great.world.clock.seconds():.0f} s of"
        f" theirs; {great.leader.twice} units ran twice"
    )


if __name__ == "__main__":
    main()
