"""The links of a site, as a service: dials, accepts, syncs, floods, asks and answers.

Assembles the cores with sockets and a reactor and decides nothing itself:

    Peering    whom to dial              Exchange   links for records: sync, floods, requests
    Door       strangers                 BulkLinks  links for requests that move many bytes
    Sockets    connections               Relayed    sessions through a relay, one for each of both
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from federation import entryrequests, limits
from federation.bulk import CALL_BACK, BulkLinks
from federation.door import Door, Stranger, nobody
from federation.driver import Driver
from federation.entry import Entry
from federation.entryrequests import EntryRequests
from federation.errors import LocalError, RemoteRefused, Unreachable, WrongSite
from federation.events import (
    Answered,
    Asked,
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
    TunnelData,
    TunnelOpened,
    TunnelRoom,
    TunnelShut,
)
from federation.exchange import Exchange
from federation.feed import ForkProof
from federation.ids import EntryRef, FeedID, SiteID
from federation.link import Link
from federation.linkfacts import LinkFacts, link_facts
from federation.peering import Dial, Peering
from federation.ports import FeedStore, Handler, Ingest, Members
from federation.relayed import Relayed
from federation.requesting import JOIN, Asker, Requesting
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
        self._bulk_kinds = bulk_kinds
        timing = timing or Timing()
        contexts = Contexts(key, lambda site: not members.revoked(site))
        self.exchange = Exchange(
            key, store, members.is_member, members.revoked, random,
            boot=boot, version=version, timing=timing,
        )  # fmt: skip
        hello = self.exchange.hello
        self._driver = Driver(reactor, self.exchange.hub, self._happened)
        self._asker = Asker(reactor, self.exchange.calls, self._driver)
        self._requesting = Requesting(self.me, self._way)
        self._stranger: Stranger = nobody
        self._door = Door(reactor, self.me, hello, timing, self._join)
        self._bulk = BulkLinks(
            reactor, self.me, hello, timing,
            addresses=members.addresses,
            dial=lambda site, address: self._sockets.dial(site, address, BULK),
            call_back=self._call_back,
            act=self._bulk_happened,
        )  # fmt: skip
        self._far = Relayed(
            reactor, hello, self.exchange.hub, self.exchange.tunnels, contexts, timing,
            relays=self._relays, reach=self._near, is_member=members.is_member,
            act=lambda event: self._asked(event, self._far.asker),
            changed=self._driver.run,
        )  # fmt: skip
        self._bulk_far = Relayed(
            reactor, hello, self._bulk.hub, self._bulk.tunnels, contexts, timing,
            relays=self._relays, reach=self._bulk.link_to, is_member=members.is_member,
            act=lambda event: self._asked(event, self._bulk_far.asker),
            changed=self._bulk.driver.run,
        )  # fmt: skip
        self._sockets = Sockets(reactor, contexts, self)
        self._peering = Peering(self.me, random.random)
        self._dial_call: IDelayedCall | None = None
        self._on_flood: dict[FloodKind, list[OnFlood]] = {kind: [] for kind in FloodKind}
        self._on_fork: list[OnFork] = []
        self._on_own_ahead: list[OnOwnAhead] = []
        self._on_damaged: list[OnDamaged] = []
        self._stopped = False
        self._idle: Deferred[None] | None = None
        self._requesting.serve(CALL_BACK, self._called_back)
        self._entries = EntryRequests(store, self.request, self._nearest)
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
        if self._dial_call is not None and self._dial_call.active():
            self._dial_call.cancel()
        await self._sockets.stop()
        now_s = self._reactor.seconds()
        for driver in self._drivers():
            driver.hub.close(Reason.CLOSING, now_s)
            driver.run()
        if self._sockets.links:
            self._idle = Deferred()
            await self._idle
        for driver in self._drivers():
            driver.stop()

    # Records

    @property
    def writing(self) -> int | None:
        """The generation in which this site writes; None before it knows."""
        return self.exchange.sync.writing

    @writing.setter
    def writing(self, generation: int | None) -> None:
        self.exchange.sync.writing = generation

    def durable(self, entries: Sequence[Entry]) -> None:
        """Entries are on disk: own ones are pushed, others offered on."""
        self._driver.run(self.exchange.durable(entries, self._reactor.seconds()))

    def known_fork(self, proof: ForkProof) -> None:
        """A proof that this site found or has on disk. Raises PeerError if it proves nothing."""
        self.exchange.sync.found_fork(proof, self._reactor.seconds())
        self._driver.run()

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
        """Call `fn` with feed and seq of an entry that the store gave back damaged."""
        self._on_damaged.append(fn)

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
            self.exchange, self._bulk.hub, (self._far, self._bulk_far), self._sockets.links,
            self._peering, self._reactor.seconds(),
        )  # fmt: skip

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
                return self._bulk.hub.open(peer, now_s, dialled=dialled), self._bulk.driver
            if protocol == RECORDS:
                return self.exchange.open(peer, now_s, dialled=dialled), self._driver
        elif protocol == RECORDS and not dialled:
            return self._door.admit(peer), self._door.driver
        link.error = "no protocol that this site speaks"
        return None, self._driver

    # Dialling

    def _members_changed(self) -> None:
        if self._stopped:
            return
        now_s = self._reactor.seconds()
        members = {
            site: self._members.addresses(site)
            for site in self._members.members()
            if not self._members.revoked(site)
        }
        self._peering.members(members, now_s)
        self._driver.run(self.exchange.members_changed(now_s))
        for driver in self._drivers():
            driver.hub.close(Reason.REVOKED, now_s, self._members.revoked)
            driver.run()
        self._dial()

    def _dial(self) -> None:
        """Make the attempts that are due, and come back when the next is."""
        if self._stopped:
            return
        now_s = self._reactor.seconds()
        for dial in self._peering.due(now_s):
            self._dial_one(dial)
        if self._dial_call is not None and self._dial_call.active():
            self._dial_call.cancel()
        due_s = self._peering.deadline_s
        if due_s != float("inf"):
            self._dial_call = self._reactor.callLater(max(0.0, due_s - now_s), self._dial)

    def _dial_one(self, dial: Dial) -> None:
        def failed(failure: Failure) -> None:
            self._peering.failed(dial.site, str(failure.value), self._reactor.seconds())
            self._dial()

        self._sockets.dial(dial.site, dial.address, RECORDS).addErrback(failed)

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
        elif not _tunnelled(event, self._far):
            self._asked(event, self._asker)

    def _bulk_happened(self, event: Event) -> None:
        if isinstance(event, LinkDown):
            self._count(event)
        elif not _tunnelled(event, self._bulk_far):
            self._asked(event, self._bulk.asker)

    def _asked(self, event: Event, asker: Asker) -> None:
        if isinstance(event, Answered):
            asker.answered(event)
        elif isinstance(event, Asked):
            site, what, body = event.session.peer, event.what, event.body
            if what == JOIN:
                asker.reply(event, lambda: self._join(site, body))
            else:
                asker.reply(event, lambda: self._requesting.answer(site, what, body))
        elif isinstance(event, LinkDown):
            self._count(event)

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
        site, now_s = event.session.peer, self._reactor.seconds()
        if isinstance(event, LinkUp):
            self._peering.linked(site, now_s)
        else:
            self._count(event)
            if site in self.exchange.hub.sessions:
                return  # another link has taken its place
            if event.was_up:
                self._peering.lost(site, now_s)
            if event.session.dialled or event.was_up:
                self._peering.failed(site, event.words or "the link ended", now_s)
        self._dial()

    def _count(self, event: LinkDown) -> None:
        if event.theirs and event.reason == Reason.PROTOCOL:
            self.broken[event.session.peer] += 1
            self.last_broken[event.session.peer] = event.words

    # Ways

    async def _way(self, site: SiteID, kind: str) -> tuple[Asker, Session]:
        if kind in self._bulk_kinds:
            near = site in self.exchange.hub.sessions
            if near or self._members.addresses(site):
                try:
                    return self._bulk.asker, await self._bulk.link_to(site)
                except Unreachable:
                    if near:
                        raise
            return self._bulk_far.asker, await self._bulk_far.link_to(site)
        session = self.exchange.hub.sessions.get(site)
        if session is not None:
            return self._asker, session
        if not self._members.is_member(site):
            raise Unreachable("that site is no member of this mesh")
        return self._far.asker, await self._far.link_to(site)

    def _relays(self, site: SiteID) -> list[SiteID]:
        """The nearest neighbours that have a link with a site."""
        sessions = self.exchange.hub.sessions
        between = self.exchange.gossip.neighbourhood.between(site)
        return sorted(between, key=lambda relay: sessions[relay].rtt_s or 0.0)

    def _nearest(self) -> list[SiteID]:
        """The neighbours, the nearest first."""
        sessions = self.exchange.hub.sessions
        return sorted(sessions, key=lambda site: sessions[site].rtt_s or 0.0)

    def _near(self, relay: SiteID) -> Deferred[Session]:
        session = self.exchange.hub.sessions.get(relay)
        if session is None:
            return fail(Unreachable("the link to the relay has ended"))
        return succeed(session)

    def _call_back(self, site: SiteID) -> Deferred[bytes]:
        session = self.exchange.hub.sessions.get(site)
        if session is None:
            return fail(Unreachable("there is no link over which to ask it"))
        return self._asker.ask(session, CALL_BACK, b"")

    async def _called_back(self, site: SiteID, body: bytes) -> bytes:
        """Dial a bulk link to a site that cannot dial this one."""
        addresses = self._members.addresses(site)
        if not addresses:
            raise RemoteRefused("you have no address")
        self._bulk.want(site)
        return b""

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

    def _drivers(self) -> tuple[Driver, ...]:
        return (
            self._far.driver, self._bulk_far.driver, self._bulk.driver, self._door.driver,
            self._driver,
        )  # fmt: skip


def _tunnelled(event: Event, far: Relayed) -> bool:
    """Hand events of tunnels on."""
    if isinstance(event, TunnelOpened):
        far.opened(event)
    elif isinstance(event, TunnelData):
        far.came(event)
    elif isinstance(event, TunnelRoom):
        far.room(event)
    elif isinstance(event, TunnelShut):
        far.shut(event)
    else:
        return False
    return True
