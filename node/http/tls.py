"""TLS of the API: P-256, TLS 1.2 and later, pinned by its clients."""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, ITransport
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

from keys.certificate import ApiCertificate
from node.http.server import Factory

BACKLOG = 1024
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# SHA-256 first: a handshake hashes more than it encrypts, and processors have SHA-256 built in.
_CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_OP_NO_RENEGOTIATION = 0x40000000  # SSL_OP_NO_RENEGOTIATION, since OpenSSL 1.1.0h


class _Context(ssl.ContextFactory):
    """One server context for all connections."""

    def __init__(self, certificate: ApiCertificate) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | _OP_NO_RENEGOTIATION)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        # Clients make one connection and keep it: remembering sessions would only cost memory.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(_CIPHERS)
        context.set_tls13_ciphersuites(_CIPHERS_13)
        leaf, *chain = _certificates(certificate.certificate_pem)
        context.use_certificate(leaf)
        for link in chain:
            context.add_extra_chain_cert(link)
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, certificate.key_pem))
        context.check_privatekey()
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


def _certificates(pem: bytes) -> list[crypto.X509]:
    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    return [crypto.load_certificate(crypto.FILETYPE_PEM, part) for part in parts]


class _Transport(BufferingTLSTransport):
    """Twisted's, less the declaring of interfaces one by one (a tenth of a connection's cost)."""

    def makeConnection(self, transport: ITransport) -> None:
        # As in the base class, which also declares the transport's interfaces one by one;
        # ProtocolWrapper declares all of them together right after.
        self._tlsConnection = self.factory._creatorCallable(self)
        self._appSendBuffer: list[bytes] = []
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        ProtocolWrapper.makeConnection(self, transport)
        self._checkHandshakeStatus()


class _Wrapping(TLSMemoryBIOFactory):
    protocol = _Transport


def no_port(error: CannotListenError) -> str:
    """That the API's port cannot be had, and what to do."""
    why = os.strerror(error.socketError.errno or 0).lower()
    return (
        f"the API cannot listen on {error.interface or '*'}:{error.port}: {why}. Name another port:"
        " listen in [api] of config.toml (port 0 takes a free one); then start the node again"
    )


def listen(
    reactor: IReactorTCP, host: str, port: int, certificate: ApiCertificate, factory: Factory
) -> IListeningPort:
    """Listen for HTTPS. Raises CannotListenError."""
    context: Any = _Context(certificate)
    wrapped: Any = _Wrapping(context, False, factory)
    return reactor.listenTCP(port, wrapped, backlog=BACKLOG, interface=host)
