"""What is looked after once in a while, assembled.

By the leader of a shard: lost outputs run again; datasets go to where they should be led; units of
other logs are imported. By every site: what one site keeps alone gets another keeper.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from federation.ids import DatasetID, EntryRef, FeedID, Lane, ShardID, SiteID
from node.council import moving
from node.council.founding import Founding, Peers
from node.council.moving import STEADY_S_MAX, Moving
from node.council.tables import FoldedFacts
from node.council.views import Views
from node.leading import importing
from node.leading.granting import Rules
from node.leading.importing import Importing
from node.leading.needs import Needs
from node.leading.reproducing import Reproducing
from node.meshing.recopying import Recopying
from node.meshing.service import Meshing
from node.services.questions import Reader
from node.sharing import Sharing
from node.store import losses, moves, tasks
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
    facts: FoldedFacts
    led: Callable[[], Sequence[ShardID]]  # the shards that this site leads, the newest last
    read: Reader
    in_thread: Callable[[Callable[[], Any]], Deferred[Any]]


@dataclass(frozen=True, slots=True)
class MoveTables:
    """Implements `moving.Tables`."""

    conn: apsw.Connection
    facts: FoldedFacts

    def standing(self, shard: ShardID, most: int) -> Sequence[DatasetID]:
        return moves.standing(self.conn, shard, most)

    def leaving(self, to: ShardID) -> Sequence[tuple[DatasetID, ShardID]]:
        return moves.leaving(self.conn, to)

    def proof(
        self, source: ShardID, dataset: DatasetID, to: ShardID
    ) -> tuple[EntryRef, Sequence[EntryRef]] | None:
        place = moves.place(self.conn, source, dataset, to)
        acks = None if place is None else self.facts.proof(source, *place)
        return None if place is None or acks is None else (place[0], acks)


class Tending:
    """Start it when the mesh runs. All methods run in the reactor's thread."""

    def __init__(
        self,
        own: Own,
        meshing: Meshing,
        sharing: Sharing,
        rules: Rules,
        vote_after_s: float,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """random: so many random bytes, for the ids of new shards."""
        self._own = own
        self._sharing = sharing
        self._rules = rules
        self._loops: list[LoopingCall] = []
        self.needs = Needs(
            own.reactor, own.site, own.conn, meshing.mesh, lambda: self._reproducing.wanted()
        )
        self._reproducing = Reproducing(
            own.reactor, own.site, own.generation, own.journal, own.read, tasks.spec,
            meshing.files, own.blobs, own.in_thread, self._lost, meshing.members.members,
            self.needs.current,
        )  # fmt: skip
        me = FeedID(own.site, own.generation, Lane.CONTROL)
        peers = Peers(own.site, meshing.members, own.reactor.seconds, sharing.beacons.unreachable_s)
        sharing.beacons.subscribe(peers.heard)
        views = Views(me, own.facts, meshing.members)
        self.founding = Founding(me, views, own.led, peers, own.journal, random)
        self._moving = Moving(
            own.reactor, me, views, own.led, peers, self.founding,
            MoveTables(own.conn, own.facts), own.journal, meshing.mesh, meshing.keep,
            sharing.drained, min(STEADY_S_MAX, vote_after_s),
        )  # fmt: skip
        self._importing = Importing(
            own.reactor, own.site, own.generation, own.journal, own.read, own.facts.proof
        )
        self._recopying = Recopying(
            own.reactor, own.site, own.journal, own.read, tasks.spec, own.blobs, meshing.files,
            own.in_thread, meshing.reachable, self._lost,
        )  # fmt: skip
        for each in (self._reproducing, self._moving, self._importing):
            own.journal.subscribe(each.changed)

    def start(self) -> None:
        self._every(LOST_LOOK_S, self._reproducing.look)
        self._every(LOST_LOOK_S, self._recopying.look)
        self._every(moving.LOOK_S, self._moving.look)
        self._every(importing.LOOK_S, self._importing.look)

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        self._moving.stop()
        self._importing.stop()
        self._recopying.stop()

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
