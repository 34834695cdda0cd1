"""The links of a site, as a service: dials, accepts, syncs, floods, asks and answers.

Assembles the cores with sockets and a reactor and decides nothing itself:

    Sockets     connections                Exchange    links for records: sync, floods, requests
    Dialling    whom to dial, and when     Roads       bulk links, and sessions through relays
    Door        strangers                  Requesting  what is asked here, and answered
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation import entryrequests, limits
from federation.bulk import CALL_BACK
from federation.dialling import Dialling
from federation.door import Door, Stranger, nobody
from federation.driver import Driver
from federation.entry import Entry
from federation.entryrequests import EntryRequests
from federation.errors import LocalError, Unreachable, WrongSite
from federation.events import (
    Damaged,
    Event,
    FloodHeard,
    FloodKind,
    ForkSeen,
    LinkDown,
    LinkUp,
    OwnAhead,
    Reason,
    TakeIn,
    TwinSeen,
)
from federation.exchange import Exchange
from federation.feed import ForkProof
from federation.ids import EntryRef, FeedID, SiteID
from federation.link import Link
from federation.linkfacts import LinkFacts, link_facts
from federation.peering import Peering
from federation.ports import FeedStore, Handler, Ingest, Members
from federation.requesting import JOIN, Asker, Requesting
from federation.roads import Roads
from federation.secure import BULK, RECORDS, Contexts
from federation.session import Session
from federation.sockets import Sockets
from federation.timing import Timing
from keys.identity import SiteKey, show

_log = Logger()

OnFlood = Callable[[SiteID, bytes], None]
OnFork = Callable[[FeedID, int, ForkProof], None]
OnOwnAhead = Callable[[SiteID, FeedID, int], None]
OnDamaged = Callable[[FeedID, int], None]
OnTwin = Callable[[SiteID], None]


class Mesh:
    """See the module. `start` and `stop` once each; all else in between, in the reactor's thread.

    Tell `durable` of every entry that becomes durable, own or taken in, and set `writing` to the
    generation in which this site writes: entries of ours in it that others show are not taken in.
    """

    def __init__(
        self,
        reactor: Any,
        key: SiteKey,
        store: FeedStore,
        ingest: Ingest,
        members: Members,
        random: Random,
        *,
        boot: int,
        version: str = "",
        listen: tuple[str, int] | None = None,
        bulk_kinds: frozenset[str] = frozenset(),
        timing: Timing | None = None,
    ) -> None:
        """boot: greater at each start of this site's process. version: of the software.

        listen: host and port; None for a site that only dials out. bulk_kinds: the requests that
        move many bytes.
        """
        self.me = SiteID(key.site)
        self.port = 0  # at which it listens, once started
        self.broken: Counter[SiteID] = Counter()  # how often a peer broke the protocol
        self.last_broken: dict[SiteID, str] = {}
        self._reactor = reactor
        self._ingest = ingest
        self._members = members
        self._listen = listen
        contexts = Contexts(key, lambda site: not members.revoked(site))
        self.exchange = Exchange(
            key, store, members.is_member, members.revoked, random,
            boot=boot, version=version, timing=timing,
        )  # fmt: skip
        self._driver = Driver(reactor, self.exchange.hub, self._happened)
        self._sockets = Sockets(reactor, contexts, self)
        self._requesting = Requesting(self.me, self._way)
        self._roads = Roads(
            reactor, self.exchange, self._driver, contexts, members,
            bulk_kinds=bulk_kinds, answer=self._answer, down=self._count,
            dial=lambda site, address: self._sockets.dial(site, address, BULK),
        )  # fmt: skip
        self._stranger: Stranger = nobody
        self._door = Door(reactor, self.exchange.hub, self._join)
        self._dialling = Dialling(
            reactor, Peering(self.me, random.random),
            lambda site, address: self._sockets.dial(site, address, RECORDS),
        )  # fmt: skip
        self._entries = EntryRequests(store, self.request, self._roads.nearest)
        self._on_flood: dict[FloodKind, list[OnFlood]] = {kind: [] for kind in FloodKind}
        self._on_fork: list[OnFork] = []
        self._on_own_ahead: list[OnOwnAhead] = []
        self._on_damaged: list[OnDamaged] = []
        self._on_twin: list[OnTwin] = []
        self._stopped = False
        self._idle: Deferred[None] | None = None
        self._requesting.serve(CALL_BACK, self._roads.called_back)
        self._requesting.serve(entryrequests.KIND, self._entries.answer)

    # Life

    def start(self) -> None:
        """Listen, and dial all members. Raises CannotListenError."""
        self.exchange.holdings.reload()
        if self._listen is not None:
            self.listen(*self._listen)
        self._members.subscribe(self._members_changed)
        self._members_changed()

    def listen(self, host: str, port: int) -> None:
        """Let others dial this site, once; port 0 takes a free one. Raises CannotListenError."""
        self.port = self._sockets.listen(host, port)

    async def stop(self) -> None:
        """Say bye on all links and close them; takes a few seconds at most."""
        self._stopped = True
        self._dialling.stop()
        await self._sockets.stop()
        now_s = self._reactor.seconds()
        for driver in self._drivers:
            driver.hub.close(Reason.CLOSING, now_s)
            driver.run()
        if self._sockets.links:
            self._idle = Deferred()
            await self._idle
        for driver in self._drivers:
            driver.stop()

    # Records

    @property
    def writing(self) -> int | None:
        """The generation in which this site writes; None before it knows."""
        return self.exchange.sync.writing

    @writing.setter
    def writing(self, generation: int | None) -> None:
        self.exchange.write_in(generation, self._reactor.seconds())
        self._driver.run()

    def durable(self, entries: Sequence[Entry]) -> None:
        """Entries are on disk: own ones are pushed, others offered on."""
        self._driver.run(self.exchange.durable(entries, self._reactor.seconds()))

    def known_fork(self, proof: ForkProof) -> None:
        """A proof that this site found or has on disk. Raises PeerError if it proves nothing."""
        self.exchange.forks.spread(proof, self._reactor.seconds())
        self._driver.run()

    def pin(self, ref: EntryRef) -> None:
        """Of a forked feed take only the branch with this entry."""
        self.exchange.sync.pins[ref.feed] = ref

    def forks(self) -> list[ForkProof]:
        """A proof of each forked feed that is known to this process, of both lanes."""
        return list(self.exchange.forks.proofs.values())

    def agreed(self, feed: FeedID) -> int:
        """How far some peer holds an own feed as it is here; 0 if none said so."""
        return self.exchange.sync.agreed.get(feed, 0)

    def abreast(self) -> set[SiteID]:
        """The peers that said on their link all that they hold, and of which it is all here.

        Not those that hold something of what this site writes which is not here.
        """
        return self.exchange.sync.abreast()

    def longer(self, feed: FeedID) -> bool:
        """Whether a peer showed another branch of a feed that is longer than the one here."""
        return feed in self.exchange.sync.longer

    def entry(self, ref: EntryRef) -> Deferred[Entry]:
        """One entry, from whoever has it: one that is damaged here, or of another branch.

        Fails with Unreachable.
        """
        return Deferred.fromCoroutine(self._entries.fetch(ref))

    def on_fork(self, fn: OnFork) -> None:
        """Call `fn` with feed, seq and proof of each fork that is seen first."""
        self._on_fork.append(fn)

    def on_own_ahead(self, fn: OnOwnAhead) -> None:
        """Call `fn` with peer, feed and seq when a peer shows entries of ours that we lack."""
        self._on_own_ahead.append(fn)

    def on_damaged(self, fn: OnDamaged) -> None:
        """Call `fn` with feed and seq of an entry that the store gave back damaged.

        Once a place, until `mended` is told of it.
        """
        self._on_damaged.append(fn)

    def mended(self, feed: FeedID, seq: int) -> None:
        """The store gives an entry back as it should again."""
        self.exchange.sync.mended(feed, seq, self._reactor.seconds())
        self._driver.run()

    def on_twin(self, fn: OnTwin) -> None:
        """Call `fn` with a site, this one maybe, with whose key two processes want links.

        The one that was started later has them.
        """
        self._on_twin.append(fn)

    # Floods

    @property
    def boot(self) -> int:
        """What own documents have as their boot. It grows when an own one of a later boot comes
        back, which a restored disk has forgotten."""
        return self.exchange.gossip.boot

    def flood(self, kind: str, document: bytes) -> None:
        """Sign a document and pass it to all sites; see `Gossip.flood`. Raises LocalError."""
        self.exchange.flood(FloodKind[kind.upper()], document, self._reactor.seconds())
        self._driver.run()

    def on_flood(self, kind: str, fn: OnFlood) -> None:
        """Call `fn` with origin and document of each newer document of a kind."""
        self._on_flood[FloodKind[kind.upper()]].append(fn)

    # Requests

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        """Ask a site, directly or through one relay. Fails with Unreachable or RemoteRefused."""
        return self._requesting.request(site, kind, body)

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer requests of a kind from now on."""
        self._requesting.serve(kind, handler)

    def serve_strangers(self, handler: Stranger) -> None:
        """Answer those who ask to join, members or not."""
        self._stranger = handler

    def join(self, site: SiteID, addresses: Sequence[str], body: bytes) -> Deferred[bytes]:
        """Ask a site, known by its key, to let this one in.

        Fails as `request` does, and with WrongSite where another site has its address.
        """
        return Deferred.fromCoroutine(self._ask_in(site, addresses, body))

    # For people

    def links(self) -> list[LinkFacts]:
        """Every link, and every member with which there is none."""
        return link_facts(
            self.exchange, self._roads, self._sockets.links, self._dialling.peering,
            self._reactor.seconds(),
        )  # fmt: skip

    def misdeeds(self, site: SiteID) -> tuple[int, str]:
        """(how often a site broke the protocol since this process began, how it did last)."""
        return self.broken[site], self.last_broken.get(site, "")

    @property
    def turned_away(self) -> int:
        """Connections that were dropped for others': too many had shown no key, or no member's."""
        return self._sockets.turned_away + self._door.turned_away

    # Connections: the owner of Sockets

    def identified(self, link: Link) -> tuple[Session, Driver] | None:
        peer = link.channel.peer
        assert peer is not None
        if self._stopped:
            return None
        if link.wanted not in (None, peer):
            link.error = f"another site answers there: {show(peer)}"
            return None
        if peer == self.me:
            link.error = "that is this site itself"
            return None
        session, driver = self._session(link, peer)
        if session is None:
            link.error = link.error or "that link is not wanted"
            return None
        return session, driver

    def gone(self, link: Link) -> None:
        if self._idle is not None and not self._sockets.links:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _session(self, link: Link, peer: SiteID) -> tuple[Session | None, Driver]:
        dialled = link.wanted is not None
        now_s = self._reactor.seconds()
        protocol = link.channel.protocol
        if dialled and protocol == RECORDS and self._door.joins(peer):
            return self._door.dialled(peer), self._door.driver
        if self._members.is_member(peer):
            if protocol == BULK:
                bulk = self._roads.bulk
                return bulk.hub.open(peer, now_s, dialled=dialled), bulk.driver
            if protocol == RECORDS:
                return self.exchange.open(peer, now_s, dialled=dialled), self._driver
        elif protocol == RECORDS and not dialled:
            return self._door.admit(peer), self._door.driver
        link.error = "no protocol that this site speaks"
        return None, self._driver

    def _members_changed(self) -> None:
        if self._stopped:
            return
        now_s = self._reactor.seconds()
        members = {
            site: self._members.addresses(site)
            for site in self._members.members()
            if not self._members.revoked(site)
        }
        self._driver.run(self.exchange.members_changed(now_s))
        for driver in self._drivers:
            driver.hub.close(Reason.REVOKED, now_s, self._members.revoked)
            driver.run()
        self._dialling.members(members)

    # What happens on links

    def _happened(self, event: Event) -> None:
        if isinstance(event, TakeIn):
            self._take_in(event)
        elif isinstance(event, LinkUp | LinkDown):
            self._link_changed(event)
        elif isinstance(event, FloodHeard):
            for heard in self._on_flood[event.kind]:
                heard(event.origin, event.document)
        elif isinstance(event, ForkSeen):
            for forked in self._on_fork:
                forked(event.feed, event.seq, event.proof)
        elif isinstance(event, OwnAhead):
            for ahead in self._on_own_ahead:
                ahead(event.peer, event.feed, event.seq)
        elif isinstance(event, Damaged):
            for damaged in self._on_damaged:
                damaged(event.feed, event.seq)
        elif isinstance(event, TwinSeen):
            self._twin(event.site)
        else:
            self._roads.happened(event)

    def _take_in(self, event: TakeIn) -> None:
        now_s = self._reactor.seconds
        sync = self.exchange.sync

        def stored(_: None) -> None:
            sync.taken(event, now_s())
            self._driver.run()

        def refused(failure: Failure) -> None:
            _log.warn("entries were not stored: {why}", why=str(failure.value))
            sync.refused(event, now_s())
            self._driver.run()

        self._ingest.ingest(event.entries).addCallbacks(stored, refused)

    def _link_changed(self, event: LinkUp | LinkDown) -> None:
        site = event.session.peer
        if isinstance(event, LinkUp):
            self._dialling.linked(site)
            return
        self._count(event)
        if event.theirs and event.reason == Reason.TWIN:
            self._twin(self.me)
        replaced = site in self.exchange.hub.sessions
        if not replaced and (event.session.dialled or event.was_up):
            self._dialling.ended(site, event.words or "the link ended", was_up=event.was_up)

    def _twin(self, site: SiteID) -> None:
        for seen in self._on_twin:
            seen(site)

    def _count(self, event: LinkDown) -> None:
        if event.theirs and event.reason == Reason.PROTOCOL:
            self.broken[event.session.peer] += 1
            self.last_broken[event.session.peer] = event.words

    # Requests

    async def _way(self, site: SiteID, kind: str) -> tuple[Asker, Session]:
        return await self._roads.way(site, kind)

    async def _answer(self, site: SiteID, what: str, body: bytes) -> bytes:
        if what == JOIN:
            return await self._join(site, body)
        return await self._requesting.answer(site, what, body)

    # Joining

    async def _join(self, site: SiteID, body: bytes) -> bytes:
        return await self._stranger(site, body)

    async def _ask_in(self, site: SiteID, addresses: Sequence[str], body: bytes) -> bytes:
        if len(body) > limits.JOIN_BYTES_MAX:
            raise LocalError(f"a request to join has at most {limits.JOIN_BYTES_MAX} bytes")
        answer = self._door.join(site, body)
        why = Unreachable("it has no address")
        for address in addresses:
            try:
                await self._sockets.dial(site, address, RECORDS)
                break
            except Unreachable as error:
                # Another site at one address says more than silence at the next.
                why = why if isinstance(why, WrongSite) else error
        else:
            self._door.give_up(site, why)
        return await answer

    @property
    def _drivers(self) -> tuple[Driver, ...]:
        return *self._roads.drivers, self._door.driver, self._driver
