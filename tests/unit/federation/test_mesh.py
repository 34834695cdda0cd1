"""Links over real sockets and real TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation import codec, limits
from federation.entry import Entry, seal
from federation.errors import BadEntry, RemoteRefused, Unreachable
from federation.feed import prove_fork
from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.linkfacts import LinkFacts
from federation.records import Site
from federation.secure import RELAYED, Contexts
from federation.tunnels import TunnelEnd
from federation.wire import Bye, Hello, Message, More, Neighbours, Ping, Reply, Request
from tests.fakes.feeds import MemoryFeeds
from tests.fakes.mesh import key_of
from tests.fakes.meshed import MeshedSite, Registry
from tests.fakes.rawpeer import connect, context_of
from tests.unit.federation.worlds import World, a_world


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as world:
        yield world


def test_members_link_and_come_to_hold_the_same(world: World) -> None:
    sites = [world.site(number) for number in range(1, 4)]
    for site in sites:
        site.write(5)
        site.write(3, Lane.RESULTS, rows=1000)
        site.join()
    everybody = {site.id for site in sites}
    world.loop.until(lambda: all(site.linked() == everybody - {site.id} for site in sites))
    world.loop.until(lambda: all(site.held() == sites[0].held() for site in sites))
    sites[0].write()
    world.loop.until(lambda: all(site.held() == sites[0].held() for site in sites))


def test_sites_that_only_dial_out_reach_each_other_through_a_relay(world: World) -> None:
    relay = world.site(1).join()
    one, other = world.site(2, dial_only=True).join(), world.site(3, dial_only=True).join()
    world.loop.until(lambda: relay.linked() == {one.id, other.id})
    one.write(2)
    world.loop.until(lambda: other.held() == one.held())

    async def echo(site: SiteID, body: bytes) -> bytes:
        return site + body

    other.mesh.serve("echo", echo)

    def asked() -> bytes:
        return world.loop.result(one.mesh.request(other.id, "echo", b"x" * 100_000))

    world.loop.until(lambda: other.id in _told(one))
    assert asked() == one.id + b"x" * 100_000
    [fact] = [fact for fact in one.mesh.links() if fact.kind == "relayed"]
    assert (fact.peer, fact.path, fact.up) == (other.id, relay.id.hex(), True)


def _told(site: MeshedSite) -> set[SiteID]:
    """The sites to which a site knows a relay."""
    neighbourhood = site.mesh.exchange.gossip.neighbourhood
    return {member for member in site.members.members() if neighbourhood.between(member)}


def test_requests_are_answered_and_refused(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()

    async def echo(site: SiteID, body: bytes) -> bytes:
        if body == b"no":
            raise RemoteRefused("not that")
        if body == b"bug":
            raise ValueError("a bug")
        return body

    other.mesh.serve("echo", echo)
    world.loop.until(lambda: one.linked() and other.linked())
    assert world.loop.result(one.mesh.request(other.id, "echo", b"hello")) == b"hello"
    for body, said in ((b"no", "not that"), (b"bug", "its log says why")):
        with pytest.raises(RemoteRefused, match=said):
            world.loop.result(one.mesh.request(other.id, "echo", body))
    with pytest.raises(RemoteRefused, match="no such request"):
        world.loop.result(one.mesh.request(other.id, "other", b""))
    with pytest.raises(Unreachable):
        world.loop.result(one.mesh.request(SiteID(b"n" * 32), "echo", b""))


def test_a_site_is_dialled_until_it_is_there_at_each_of_its_addresses(world: World) -> None:
    late, early = world.site(1), world.site(2)
    early.join()
    late.mesh.start()
    address = late.address
    world.stop(late)
    again = world.site(1)
    again.mesh._listen = ("127.0.0.1", int(address.rpartition(":")[2]))
    world.members.admit(again.id, ["127.0.0.1:1", address])
    world.loop.until(lambda: [fact for fact in early.mesh.links() if fact.error])
    again.start()
    world.loop.until(lambda: early.linked() == {again.id})


def test_a_stopped_site_says_bye_and_a_restarted_one_is_linked_again(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()
    world.loop.until(lambda: one.linked() and other.linked())
    world.stop(other)
    world.loop.until(lambda: not one.linked())
    again = world.site(2)
    again.join()
    one.write()
    world.loop.until(lambda: again.held() == one.held())


def test_facts_of_links_are_shown(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()
    one.write(3)
    world.loop.until(lambda: other.held() == one.held() != {})
    world.members.admit(SiteID(b"n" * 32), [])
    world.loop.until(lambda: all(fact.rtt_s for fact in one.mesh.links() if fact.up))
    facts = {fact.peer: fact for fact in one.mesh.links()}
    there, nowhere = facts[other.id], facts[SiteID(b"n" * 32)]
    assert (there.up, there.kind, there.version) == (True, "records", "test")
    assert there.path.startswith("127.0.0.1:")
    assert there.direction in ("in", "out")
    assert tuple(there.sent_entries) == (3, 0)
    assert list(there.credits)[1] == 1024 * 1024
    assert (nowhere.up, nowhere.direction) == (False, "")


def test_floods_and_forks_are_told_to_whoever_listens(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()
    heard: list[tuple[SiteID, bytes]] = []
    forks: list[int] = []
    other.mesh.on_flood("beacon", lambda site, document: heard.append((site, document)))
    other.mesh.on_fork(lambda feed, seq, proof: forks.append(seq))
    world.loop.until(lambda: one.linked() and other.linked())
    document = codec.pack([one.id, 1, one.mesh.boot, 1, "hello"])
    one.mesh.flood("beacon", document)
    world.loop.until(lambda: heard == [(one.id, document)])
    feed = FeedID(one.id, 1, Lane.CONTROL)
    branches = [seal(one.key, feed, 1, b"", 1, [Site(name, "1")]) for name in ("a", "b")]
    one.mesh.known_fork(prove_fork(*branches))
    world.loop.until(lambda: forks == [1])


def test_one_entry_can_be_had_by_its_name(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()
    [first, second] = one.write(2)
    world.loop.until(lambda: other.held() == one.held())
    assert world.loop.result(one.mesh.entry(second.ref)) == second
    nowhere = EntryRef(first.header.feed, 1, EntryID(b"x" * 32))
    with pytest.raises(Unreachable, match="not here"):
        world.loop.result(one.mesh.entry(nowhere))


def test_a_site_that_was_put_back_hears_that_its_own_entries_are_ahead(world: World) -> None:
    one, other = world.site(1), world.site(2).join()
    ahead: list[tuple[SiteID, int]] = []
    one.mesh.on_own_ahead(lambda peer, feed, seq: ahead.append((peer, seq)))
    feed, entries = FeedID(one.id, 1, Lane.CONTROL), []
    for seq in (1, 2, 3):
        prev = entries[-1].id if entries else b""
        entries.append(seal(one.key, feed, seq, prev, seq, [Site("s", "1")]))
    other.feeds.append(entries)
    other.mesh.durable(entries)
    one.feeds.append(entries[:1])  # all that the copy has
    one.join()
    world.loop.until(lambda: ahead)
    assert ahead[0] == (other.id, 3)
    assert one.feeds.tip(feed).seq == 1
    one.mesh.writing = 2
    world.loop.until(lambda: one.feeds.tip(feed).seq == 3)


def test_an_entry_that_the_store_gives_back_damaged_is_told_and_not_given(world: World) -> None:
    one, other = world.site(1), world.site(2)
    damaged: list[int] = []
    one.mesh.on_damaged(lambda feed, seq: damaged.append(seq))
    one.write(3)

    def broken(feed: FeedID, after: int, limit: int) -> list[Entry]:
        raise BadEntry("a body that is not the signed one")

    one.feeds.entries = broken  # type: ignore[method-assign]
    one.join()
    other.join()
    world.loop.until(lambda: damaged == [1])
    assert not other.held()
    assert one.linked()


# Bulk


class Echo:
    """Answers with what was asked, and notes who asked."""

    def __init__(self) -> None:
        self.asked: list[SiteID] = []

    async def __call__(self, site: SiteID, body: bytes) -> bytes:
        self.asked.append(site)
        return body


def bulk_site(world: World, number: int, *, dial_only: bool = False) -> MeshedSite:
    site = world.site(number, dial_only=dial_only, bulk_kinds=frozenset({"file"})).join()
    site.mesh.serve("file", Echo())
    return site


@pytest.mark.parametrize("dial_only", [(), (1,), (2,)])
def test_bulk_goes_over_a_link_of_its_own_whoever_can_be_dialled(
    world: World, dial_only: tuple[int, ...]
) -> None:
    one, other = (bulk_site(world, number, dial_only=number in dial_only) for number in (1, 2))
    world.loop.until(lambda: one.linked() and other.linked())
    before = _records_bytes(one)
    body = bytes(500_000)
    for _ in range(3):
        assert world.loop.result(one.mesh.request(other.id, "file", body)) == body
    assert _records_bytes(one) - before < 10_000
    [fact] = [fact for fact in one.mesh.links() if fact.kind == "bulk"]
    assert fact.sent_bytes > 3 * len(body)


def _records_bytes(site: MeshedSite) -> int:
    facts = [fact for fact in site.mesh.links() if fact.kind == "records" and fact.up]
    return sum(fact.sent_bytes + fact.received_bytes for fact in facts)


def test_bulk_between_sites_that_only_dial_out_goes_through_bulk_links_of_a_relay(
    world: World,
) -> None:
    relay = bulk_site(world, 1)
    one, other = (bulk_site(world, number, dial_only=True) for number in (2, 3))
    world.loop.until(lambda: other.id in _told(one) and one.id in _told(other))
    before = _records_bytes(relay)
    body = bytes(500_000)
    assert world.loop.result(one.mesh.request(other.id, "file", body)) == body
    assert _records_bytes(relay) - before < 20_000
    assert {fact.kind for fact in one.mesh.links() if fact.up} == {"records", "bulk", "relayed"}


def test_revocation_ends_bulk_and_relayed_links_too_and_none_comes_back(world: World) -> None:
    relay = bulk_site(world, 1)
    one, other = (bulk_site(world, number, dial_only=True) for number in (2, 3))
    world.loop.until(lambda: other.id in _told(one) and one.id in _told(other))
    for site in (other, relay):
        world.loop.result(one.mesh.request(site.id, "file", b"x"))
    served = [*_up(relay, other), *_up(one, other)]
    assert {fact.kind for fact in served} == {"records", "bulk", "relayed"}
    world.members.revoke(other.id)
    assert not _up(one, other)
    assert not _up(relay, other)
    world.loop.until(lambda: not _up(other, one) and not _up(other, relay))
    with pytest.raises(Unreachable):
        world.loop.result(one.mesh.request(other.id, "file", b"x"))
    with pytest.raises(Unreachable):
        world.loop.result(other.mesh.request(one.id, "file", b"x"))
    assert world.loop.result(one.mesh.request(relay.id, "file", b"x")) == b"x"


def _up(site: MeshedSite, peer: MeshedSite) -> list[LinkFacts]:
    return [fact for fact in site.mesh.links() if fact.up and fact.peer == peer.id]


# Relays


def test_a_relay_that_withholds_a_feed_keeps_it_from_nobody_with_another_way(world: World) -> None:
    """Two relays between sites that only dial out; the one that is asked first shows nothing."""
    lying, honest = world.site(1).join(), world.site(2).join()
    one = world.site(3, dial_only=True).join()
    other = world.site(4, dial_only=True).join()
    world.loop.until(lambda: len(one.linked()) == len(other.linked()) == 2)
    hidden = FeedID(one.id, 1, Lane.CONTROL)
    lying.feeds.entries = lambda feed, after, limit: (  # type: ignore[method-assign]
        [] if feed == hidden else MemoryFeeds.entries(lying.feeds, feed, after, limit)
    )
    one.write(30)
    world.loop.until(lambda: other.held() == one.held() == honest.held())
    assert other.mesh.broken == {}


def test_a_relay_that_alters_what_it_passes_on_is_found_out(world: World) -> None:
    relay = world.site(1)
    tunnels = relay.mesh.exchange.tunnels
    pass_on = tunnels._queue

    def alter(end: TunnelEnd, data: bytes, now_s: float) -> None:
        pass_on(end, data[:-1] + bytes([data[-1] ^ 1]), now_s)

    tunnels._queue = alter  # type: ignore[method-assign]
    relay.join()
    one, other = world.site(2, dial_only=True).join(), world.site(3, dial_only=True).join()
    echo = Echo()
    other.mesh.serve("echo", echo)
    world.loop.until(lambda: other.id in _told(one))
    with pytest.raises(Unreachable, match="TLS"):
        world.loop.result(one.mesh.request(other.id, "echo", b"secret"))
    assert not echo.asked


def test_a_relay_that_answers_for_another_site_is_found_out(world: World) -> None:
    """It opens the tunnel to a third site, which proves another key."""
    relay = world.site(1).join()
    one, other, third = (world.site(number, dial_only=True).join() for number in (2, 3, 4))
    echo = Echo()
    third.mesh.serve("echo", echo)
    sessions = relay.mesh.exchange.hub.sessions
    world.loop.until(lambda: {other.id, third.id} <= _told(one))
    sessions[other.id], sessions[third.id] = sessions[third.id], sessions[other.id]
    with pytest.raises(Unreachable):
        world.loop.result(one.mesh.request(other.id, "echo", b"secret"))
    assert not echo.asked
    sessions[other.id], sessions[third.id] = sessions[third.id], sessions[other.id]


def test_a_relay_cannot_lend_its_membership_to_a_stranger(world: World) -> None:
    """It passes on a tunnel in which a stranger proves the stranger's key."""
    relay, site = world.site(1).join(), world.site(2).join()
    echo = Echo()
    site.mesh.serve("echo", echo)
    world.loop.until(lambda: relay.linked() and site.linked())
    stranger = key_of(70)
    far, tunnels = relay.mesh._roads.far, relay.mesh.exchange.tunnels
    peer = tunnels._peers[relay.mesh.exchange.hub.sessions[site.id]]
    now_s = world.loop.reactor.seconds()
    for named in (stranger.site, relay.id):
        end = tunnels._open(peer, site.id, 0, SiteID(named), now_s)
        far._begin(end, Contexts(stranger, lambda key: True).dial(RELAYED)).start()
        world.loop.until(lambda end=end: end.shut)
    assert not site.mesh._roads.far.hub.sessions
    assert not site.mesh._roads.far.hub._held


# Joining


def test_a_stranger_may_ask_to_join_and_nothing_else(world: World) -> None:
    site = world.site(1).join()
    asked: list[tuple[SiteID, bytes]] = []

    async def let_in(stranger: SiteID, body: bytes) -> bytes:
        asked.append((stranger, body))
        if body != b"invited":
            raise RemoteRefused("not invited")
        return b"welcome"

    site.mesh.serve_strangers(let_in)
    site.mesh.serve("echo", Echo())
    new = world.site(2, Registry())
    new.mesh.start()
    addresses = ["127.0.0.1:1", site.address]
    with pytest.raises(RemoteRefused, match="not invited"):
        world.loop.result(new.mesh.join(site.id, addresses, b"guess"))
    assert world.loop.result(new.mesh.join(site.id, addresses, b"invited")) == b"welcome"
    assert asked == [(new.id, b"guess"), (new.id, b"invited")]
    with pytest.raises(Unreachable):  # another site answers there than was named
        world.loop.result(new.mesh.join(SiteID(b"o" * 32), [site.address], b"invited"))
    with pytest.raises(Unreachable):
        world.loop.result(new.mesh.join(site.id, ["127.0.0.1:1"], b"invited"))
    with pytest.raises(Unreachable):
        world.loop.result(new.mesh.request(site.id, "echo", b""))
    assert not site.linked()


def test_a_member_may_ask_to_join_again(world: World) -> None:
    """The answer to its first asking may have been lost."""
    site = world.site(1).join()

    async def let_in(stranger: SiteID, body: bytes) -> bytes:
        return b"welcome"

    site.mesh.serve_strangers(let_in)
    new = world.site(2, Registry())
    new.mesh.start()
    world.members.admit(new.id)
    assert world.loop.result(new.mesh.join(site.id, [site.address], b"again")) == b"welcome"


@pytest.mark.parametrize(
    "messages",
    [
        [Request(1, "echo", 0, b"")],
        [Request(1, "join", 1, b"x"), Request(2, "join", 1, b"x")],
        [Neighbours(b"")],
        [Request(1, "join", 100_000, bytes(16 * 1024))]
        + [More(1, 0, bytes(16 * 1024)) for _ in range(5)],
    ],
)
def test_strangers_get_no_further(world: World, messages: list[Message]) -> None:
    site = world.site(1).join()
    answered = []

    async def let_in(stranger: SiteID, body: bytes) -> bytes:
        answered.append(body)
        return b"welcome"

    site.mesh.serve_strangers(let_in)
    site.write(3)
    peer = connect(world.loop, site.mesh.port, context_of(key_of(60)))
    world.loop.until(lambda: peer.channel is not None and peer.channel.peer)
    peer.say(Hello(1, 1, 1, "raw"), *messages)
    world.loop.until(lambda: any(isinstance(m, Bye | Reply) for m in peer.heard()))
    assert len(answered) <= 1
    kinds = {type(message) for message in peer.heard()}
    assert kinds <= {Hello, Ping, Bye, Reply}


def test_a_few_strangers_at_once_are_heard(world: World) -> None:
    site = world.site(1).join()
    peers = []
    for number in range(limits.STRANGERS_MAX + 3):
        peer = connect(world.loop, site.mesh.port, context_of(key_of(60 + number)))
        world.loop.until(lambda peer=peer: peer.channel.peer)
        peers.append(peer)
    world.loop.until(lambda: sum(peer.lost for peer in peers) == 3)
    assert site.mesh.turned_away == 3
    member = world.site(2).join()
    world.loop.until(lambda: site.linked() == {member.id})
