"""What the council's service asks of the rest of the node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred

from federation.ids import FeedID, ShardID, SiteID
from federation.opening import Ballot
from federation.ports import FeedStore, Requests
from federation.records import Record
from federation.settle import Seats
from federation.shard import Shard


class Facts(Protocol):
    """What the entries that are durable here say of shards. Quick enough for the reactor."""

    @property
    def feeds(self) -> FeedStore: ...

    def councils(self) -> Sequence[ShardID]:
        """The shards in which this site was given a seat beside others'."""

    def seated(self) -> Mapping[SiteID, int]:
        """In how many councils of several voters each site was given a seat."""

    def shard(self, shard: ShardID) -> Shard | None:
        """As founded, with its terms; None before its founding is here."""

    def seats(self, shard: ShardID) -> Seats:
        """The acks that count, and the votes, of all authors."""

    def votes(self, shard: ShardID) -> Sequence[Ballot]:
        """The votes that count for terms above the newest, and all of this site's own."""

    def generations(self) -> Mapping[SiteID, int]:
        """In which generation each site writes now, for all that is known here.

        The newest of which an entry is here; the one after it where that was proved to be forked.
        """


class Pen(Protocol):
    """The journal, as far as the council writes."""

    def compose(self, make: Callable[[], Sequence[Record]]) -> Deferred[None]:
        """Have records made when their entry is sealed, behind all others; fires when durable."""

    def local(self, fn: Callable[[apsw.Connection], None]) -> Deferred[None]:
        """Run site-local statements; fires when they are durable."""


class Voice(Requests, Protocol):
    """Floods and requests: `federation.mesh.Mesh`."""

    @property
    def boot(self) -> int: ...

    def flood(self, kind: str, document: bytes) -> None: ...

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None: ...


class Revocations(Protocol):
    """Who is a member no more."""

    def revoked(self, site: SiteID) -> bool: ...

    def subscribe(self, fn: Callable[[], None]) -> Any: ...


def revoked_among(members: Revocations, seats: Collection[FeedID]) -> set[SiteID]:
    """The sites of these seats that are members no more."""
    return {seat.site for seat in seats if members.revoked(seat.site)}
