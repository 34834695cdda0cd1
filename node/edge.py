"""The API of a site, assembled: services from the parts of the site, routes from the services."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.pulse import Health
from federation.shapes import MIB
from node.config import Config, load
from node.council.founding import Founding
from node.council.service import Council
from node.council.standstills import Standstills
from node.council.tables import FoldedFacts
from node.council.views import Views
from node.home import Home, NodeAddress
from node.http.api import Api
from node.http.auth import Logins
from node.http.gate import EdgeGate
from node.http.mesh import MeshApi
from node.http.pilots import PilotApi, closed
from node.http.router import Router
from node.http.server import Factory, Root
from node.lead import Lead
from node.members import Members
from node.meshing.facts import FactSource, Own
from node.meshing.filenames import OfAttempt
from node.meshing.inquiry import HELD, Inquiry
from node.meshing.roots import Comparison, RootServer
from node.meshing.service import Meshing
from node.opening import Opened
from node.provision import Provision
from node.provisioning.service import BatchSystems
from node.services.admin import AdminOrders
from node.services.blobs import BlobService
from node.services.commands import Commands
from node.services.counting import Counting, elsewhere_of
from node.services.facts import Rate, SiteFacts
from node.services.invitations import Invitations
from node.services.joining import Joiner
from node.services.listings import Listings, OutputLists
from node.services.lookups import OrderLookups, PeopleTable, SubmitLookups
from node.services.members import MemberOrders
from node.services.mesh import MeshViews
from node.services.metrics import Metrics
from node.services.people import People
from node.services.pilotorders import PilotOrders
from node.services.recovery import Recovery, standing_still
from node.services.sitesettings import SiteSettings
from node.services.sitetests import SiteTests
from node.services.siteviews import NoSystems, SiteViews
from node.services.sponsor import Sponsor
from node.services.status import Identity, StatusViews, written_not
from node.services.submit import Shape, Submissions
from node.services.units import Away, UnitViews
from node.services.views import DatasetViews
from node.services.watch import Watch
from node.services.whyfacts import Trouble
from node.sharing import Sharing
from node.store import openwork, tasks
from node.store.backup import Copied, back_up
from node.store.blobs import Blobs
from node.store.highwater import Standing
from node.store.writer import Journal
from node.work import Work
from node.work.tables import FoldedTables

log = Logger()


@dataclass(frozen=True, slots=True)
class Store:
    """The site's memory, open."""

    opened: Opened
    site: SiteID
    journal: Journal
    blobs: Blobs
    conn: apsw.Connection  # reads in the reactor's thread: short questions only
    tables: FoldedTables
    members: Members
    facts: FoldedFacts

    def read(self, fn: Callable[[apsw.Connection], Any]) -> Deferred[Any]:
        """Ask in a reading thread."""
        return self.opened.database.read(fn)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a site is made of, as far as its API needs it."""

    reactor: Any
    home: Home
    config: Config
    address: NodeAddress
    version: str
    store: Store
    meshing: Meshing
    sharing: Sharing
    council: Council
    founding: Founding  # finds a shard for each submission
    need: Callable[[Sequence[OfAttempt]], None]  # told of outputs that were not to be had
    work: Work
    lead: Lead
    provision: Provision
    batch: BatchSystems | None = None
    inquiry: Inquiry | None = None  # while it is not known whether the database is the newest


def serve(parts: Parts, factory: Factory) -> Callable[[], None]:
    """Answer requests from now on. Call the result to let those go that wait."""
    store, work, now_s = parts.store, parts.work, parts.reactor.seconds
    standstills = _standstills(parts)
    watch, rate, facts = Watch(parts.reactor), Rate(now_s), _facts(parts, standstills)
    people = _people(parts)
    for subscriber in (people.changed, watch.changed, rate.changed):
        store.journal.subscribe(subscriber)
    logins = Logins(parts.address.site, people.find, now_s, secrets.token_bytes)
    people.when_gone(logins.forget)
    store.members.subscribe(people.reload)
    counting = Counting(store.site, work, elsewhere_of(parts.sharing.beacons.fresh, store.site))
    sets = DatasetViews(
        store.read, counting, watch, facts, rate, now_s,
        files=parts.sharing.supplies.missing,
        person=lambda key: found.name if (found := people.find(key)) else "",
    )  # fmt: skip
    blobs = BlobService(store.blobs, deferToThread)
    lists = OutputLists(store.blobs, deferToThread)
    meshing = parts.meshing
    units = UnitViews(
        store.read, work, lists, facts, rate, Away(meshing.elsewhere, meshing.bring, parts.need)
    )
    meshing.serve_units(work, units.why_named)
    recovery = _recovery(parts, standstills)
    api = Api(
        logins=logins,
        people=people,
        submissions=_submissions(parts, blobs, facts),
        commands=_commands(parts, people, counting, watch),
        blobs=blobs,
        sets=sets,
        units=units,
        listings=Listings(store.read, work, lists, meshing.bring, parts.need),
        status=_status(parts, people, facts, rate, recovery),
        site=SiteViews(_identity(parts), parts.work, facts, parts.batch or NoSystems()),
        admin=_admin(parts, facts),
        settings=_settings(parts, facts),
        tests=SiteTests(parts.reactor, parts.work, lambda: parts.batch.used if parts.batch else ()),
        pilots=PilotOrders(facts, parts.work, parts.provision, parts.batch),
        recovery=recovery,
        members=(members := _members(parts)),
        joiner=Joiner(parts.config.name, store.journal, store.members, members, meshing.mesh),
        invitations=(
            invitations := Invitations(
                store.conn, store.journal, store.members, people, members.checked
            )
        ),
    )
    sponsor = Sponsor(store.journal, store.members, people, withdrawn=invitations.withdrawn)
    meshing.mesh.serve_strangers(sponsor.answer)
    root = Root()  # type: ignore[no-untyped-call]
    mesh = _mesh(parts, facts, api.status, standstills)
    root.putChild(b"v1", Router([*api.routes(), *mesh.routes()], logins))
    root.putChild(b"metrics", Router(mesh.metrics_routes(), logins))
    pilots = PilotApi(work, store.blobs, deferToThread).routes()
    root.putChild(b"pilot", Router(pilots if parts.inquiry is None else closed(HELD), logins))
    factory.open(root, EdgeGate(logins, work.knows))
    return watch.stop


def _standstills(parts: Parts) -> Standstills:
    """Finds councils without a majority."""
    store, beacons = parts.store, parts.sharing.beacons

    def reached(site: SiteID) -> bool:
        return parts.meshing.linked(site) or beacons.health(site) is not Health.UNREACHABLE

    me = FeedID(store.site, store.opened.generation, Lane.CONTROL)
    views = Views(me, store.facts, store.members)
    return Standstills(views, store.facts, reached, store.members.name_of)


def _facts(parts: Parts, standstills: Standstills) -> SiteFacts:
    def standstill(shard: bytes) -> tuple[str, bool] | None:
        found = standstills.of(ShardID(shard))
        return None if found is None else (standstills.words(found), found.for_good)

    def trouble() -> str:
        both = (parts.provision.trouble, parts.batch.trouble if parts.batch else "")
        return "; ".join(each for each in both if each)

    def troubles() -> dict[str, Trouble]:
        found = parts.batch.troubles if parts.batch else {}
        return {name: Trouble(*each) for name, each in found.items()}

    return SiteFacts(
        parts.config,
        parts.home.path,
        parts.work,
        lambda: parts.provision.starting + (parts.batch.starting if parts.batch else 0),
        trouble,
        parts.store.tables.still_shards,
        standstill,
        batch=lambda: parts.batch.shapes() if parts.batch else [],
        explain=lambda needs: parts.batch.explain(needs) if parts.batch else {},
        barred=lambda: len(parts.batch.hosts()) if parts.batch else 0,
        trouble_here=lambda: parts.provision.trouble,
        troubles=troubles,
        strays=lambda: parts.batch.strays if parts.batch else "",
    )


def _people(parts: Parts) -> People:
    store = parts.store
    others = store.members if parts.config.mesh.users else None
    table = PeopleTable(store.conn, store.site, others)
    return People(store.site, store.journal, table.read, table.seen)


def _members(parts: Parts) -> MemberOrders:
    store = parts.store

    def seen(document: bytes) -> bool:
        return tasks.seen(store.conn, document)

    return MemberOrders(
        parts.config.name, store.conn, store.journal, store.members, seen, parts.meshing
    )


def _mesh(parts: Parts, facts: SiteFacts, status: StatusViews, standstills: Standstills) -> MeshApi:
    store, members, held = parts.store, parts.store.members, _held(parts)

    def own() -> Own:
        told = parts.sharing.own_beacon.now()  # so that all sites show the same of one another
        found = [*filter(None, [held()]), *parts.meshing.care.warnings()]
        troubles = [*found, *written_not(store.journal)]
        return Own(
            parts.version, _kinds(parts), told.active, told.ready, told.pilots, facts.draining,
            troubles, told.workers, told.bans, told.barred,
        )  # fmt: skip

    config = parts.config.mesh
    source = FactSource(
        store.read, members, parts.sharing.beacons, parts.meshing.mesh.links, own,
        lambda: time.time_ns() // 1_000_000, parts.council.standing, config.lost_after_s,
        config.vote_after_s, lambda: parts.meshing.care.twins,
        parts.meshing.mesh.misdeeds, standstills,
    )  # fmt: skip
    RootServer(store.read).serve(parts.meshing.mesh)
    comparison = Comparison(
        parts.reactor,
        parts.meshing.mesh,
        store.read,
        lambda: [site for site in members.members() if site != store.site],
    )
    views = MeshViews(source.facts, comparison.run, members.name_of)
    shown = parts.config.api.metrics
    return MeshApi(views, Metrics(status.status, source.facts, parts.batch) if shown else None)


def _kinds(parts: Parts) -> list[str]:
    """Of batch systems in which this site may have pilots."""
    local = ["local"] if parts.config.local.pilots_max else []
    return [*local, *(parts.batch.kinds if parts.batch else [])]


def _submissions(parts: Parts, blobs: BlobService, facts: SiteFacts) -> Submissions:
    store = parts.store
    return Submissions(
        parts.config.name,
        store.journal,
        parts.founding.shard,
        SubmitLookups(
            store.conn,
            blobs,
            lambda: [*facts.shapes(), *_shapes_elsewhere(parts)],
            store.tables.shards,
            store.tables.still_shards,
        ),
        parts.meshing.stored_on(),
    )


def _shapes_elsewhere(parts: Parts) -> list[Shape]:
    """The workers of the sites that were heard of lately."""
    return [
        Shape(
            beacon.name,
            workers.cpu,
            workers.gpu,
            workers.memory_mib * MIB,
            workers.disk_mib * MIB,
        )
        for beacon in parts.sharing.beacons.fresh()
        for workers in beacon.workers
    ]


def _commands(parts: Parts, people: People, counting: Counting, watch: Watch) -> Commands:
    store = parts.store

    def counts(dataset: int) -> dict[str, int]:
        id_ = openwork.dataset_id(store.conn, dataset) or b""
        return counting.total(id_, tasks.task_counts(store.conn, dataset))

    async def change(dataset: int, timeout_s: float) -> None:
        await watch.change(dataset, timeout_s, lambda gone: None)

    lookups = OrderLookups(
        store.conn, counts, store.tables.shards, store.tables.still_shards, store.members.name_of
    )
    return Commands(store.journal, people.name_of, lookups, change, parts.reactor.seconds)


def _status(
    parts: Parts, people: People, facts: SiteFacts, rate: Rate, recovery: Recovery
) -> StatusViews:
    store, held = parts.store, _held(parts)
    return StatusViews(
        _identity(parts),
        store.read,
        store.journal,
        store.blobs,
        parts.work,
        people,
        facts,
        rate,
        parts.reactor.seconds,
        lambda: [*filter(None, [held()]), *parts.meshing.care.warnings(), *recovery.waiting()],
    )


def _held(parts: Parts) -> Callable[[], str]:
    """Why nothing is written in this life, and what to do; "" if it is."""
    return (lambda: "") if parts.inquiry is None else parts.inquiry.words


def _identity(parts: Parts) -> Identity:
    opened, note = parts.store.opened, ""
    if not opened.doubt and opened.standing in (Standing.RESTORED, Standing.UNBOUND):
        note = f"running on a copy, under generation {opened.generation}: {opened.why}"
    return Identity(
        site=parts.store.site,
        name=parts.config.name,
        version=parts.version,
        api=parts.address.api,
        fingerprint=parts.address.fingerprint,
        generation=opened.generation,
        network_home=opened.database.network or "",
        note=note,
    )


def _admin(parts: Parts, facts: SiteFacts) -> AdminOrders:
    store = parts.store

    def copy(to: Path, keys: bool) -> Deferred[Copied]:
        return deferToThread(
            lambda: back_up(parts.home.path, to, store.site, store.blobs, with_keys=keys)
        )

    def expect(tag: str, token: str, count: int) -> Any:
        return parts.work.arrivals.expect(tag, token, count, "hand")

    return AdminOrders(
        parts.reactor, facts, parts.work, expect, copy, parts.reactor.stop
    )  # fmt: skip


def _settings(parts: Parts, facts: SiteFacts) -> SiteSettings:
    assert parts.batch is not None
    return SiteSettings(lambda: load(parts.home.config), facts, parts.provision, parts.batch)


def _recovery(parts: Parts, standstills: Standstills) -> Recovery:
    store = parts.store
    leader = FeedID(store.site, store.opened.generation, Lane.CONTROL)
    lost = store.opened.highwater.lost
    recovery = Recovery(
        store.conn, leader, store.journal, parts.lead, lost, standstills, parts.inquiry
    )
    if words := standing_still(recovery.still()):
        log.warn("{words}", words=words)
    return recovery
