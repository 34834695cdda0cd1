"""Second copies: outputs without a URL are kept at two sites, so that one may be lost.

Of each results entry of another site, one of the others brings the outputs and says so in a
`holds` record. This service walks the feeds behind their tips, remembers how far it came, and
tries again later where the site that made them is away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.entry import Entry
from federation.errors import LocalError
from federation.ids import FeedID, Lane, SiteID
from federation.records import Holds, Record
from node.meshing.files import RemoteFiles
from node.meshing.outputs import Blobs, Outputs
from node.meshing.second import Made, made_in, second_site
from node.services.questions import Reader
from node.store import copied
from node.store.feeds import Feeds

_log = Logger()

GATHER_S: Final = 0.5  # what is lost before it was copied runs again: entries wait for few others
AGAIN_S: Final = 60.0
ENTRIES_AT_ONCE: Final = 16

Statement = Callable[[apsw.Connection], None]


class Journal(Protocol):
    """The part of the journal that is written to."""

    def results(self, record: Record, local: Statement | None = None) -> Deferred[None]: ...
    def local(self, fn: Statement, *, in_order: bool = False) -> Deferred[None]: ...


class Copies:
    """Brings second copies. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        journal: Journal,
        read: Reader,
        blobs: Blobs,
        files: RemoteFiles,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        alive: Callable[[], Sequence[SiteID]],
    ) -> None:
        """alive: the members that are reachable now, this site included."""
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._read = read
        self._outputs = Outputs(blobs, files, in_thread)
        self._alive = alive
        self._timer: IDelayedCall | None = None
        self._working = False
        self._stopped = False

    def start(self) -> None:
        """Go on where the last process stopped."""
        self._set_timer(GATHER_S)

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def arrived(self, entries: Sequence[Entry]) -> None:
        """Entries have become durable here."""
        if any(e.header.lane is Lane.RESULTS and e.header.site != self._site for e in entries):
            self._set_timer(GATHER_S)

    def _set_timer(self, delay_s: float) -> None:
        if self._stopped or self._working or (self._timer is not None and self._timer.active()):
            return
        self._timer = self._reactor.callLater(delay_s, self._begin)

    def _begin(self) -> None:
        self._working = True
        done = Deferred.fromCoroutine(self._work())
        done.addErrback(lambda failure: self._failed(failure))

    def _failed(self, failure: Any) -> None:
        _log.failure("copies: looking for outputs to keep failed; it is tried again", failure)
        self._working = False
        self._set_timer(AGAIN_S)

    async def _work(self) -> None:
        """Look through every feed that has gone on."""
        behind: list[tuple[FeedID, int]] = await self._read(
            lambda conn: copied.behind(conn, self._site)
        )
        later = False
        for feed, through in behind:
            later |= not await self._follow(feed, through)
        self._working = False
        if later:
            self._set_timer(AGAIN_S)

    async def _follow(self, feed: FeedID, through: int) -> bool:
        """Look through one feed up to its tip; False to go on later."""
        while not self._stopped:
            entries: list[Entry] = await self._read(partial(_entries, feed=feed, after=through))
            if not entries:
                return True
            for entry in entries:
                if not await self._keep(entry):
                    return False
                through = entry.header.seq
        return True

    async def _keep(self, entry: Entry) -> bool:
        """Bring what an entry tells of if that is our part; False to try again later."""
        note = partial(copied.set_through, feed=entry.header.feed, through=entry.header.seq)
        ours = second_site(entry.id, entry.header.site, self._alive()) == self._site
        made = _made(entry) if ours else []
        held: list[Holds] = []
        for each in made:
            kept = await self._outputs.hold(entry.ref, each, [SiteID(entry.header.site)])
            if kept is None:
                return False
            held += kept
        for record in held:
            await self._journal.results(record)
        await self._journal.local(note)
        return True


def _entries(conn: apsw.Connection, feed: FeedID, after: int) -> list[Entry]:
    return Feeds(conn).entries(feed, after, ENTRIES_AT_ONCE)


def _made(entry: Entry) -> list[Made]:
    try:
        return list(made_in(entry))
    except LocalError:
        return []  # its body was dropped: nothing of it is needed any more
