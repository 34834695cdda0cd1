"""Units that this site gives back: on a leader's recall, when drained, when they fit no worker.

A release binds this site at once: the units leave dispatch before the record is written. The leader
grants them again when it holds the record; while it does not, the record is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from twisted.internet.defer import DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import claims, limits
from federation.claims import Recalled
from federation.errors import PeerError, RemoteRefused
from federation.ids import DatasetID, ShardID, SiteID
from federation.ports import Requests
from federation.records import Release
from federation.shapes import Workers
from node.claims.picking import Back, all_unbegun, for_another, misfits
from node.ports import Control
from node.ranges import Flat, JobRanges, size
from node.ready import Ready

_log = Logger()

AGAIN_S_MIN: Final = 600.0  # until a release that nobody answered is written again,
AGAIN_S_MAX: Final = 6 * 3600.0  # and ever later
MISFIT_S: Final = 600.0  # how long units may wait for a worker on which they fit

RECALLED: Final = "recalled"
DRAINED: Final = "drained"
MISFIT: Final = "fits no worker here"
AGAIN: Final = "released before"


class Places(Protocol):
    """Where datasets stand."""

    def place(self, dataset: int) -> tuple[DatasetID, ShardID, SiteID] | None:
        """Id, shard and leader of a dataset; None when nobody leads it."""

    def number(self, dataset: DatasetID, shard: ShardID) -> int | None:
        """Local number of a dataset of a shard."""

    def released(self) -> Mapping[int, Flat]:
        """By task, what this site gave back and nobody was granted since."""


class Releasing:
    """Gives units back. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        journal: Control,
        ready: Ready,
        places: Places,
        workers: Callable[[], Sequence[Workers]],
        requests: Requests,
        drained: Callable[[], bool],
        alone: Callable[[], bool],
    ) -> None:
        """alone: there is nobody else to run anything."""
        self._reactor = reactor
        self._journal = journal
        self._ready = ready
        self._places = places
        self._workers = workers
        self._drained = drained
        self._alone = alone
        self._misfit_s: dict[int, float] = {}  # by dataset: since when something fits no worker
        self._unanswered: Mapping[int, Flat] = {}
        self._again_s = AGAIN_S_MIN
        self._asked_s = reactor.seconds()
        self._ticking = False
        requests.serve(claims.RECALL, self.recall)

    async def recall(self, asking: SiteID, body: bytes) -> bytes:
        """Handle a leader's request. Raises RemoteRefused."""
        try:
            recall = claims.read_recall(body)
        except PeerError as error:
            raise RemoteRefused(f"not a recall: {error}") from None
        no = self._places.number(recall.dataset, recall.shard)
        place = None if no is None else self._places.place(no)
        if no is None or place is None or place[1:] != (recall.shard, asking):
            raise RemoteRefused("only the leader of a dataset's shard recalls units of it")
        state = self._ready.datasets.get(no)
        backs = (
            [] if state is None else for_another(state, recall.task, recall.beside, recall.units)
        )
        if not await self._release(backs, RECALLED):
            raise RemoteRefused("the release could not be written")
        units = sum(size(back.ranges) for back in backs if recall.task in back.tasks)
        return claims.write_recalled(Recalled(units))

    async def tick(self) -> None:
        """Call every few seconds. Does nothing while an earlier call waits for the disk."""
        if self._alone() or self._ticking:
            return
        self._ticking = True
        try:
            await self._tick()
        finally:
            self._ticking = False

    async def _tick(self) -> None:
        if self._drained():
            for state in list(self._ready.datasets.values()):
                await self._release(all_unbegun(state), DRAINED)
        else:
            await self._release_misfits()
        await self._say_again()

    async def _release_misfits(self) -> None:
        now_s, workers = self._reactor.seconds(), self._workers()
        found = [no for no in self._ready.datasets if self._misfits(no, workers)]
        self._misfit_s = {no: self._misfit_s.get(no, now_s) for no in found}
        for no in found:
            if now_s - self._misfit_s[no] >= MISFIT_S:
                del self._misfit_s[no]
                await self._release(self._misfits(no, self._workers()), MISFIT)  # as of now

    def _misfits(self, dataset: int, workers: Sequence[Workers]) -> Sequence[Back]:
        state = self._ready.datasets.get(dataset)
        return misfits(state, workers) if state is not None and state.ready else ()

    async def _say_again(self) -> None:
        """Releases that the leader has not answered may have reached it before their grant."""
        now_s = self._reactor.seconds()
        if now_s - self._asked_s < self._again_s:
            return
        self._asked_s = now_s
        before, self._unanswered = self._unanswered, self._places.released()
        left = _common(before, self._unanswered)
        self._again_s = min(self._again_s * 2, AGAIN_S_MAX) if left else AGAIN_S_MIN
        for task, flat in left.items():
            no, index = divmod(task, limits.TASKS_MAX)
            await self._write([Back(no, [index], flat)], AGAIN)

    async def _release(self, backs: Sequence[Back], why: str) -> bool:
        """Give units back; False if that could not be written: then they stay."""
        if any(self._places.place(back.dataset) is None for back in backs):
            return False  # nobody leads the log that would have to name another owner
        for back in backs:
            self._ready.release(_tasks(back), back.ranges)
        if await self._write(backs, why):
            return True
        for back in backs:
            self._ready.grant(_tasks(back), back.ranges)
        return False

    async def _write(self, backs: Iterable[Back], why: str) -> bool:
        writing = [
            self._journal.control(record) for back in backs for record in self._records(back, why)
        ]
        written = await DeferredList(writing, consumeErrors=True)
        if all(done for done, _ in written):
            return True
        _log.warn("releases could not be written: {why}", why=why)
        return False

    def _records(self, back: Back, why: str) -> list[Release]:
        place = self._places.place(back.dataset)
        if place is None:
            return []
        id_, shard, _ = place
        step = limits.RANGES_MAX
        return [
            Release(shard, id_, list(back.tasks), list(back.ranges[at : at + step]), why)
            for at in range(0, len(back.ranges), step)
        ]


def _tasks(back: Back) -> list[int]:
    return [back.dataset * limits.TASKS_MAX + index for index in back.tasks]


def _common(before: Mapping[int, Flat], after: Mapping[int, Flat]) -> dict[int, Flat]:
    found = {
        task: JobRanges(flat).common(before[task]) for task, flat in after.items() if task in before
    }
    return {task: flat for task, flat in found.items() if flat}
