"""This site's part in its mesh, assembled: links, files, second copies, what others may ask."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Any, Final

import apsw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.ids import DatasetID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.mesh import Mesh
from federation.timing import impatient
from keys.identity import SiteKey
from node.config import MeshConfig
from node.members import Members
from node.meshing import fileserver
from node.meshing.branching import Branching
from node.meshing.copies import Copies
from node.meshing.feedcare import FeedCare
from node.meshing.filenames import OfAttempt, OfDataset
from node.meshing.files import RemoteFiles, Wanted
from node.meshing.fileserver import FileServer
from node.meshing.keeping import Keeper, Storing
from node.meshing.second import keepers
from node.meshing.stored import StoredOn
from node.meshing.units import Elsewhere, UnitName, UnitServer
from node.meshing.units import Work as LocalWork
from node.services.members import announce
from node.services.questions import Reader
from node.store import openwork
from node.store.blobs import Blobs
from node.store.feeds import Feeds
from node.store.writer import Journal
from node.work.ports import Known

log = Logger()

BULK: Final = frozenset({fileserver.KIND, fileserver.KIND_MANY})
InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]


@dataclass(frozen=True, slots=True)
class Home:
    """What this site brings along."""

    reactor: Any
    key: SiteKey
    generation: int
    journal: Journal
    blobs: Blobs
    conn: apsw.Connection  # reads in the reactor's thread: short questions only
    read: Reader
    in_thread: InThread
    members: Members
    missing: Callable[[], Sequence[EntryRef]]  # entries for which logs wait
    again: Callable[[str], None]  # starts the node again, with the reason
    shard: Callable[[], Awaitable[ShardID]]  # for what is submitted here now
    shared: bool  # another node of this site may write in the generation, for all that is known
    held: bool = False  # nothing of this site is written in this life

    @property
    def site(self) -> SiteID:
        return SiteID(self.key.site)


class Meshing:
    """See the module. All methods run in the reactor's thread."""

    def __init__(
        self,
        home: Home,
        config: MeshConfig,
        *,
        boot: int,
        version: str,
        random: Random | None = None,
    ) -> None:
        """boot: greater at each start of this site's process. random: for jitter."""
        self._home = home
        self._config = config
        self.members = home.members
        self.mesh = Mesh(
            home.reactor, home.key, Feeds(home.conn), home.journal, home.members,
            random or SystemRandom(),
            boot=boot, version=version, bulk_kinds=BULK,
            timing=impatient(config.unreachable_after_s),
        )  # fmt: skip
        self.mesh.writing = home.generation
        self.files = RemoteFiles(self.mesh, home.blobs, home.in_thread, home.members.name_of)
        self.elsewhere = Elsewhere(self.mesh, home.site, home.read)
        me = FeedID(home.site, home.generation, Lane.CONTROL)
        self.care = FeedCare(
            home.reactor, self.mesh, home.journal, home.conn, me if home.shared else None
        )
        self._branching = Branching(
            home.reactor, self.mesh, home.journal, home.conn,
            me, home.missing, home.again, home.shard,
        )  # fmt: skip
        self._storing = Storing(home.reactor, self.mesh)
        self._keeper = Keeper(home.reactor, home.read, self.files)
        self._copies = Copies(
            home.reactor, home.site, home.journal, home.read, home.blobs, self.files,
            home.in_thread, self.reachable,
        )  # fmt: skip
        self._whole: set[int] = set()  # datasets all of whose files are here

    def start(self) -> None:
        """Dial the other members, and let them dial this site. Raises CannotListenError."""
        FileServer(self._home.read, self._home.blobs, self._home.in_thread).serve(self.mesh)
        self._keeper.serve(self.mesh)
        journal = self._home.journal
        journal.subscribe(self._keeper.changed)
        journal.subscribe(self.care.changed)
        journal.subscribe_durable(self.mesh.durable)
        if len(self.members.members()) > 1 or self.members.addresses(self._home.site):
            self.listen()
            if not self._home.held:
                self._announce()
        self.care.start()
        if not self._home.held:
            journal.subscribe_durable(self._copies.arrived)
            self._branching.start()
        self.mesh.start()
        if not self._home.held:
            self._copies.start()

    def listen(self) -> None:
        """Let others dial this site; a site that is alone does so when it first invites one.

        Raises CannotListenError.
        """
        if self._config.dial_only or self.mesh.port:
            return
        host, _, port = self._config.listen.rpartition(":")
        self.mesh.listen(host.strip("[]"), int(port))

    def port(self) -> int:
        """Where other sites dial this one; 0 for one that listens to nobody."""
        return self.mesh.port

    def told(self) -> Sequence[str]:
        """Addresses that the settings tell others."""
        return self._config.told(self.mesh.port, os.uname().nodename) if self.mesh.port else ()

    def linked(self, site: SiteID) -> bool:
        """Whether a link with a site is up."""
        return site in self.mesh.exchange.hub.sessions

    async def stop(self) -> None:
        self._copies.stop()
        self.care.stop()
        self._branching.stop()
        await self.mesh.stop()

    def serve_units(
        self, work: LocalWork, why: Callable[[UnitName], Awaitable[dict[str, Any]]]
    ) -> None:
        """Let others ask about units that are out here."""
        UnitServer(self._home.read, work, why).serve(self.mesh)

    def stored_on(self) -> StoredOn:
        """Has other sites keep what is submitted here."""
        return StoredOn(
            self._home.site, self.members, self._council, self._storing, self.members.name_of
        )

    async def keep(
        self, dataset: DatasetID, sites: Sequence[SiteID], wanted: int, timeout_s: float
    ) -> Sequence[SiteID]:
        """Have sites keep a dataset with its files: those that do, once there are so many or the
        time is over."""
        return await self._storing.keep(dataset, sites, wanted, timeout_s)

    def reachable(self) -> list[SiteID]:
        """The members with which a link is up, and this site."""
        return [self._home.site, *self.mesh.exchange.hub.sessions]

    # Files of other sites

    async def bring(self, wanted: Sequence[Wanted]) -> Mapping[bytes, str]:
        """Have files here that other sites keep: those that made them, or hold second copies."""
        return await self.files.bring(
            Wanted(each.digest, each.name, self._keepers(each)) for each in wanted
        )

    def _keepers(self, wanted: Wanted) -> list[SiteID]:
        """The other sites that may have a file, the likeliest first."""
        sites = list(wanted.sites)
        if isinstance(wanted.name, OfAttempt):
            entry = wanted.name.entry
            sites += keepers(entry.id, entry.feed.site, self.members.members())
        return [site for site in dict.fromkeys(sites) if site != self._home.site]

    async def have_files(self, known: Known) -> str:
        """Have the files here that came with a dataset; why not, or ""."""
        if known.no in self._whole:
            return ""
        spec = known.spec
        digests = [file.digest for file in spec.files]
        if spec.foreach is not None:
            digests.append(spec.foreach.digest)
        if digests:
            sites = await self._home.read(lambda conn: openwork.council_of(conn, known.no))
            name = OfDataset(DatasetID(spec.id))
            sites = [*sites, *self.members.members()]
            others = [site for site in dict.fromkeys(sites) if site != self._home.site]
            failed = await self.files.bring(Wanted(each, name, others) for each in digests)
            for why in failed.values():
                return why
        self._whole.add(known.no)
        return ""

    # Pieces

    def _announce(self) -> None:
        """Say where this site can be dialled, where the settings say otherwise than its feed."""
        said = Deferred.fromCoroutine(announce(self._home.journal, self.members, self.told()))
        said.addErrback(lambda failure: log.failure("mesh: addresses were not told", failure))

    def _council(self, shard: ShardID) -> Sequence[SiteID]:
        return openwork.council(self._home.conn, shard)
