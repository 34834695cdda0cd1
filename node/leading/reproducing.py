"""Lost outputs: the leader has units run again whose outputs somebody needs and no site keeps.

It looks once in a while. What a site made that is lost, with every copy, is lost; what should be
there and could not be fetched is looked for at every site that is left, and is lost if none has it.

Source: docs/protocol.md, "Lost outputs".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import limits
from federation.ids import SiteID
from federation.records import Reproduce
from node.changes import Change, DatasetAdded, DatasetChanged, UnitsFaulted, UnitsSettled
from node.leading.needed import Doubt, Found, Gone, Search, Spec
from node.leading.needs import Task
from node.looks import OneAtATime
from node.meshing.filenames import OfAttempt
from node.meshing.files import RemoteFiles, Wanted
from node.model.outputs import output_list
from node.ports import Control
from node.ranges import Flat, size
from node.services.questions import Reader
from node.store.database import StoreError

_log = Logger()

# Looking may read all of large datasets: that takes at most so much of the time.
SHARE_MAX: Final = 0.05
ASK_AGAIN_S: Final = 60.0  # about one unit
ASKED_MAX: Final = 10_000  # units that are remembered as asked about


class Blobs(Protocol):
    """The part of the blob store that is read here, in threads."""

    def get(self, digest: bytes) -> bytes: ...


class Reproducing:
    """Call `look` every few seconds. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        generation: int,
        journal: Control,
        read: Reader,
        spec: Spec,
        files: RemoteFiles,
        blobs: Blobs,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        lost: Callable[[], Collection[SiteID]],
        members: Callable[[], Sequence[SiteID]],
        people: Callable[[], Mapping[Task, Flat]] = dict,
    ) -> None:
        """lost: the sites that count as gone, members or not. people: what they could not fetch."""
        self._reactor = reactor
        self._site = site
        self._generation = generation
        self._journal = journal
        self._read = read
        self._spec = spec
        self._files = files
        self._blobs = blobs
        self._in_thread = in_thread
        self._lost = lost
        self._members = members
        self._people = people
        self._asked_s: dict[tuple[bytes, int, int], float] = {}
        self._changed = True  # something that was not looked at yet
        self._seen_lost: frozenset[SiteID] = frozenset()
        self._turn = OneAtATime("lead: looking for lost outputs", self.wanted)
        self._rests_until_s = float("-inf")

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: while nothing happens, nothing is looked for."""
        for change in changes:
            if isinstance(change, UnitsSettled | UnitsFaulted | DatasetAdded | DatasetChanged):
                self._changed = True

    def wanted(self) -> None:
        """Look again: people want something that they could not fetch, or a look failed."""
        self._changed = True

    def look(self) -> None:
        """Look through the tables, unless that is under way, was long, or would show the same."""
        now_s = self._reactor.seconds()
        if self._turn.busy or now_s < self._rests_until_s:
            return
        lost = frozenset(self._lost()) - {self._site}
        if not self._changed and lost == self._seen_lost and not self._asked_s:
            return
        self._changed, self._seen_lost = False, lost
        self._turn.begin(lambda: self._work(lost))

    async def _work(self, lost: Collection[SiteID]) -> None:
        began_s = self._reactor.seconds()
        asked, people = self._asked(), self._people()

        def found(conn: Any) -> Found:
            search = Search(conn, self._spec, self._site, self._generation, lost, asked, people)
            return search.run()

        seen: Found = await self._read(found)
        now_s = self._reactor.seconds()
        self._rests_until_s = now_s + (now_s - began_s) / SHARE_MAX
        for gone in seen.gone:
            await self._write(gone)
        for doubt in seen.doubts:
            await self._ask(doubt, lost)

    def _asked(self) -> frozenset[tuple[bytes, int, int]]:
        """The units that need not be asked about now."""
        now_s = self._reactor.seconds()
        kept = {unit: at_s for unit, at_s in self._asked_s.items() if now_s - at_s < ASK_AGAIN_S}
        self._asked_s = kept if len(kept) < ASKED_MAX else {}
        return frozenset(self._asked_s)

    async def _write(self, gone: Gone) -> None:
        _log.warn(
            "lead: the outputs of {units} units of task {task} of dataset {dataset} are lost;"
            " they run again",
            units=size(gone.ranges),
            task=gone.task,
            dataset=gone.dataset.hex()[:12],
        )
        step = limits.RANGES_MAX
        for at in range(0, len(gone.ranges), step):
            piece = list(gone.ranges[at : at + step])
            await self._journal.control(Reproduce(gone.shard, gone.dataset, [gone.task], piece))

    async def _ask(self, doubt: Doubt, lost: Collection[SiteID]) -> None:
        """Have a unit run again if no site has what it made."""
        self._asked_s[doubt.dataset, doubt.task, doubt.job] = self._reactor.seconds()
        if not await self._is_kept(doubt, lost):
            ranges = [doubt.job, doubt.job + 1]
            await self._write(Gone(doubt.shard, doubt.dataset, doubt.task, ranges))

    async def _is_kept(self, doubt: Doubt, lost: Collection[SiteID]) -> bool:
        """Whether the outputs of a unit are somewhere, or may be at a site that is not heard."""
        name = OfAttempt(doubt.dataset, doubt.task, doubt.job, doubt.entry)
        sites = [site for site in self._members() if site != self._site and site not in lost]
        for error in (await self._files.fetch([Wanted(doubt.outputs, name, sites)])).values():
            return error.away
        try:
            digests: list[bytes] = await self._in_thread(lambda: self._listed(doubt.outputs))
        except (StoreError, ValueError):
            return False  # a list that nobody can read
        for digest in digests:
            if not await self._files.is_kept(Wanted(digest, name, sites)):
                return False
        return True

    def _listed(self, outputs: bytes) -> list[bytes]:
        """Digests of the files in a list of outputs. Raises StoreError, ValueError."""
        return [bytes.fromhex(file["digest"]) for file in output_list(self._blobs.get(outputs))]
