"""New second copies: when a site is gone for good, what one other site keeps alone gets another
keeper.

Once a site counts as lost, every other looks through the settled units in windows of jobs. Of the
sites that are linked, the one that rendezvous hashing puts first for the entry, the keeper left
out, brings the outputs and says so in one `holds` record a window. All that see the same sites come
to the same; where they do not, there is a copy too many.

Source: docs/protocol.md, "Lost outputs".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from federation import limits
from federation.ids import EntryRef, SiteID
from federation.records import Holds, digest_cells
from node.fold.made import Made as MadeIn
from node.looks import OneAtATime
from node.meshing.copies import AGAIN_S, Journal
from node.meshing.files import RemoteFiles
from node.meshing.outputs import Blobs, Outputs
from node.meshing.second import Made, keepers
from node.model.dataset import DatasetSpec
from node.model.pilotspec import task_spec
from node.services.questions import Reader
from node.store import lone
from node.store.lone import Task

Spec = Callable[[apsw.Connection, int], DatasetSpec]
Ours = tuple[EntryRef, Made, SiteID]
"""Results of which this site becomes a keeper, the units, and who keeps them."""

JOBS_AT_ONCE: Final = limits.RESULTS_ROWS_MAX  # as many as one record may name
SHARE_MAX: Final = 0.05  # looking takes at most so much of the time


class Recopying:
    """Call `look` every few seconds. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        journal: Journal,
        read: Reader,
        spec: Spec,
        blobs: Blobs,
        files: RemoteFiles,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        alive: Callable[[], Sequence[SiteID]],
        lost: Callable[[], Collection[SiteID]],
    ) -> None:
        """alive: the members that are reachable now, this site included. lost: the sites that
        count as gone, members or not."""
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._read = read
        self._spec = spec
        self._outputs = Outputs(blobs, files, in_thread)
        self._alive = alive
        self._lost = lost
        self._seen_lost: frozenset[SiteID] = frozenset()
        self._wanted = False
        self._rests_until_s = float("-inf")
        self._pause: IDelayedCall | None = None
        self._stopped = False
        self._turn = OneAtATime("copies: looking for lone outputs", self._later)

    def stop(self) -> None:
        self._stopped = True
        if self._pause is not None and self._pause.active():
            self._pause.cancel()

    def look(self) -> None:
        """Look through the tables if another site is lost, or something could not be brought."""
        lost = frozenset(self._lost()) - {self._site}
        self._wanted = self._wanted or bool(lost - self._seen_lost)
        self._seen_lost = lost
        if not self._wanted or self._turn.busy or self._reactor.seconds() < self._rests_until_s:
            return
        self._wanted = False
        self._turn.begin(lambda: self._work(lost))

    def _later(self) -> None:
        self._wanted = True
        self._rests_until_s = self._reactor.seconds() + AGAIN_S

    async def _work(self, lost: Collection[SiteID]) -> None:
        tasks: list[Task] = await self._read(self._tasks)
        for task in tasks:
            for lo in range(0, task.jobs, JOBS_AT_ONCE):
                if self._stopped:
                    return
                await self._window(task, lo, lost)

    def _tasks(self, conn: apsw.Connection) -> list[Task]:
        return [
            task
            for task in lone.tasks(conn)
            if task_spec(self._spec(conn, task.dataset), task.idx)["outputs"]
        ]

    async def _window(self, task: Task, lo: int, lost: Collection[SiteID]) -> None:
        alive = [site for site in self._alive() if site not in lost]
        began_s = self._reactor.seconds()
        ours: list[Ours] = await self._read(
            lambda conn: list(self._ours(conn, task, lo, alive, lost))
        )
        await self._rest((self._reactor.seconds() - began_s) / SHARE_MAX)
        lists: dict[int, bytes] = {}
        for entry, made, keeper in ours:
            kept = await self._outputs.hold(entry, made, [keeper])
            if kept is None:
                self._later()
            for each in kept or []:
                lists.update(
                    zip(each.jobs, digest_cells(each.outputs, len(each.jobs)), strict=True)
                )
        if lists:
            record = Holds(task.id, task.idx, list(lists), list(lists.values()))
            await self._journal.results(record)

    def _ours(
        self,
        conn: apsw.Connection,
        task: Task,
        lo: int,
        alive: Sequence[SiteID],
        lost: Collection[SiteID],
    ) -> Iterator[Ours]:
        cache = MadeIn()
        for each in lone.lone(conn, task, lo, lo + JOBS_AT_ONCE, lost):
            others = keepers(each.entry.id, each.keeper, alive)[1:]
            if not others or others[0] != self._site:
                continue
            rows = cache.of(conn, task.id, task.no, each.jobs)
            lists = {job: row.outputs for job, row in rows.items() if row.outputs}
            if lists:
                made = Made(task.id, task.idx, tuple(lists), tuple(lists.values()))
                yield each.entry, made, each.keeper

    def _rest(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if seconds > 0:
            self._pause = self._reactor.callLater(seconds, done.callback, None)
        else:
            done.callback(None)
        return done
