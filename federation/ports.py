"""What federation asks of the world; node implements it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from federation.entry import Entry
from federation.feed import FeedTip
from federation.ids import EntryRef, FeedID, SiteID


class FeedStore(Protocol):
    """Entries on disk, each as received. All calls are quick enough for the reactor's thread."""

    def tips(self) -> Iterable[FeedTip]:
        """The newest held entry of every feed that has any."""

    def tip(self, feed: FeedID) -> FeedTip:
        """The newest held entry of a feed; seq 0 when there is none."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Store entries that were checked and follow their tips; durable when the commit is.

        Raises LocalError when one does not follow.
        """

    def entries(self, feed: FeedID, after: int, limit: int) -> Sequence[Entry]:
        """Up to `limit` entries of a feed with seq above `after`, ascending."""

    def entry(self, ref: EntryRef) -> Entry | None:
        """The entry of this very place and id, or None."""


class Ingest(Protocol):
    """Takes entries of other sites into the store."""

    def ingest(self, entries: Sequence[Entry]) -> Deferred[None]:
        """Store and fold entries; fires once they are durable.

        Their signatures were checked, and each follows its feed's tip or an entry given before it,
        in this call or in an earlier one that is not finished; one that is here already is no
        error. Entries of other feeds are kept whatever is wrong with one: the Deferred then fails
        when they are durable. Fails with Fork when a place is taken by another entry, Gap when
        some are missing before one, Busy when no more is taken in for now.
        """


class Members(Protocol):
    """Who belongs to the mesh, as this site sees it now."""

    def members(self) -> Sequence[SiteID]:
        """Every member, this site included."""

    def is_member(self, site: SiteID) -> bool: ...

    def revoked(self, site: SiteID) -> bool:
        """Whether the site was a member and never will be again."""

    def addresses(self, site: SiteID) -> Sequence[str]:
        """`host:port` at which a member can be dialled; empty for one that only dials out."""

    def subscribe(self, fn: Callable[[], None]) -> None:
        """Call `fn` after every change."""


Handler = Callable[[SiteID, bytes], Awaitable[bytes]]
"""Answers a request: (who asks, its body) -> the answer's body. Raises RemoteRefused to refuse."""


class Strangers(Protocol):
    """The one question that sites ask and answer before they are members of each other."""

    def join(self, site: SiteID, addresses: Sequence[str], body: bytes) -> Deferred[bytes]:
        """Dial a site that need not be a member and ask it to take this one in; its answer.

        addresses: tried in turn. At most limits.JOIN_BYTES_MAX either way.
        Fails with Unreachable, WrongSite, RemoteRefused.
        """

    def serve_strangers(self, handler: Handler) -> None:
        """Answer those who ask to be taken in, who are known by the key of their TLS session."""


class Requests(Protocol):
    """Questions between sites, direct or through one relay that has links to both."""

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        """Ask; the answer's body. Fails with Unreachable or RemoteRefused."""

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer requests of a kind from now on."""


class Floods(Protocol):
    """Documents that are passed on to every member, and of which the newest counts."""

    def flood(self, kind: str, document: bytes) -> None:
        """Sign a document of this site and send it. Raises LocalError for what is none."""

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        """Call `fn` with (origin, document) of each that comes, signed by its origin."""
