"""What this site does about feeds that are not as they should be.

    its own, ahead elsewhere    the store is an old copy: the journal writes no more
    forked                      the proof goes into the log, and to every link
    damaged on disk             the entry is fetched from whoever has it, and put in its place
    two processes, one key      only noted: people must stop one

Source: docs/protocol.md, "Restored copies" and "Forks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.errors import Unreachable
from federation.feed import ForkProof
from federation.ids import FeedID, SiteID
from federation.mesh import Mesh
from node.changes import Change, FeedForked
from node.services.meshwhy import shown_age
from node.store import forks, mending
from node.store.database import StoreError
from node.store.waiting import Statement

log = Logger()

MEND_AGAIN_S: Final = 60.0
TWIN_S: Final = 900.0  # a site that is turned away comes again within five minutes
TWIN: Final = "floe.twin"  # the request that tells the process that has the links

OUTDONE: Final = (
    "another node with this site's key, started later, took the links with other sites: this one"
    " was kept out"
)
OUTDOES: Final = (
    "another node with this site's key, started earlier, wanted the links that this has"
)
STOP_ONE: Final = "Stop one of the two, unless that was done since"

Place = tuple[FeedID, int]


class Journal(Protocol):
    """The part of the journal that is told."""

    @property
    def outlived(self) -> str: ...
    def note_fork(self, proof: ForkProof) -> None: ...
    def outlive(self, feed: FeedID, seq: int, why: str = "") -> None: ...
    def local(self, fn: Statement) -> Deferred[None]: ...


class FeedCare:
    """See the module. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        mesh: Mesh,
        journal: Journal,
        conn: apsw.Connection,
        shared: FeedID | None = None,
    ) -> None:
        """conn: reads in the reactor's thread.

        shared: this site's control feed, if another node of the site may write in its generation,
        too: as long as this process did not draw it for having been kept out.
        """
        self._reactor = reactor
        self._mesh = mesh
        self._journal = journal
        self._conn = conn
        self._shared = shared
        self._damaged: dict[Place, None] = {}  # bounded by what the mesh tells
        self._mended = 0  # entries, since this process began
        self._mending: IDelayedCall | None = None
        self._twins: dict[SiteID, float] = {}  # when one was turned away last
        self._kept_out_s = float("-inf")  # when this process was

    def start(self) -> None:
        """Before the first link."""
        self._mesh.on_fork(lambda feed, seq, proof: self._journal.note_fork(proof))
        self._mesh.on_own_ahead(self._ahead)
        self._mesh.on_damaged(self._found_damaged)
        self._mesh.on_twin(self._turned_away)
        self._mesh.serve(TWIN, self._told)
        self._tell_forks()

    def stop(self) -> None:
        if self._mending is not None and self._mending.active():
            self._mending.cancel()

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber: proofs that came with the log go to links, too."""
        if any(isinstance(change, FeedForked) for change in changes):
            self._tell_forks()

    @property
    def twins(self) -> dict[SiteID, float]:
        """Sites, this one maybe, with whose key two processes wanted links; how long ago, in s."""
        now_s = self._reactor.seconds()
        ages = {site: now_s - seen_s for site, seen_s in self._twins.items()}
        return {site: age_s for site, age_s in ages.items() if age_s < TWIN_S}

    def warnings(self) -> list[str]:
        """What people must hear of this site itself."""
        found = [self._journal.outlived] if self._journal.outlived else []
        if self._mesh.me in self.twins:
            kept_out = self._reactor.seconds() < self._kept_out_s + TWIN_S
            when = shown_age(self.twins[self._mesh.me])
            found.append(f"{OUTDONE if kept_out else OUTDOES} ({when} ago). {STOP_ONE}")
        if changed := len(self._damaged) + self._mended:
            found.append(
                f"the disk changed {changed:,} stored {'entry' if changed == 1 else 'entries'}:"
                f" {self._mended:,} fetched again from other sites. Have the disk looked after"
            )
        return found

    # Pieces

    def _tell_forks(self) -> None:
        for proof in forks.proofs(self._conn):
            self._mesh.known_fork(proof)

    def _ahead(self, peer: SiteID, feed: FeedID, seq: int) -> None:
        self._journal.outlive(feed, seq)

    def _turned_away(self, site: SiteID) -> None:
        """Of two processes with a site's key the one started earlier was refused a link."""
        if site == self._mesh.me:
            self._kept_out_s = self._reactor.seconds()
            if self._shared is not None:
                self._journal.outlive(self._shared, 0, f"{OUTDONE}, and may write this generation")
        else:
            told = self._mesh.request(site, TWIN, b"")  # by the link that the other one has
            told.addErrback(lambda failure: log.info("not told: {why}", why=str(failure.value)))
        self._note_twin(site)

    async def _told(self, site: SiteID, body: bytes) -> bytes:
        """A peer turned another process with this site's key away."""
        self._note_twin(self._mesh.me)
        return b""

    def _note_twin(self, site: SiteID) -> None:
        if site not in self.twins:
            log.error("two processes with the key of site {site} want links", site=site.hex()[:8])
        self._twins[site] = self._reactor.seconds()

    # Damaged entries

    def _found_damaged(self, feed: FeedID, seq: int) -> None:
        log.error(
            "the disk changed entry {seq} of a feed of site {site}: it is fetched again",
            seq=seq,
            site=feed.site.hex()[:8],
        )
        self._damaged[feed, seq] = None
        self._mend_in(0.0)

    def _mend_in(self, seconds: float) -> None:
        if self._mending is None:
            self._mending = self._reactor.callLater(seconds, self._begin)

    def _begin(self) -> None:
        done = Deferred.fromCoroutine(self._mend_all())
        done.addErrback(lambda failure: log.failure("mending entries failed", failure))
        done.addCallback(lambda _: self._again())

    def _again(self) -> None:
        self._mending = None
        if self._damaged:
            self._mend_in(MEND_AGAIN_S)

    async def _mend_all(self) -> None:
        for place in list(self._damaged):
            try:
                await self._mend(*place)
            except (Unreachable, StoreError) as error:
                log.warn("entry {seq} is not mended yet: {why}", seq=place[1], why=str(error))

    async def _mend(self, feed: FeedID, seq: int) -> None:
        """Raises Unreachable while nobody gives it, StoreError when it cannot be written."""
        ref = mending.name_of(self._conn, feed, seq)
        if ref is None:
            return  # its neighbour is damaged, too, and comes first
        entry = await self._mesh.entry(ref)
        await self._journal.local(lambda conn: mending.replace(conn, entry))
        self._damaged.pop((feed, seq), None)
        self._mended += 1
        self._mesh.mended(feed, seq)
        log.info("entry {seq} of a feed was put right", seq=seq)
