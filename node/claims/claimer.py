"""Claims of this site: sent to leaders that want units run, when work here runs low."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import claims
from federation.beacon import Beacon, Want
from federation.claims import Claim, Verdict
from federation.ids import EntryRef, SiteID
from federation.ports import Requests
from federation.shapes import Shape, Workers
from node.changes import Change, UnitsGranted
from node.claims.policy import Claiming, Demand, Owner, Stock
from node.looks import Soon

_log = Logger()

SOON_S: Final = 0.5  # in which reasons to look again gather

Key = tuple[SiteID, Shape]


class Here(Protocol):
    """What this site has, and what it knows of other sites' work."""

    def workers(self) -> Sequence[Workers]: ...
    def stocks(self) -> Sequence[Stock]: ...
    def own_wants(self) -> Sequence[Want]:
        """Of the shards that this site leads."""

    def beacons(self) -> Iterable[Beacon]:
        """Of members that were heard of lately."""

    def owner(self, dataset: bytes) -> tuple[Owner, tuple[float, float]]:
        """Whose dataset a label names, and their standing; the lower, the needier."""

    def shapes(self, tasks: Sequence[int]) -> set[Shape]:
        """Of tasks that are known here, by local number."""

    def leader(self, dataset: int) -> SiteID | None:
        """Of a dataset's shard."""

    def holds(self, entry: EntryRef) -> bool:
        """Whether an entry is stored and folded here."""


class Claimer:
    """Sends what `Claiming` decides. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        claiming: Claiming,
        here: Here,
        requests: Requests,
        may_claim: Callable[[], bool],
    ) -> None:
        """requests: reach this site itself, too. may_claim: not while drained, or alone."""
        self._reactor = reactor
        self._site = site
        self._claiming = claiming
        self._here = here
        self._requests = requests
        self._may_claim = may_claim
        self._coming: dict[Key, Sequence[EntryRef]] = {}  # entries that hold grants to us
        self._wanting: dict[SiteID, set[Shape]] = {}  # shapes of which a leader has free units
        self._next = Soon(reactor, self.look)

    def stop(self) -> None:
        self._next.stop()

    def soon(self) -> None:
        """Something may have run low, or become available."""
        self._next.within(SOON_S)

    def look(self) -> None:
        """Call every few seconds too: claim what is low."""
        if self._next.stopped or not self._may_claim():
            return
        self._arrivals()
        demands = self._demands()
        stocks = self._here.stocks()
        now_s = self._reactor.seconds()
        for leader, claim in self._claiming.look(now_s, self._here.workers(), demands, stocks):
            done = Deferred.fromCoroutine(self._claim(leader, claim))
            done.addErrback(lambda failure: _log.failure("claims: a claim failed", failure))

    def heard(self, beacon: Beacon) -> None:
        """A beacon came: what its site had not before can be claimed at once."""
        self._told(beacon.site, beacon.wants)
        self.soon()

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber."""
        for change in changes:
            if isinstance(change, UnitsGranted) and change.to == self._site:
                leader = self._here.leader(change.dataset)
                for shape in self._here.shapes(change.tasks) if leader else ():
                    self._came(leader, shape)
        self.soon()

    def _came(self, leader: SiteID | None, shape: Shape) -> None:
        if leader is not None and all(map(self._here.holds, self._coming.get((leader, shape), ()))):
            self._coming.pop((leader, shape), None)
            self._claiming.arrived(leader, shape)

    def _arrivals(self) -> None:
        for leader, shape in list(self._coming):
            self._came(leader, shape)

    def _told(self, leader: SiteID, wants: Sequence[Want]) -> None:
        free = {want.shape for want in wants if want.free}
        for shape in free - self._wanting.get(leader, set()):
            self._claiming.news(leader, shape)
        self._wanting[leader] = free

    def _demands(self) -> list[Demand]:
        own = self._here.own_wants()
        self._told(self._site, own)
        by_leader = [(self._site, own)]
        by_leader += [(beacon.site, beacon.wants) for beacon in self._here.beacons()]
        return [
            Demand(leader, want.dataset, *self._here.owner(want.dataset), want.shape, *_units(want))
            for leader, wants in by_leader
            for want in wants
        ]

    async def _claim(self, leader: SiteID, claim: Claim) -> None:
        try:
            body = await self._requests.request(leader, claims.CLAIM, claims.write_claim(claim))
            answer = claims.read_answer(body)
        except Exception as error:
            self._claiming.failed(leader, claim, self._reactor.seconds())
            _log.info("claims: no answer of {site}: {why}", site=leader.hex()[:8], why=str(error))
            return
        now_s = self._reactor.seconds()
        if answer.verdict is not Verdict.GRANTED:
            self._claiming.refused(leader, claim, now_s, answer.retry_s)
            return
        self._claiming.granted(leader, claim, now_s)
        self._coming[leader, claim.shape] = answer.entries
        self._came(leader, claim.shape)


def _units(want: Want) -> tuple[int, int]:
    return want.free, want.movable
