"""Submissions and orders that other nodes took: put into the log of the shard that is led here.

They are first records of the node that took them, in its own control feed. The log takes each once,
in the order that the orders themselves name; an order that follows one which is not here yet does
not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from federation.entry import Entry
from federation.ids import Lane, ShardID, SiteID
from federation.records import Command, Dataset
from node.changes import READ_AGAIN, Change, DatasetAdded, DatasetChanged, TermOpened
from node.looks import Soon
from node.ports import Control

_log = Logger()

AT_ONCE_MAX: Final = 200  # offers of one shard that one look takes
SOON_S: Final = 0.1  # in which entries gather
SHARE_MAX: Final = 0.1  # of the time: a look passes over all that was ever offered to a shard


@dataclass(frozen=True, slots=True)
class Offer:
    """A document that the shard's log has neither taken nor refused.

    id: of the document. follows: ids of the orders that its author knew.
    """

    id: bytes
    record: Dataset | Command
    follows: Sequence[bytes] = ()


class Tables(Protocol):
    def offers(self, shard: ShardID, most: int) -> Sequence[Offer]:
        """What was offered to a shard and is not in its log, in the order in which it came."""


class Offers:
    """Looks when entries come that may hold offers, and once in a while."""

    def __init__(
        self,
        reactor: IReactorTime,
        site: SiteID,
        journal: Control,
        tables: Tables,
        shards: Callable[[], Sequence[ShardID]],
    ) -> None:
        """shards: those that this site leads."""
        self._reactor = reactor
        self._site = site
        self._journal = journal
        self._tables = tables
        self._shards = shards
        self._writing: set[tuple[ShardID, bytes]] = set()
        self._rests_until_s = float("-inf")
        self._next = Soon(reactor, self.look)

    def stop(self) -> None:
        self._next.stop()

    def durable(self, entries: Sequence[Entry]) -> None:
        """Entries became durable here; those of other control feeds may hold offers."""
        if any(self._offers_something(entry) for entry in entries):
            self._soon()

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber: what waited for a dataset, or for this site to lead."""
        for change in changes:
            again = isinstance(change, DatasetChanged) and change.verb in READ_AGAIN
            if again or isinstance(change, DatasetAdded | TermOpened):
                self._soon()

    def _offers_something(self, entry: Entry) -> bool:
        foreign = entry.header.lane is Lane.CONTROL and entry.header.site != self._site
        records = entry.records() if foreign and entry.body is not None else ()
        return any(isinstance(record, Dataset | Command) for record in records)

    def _soon(self) -> None:
        self._next.within(max(SOON_S, self._rests_until_s - self._reactor.seconds()))

    def look(self) -> None:
        """Put into the log what is not there. Call once in a while, too."""
        if self._next.stopped:
            return
        began_s, more = self._reactor.seconds(), False
        for shard in self._shards():
            offers = self._tables.offers(shard, AT_ONCE_MAX)
            more = more or len(offers) == AT_ONCE_MAX
            for offer in in_order(offers):
                self._write(shard, offer)
        now_s = self._reactor.seconds()
        self._rests_until_s = now_s + (now_s - began_s) / SHARE_MAX
        if more:
            self._soon()

    def _write(self, shard: ShardID, offer: Offer) -> None:
        key = (shard, offer.id)
        if key in self._writing:
            return
        self._writing.add(key)
        done = self._journal.control(_into(shard, offer.record))
        done.addErrback(
            lambda failure: _log.failure("lead: an offer could not be written", failure)
        )
        done.addBoth(lambda _: self._writing.discard(key))


def in_order(offers: Iterable[Offer]) -> list[Offer]:
    """Submissions first; an order after those that it follows, as far as they are among these.

    Orders that follow each other in a ring, which no honest author writes, come as they stand.
    """
    offers = sorted(offers, key=lambda offer: isinstance(offer.record, Command))
    left = {offer.id: offer for offer in offers}
    found: list[Offer] = []
    while left:
        free = [
            offer for offer in left.values() if not any(id_ in left for id_ in offer.follows)
        ] or list(left.values())
        found += free
        for offer in free:
            del left[offer.id]
    return found


def _into(shard: ShardID, record: Dataset | Command) -> Dataset | Command:
    """The record for this log: it may have been offered to one from which its dataset moved."""
    if isinstance(record, Dataset):
        return Dataset(shard, record.doc, record.signature, record.key)
    return Command(shard, record.doc, record.signature, record.key)
