"""`stored on k sites`: who holds a dataset's record and every file that came with it, on disk.

The node that took a submission asks others to keep it. A site that answers has the record folded,
so its entry is durable there, and has brought the files: the dataset survives the loss of all
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation.errors import RemoteRefused, Unreachable
from federation.ids import DatasetID, SiteID
from federation.ports import Requests
from keys.signing import DIGEST_BYTES
from node.changes import Change, DatasetAdded
from node.meshing.filenames import OfDataset
from node.meshing.files import RemoteFiles, Wanted
from node.services.questions import Reader
from node.store import tasks

_log = Logger()

KEEP: Final = "keep"
RECORD_S_MAX: Final = 10.0  # so long a keeper waits for the record, which travels by itself
WAITING_MAX: Final = 1024
AGAIN_S: Final = 1.0  # between two questions to a site that could not be asked


def dataset_files(conn: apsw.Connection, dataset: DatasetID) -> list[bytes] | None:
    """Digests of what came with a dataset; None if it is not known here."""
    no = tasks.number(conn, dataset)
    if no is None:
        return None
    spec = tasks.spec(conn, no)
    table = [] if spec.foreach is None else [spec.foreach.digest]
    return [*(file.digest for file in spec.files), *table]


class Keeper:
    """Keeps what other sites ask for."""

    def __init__(self, reactor: IReactorTime, read: Reader, files: RemoteFiles) -> None:
        self._reactor = reactor
        self._read = read
        self._files = files
        self._waiting: list[Deferred[None]] = []

    def serve(self, requests: Requests) -> None:
        """Answer from now on."""
        requests.serve(KEEP, self.keep)

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber."""
        if self._waiting and any(isinstance(change, DatasetAdded) for change in changes):
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    async def keep(self, asking: SiteID, body: bytes) -> bytes:
        """Answers, with nothing, once the dataset and its files are here. Raises RemoteRefused."""
        if len(body) != DIGEST_BYTES:
            raise RemoteRefused("a dataset has an id of 32 bytes")
        dataset = DatasetID(body)
        digests = await self._known(dataset)
        name = OfDataset(dataset)
        failed = await self._files.bring(Wanted(each, name, [asking]) for each in digests)
        for why in failed.values():
            raise RemoteRefused(why)
        return b""

    async def _known(self, dataset: DatasetID) -> list[bytes]:
        until_s = self._reactor.seconds() + RECORD_S_MAX
        while True:
            news: Deferred[None] = Deferred()  # listen before asking, so that nothing falls between
            self._waiting.append(news)
            found: list[bytes] | None = await self._read(lambda conn: dataset_files(conn, dataset))
            left_s = until_s - self._reactor.seconds()
            if found is not None or left_s <= 0 or len(self._waiting) > WAITING_MAX:
                if news in self._waiting:
                    self._waiting.remove(news)
                if found is None:
                    raise RemoteRefused("its record has not come here yet")
                return found
            late = self._reactor.callLater(left_s, self._give_up, news)
            await news
            if late.active():
                late.cancel()

    def _give_up(self, news: Deferred[None]) -> None:
        if news in self._waiting:
            self._waiting.remove(news)
            news.callback(None)


class Storing:
    """Asks other sites to keep a dataset that was submitted here."""

    def __init__(self, reactor: IReactorTime, requests: Requests) -> None:
        self._reactor = reactor
        self._requests = requests

    async def keep(
        self,
        dataset: DatasetID,
        sites: Iterable[SiteID],
        wanted: int,
        timeout_s: float,
        heard: Callable[[SiteID], None] = lambda site: None,
    ) -> list[SiteID]:
        """The sites that keep it, once `wanted` do or the time is over; all were asked at once."""
        kept: list[SiteID] = []
        enough: Deferred[None] = Deferred()
        asked = list(dict.fromkeys(sites))
        if not asked or wanted <= 0:
            return kept
        late = self._reactor.callLater(timeout_s, _fire, enough)
        until_s = self._reactor.seconds() + timeout_s

        async def ask(site: SiteID) -> None:
            while self._reactor.seconds() < until_s:
                try:
                    await self._requests.request(site, KEEP, dataset)
                except (Unreachable, RemoteRefused):
                    await self._sleep(AGAIN_S)
                    continue
                kept.append(site)
                heard(site)
                if len(kept) >= min(wanted, len(asked)):
                    _fire(enough)
                return

        running = [Deferred.fromCoroutine(ask(site)) for site in asked]
        await enough
        if late.active():
            late.cancel()
        for each in running:  # whoever is asked already may still keep it; nobody waits for that
            each.addErrback(lambda failure: _log.failure("keeping: a question failed", failure))
        return list(kept)

    def _sleep(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, done.callback, None)
        return done


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
