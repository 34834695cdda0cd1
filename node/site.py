"""One site, assembled: the only place that knows every object. Start, stop, and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from random import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from federation.election import Pace
from federation.ids import FeedID, Lane, ShardID, SiteID
from keys.identity import show
from node import pilotzip
from node.beacon.making import Self
from node.claims.capacity import More
from node.config import LOOPBACK, Config
from node.council.service import Council
from node.council.tables import FoldedFacts
from node.council.views import Views
from node.council.witnesses import witnesses
from node.dispatch import Dispatch
from node.edge import Parts, Store, serve
from node.fold import Fold
from node.home import Home, HomeError, NodeAddress, make_private_folder, write_private
from node.http import tls
from node.http.json import dump
from node.http.server import Factory
from node.lead import Lead
from node.leading.granting import Rules
from node.leading.tables import LedgerTables
from node.members import Members
from node.meshing.inquiry import HELD, Inquiry
from node.meshing.service import Home as MeshHome
from node.meshing.service import Meshing
from node.model.commands import read_command
from node.model.share import Shares
from node.model.validate import read_submission
from node.opening import Opened, first_records, open_home
from node.provision import PilotHome, Provision
from node.provisioning import ports as provisioning
from node.provisioning.service import BatchSystems
from node.provisioning.settings import SystemConfig
from node.provisioning.tools import tools_of
from node.sharing import Around, Inside, Sharing
from node.store import moves, tasks
from node.store import pilots as pilot_rows
from node.store.blobs import Blobs
from node.store.feeds import Feeds
from node.store.writer import Journal, JournalLimits
from node.tending import Own, Tending
from node.work import Work
from node.work.inputs import Inputs
from node.work.tables import FoldedTables
from schedulers.local import Local

log = Logger()
_libc = ctypes.CDLL(None)

TICK_S = 5.0
LOOK_S = 30.0  # between two looks at results that no log has accepted
SHARES_S = 60.0  # usage is read anew so often
# So long results wait for others at most. Who reports one unit at a time waits with them: at the
# journal's own 0.2 s, 200 such pilots together get no further than 1,900 requests a second.
GATHER_S = 0.1
SPOOL = "uploads"  # below the run folder: large bodies on their way


def our_version() -> str:
    try:
        return version("icefloe")
    except PackageNotFoundError:
        return "0"


class Site:
    """A node that runs. `start` and `stop` once each."""

    def __init__(
        self,
        reactor: Any,
        home: Home,
        config: Config,
        again: Callable[[str], None],
        boot: int,
        life: int,
    ) -> None:
        """again: told why when the node has to be started again, as its store is an old copy.

        boot: of the process, greater at each start on whichever machine. life: how often this
        process started the site before.
        """
        self._reactor = reactor
        self._home = home
        self._config = config
        self._again = again
        self._boot = boot + life
        self._life = life
        self._undo: list[Callable[[], Any]] = []  # the last first
        self._provisioning: Provision | None = None
        self._batch: BatchSystems | None = None

    async def start(self) -> NodeAddress:
        """Open the home, bring back what was, listen. On an error everything is undone."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Write what waits and let go of everything; pilots go on."""
        while self._undo:
            try:
                done = self._undo.pop()()
                if isinstance(done, Deferred):
                    await done
            except Exception:
                log.failure("stopping: one part failed; going on with the next")

    async def _start(self) -> NodeAddress:
        opened = open_home(self._home, self._config)
        self._undo.append(opened.database.close)
        store = await self._open_store(opened)
        meshing = self._join_mesh(store)
        self._council = self._sit(store, meshing)
        work = self._make_work(store, meshing)
        if not opened.doubt:
            await self._start_work(store, work)
        self._tending = self._tend(store, meshing)
        port = self._listen(opened)
        address = self._address(opened, _number(port))
        provision = self._provisioning = self._provision(work, address)
        self._batch = self._batch_systems(store, work, address, _number(port))
        inquiry = self._inquire(store, meshing) if opened.doubt else None
        self._serve(store, meshing, work, provision, address, inquiry)
        meshing.start()
        self._undo.append(lambda: Deferred.fromCoroutine(meshing.stop()))
        if inquiry is None:
            self._go_to_work(store, work, provision)
        else:
            inquiry.start()
            self._undo.append(inquiry.stop)
            address = replace(address, note=inquiry.words())
        write_private(self._home.node_json, dump(asdict(address)))
        self._undo.append(partial(self._home.node_json.unlink, missing_ok=True))
        return address

    def _go_to_work(self, store: Store, work: Work, provision: Provision) -> None:
        """Everything that writes records, or has others count on this site."""
        self._council.start()
        self._undo.append(self._council.stop)
        self._sharing.start()
        self._undo.append(self._sharing.stop)
        self._tending.start()
        self._undo.append(self._tending.stop)
        provision.start(pilot_rows.live(store.conn))
        self._undo.append(provision.stop)
        if (batch := self._batch) is not None:
            batch.start()
            self._undo.append(lambda: Deferred.fromCoroutine(batch.stop()))
        self._tick(store, work)

    def _inquire(self, store: Store, meshing: Meshing) -> Inquiry:
        """Asks whether the database is the newest copy; nothing else begins before."""
        me = FeedID(store.site, store.opened.generation, Lane.CONTROL)
        views = Views(me, store.facts, store.members)

        def used(shard: ShardID) -> bool:
            return bool(moves.standing(store.conn, shard, 1))

        return Inquiry(
            self._reactor,
            store.journal,
            store.opened.highwater,
            me,
            store.opened.why,
            meshing.mesh.abreast,
            lambda: witnesses(me, store.members, store.facts, views.view, used),
            lambda: store.site in meshing.care.twins,
            store.members.name_of,
            self._again,
        )

    # The store

    async def _open_store(self, opened: Opened) -> Store:
        site = SiteID(opened.key.site)
        conn = opened.database.reader()
        self._undo.append(conn.close)
        blobs = Blobs(self._home.blobs, quota_bytes=self._config.store.blobs_bytes_max)
        self._undo.append(blobs.close)
        fold = Fold(site, read_submission, read_command)
        journal = Journal(
            self._reactor,
            opened.database,
            opened.key,
            opened.generation,
            fold,
            opened.highwater,
            bounds=JournalLimits(
                gather_s=GATHER_S, free_bytes_min=self._config.store.free_bytes_min
            ),
            held=HELD if opened.doubt else "",
        )
        journal.on_outlived(self._again)
        self._undo.append(journal.close)  # before what its last changes are read with
        tables = FoldedTables(conn, site, opened.generation, tasks.spec)
        if not (tables.shards() or opened.doubt):
            for record in first_records(
                self._home, site, self._config.name, our_version(), secrets.token_bytes,
                enrolled=any(person.site == site for person in tasks.people(conn)),
            ):  # fmt: skip
                await journal.control(record)
        members = Members(conn, site)
        journal.subscribe(members.changed)
        facts = FoldedFacts(conn, site, fold.acts())
        return Store(opened, site, journal, blobs, conn, tables, members, facts)

    def _join_mesh(self, store: Store) -> Meshing:
        home = MeshHome(
            reactor=self._reactor,
            key=store.opened.key,
            generation=store.opened.generation,
            journal=store.journal,
            blobs=store.blobs,
            conn=store.conn,
            read=store.read,
            in_thread=deferToThread,
            members=store.members,
            missing=store.facts.missing,
            again=self._again,
            shard=self._shard,
            shared=self._life == 0 or store.opened.continued,
            held=store.opened.doubt,
        )
        return Meshing(home, self._config.mesh, boot=self._boot, version=our_version())

    async def _shard(self) -> ShardID:
        """The shard for a dataset that is submitted, or written again, now."""
        assert self._tending is not None
        return await self._tending.founding.shard()

    def _sit(self, store: Store, meshing: Meshing) -> Council:
        """This site's seats in councils."""
        me = FeedID(store.site, store.opened.generation, Lane.CONTROL)
        return Council(
            self._reactor,
            me,
            store.facts,
            store.journal,
            meshing.mesh,
            store.members,
            Pace(self._config.mesh.vote_after_s),
            SystemRandom(),
        )

    # Work for pilots

    def _make_work(self, store: Store, meshing: Meshing) -> Work:
        shares = Shares()
        shares.refresh(tasks.usage(store.conn, _today()))
        inputs = Inputs(store.blobs, store.read, self._home.run / "inputs", meshing.bring)
        self._inputs = inputs
        work = Work(
            self._reactor,
            store.journal,
            store.tables,
            Dispatch(shares),
            inputs,
            site=store.site,
            site_name=self._config.name,
            copied=bool(store.tables.still_datasets()),
            have_files=meshing.have_files,
        )
        self._sharing = self._share(store, meshing, work)
        self._lead = Lead(
            self._reactor,
            store.site,
            store.journal,
            store.tables,
            store.tables.shards,
            work.busy,
            self._sharing.granting,
        )
        return work

    async def _start_work(self, store: Store, work: Work) -> None:
        lead, sharing = self._lead, self._sharing
        store.journal.subscribe_durable(self._council.arrived)
        store.journal.leader = lead.accept
        for subscriber in (self._inputs.changed, work.changed, lead.changed, sharing.changed):
            store.journal.subscribe(subscriber)
        store.journal.subscribe_durable(sharing.durable)
        await lead.start()
        self._undo.append(lead.stop)
        open_here = [*store.tables.open_datasets(), *store.tables.still_datasets()]
        work.load(dict.fromkeys([*open_here, *store.tables.owned_datasets()]))
        work.restore(store.conn)
        self._undo.append(work.stop)

    def _share(self, store: Store, meshing: Meshing, work: Work) -> Sharing:
        mesh, members = meshing.mesh, store.members
        me = Self(store.site, self._config.name, our_version(), lambda: mesh.boot)
        generation = store.opened.generation
        inside = Inside(
            me=me,
            journal=store.journal,
            conn=store.conn,
            feeds=Feeds(store.conn),
            ledgers=LedgerTables(store.conn, store.site, generation, tasks.spec),
            shards=store.tables.shards,
            work=work,
            more=self._more,
            used=lambda: tasks.usage(store.conn, _today()),
            wall_ms=lambda: time.time_ns() // 1_000_000,
            have_files=lambda no: meshing.have_files(store.tables.known(no)),
            batch=lambda: [] if self._batch is None else self._batch.kinds,
        )
        around = Around(members, mesh, mesh, members.said_name)
        patience_s = self._config.mesh.unreachable_after_s
        return Sharing(self._reactor, inside, around, SystemRandom(), self._rules(), patience_s)

    def _more(self) -> list[More]:
        """Pilots that may be started, on this machine and in batch systems."""
        local: list[More] = [] if self._provisioning is None else [self._provisioning]
        return local if self._batch is None else [*local, *self._batch.more()]

    def _rules(self) -> Rules:
        mesh = self._config.mesh
        return Rules(lost_s=mesh.lost_after_s, asked_s=mesh.hold_s)

    def _tend(self, store: Store, meshing: Meshing) -> Tending:
        own = Own(
            self._reactor, store.site, store.opened.generation, store.journal, store.blobs,
            store.conn, store.facts, store.tables.shards, store.read, deferToThread,
        )  # fmt: skip
        patience_s = self._config.mesh.vote_after_s
        return Tending(own, meshing, self._sharing, self._rules(), patience_s)

    def _provision(self, work: Work, address: NodeAddress) -> Provision:
        program = self._home.pilots / "pilot.pyz"
        write_private(program, pilotzip.build())
        where = PilotHome(
            folder=self._home.pilots,
            program=[sys.executable, str(program)],
            urls=[self._config.api.url or address.api],
            fingerprint=address.fingerprint,
            hide=[str(self._home.path)],
        )
        return Provision(self._reactor, work, Local(), self._config.local, where)

    def _batch_systems(
        self, store: Store, work: Work, address: NodeAddress, port: int
    ) -> BatchSystems:
        around = provisioning.House(
            reactor=self._reactor,
            work=work,
            conn=store.conn,
            program=pilotzip.build(),
            urls=self._config.api.told(port, os.uname().nodename),
            fingerprint=address.fingerprint,
            folder=str(self._home.pilots),
            hide=[str(self._home.path)],
            token=partial(secrets.token_urlsafe, 32),
            name=partial(secrets.token_hex, 6),
            wall_ms=lambda: time.time_ns() // 1_000_000,
        )
        systems = self._config.systems
        run = self._home.run

        def tools(settings: SystemConfig) -> provisioning.Tools:
            return tools_of(self._reactor, settings, run, port, self._config.api.here)

        return BatchSystems(around, systems, tools)

    # The API

    def _listen(self, opened: Opened) -> IListeningPort:
        """Take the port, and answer nothing yet; the last one again where the choice is ours."""
        host, _, text = self._config.api.listen.rpartition(":")
        kept = self._home.run / "port"  # pilots come back to the address that they know
        ports = [int(text)]
        with contextlib.suppress(OSError, ValueError):
            if not ports[0]:
                ports.insert(0, int(kept.read_text()))
        spool = self._home.run / SPOOL
        make_private_folder(spool)
        self._factory = Factory(self._reactor, spool)
        for port in ports:
            try:
                listening = tls.listen(
                    self._reactor, host.strip("[]"), port, opened.certificate, self._factory
                )
            except CannotListenError as error:
                if port == ports[-1]:
                    raise HomeError(tls.no_port(error)) from None
            else:
                self._undo.append(listening.stopListening)
                write_private(kept, b"%d\n" % _number(listening))
                return listening
        raise AssertionError("the last port is taken or raises")

    def _address(self, opened: Opened, port: int) -> NodeAddress:
        host = self._config.api.listen.rpartition(":")[0]
        reached = LOOPBACK.get(host, host)
        return NodeAddress(
            pid=os.getpid(),
            api=f"https://{reached}:{port}",
            fingerprint=opened.certificate.fingerprint,
            site=show(opened.key.site),
            name=self._config.name,
        )

    def _serve(
        self,
        store: Store,
        meshing: Meshing,
        work: Work,
        provision: Provision,
        address: NodeAddress,
        inquiry: Inquiry | None,
    ) -> None:
        parts = Parts(
            reactor=self._reactor,
            home=self._home,
            config=self._config,
            address=address,
            version=our_version(),
            store=store,
            meshing=meshing,
            sharing=self._sharing,
            council=self._council,
            founding=self._tending.founding,
            need=self._tending.needs.tell,
            work=work,
            lead=self._lead,
            provision=provision,
            batch=self._batch,
            inquiry=inquiry,
        )
        self._undo.append(serve(parts, self._factory))

    # What comes round

    def _tick(self, store: Store, work: Work) -> None:
        def refresh_shares() -> None:
            work.dispatch.shares.refresh(tasks.usage(store.conn, _today()))

        rounds = (
            (TICK_S, work.tick),
            (LOOK_S, self._lead.look),
            (SHARES_S, refresh_shares),
            (SHARES_S, _give_back_memory),
        )
        for period_s, act in rounds:
            loop = LoopingCall(_guarded, act)
            loop.clock = self._reactor
            loop.start(period_s, now=False)
            self._undo.append(loop.stop)


def _guarded(act: Callable[[], None]) -> None:
    """One failure must not end a loop for good."""
    try:
        act()
    except Exception:
        log.failure("a regular task failed; it is tried again")


def _give_back_memory() -> None:
    """What a burst took and freed goes back to the system; a few milliseconds at most."""
    with contextlib.suppress(AttributeError):  # only glibc has it
        _libc.malloc_trim(0)


def _number(port: IListeningPort) -> int:
    host: Any = port.getHost()
    return int(host.port)


def _today() -> int:
    return int(time.time()) // 86_400
