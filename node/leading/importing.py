"""Imports: units of other shards' logs that serve here once they are settled there.

The leader of the log that waits notes what is settled in the other one, and at which place. Once
that place is settled there, it writes an import that names it and the acks that show it; only then
does it look for more of the same task. So a busy log, whose end is never settled, is no obstacle.

Source: docs/protocol.md, "Imports".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import limits
from federation.ids import DatasetID, EntryRef, ShardID, SiteID
from federation.opening import as_ref
from federation.records import Import
from node.changes import Change, ShardSettled
from node.looks import OneAtATime, Soon
from node.ports import Control
from node.services.questions import Reader
from node.store import imports
from node.store.imports import Wanted

_log = Logger()

LOOK_S: Final = 2.0
SOON_S: Final = 0.1  # acks gather
NOTED_S_MAX: Final = 60.0  # a place that is not settled by then was cut off, most likely

Proof = Callable[[ShardID, EntryRef], Sequence[EntryRef] | None]
"""Entries whose acks settle a place of a shard's log; None while none do."""


class Importing:
    """Call `look` every LOOK_S. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        generation: int,
        journal: Control,
        read: Reader,
        proof: Proof,
    ) -> None:
        """generation: in which this site writes."""
        self._reactor = reactor
        self._site = site
        self._generation = generation
        self._journal = journal
        self._read = read
        self._proof = proof
        self._noted: dict[tuple[ShardID, DatasetID, int], tuple[Wanted, float]] = {}
        self._changed = True  # something that was not looked at yet
        self._soon = Soon(reactor, self.look)
        self._turn = OneAtATime("lead: importing", self._again)

    def stop(self) -> None:
        self._soon.stop()

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: what waits for acks is looked at when some come."""
        for change in changes:
            if isinstance(change, ShardSettled):
                if self._noted:
                    self._soon.within(SOON_S)
            else:
                self._changed = True

    def look(self) -> None:
        """Note what is wanted, import what is settled; nothing while nothing happens."""
        if self._turn.busy or self._soon.stopped or not (self._changed or self._noted):
            return
        self._changed = False
        self._turn.begin(self._work)

    def _again(self) -> None:
        self._changed = True

    async def _work(self) -> None:
        site, generation = self._site, self._generation
        found: list[Wanted] = await self._read(lambda conn: imports.wanted(conn, site, generation))
        now_s = self._reactor.seconds()
        wanted = {each.key for each in found}
        self._noted = {
            key: (each, at_s)
            for key, (each, at_s) in self._noted.items()
            if key in wanted and now_s - at_s < NOTED_S_MAX
        }
        for each in found:
            self._noted.setdefault(each.key, (each, now_s))
        for each, _ in list(self._noted.values()):
            acks = self._proof(each.source, each.place)
            if acks is not None and not self._soon.stopped:
                await self._write(each, acks)
                del self._noted[each.key]
                self._changed = True
                self._soon.within(SOON_S)  # for what has come since

    async def _write(self, each: Wanted, acks: Sequence[EntryRef]) -> None:
        refs = [as_ref(ack) for ack in acks]
        place, step = as_ref(each.place), limits.RANGES_MAX
        for at in range(0, len(each.ranges), step):
            piece = each.ranges[at : at + step]
            await self._journal.control(
                Import(each.shard, each.dataset, each.task, piece, each.source, place, refs)
            )
