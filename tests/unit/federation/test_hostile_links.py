"""Connections of those who should have none, and of members that behave badly."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from federation import limits, wire
from federation.entry import seal
from federation.events import Reason
from federation.feed import FeedTip
from federation.ids import FeedID, Lane, SiteID
from federation.records import Site, Unknown
from federation.wire import Bye, Hello, Ping, Push, Span, Want, encode
from keys.certificate import site_certificate, site_private_key
from tests.fakes.loop import Loop
from tests.fakes.mesh import key_of
from tests.fakes.meshed import Registry
from tests.fakes.rawpeer import RawPeer, certificate_of, connect, context_of
from tests.unit.federation.worlds import World, a_world

HELLO = Hello(1, 1, 1, "raw")
MEMBER = key_of(50)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as world:
        yield world


def a_peer(world: World, port: int) -> RawPeer:
    """A raw connection of a member, after the hellos; it is spoken to, and speaks."""
    peer = connect(world.loop, port, context_of(MEMBER))
    world.loop.until(lambda: peer.channel is not None and peer.channel.peer)
    peer.say(HELLO, Ping(1))
    world.loop.until(peer.heard)
    return peer


def byes(peer: RawPeer) -> list[int]:
    return [message.reason for message in peer.heard() if isinstance(message, Bye)]


# Who gets a link


def test_dates_and_names_of_certificates_do_not_matter(world: World) -> None:
    site = world.site(1).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    old = certificate_of(site_private_key(MEMBER), until=1999, name="somebody else")
    peer = connect(world.loop, site.mesh.port, context_of(MEMBER, certificate=old))
    world.loop.until(lambda: peer.channel is not None and peer.channel.peer)
    peer.say(HELLO, Ping(1))
    world.loop.until(lambda: MEMBER.site in site.linked())


@pytest.mark.parametrize("wrong", ["no certificate", "another kind of key", "TLS 1.2"])
def test_without_a_sites_certificate_there_is_no_connection(world: World, wrong: str) -> None:
    site = world.site(1).join()
    context = {
        "no certificate": lambda: context_of(None),
        "another kind of key": lambda: context_of(
            None, private=ec.generate_private_key(ec.SECP256R1())
        ),
        "TLS 1.2": lambda: context_of(MEMBER, version=SSL.TLS1_2_VERSION),
    }[wrong]()
    peer = connect(world.loop, site.mesh.port, context)
    world.loop.until(lambda: peer.lost)
    assert peer.error
    assert not peer.clear


@pytest.mark.parametrize("protocols", [(), (b"h2",), (b"floe-relayed/1",)])
def test_a_connection_for_another_purpose_is_closed(
    world: World, protocols: tuple[bytes, ...]
) -> None:
    site = world.site(1).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = connect(world.loop, site.mesh.port, context_of(MEMBER, protocols=protocols))
    world.loop.until(lambda: peer.lost)
    assert not peer.clear


def test_a_key_that_was_revoked_a_second_ago_gets_no_link_and_loses_the_one_it_has(
    world: World,
) -> None:
    site = world.site(1).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = a_peer(world, site.mesh.port)
    world.loop.until(lambda: MEMBER.site in site.linked())
    world.members.revoke(MEMBER.site)  # type: ignore[arg-type]
    assert MEMBER.site not in site.linked()
    world.loop.until(lambda: peer.lost)
    assert byes(peer) == [Reason.REVOKED]
    again = connect(world.loop, site.mesh.port, context_of(MEMBER))
    world.loop.until(lambda: again.lost)
    assert again.error
    assert not again.clear


def test_a_site_that_answers_with_another_key_is_not_linked_with(world: World) -> None:
    theirs, ours = Registry(), Registry()
    other = world.site(2, theirs).join()
    site = world.site(1, ours).join()
    ours.admit(MEMBER.site, [other.address])  # type: ignore[arg-type]
    world.loop.until(lambda: [fact for fact in site.mesh.links() if fact.error])
    [fact] = site.mesh.links()
    assert "another site answers there" in fact.error
    assert not site.linked()
    assert not other.linked()


def test_a_stranger_that_takes_us_for_a_member_is_told_so_and_learns_nothing(
    world: World,
) -> None:
    one_sided = Registry()
    site = world.site(1).join()
    site.write(3)
    stranger = world.site(2, one_sided).join()
    one_sided.admit(site.id, [site.address])
    world.loop.until(lambda: [fact for fact in stranger.mesh.links() if fact.error])
    assert not stranger.feeds.tips()
    assert not site.linked()
    # Once both know each other, they link.
    world.members.admit(stranger.id, [stranger.address])
    world.loop.until(lambda: site.held() == stranger.held())


def test_sessions_are_not_resumed(world: World, tmp_path: Path) -> None:
    """A client that keeps its TLS session has to show its key again."""
    site = world.site(1).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    pem = tmp_path / "site.pem"
    pem.write_bytes(
        site_private_key(MEMBER).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + site_certificate(MEMBER).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pem)
    context.set_alpn_protocols(["floe/1"])
    first = _StdlibPeer(world.loop, site.mesh.port, context, None)
    assert not first.tls.session_reused
    again = _StdlibPeer(world.loop, site.mesh.port, context, first.tls.session)
    assert not again.tls.session_reused


class _StdlibPeer:
    """A connection by Python's own TLS, which can offer to resume a session."""

    def __init__(
        self, loop: Loop, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        self._raw = connect(loop, port, None)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, session=session)
        self._steps(loop, self.tls.do_handshake)
        self.tls.write(encode(HELLO) + encode(Ping(1)))
        self._steps(loop, self.tls.read)  # tickets, if any, come with the first bytes

    def _steps(self, loop: Loop, step: object) -> None:
        for _ in range(100):
            try:
                step()  # type: ignore[operator]
            except ssl.SSLWantReadError:
                pass
            else:
                self._flush()
                return
            self._flush()
            loop.until(lambda: self._raw.clear)
            self._in.write(self._raw.clear)
            self._raw.clear = b""

    def _flush(self) -> None:
        self._raw.send(self._out.read())


# Who speaks another version

OLDER = wire.frame(msgpack.packb([1, 1, 1, 7, "0.0.1", []]))
NEWER = wire.frame(msgpack.packb([1, 1, 9, 7, "9.0", ["later"], "a field of later", [1]]))
LATER = wire.frame(msgpack.packb([99, "a message of later"]))


@pytest.mark.parametrize(("hello", "more"), [(OLDER, b""), (NEWER, LATER)], ids=["older", "newer"])
def test_a_peer_of_another_version_is_spoken_to_and_its_records_are_passed_on(
    world: World, hello: bytes, more: bytes
) -> None:
    """A newer one may say what is not known here, and write records of kinds that are not."""
    site, other = world.site(1).join(), world.site(2).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = connect(world.loop, site.mesh.port, context_of(MEMBER))
    world.loop.until(lambda: peer.channel is not None and peer.channel.peer)
    feed = FeedID(SiteID(MEMBER.site), 1, Lane.CONTROL)
    later = Unknown(4711, msgpack.packb([4711, "of later"]))
    entry = seal(MEMBER, feed, 1, b"", 1, [later, Site("raw", "9.0")])
    pushed = Push(Lane.CONTROL, [[entry.header_bytes, entry.signature, entry.body or b""]])
    peer.send(hello + encode(Ping(1)) + more + encode(pushed) + more)
    world.loop.until(lambda: feed in other.held())
    assert other.feeds.entries(feed, 0, 1) == [entry]
    assert entry.records()[0] == later
    assert MEMBER.site in site.linked()
    assert not byes(peer)


def test_a_peer_that_speaks_no_version_of_ours_is_told_so(world: World) -> None:
    site = world.site(1).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = connect(world.loop, site.mesh.port, context_of(MEMBER))
    world.loop.until(lambda: peer.channel is not None and peer.channel.peer)
    peer.say(Hello(8, 9, 1, "9.0"))
    world.loop.until(lambda: peer.lost)
    assert byes(peer) == [Reason.VERSION]
    assert not site.linked()


# Who behaves badly


def test_what_is_no_tls_is_closed_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_S_MAX", 0.5)
    site = world.site(1).join()
    silent, chatty = (connect(world.loop, site.mesh.port, None) for _ in range(2))
    chatty.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
    world.loop.until(lambda: silent.lost and chatty.lost)


def test_connections_that_say_nothing_keep_nobody_out(world: World) -> None:
    site = world.site(1).join()
    silent = [connect(world.loop, site.mesh.port, None) for _ in range(limits.ARRIVALS_MAX + 10)]
    other = world.site(2).join()
    world.loop.until(lambda: other.linked() == {site.id})
    world.loop.until(lambda: sum(peer.lost for peer in silent) >= 10)


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 40,
        b"\x7f\xff\xff\xff",
        (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
        encode(Want([Span(FeedID(MEMBER.site, 1, Lane.CONTROL), 0, 1)]))[:-9]
        + b"\xcf"
        + b"\xff" * 8,  # type: ignore[arg-type]
        encode(Push(Lane.CONTROL, [[b"header", bytes(64), b"body"]])),
    ],
)
def test_a_member_that_breaks_the_protocol_loses_its_link_and_is_counted(
    world: World, sent: bytes
) -> None:
    site, other = world.site(1).join(), world.site(2).join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = a_peer(world, site.mesh.port)
    world.loop.until(lambda: {MEMBER.site, other.id} == site.linked())
    peer.send(sent)
    world.loop.until(lambda: peer.lost)
    assert byes(peer) == [Reason.PROTOCOL]
    assert site.mesh.broken == {MEMBER.site: 1}
    assert site.linked() == {other.id}
    site.write()
    world.loop.until(lambda: other.held() == site.held())


@pytest.mark.parametrize("pace", ["slow", "stopped"])
def test_a_peer_that_reads_slowly_or_not_at_all_delays_nobody(world: World, pace: str) -> None:
    site = world.site(1)
    site.write(100, Lane.RESULTS, rows=1300)  # 6 MiB
    site.join()
    world.members.admit(MEMBER.site)  # type: ignore[arg-type]
    peer = a_peer(world, site.mesh.port)
    world.loop.until(lambda: MEMBER.site in site.linked())
    tip: FeedTip = site.feeds.tip(FeedID(site.id, 1, Lane.RESULTS))
    peer.say(Want([Span(tip.feed, 0, tip.seq)]))
    world.loop.until(lambda: len(peer.clear) > 10_000)
    peer.transport.pauseProducing()  # type: ignore[union-attr]
    other = world.site(2).join()
    for _ in range(10):
        site.write()
        if pace == "slow":
            peer.transport.resumeProducing()  # type: ignore[union-attr]
            peer.transport.doRead()  # type: ignore[union-attr]
            peer.transport.pauseProducing()  # type: ignore[union-attr]
    world.loop.until(lambda: other.held() == site.held())
    session = site.mesh.exchange.hub.sessions.get(MEMBER.site)  # type: ignore[call-overload]
    assert session is not None
    assert session.bytes_out < 2 << 20  # of 6 MiB that it wants
