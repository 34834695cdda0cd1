"""How this site shares work out with its mesh, assembled: claims, grants, releases, beacons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from federation import beacon
from federation.asking import Asking
from federation.entry import Entry
from federation.ids import ShardID, SiteID
from federation.ports import FeedStore, Floods, Members, Requests
from federation.pulse import UNREACHABLE_S
from node.beacon.keeper import Beacons
from node.beacon.making import BeaconMaker, OwnBeacon, Self
from node.beacon.sites import KnownSites
from node.changes import Change, DatasetAdded, DatasetChanged, TermOpened, UnitsReleased
from node.claims.capacity import Capacity, More
from node.claims.claimer import Claimer
from node.claims.here import Here
from node.claims.policy import Claiming
from node.claims.releasing import Releasing
from node.fold.documents import Documents, signer
from node.leading.granting import Granting, Rules, Used
from node.leading.offers import Offers
from node.leading.questions import Questions
from node.leading.supplies import HaveFiles, Supplied, Supplies, nothing_missing
from node.leading.tables import LedgerTables, OfferTables
from node.model.commands import read_command
from node.model.validate import read_submission
from node.store import openwork
from node.store.writer import Journal
from node.work import Work

log = Logger()

LOOK_S: Final = 2.0  # between two looks at what is low, lost, or waits
NEWS = DatasetAdded | DatasetChanged | TermOpened | UnitsReleased  # may bring work for others
OFFERS_S: Final = 30.0  # at offers that no entry brought just now, as after taking a shard over


@dataclass(frozen=True, slots=True)
class Around:
    """What the mesh gives: who belongs to it, and how to reach them."""

    members: Members
    requests: Requests
    floods: Floods
    name_of: Callable[[SiteID], str]  # a site's name by its own record


@dataclass(frozen=True, slots=True)
class Inside:
    """The parts of this site that are looked at."""

    me: Self
    journal: Journal
    conn: apsw.Connection  # reads in the reactor's thread: short questions only
    feeds: FeedStore
    ledgers: LedgerTables
    shards: Callable[[], Sequence[ShardID]]  # that this site leads
    work: Work
    more: Callable[[], Iterable[More]]  # whatever starts pilots
    used: Used
    wall_ms: Callable[[], int]
    documents: Documents = field(
        default_factory=lambda: Documents(read_submission, read_command, signer)
    )
    have_files: HaveFiles = nothing_missing
    batch: Callable[[], Sequence[str]] = tuple  # kinds of batch systems


class Sharing:
    """Make it before the leader's pen, which needs `granting`; start it when the mesh runs."""

    def __init__(
        self,
        reactor: IReactorTime,
        inside: Inside,
        around: Around,
        random: Random,
        rules: Rules | None = None,
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        """unreachable_s: so long a site may be silent before nobody asks it for anything."""
        rules = rules or Rules()
        self.drained = self._drained(inside.work)
        self.beacons = Beacons(reactor, unreachable_s)
        self._reactor = reactor
        self._around = around
        self._loops: list[LoopingCall] = []
        me, work = inside.me, inside.work
        questions = Questions(me.site, around.requests)
        capacity = Capacity(work.sessions, inside.more)
        self.sites = KnownSites(
            reactor, me.site, around.members, self.beacons, around.name_of,
            capacity.workers, self._drained(work),
        )  # fmt: skip
        self.supplies = Supplies(reactor, inside.have_files, self._files_came)
        self.granting = Granting(
            reactor, me.site, inside.journal, Supplied(inside.ledgers, self.supplies),
            inside.shards, self.sites, questions, inside.used, random, rules,
        )  # fmt: skip
        self.offers = Offers(
            reactor, me.site, inside.journal, OfferTables(inside.conn, inside.documents),
            inside.shards,
        )  # fmt: skip
        self._here = here = Here(
            inside.conn, me.site, inside.feeds, work.dispatch, capacity, self.beacons,
            self.granting.wants,
        )  # fmt: skip
        self.claimer = Claimer(
            reactor, me.site, Claiming(Asking(random), rules.asked_s), here, questions,
            lambda: self.granting.active and not work.leases.draining,
        )  # fmt: skip
        self.releasing = Releasing(
            reactor, inside.journal, work.dispatch.ready, here, capacity.workers, questions,
            self._drained(work), self.sites.alone,
        )  # fmt: skip
        maker = BeaconMaker(
            me, lambda: inside.journal.heads, self._drained(work), inside.wall_ms, capacity,
            work.sessions, work.dispatch.ready, self.granting.wants,
            lambda no: openwork.dataset_id(inside.conn, no), inside.batch,
            lambda: work.leases.hosts.banned(reactor.seconds()),
        )  # fmt: skip
        self.own_beacon = OwnBeacon(reactor, maker, around.floods, unreachable_s)

    @staticmethod
    def _drained(work: Work) -> Callable[[], bool]:
        return lambda: work.leases.draining

    def start(self) -> None:
        """Hear beacons, send ours, look around from now on."""
        self._around.floods.on_flood(beacon.KIND, self._heard)
        self.beacons.subscribe(self.claimer.heard)
        self._around.members.subscribe(self._members_changed)
        self._every(self.own_beacon.send_s, self.own_beacon.tick)
        self._every(LOOK_S, self.look)
        self._every(OFFERS_S, self.offers.look)

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        self.own_beacon.stop()
        self.claimer.stop()
        self.granting.stop()
        self.supplies.stop()
        self.offers.stop()

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber; after the one of the work service, which loads datasets."""
        self._here.changed(changes)
        self.granting.changed(changes)
        self.claimer.changed(changes)
        if any(isinstance(change, NEWS) for change in changes):
            self.own_beacon.soon()

    def durable(self, entries: Sequence[Entry]) -> None:
        """Entries, own or of others, are durable: words of their authors, maybe offers."""
        self.sites.heard_entries(entries)
        self.offers.durable(entries)

    def look(self) -> None:
        """What comes round."""
        self.granting.tick()
        self.claimer.look()
        done = Deferred.fromCoroutine(self.releasing.tick())
        done.addErrback(lambda failure: log.failure("sharing: a release failed", failure))

    def _files_came(self, dataset: int) -> None:
        self.granting.changed([DatasetChanged(dataset, "files")])

    def _heard(self, origin: SiteID, document: bytes) -> None:
        if self._around.members.is_member(origin):
            self.beacons.hear(origin, document)

    def _members_changed(self) -> None:
        self.beacons.keep(self._around.members.members())
        self.granting.tick()

    def _every(self, period_s: float, act: Callable[[], None]) -> None:
        loop = LoopingCall(_guarded, act)
        clock: Any = self._reactor
        loop.clock = clock
        loop.start(period_s)
        self._loops.append(loop)


def _guarded(act: Callable[[], None]) -> None:
    """One failure must not end a loop for good."""
    try:
        act()
    except Exception:
        log.failure("sharing: a regular look failed; it is tried again")
