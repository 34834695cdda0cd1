"""A discrete-event bench of the share-out: one dataset, many sites, virtual time. Seconds to run.

The deciding cores are the real ones: the leader's book and desk, the owners' claiming. Around them
are only delays: of messages, of beacons, of accepts, and of the units themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from federation.asking import Asking
from federation.claims import Claim, Verdict, label
from federation.ids import DatasetID, ShardID, SiteID
from federation.portions import GAIN_S_MIN
from federation.shapes import Shape, Workers
from node.claims.policy import Claiming, Demand, Stock
from node.leading.book import Ask, Book, Give, Peer
from node.leading.desk import Decision, Desk, recall_key
from node.leading.ledger import DatasetFacts, TaskFacts, shape_of
from node.model.dataset import Needs
from node.ranges import JobRanges, size

DATASET = DatasetID(b"d" * 32)
SHARD = ShardID(b"h" * 32)
OWNER = ("g", b"p" * 32)
NEEDS = Needs()
SHAPE: Shape = shape_of(NEEDS)
TASK = 64
BEACON_S = 10.0
LOOK_S = 4.0
ACCEPT_S = 1.5  # from a report to the leader's accept
HELLO_S = 30.0  # how long a site counts as reachable after its last beacon


@dataclass(slots=True, eq=False)
class Owner:
    """A site with `slots` workers of one core; a unit takes `unit_s`."""

    id: SiteID
    slots: int
    unit_s: float
    claiming: Claiming
    alive: bool = True
    held: JobRanges = field(default_factory=JobRanges)
    begun: set[int] = field(default_factory=set)
    learnt_s: float | None = None
    demands: list[Demand] = field(default_factory=list)
    claims: int = 0
    done: int = 0
    idle_s: float = 0.0  # the longest time of idleness beside work that could be had
    idle_since_s: float | None = None

    @property
    def speed(self) -> float:
        """Units a second."""
        return self.slots / self.unit_s

    def workers(self) -> list[Workers]:
        return [Workers(1, 0, 10**6, 10**6, 0, self.slots, self.slots - len(self.begun))]

    def stock(self, leader: SiteID) -> Stock:
        begun = len(self.begun)
        return Stock(leader, label(DATASET), OWNER, SHAPE, self.held.count, begun, self.learnt_s)


class ShareOut:
    """`jobs` units shared out among sites that start with nothing. The first one leads."""

    def __init__(
        self, jobs: int, sites: list[tuple[int, float]], *, seed: int = 1, rtt_s: float = 1.0,
        lost_s: float = 3600.0,
    ) -> None:  # fmt: skip
        """sites: (slots, seconds a unit takes) of each."""
        self.jobs = jobs
        self.rtt_s = rtt_s
        self.lost_s = lost_s
        self.now_s = 0.0
        self.random = Random(seed)
        self.book = Book()
        self.desk = Desk(self.book, Asking(self.random))
        task = TaskFacts(TASK, 0, NEEDS, {}, (), {}, (), (), None)
        self.book.load(
            DatasetFacts(1, DATASET, SHARD, OWNER[1], OWNER[0], 50, 1, jobs, False, [task])
        )
        self.owners = [
            Owner(SiteID(bytes([i]) * 32), slots, unit_s, Claiming(Asking(self.random)))
            for i, (slots, unit_s) in enumerate(sites)
        ]
        self.by_id = {owner.id: owner for owner in self.owners}
        self.leader = self.owners[0].id
        self.heard_s = {owner.id: 0.0 for owner in self.owners}
        self.settled: set[int] = set()
        self.grants = 0
        self.twice = 0  # units that ran again
        self.ended_s: float | None = None
        self.leaderless_s: float | None = None  # since when nobody leads
        self.first_idle_s: float | None = None  # when another site had an idle slot after that
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    @property
    def ideal_s(self) -> float:
        """All work over the speed of all sites together."""
        return self.jobs / sum(owner.speed for owner in self.owners)

    def run(self, until_s: float = 1e7) -> float:
        """Seconds until every unit is settled."""
        self._start()
        while self._events and self.ended_s is None:
            self.now_s, _, act = heappop(self._events)
            assert self.now_s < until_s, f"not done after {until_s} s: {self.book.wants()}"
            act()
        assert self.ended_s is not None
        return self.ended_s

    def lose(self, at_s: float, index: int) -> None:
        """A site is gone from then on, with what it holds."""

        def die() -> None:
            self.owners[index].alive = False

        self._later(at_s, die)

    def lose_leader(self, at_s: float) -> None:
        """From then on nobody answers claims or takes results; nobody follows the leader."""

        def die() -> None:
            self.leaderless_s = self.now_s
            self.by_id[self.leader].alive = False

        self._later(at_s, die)

    def run_until_idle(self) -> float:
        """Seconds from the leader's loss until one of the other sites has an idle slot."""
        self._start()
        while self.first_idle_s is None:
            self.now_s, _, act = heappop(self._events)
            act()
        assert self.leaderless_s is not None
        return self.first_idle_s - self.leaderless_s

    def _start(self) -> None:
        for owner in self.owners:
            self._later(self.random.uniform(0, LOOK_S), lambda owner=owner: self._tick(owner))
        self._beacons()
        self._leader_looks()

    # Delays

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        heappush(self._events, (self.now_s + delay_s, next(self._numbers), act))

    def _way_s(self, site: SiteID) -> float:
        """One way between a site and the leader."""
        return 0.0 if site == self.leader else self.rtt_s / 2

    def _send(self, site: SiteID, act: Callable[[Owner], None]) -> None:
        """Something reaches a site, if it is there."""
        owner = self.by_id[site]

        def arrive() -> None:
            if owner.alive:
                act(owner)

        self._later(self._way_s(site), arrive)

    # The leader

    def _peers(self) -> list[Peer]:
        return [
            Peer(owner.id, "", owner.workers())
            for owner in self.owners
            if self.now_s - self.heard_s[owner.id] < HELLO_S
        ]

    def _beacons(self) -> None:
        if self.leaderless_s is not None:
            return
        for owner in self.owners:
            if owner.alive:
                self.heard_s[owner.id] = self.now_s
        lost = [each for each, at_s in self.heard_s.items() if self.now_s - at_s > self.lost_s]
        if self.book.set_lost(lost):
            self._serve_waiting()
        self._tell_wants()
        self._later(BEACON_S, self._beacons)

    def _tell_wants(self) -> None:
        demands = [
            Demand(
                self.leader, want.dataset, OWNER, (0.0, 0.0), want.shape, want.free, want.movable
            )
            for want in self.book.wants()
        ]
        for owner in self.owners:
            self._send(owner.id, lambda owner: self._hear(owner, demands))

    def _hear(self, owner: Owner, demands: list[Demand]) -> None:
        if any(each.free for each in demands) and not any(each.free for each in owner.demands):
            owner.claiming.news(self.leader, SHAPE)
        owner.demands = demands
        self._look(owner)

    def _claimed(self, owner: Owner, claim: Claim) -> None:
        if self.leaderless_s is not None:
            return
        peer = Peer(owner.id, "", owner.workers())
        decision = self.desk.claim(peer, claim, self._peers(), self.now_s)
        self._ask(decision.asks)
        self._send(owner.id, lambda owner: self._answered(owner, claim, decision))
        self._grant(owner.id, decision.gives)

    def _grant(self, site: SiteID, gives: Sequence[Give]) -> None:
        for give in gives:
            self.grants += 1
            self._send(site, lambda owner, give=give: self._granted(owner, give))

    def _ask(self, asks: Iterable[Ask]) -> None:
        for ask in asks:
            self._send(ask.owner, lambda owner, ask=ask: self._recalled(owner, ask))

    def _serve_waiting(self) -> None:
        served, asks = self.desk.again(self._peers(), self.now_s)
        for site, gives in served:
            self._grant(site, gives)
        self._ask(asks)

    def _leader_looks(self) -> None:
        if self.leaderless_s is not None:
            return
        self._serve_waiting()
        self._later(LOOK_S, self._leader_looks)

    def _released(self, ask: Ask, flat: list[int]) -> None:
        if not flat:
            self.desk.recalling.refused(recall_key(ask), self.now_s)
            return
        self.desk.recalling.arrived(recall_key(ask))
        self.book.released([TASK], flat, ask.owner)
        self._serve_waiting()

    def _accepted(self, job: int) -> None:
        if self.leaderless_s is not None:
            return
        if job in self.settled:
            self.twice += 1
            return
        self.settled.add(job)
        self.book.settled(TASK, [job, job + 1])
        if len(self.settled) == self.jobs:
            self.ended_s = self.now_s

    # Owners

    def _tick(self, owner: Owner) -> None:
        if not owner.alive:
            return
        self._look(owner)
        self._measure(owner)
        self._later(LOOK_S, lambda: self._tick(owner))

    def _look(self, owner: Owner) -> None:
        stock = owner.stock(self.leader)
        for _, claim in owner.claiming.look(self.now_s, owner.workers(), owner.demands, [stock]):
            owner.claims += 1
            self._later(self._way_s(owner.id), lambda claim=claim: self._claimed(owner, claim))

    def _answered(self, owner: Owner, claim: Claim, decision: Decision) -> None:
        if decision.verdict is not Verdict.GRANTED:
            owner.claiming.refused(self.leader, claim, self.now_s, decision.retry_s)

    def _granted(self, owner: Owner, give: Give) -> None:
        owner.held.add_all(give.ranges)
        owner.claiming.arrived(self.leader, SHAPE)
        self._begin(owner)
        self._look(owner)

    def _begin(self, owner: Owner) -> None:
        while owner.held and len(owner.begun) < owner.slots:
            job = owner.held.take(1)[0]
            owner.begun.add(job)
            took_s = owner.unit_s * self.random.uniform(0.8, 1.2)
            self._later(took_s, lambda job=job, took_s=took_s: self._ran(owner, job, took_s))

    def _ran(self, owner: Owner, job: int, took_s: float) -> None:
        if not owner.alive:
            return
        owner.begun.discard(job)
        owner.done += 1
        owner.learnt_s = took_s if owner.learnt_s is None else 0.9 * owner.learnt_s + 0.1 * took_s
        self.book.learn_unit_s(TASK, took_s)
        self._later(self._way_s(owner.id) + ACCEPT_S, lambda: self._accepted(job))
        self._begin(owner)
        if owner.held.count < 2 * owner.slots:
            self._look(owner)
        idle = len(owner.begun) < owner.slots
        if idle and self.leaderless_s is not None and self.first_idle_s is None:
            self.first_idle_s = self.now_s

    def _recalled(self, owner: Owner, ask: Ask) -> None:
        flat = last_of(owner.held, ask.units)
        owner.held.remove_all(flat)
        self._later(self._way_s(owner.id), lambda: self._released(ask, flat))

    # What is measured

    def _measure(self, owner: Owner) -> None:
        """How long a site has been idle beside work that it could have had."""
        idle = len(owner.begun) < owner.slots and self._to_be_had(owner)
        if not idle:
            owner.idle_since_s = None
            return
        if owner.idle_since_s is None:
            owner.idle_since_s = self.now_s
        owner.idle_s = max(owner.idle_s, self.now_s - owner.idle_since_s)

    def _to_be_had(self, owner: Owner) -> bool:
        """Work that nobody owns, or that another would begin only after this site had ended it."""
        if self.book.datasets and self.book.wants() and self.book.wants()[0].free:
            return True
        return any(
            each.alive
            and each is not owner
            and each.held.count / each.speed + each.unit_s
            > owner.unit_s + GAIN_S_MIN + 4 * self.rtt_s
            for each in self.owners
            if each.held.count
        )


def last_of(held: JobRanges, most: int) -> list[int]:
    """The highest so many jobs, flat."""
    flat = held.flat
    left = min(most, size(flat))
    found: list[int] = []
    for lo, hi in zip(flat[-2::-2], flat[::-2], strict=True):
        if left <= 0:
            break
        lo = max(lo, hi - left)
        left -= hi - lo
        found = [lo, hi, *found]
    return found
