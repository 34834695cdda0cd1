"""Which forked feeds need their other branch here, and where that begins.

A branch is left when a log waits for an entry of the other one, or when the feed is this site's own
past and others hold a longer branch of it. Where the two part is found by walking back from an
entry of the other branch, by the names in the chain, over whoever holds it. What was found is
noted, and the node starts again to go over: see node/store/branches.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from federation.entry import entry_id, open_entry
from federation.errors import Unreachable
from federation.feed import ForkProof
from federation.ids import EntryID, EntryRef, FeedID, ShardID
from federation.mesh import Mesh
from federation.records import Dataset, Record
from node.meshing.feedcare import Journal
from node.store import branches, forks
from node.store.database import StoreError
from node.store.feeds import Feeds

log = Logger()

LOOK_S: Final = 5.0  # while any fork is known
STEPS_MAX: Final = 4096  # entries back to where branches part


class Writing(Journal, Protocol):
    """The part of the journal that writes what was salvaged."""

    def control(self, record: Record) -> Deferred[None]: ...
    def results(self, record: Record) -> Deferred[None]: ...


class Branching:
    """See the module. All methods run in the reactor's thread."""

    def __init__(
        self,
        reactor: IReactorTime,
        mesh: Mesh,
        journal: Writing,
        conn: apsw.Connection,
        me: FeedID,
        missing: Callable[[], Sequence[EntryRef]],
        again: Callable[[str], None],
        shard: Callable[[], Awaitable[ShardID]],
        *,
        look_s: float = LOOK_S,
    ) -> None:
        """me: this site's control feed, as it is written now. missing: what logs wait for.

        again: starts the node again, with the reason. shard: for what is submitted here now.
        """
        self._reactor = reactor
        self._mesh = mesh
        self._journal = journal
        self._conn = conn
        self._me = me
        self._missing = missing
        self._again = again
        self._shard = shard
        self._look_s = look_s
        self._call: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Before the first link."""
        for ref in branches.chosen(self._conn).values():
            self._mesh.pin(ref)
        done = Deferred.fromCoroutine(self._write_again())
        done.addErrback(lambda failure: log.failure("what was salvaged is not written", failure))
        self._look_later()

    def stop(self) -> None:
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    async def _write_again(self) -> None:
        """Write what stood on a branch of this site's own that it left.

        A shard that was founded there, or that an earlier generation led alone, has no leader:
        its datasets are submitted to another one.
        """
        for no, lane, record in branches.salvaged(self._conn):
            write = self._journal.results if lane else self._journal.control
            if isinstance(record, Dataset) and not branches.may_take(
                self._conn, record.shard, self._me
            ):
                record = replace(record, shard=await self._shard())
            await write(record)
            await self._journal.local(lambda conn, no=no: branches.forget(conn, no))  # type: ignore[misc]

    # Looking

    def _look_later(self) -> None:
        if not self._stopped:
            self._call = self._reactor.callLater(self._look_s, self._begin)

    def _begin(self) -> None:
        done = Deferred.fromCoroutine(self._look())
        done.addErrback(lambda failure: log.failure("looking at branches failed", failure))
        done.addCallback(lambda _: self._look_later())

    async def _look(self) -> None:
        # Of both lanes of a generation one proof is in the log.
        proofs = [*forks.proofs(self._conn), *self._mesh.forks()]
        if not proofs:
            return
        chosen = branches.chosen(self._conn)
        for proof in proofs:
            header = open_entry(proof.first, proof.first_signature, None).header
            feed, seq = header.feed, header.seq
            due = feed not in chosen and not self._writes(feed) and self._is_needed(feed, seq)
            if due and await self._go_over(feed, proof):
                return

    def _writes(self, feed: FeedID) -> bool:
        return feed.site == self._me.site and feed.generation >= self._me.generation

    def _is_needed(self, feed: FeedID, seq: int) -> bool:
        """seq: a place at which the branches differ."""
        if feed.site == self._me.site:
            alone = self._mesh.agreed(feed) < seq  # nobody else can read what is here
            if alone or self._mesh.longer(feed):
                return True
        return any(self._is_elsewhere(ref) for ref in self._missing() if ref.feed == feed)

    def _is_elsewhere(self, ref: EntryRef) -> bool:
        """Whether an entry is on the other branch: its place is taken, or that one is longer."""
        return self._held(ref.feed, ref.seq) is not None or self._mesh.longer(ref.feed)

    def _held(self, feed: FeedID, seq: int) -> EntryID | None:
        entry = Feeds(self._conn).at(feed, seq) if seq else None
        return None if entry is None else entry.id

    # Going over

    async def _go_over(self, feed: FeedID, proof: ForkProof) -> bool:
        """Whether the node starts again for it."""
        try:
            first = await self._first_difference(feed, proof)
            if first is None:
                return False
            await self._journal.local(lambda conn: branches.want(conn, first))
        except (Unreachable, StoreError) as error:
            log.warn("the other branch of a feed is not found yet: {why}", why=str(error))
            return False
        why = (
            f"site {feed.site.hex()[:8]} has two branches of generation {feed.generation}, and the"
            f" log goes on in the one that is not here, from entry {first.seq} on"
        )
        log.warn("{why}: this node goes over to it", why=why)
        self._again(why)
        return True

    async def _first_difference(self, feed: FeedID, proof: ForkProof) -> EntryRef | None:
        """The first entry of the other branch; None where nothing that is known leads to it.

        Raises Unreachable while nobody gives what lies between.
        """
        wanted = [ref for ref in self._missing() if ref.feed == feed and ref.id]
        for ref in [*wanted, *_places(feed, proof)]:
            if self._held(feed, ref.seq) == ref.id:
                continue
            first = await self._parting(ref)
            if first is not None and self._held(feed, first.seq) is not None:
                return first  # else it is the end of the branch that is here
        return None

    async def _parting(self, ref: EntryRef) -> EntryRef | None:
        """Back from an entry to the first one before which both branches are the same."""
        for _ in range(STEPS_MAX):
            entry = await self._mesh.entry(ref)
            prev = EntryID(entry.header.prev)
            if ref.seq == 1 or self._held(ref.feed, ref.seq - 1) == prev:
                return ref
            ref = EntryRef(ref.feed, ref.seq - 1, prev)
        return None


def _places(feed: FeedID, proof: ForkProof) -> list[EntryRef]:
    """Both entries that a proof shows."""
    seq = open_entry(proof.first, proof.first_signature, None).header.seq
    return [EntryRef(feed, seq, entry_id(header)) for header in (proof.first, proof.second)]
