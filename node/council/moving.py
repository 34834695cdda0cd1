"""Datasets go to where they should be led: the leader moves them, the next one adopts them.

A shard keeps its council for ever. So when its mesh has grown, or a seat is lost for good, its
leader founds another shard and moves its datasets there; a site that is drained moves them to a
shard that another one leads. A move waits until the other shard's beginning is settled, and a
majority of its council keeps the dataset's files. Whoever leads a shard adopts what was moved to it
as soon as the move is settled.

Source: docs/protocol.md, "Moves".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation import moving
from federation.errors import RemoteRefused, Unreachable
from federation.ids import DatasetID, EntryRef, FeedID, ShardID, SiteID
from federation.opening import as_ref
from federation.ports import Requests
from federation.quorum import majority
from federation.records import Adopt, Move
from federation.seating import outgrown, refuge
from keys.signing import DIGEST_BYTES
from node.changes import READ_AGAIN, Change, DatasetChanged, ShardSettled, TermOpened
from node.council.founding import Founding, Peers
from node.council.views import Views
from node.looks import OneAtATime, Soon
from node.ports import Control

_log = Logger()

SHARD: Final = "shard"  # asks a member for one of its shards, to which datasets can be moved
LOOK_S: Final = 5.0
SOON_S: Final = 0.1  # acks and moves gather
AT_ONCE_MAX: Final = 16  # datasets of one shard that move in one look
KEEP_S: Final = 10.0  # so long the next council has to bring a dataset's files
STEADY_S_MAX: Final = 60.0  # a reason to move must hold for so long, lest a mesh grows in steps

Keep = Callable[[DatasetID, Sequence[SiteID], int, float], Awaitable[Sequence[SiteID]]]
"""Asks sites to keep a dataset with its files until so many do, or so many seconds are over."""


class Tables(Protocol):
    """Where datasets stand."""

    def standing(self, shard: ShardID, most: int) -> Sequence[DatasetID]:
        """Datasets of a shard's log, up to so many."""

    def leaving(self, to: ShardID) -> Sequence[tuple[DatasetID, ShardID]]:
        """(dataset, shard that it left) of what was moved to a shard and is not in its log."""

    def proof(
        self, source: ShardID, dataset: DatasetID, to: ShardID
    ) -> tuple[EntryRef, Sequence[EntryRef]] | None:
        """The entry with a move, and those whose acks settle it; None while it is not settled."""


class Moving:
    """Call `look` every LOOK_S. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        me: FeedID,
        views: Views,
        led: Callable[[], Sequence[ShardID]],
        peers: Peers,
        founding: Founding,
        tables: Tables,
        journal: Control,
        requests: Requests,
        keep: Keep,
        drained: Callable[[], bool],
        steady_s: float = STEADY_S_MAX,
    ) -> None:
        """led: the shards that this site leads, the newest last. drained: whether it is."""
        self._reactor = reactor
        self._me = me
        self._views = views
        self._led = led
        self._peers = peers
        self._founding = founding
        self._tables = tables
        self._journal = journal
        self._requests = requests
        self._keep = keep
        self._drained = drained
        self._steady_s = steady_s
        self._outgrown_s: dict[ShardID, float] = {}  # since when
        self._refuge: tuple[SiteID, ShardID] | None = None
        self._adopting: set[tuple[ShardID, DatasetID]] = set()
        self._expecting = True  # something may have been moved here
        self._soon = Soon(reactor, self._adopt_all)
        self._turn = OneAtATime("lead: moving datasets")
        requests.serve(SHARD, self.give_shard)

    def stop(self) -> None:
        self._soon.stop()

    def changed(self, changes: Iterable[Change]) -> None:
        """The journal's subscriber: what may have been moved here is looked for at once."""
        for change in changes:
            moved = isinstance(change, DatasetChanged) and change.verb in READ_AGAIN
            self._expecting = self._expecting or moved or isinstance(change, TermOpened)
            if (moved or isinstance(change, ShardSettled)) and self._expecting:
                self._soon.within(SOON_S)

    def look(self) -> None:
        """Adopt what was moved here, and move what should go."""
        self._adopt_all()
        if not self._soon.stopped:
            self._turn.begin(self._move_all)

    # What was moved here

    def _adopt_all(self) -> None:
        waiting = False
        for shard in self._led() if self._expecting and not self._soon.stopped else ():
            for dataset, source in self._tables.leaving(shard):
                waiting = True
                self._adopt(shard, dataset, source)
        self._expecting = waiting

    def _adopt(self, shard: ShardID, dataset: DatasetID, source: ShardID) -> None:
        key = (shard, dataset)
        shown = None if key in self._adopting else self._tables.proof(source, dataset, shard)
        if shown is None:
            return
        move, acks = shown
        self._adopting.add(key)
        refs = [as_ref(ack) for ack in acks]
        done = self._journal.control(Adopt(shard, dataset, source, as_ref(move), refs))
        done.addErrback(lambda failure: _log.failure("lead: an adopt failed", failure))
        done.addBoth(lambda _: self._adopting.discard(key))
        _log.info("lead: adopting dataset {id}", id=dataset.hex()[:12])

    async def give_shard(self, asking: SiteID, body: bytes) -> bytes:
        """Answer a site that is drained: the id of a shard that is led here. Raises
        RemoteRefused."""
        if body or self._drained():
            raise RemoteRefused("this site is drained, too" if not body else "no such question")
        return await self._founding.shard(asking)

    # What should go

    async def _move_all(self) -> None:
        for shard in list(self._led()):
            why = self._why(shard)  # before datasets are looked for, which may be many
            standing = self._tables.standing(shard, AT_ONCE_MAX) if why is not None else ()
            if not standing:
                continue
            target = await self._target()
            if target is not None and target != shard and self._may_move_to(target):
                _log.info(
                    "lead: {n} datasets of shard {shard} go to shard {to}: {why}",
                    n=len(standing),
                    shard=shard.hex()[:8],
                    to=target.hex()[:8],
                    why=why,
                )
                await DeferredList(
                    [
                        Deferred.fromCoroutine(self._move(shard, dataset, target))
                        for dataset in standing
                    ],
                    consumeErrors=True,
                )

    def _why(self, shard: ShardID) -> str | None:
        """Why the datasets of a shard should go to another one; None if they should not."""
        view = self._views.view(shard)
        if view is None or not view.leads or view.shard.stopped:
            return None
        if self._drained():
            return "this site is drained"
        now_s = self._reactor.seconds()
        why = outgrown(view, self._me, self._peers.candidates())
        if why is None:
            self._outgrown_s.pop(shard, None)
            return None
        since_s = self._outgrown_s.setdefault(shard, now_s)
        return why.value if now_s - since_s >= self._steady_s else None

    async def _target(self) -> ShardID | None:
        """The shard to which datasets should go; None while there is none."""
        if not self._drained():
            return await self._founding.shard()
        if self._refuge is not None and not self._is_led(*self._refuge):
            self._refuge = None
        if self._refuge is None:
            site = refuge(self._peers.candidates())
            shard = None if site is None else await self._ask(site)
            if site is not None and shard is not None:
                self._refuge = site, shard
        return None if self._refuge is None else self._refuge[1]

    async def _ask(self, site: SiteID) -> ShardID | None:
        """A shard that another site leads."""
        try:
            body = await self._requests.request(site, SHARD, b"")
        except (Unreachable, RemoteRefused) as error:
            _log.info("lead: no shard of {site}: {why}", site=site.hex()[:8], why=str(error))
            return None
        return ShardID(body) if len(body) == DIGEST_BYTES else None

    def _is_led(self, site: SiteID, shard: ShardID) -> bool:
        """Whether a site that is heard and not drained leads a shard, as far as is known here."""
        heard = any(
            each.seat.site == site and not each.drained for each in self._peers.candidates()
        )
        view = self._views.view(shard)
        return heard and (view is None or view.shard.newest.feed.site == site)

    def _may_move_to(self, shard: ShardID) -> bool:
        view = self._views.view(shard)
        if view is None or view.shard.stopped:
            return False
        alone = len(view.shard.voters(view.shard.newest)) == 1  # what it writes is settled
        return alone or moving.may_move_to(view.shard, view.seats)

    async def _move(self, source: ShardID, dataset: DatasetID, target: ShardID) -> None:
        """Move a dataset once a majority of the next council keeps its files."""
        view = self._views.view(target)
        assert view is not None
        council = [seat.site for seat in view.shard.voters(view.shard.newest)]
        others = [site for site in council if site != self._me.site]
        needed = majority(len(council)) - (len(council) - len(others))
        kept = await self._keep(dataset, others, needed, KEEP_S) if needed > 0 else ()
        if len(kept) < needed:
            _log.info("lead: dataset {id} waits for sites that keep it", id=dataset.hex()[:12])
            return
        stands = source in self._led() and dataset in self._tables.standing(source, AT_ONCE_MAX)
        if stands and not self._soon.stopped:
            await self._journal.control(Move(source, dataset, target))
