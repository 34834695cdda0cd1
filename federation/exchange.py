"""The links over which one site's records travel, put together. Pure: no reactor, no sockets.

An owner opens a session for each transport (`open`), gives it what comes (`Session.receive`), sends
what it has (`take_ready`, `Session.bytes_to_send`), calls `tick` at `deadline_s`, and acts on the
events that these return:

    TakeIn      store the entries, then `sync.taken(event)` or `sync.refused(event)`
    Asked       answer with `calls.answer` or `calls.refuse`
    LinkDown    close the transport once `Session.bytes_to_send` is empty
    others      for information

Every entry that becomes durable, own or taken in, is told to `durable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from federation import limits
from federation.calls import Calls
from federation.entry import Entry
from federation.events import Event, FloodKind, Reason
from federation.forks import Forks
from federation.gossip import Gossip
from federation.holdings import Holdings
from federation.hub import Hub, Plane
from federation.ids import SiteID
from federation.ports import FeedStore
from federation.session import Session
from federation.sync import Sync
from federation.timing import Timing
from federation.tunnels import Tunnels
from federation.wire import Hello
from keys.identity import SiteKey

if TYPE_CHECKING:
    from random import Random


class Exchange:
    """See the module. All times are the owner's monotonic clock, in seconds."""

    def __init__(
        self,
        key: SiteKey,
        store: FeedStore,
        is_member: Callable[[SiteID], bool],
        revoked: Callable[[SiteID], bool],
        random: Random,
        *,
        boot: int,
        version: str = "",
        timing: Timing | None = None,
    ) -> None:
        """boot: greater at each start of this site's process. version: of the software."""
        self.hello = Hello(limits.PROTOCOL_MIN, limits.PROTOCOL_MAX, boot, version)
        self.hub = Hub(SiteID(key.site), self.hello, timing)
        self.gossip = Gossip(
            self.hub, key, is_member, lambda *lost: self.sync.neighbour_lost(*lost)
        )
        self.holdings = Holdings(store)

        def known(site: SiteID) -> bool:
            return is_member(site) or revoked(site)

        self.forks = Forks(self.hub, self.holdings, known)
        self.sync = Sync(
            self.hub,
            self.holdings,
            self.forks,
            known,
            self.gossip.neighbourhood.targets,
            random.random,
        )
        self.calls = Calls(self.hub)
        self.tunnels = Tunnels(self.hub)
        self._revoked = revoked
        planes: list[Plane] = [self.forks, self.gossip, self.sync, self.calls, self.tunnels]
        for plane in planes:
            self.hub.add(plane)

    def open(self, peer: SiteID, now_s: float, *, dialled: bool) -> Session:
        """A transport to a member, as proved by its key, is open. dialled: by this end."""
        return self.hub.open(peer, now_s, dialled=dialled)

    def write_in(self, generation: int | None, now_s: float) -> None:
        """From now on this site writes in this generation; earlier ones are fetched like others."""
        self.sync.writing = generation
        self.sync.compare_soon(now_s)

    def tick(self, now_s: float) -> list[Event]:
        """Do what is due."""
        return self.hub.tick(now_s)

    @property
    def deadline_s(self) -> float:
        return self.hub.deadline_s

    def take_ready(self) -> list[Session]:
        """The sessions that got something to send since the last call."""
        return self.hub.take_ready()

    def durable(self, entries: Sequence[Entry], now_s: float) -> list[Event]:
        """Entries, own or taken in, are on disk: others may have them."""
        self.sync.durable(entries, now_s)
        return self.hub.take_events()

    def flood(self, kind: FloodKind, document: bytes, now_s: float) -> None:
        """See `Gossip.flood`."""
        self.gossip.flood(kind, document, now_s)

    def members_changed(self, now_s: float) -> list[Event]:
        """Somebody was admitted or revoked: the links of the revoked end at once."""
        self.hub.close(Reason.REVOKED, now_s, self._revoked)
        self.gossip.members_changed()
        self.sync.compare_soon(now_s)
        return self.hub.take_events()

    def close(self, reason: Reason, now_s: float) -> list[Event]:
        """End all links."""
        self.hub.close(reason, now_s)
        return self.hub.take_events()
