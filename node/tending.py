"""What the leader of a shard looks after once in a while, assembled: lost outputs run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from federation.ids import SiteID
from node.leading.granting import Rules
from node.leading.reproducing import Reproducing
from node.meshing.service import Meshing
from node.services.questions import Reader
from node.sharing import Sharing
from node.store import losses, tasks
from node.store.blobs import Blobs
from node.store.writer import Journal

log = Logger()

LOST_LOOK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Own:
    """What this site brings along. generation: in which it writes."""

    reactor: Any
    site: SiteID
    generation: int
    journal: Journal
    blobs: Blobs
    conn: apsw.Connection  # reads in the reactor's thread: short questions only
    read: Reader
    in_thread: Callable[[Callable[[], Any]], Deferred[Any]]


class Tending:
    """Start it when the mesh runs. All methods run in the reactor's thread."""

    def __init__(self, own: Own, meshing: Meshing, sharing: Sharing, rules: Rules) -> None:
        self._own = own
        self._sharing = sharing
        self._rules = rules
        self._loops: list[LoopingCall] = []
        self._reproducing = Reproducing(
            own.reactor, own.site, own.generation, own.journal, own.read, tasks.spec,
            meshing.files, own.blobs, own.in_thread, self._lost, meshing.members.members,
        )  # fmt: skip

    def start(self) -> None:
        self._every(LOST_LOOK_S, self._reproducing.look)

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        self._loops.clear()

    def _lost(self) -> list[SiteID]:
        """The sites that made something and have not been heard of for too long."""
        silent_s, most_s = self._sharing.sites.silent_s, self._rules.lost_s
        authors = losses.authors(self._own.conn)
        return [site for site in authors if site != self._own.site and silent_s(site) > most_s]

    def _every(self, period_s: float, act: Callable[[], None]) -> None:
        loop = LoopingCall(_guarded, act)
        loop.clock = self._own.reactor
        loop.start(period_s, now=False)
        self._loops.append(loop)


def _guarded(act: Callable[[], None]) -> None:
    """One failure must not end a loop for good."""
    try:
        act()
    except Exception:
        log.failure("lead: a regular look failed; it is tried again")
