"""A TLS client that is no site: shows any certificate, says anything, reads as it likes."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from federation import wire
from federation.secure import RECORDS, Channel, TLSError
from federation.wire import Message
from keys.certificate import site_private_key
from keys.identity import SiteKey
from tests.fakes.loop import Loop

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def certificate_of(
    private: Private, *, until: int = 9998, name: str = "anybody"
) -> x509.Certificate:
    """A self-signed certificate, valid from 1990 until the beginning of a year."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(99)
        .not_valid_before(datetime.datetime(1990, 1, 1))
        .not_valid_after(datetime.datetime(until, 1, 1))
    )
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return builder.sign(private, None)
    return builder.sign(private, hashes.SHA256())


def context_of(
    key: SiteKey | None,
    *,
    private: Private | None = None,
    certificate: x509.Certificate | None = None,
    protocols: tuple[bytes, ...] = (RECORDS,),
    version: int = SSL.TLS1_3_VERSION,
) -> SSL.Context:
    """A client's settings; no certificate without a key."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if key is not None:
        private = site_private_key(key)
    if private is not None:
        context.use_certificate(certificate or certificate_of(private))
        context.use_privatekey(private)
    if protocols:
        context.set_alpn_protos(list(protocols))
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    return context


class RawPeer(Protocol):
    """One connection."""

    def __init__(self, context: SSL.Context | None) -> None:
        """context: None for one that speaks no TLS."""
        self.channel = None if context is None else Channel(context, begins=True)
        self.clear = b""  # what came, less TLS
        self.lost = False
        self.error = ""

    def connectionMade(self) -> None:
        if self.channel is not None:
            self.channel.start()
            self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self.channel is None:
            self.clear += data
            return
        try:
            self.clear += self.channel.receive(data)
        except TLSError as error:
            self.error = str(error)
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    def send(self, data: bytes) -> None:
        """Bytes, in TLS if this speaks it."""
        if self.channel is not None:
            self.channel.send(data)
            self._flush()
        else:
            self.transport.write(data)  # type: ignore[union-attr]

    def say(self, *messages: Message) -> None:
        self.send(b"".join(map(wire.encode, messages)))

    def heard(self) -> list[Message]:
        """The messages that came whole."""
        frames = wire.Frames(1 << 20)
        frames.add(self.clear)
        heard = []
        while (content := frames.next()) is not None:
            message = wire.decode(content)
            assert message is not None
            heard.append(message)
        return heard

    def _flush(self) -> None:
        assert self.channel is not None
        self.transport.write(self.channel.take())  # type: ignore[union-attr]


def connect(loop: Loop, port: int, context: SSL.Context | None) -> RawPeer:
    """A connection to a site at a port of this machine."""
    peer = RawPeer(context)

    class Once(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> RawPeer:
            return peer

    loop.result(TCP4ClientEndpoint(loop.reactor, "127.0.0.1", port).connect(Once()))
    return peer
