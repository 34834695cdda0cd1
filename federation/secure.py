"""TLS between sites over any byte stream: 1.3 only, both ends with their site's certificate.

The only question is whose key the other end holds: names and dates are not looked at, sessions are
never resumed. Works on memory: on a socket for links, in a tunnel for requests through a relay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from federation.errors import PeerError
from federation.ids import SiteID
from keys.certificate import BadCertificate, site_certificate, site_of, site_private_key
from keys.identity import SiteKey

RECORDS: Final = b"floe/1"
BULK: Final = b"floe-bulk/1"
RELAYED: Final = b"floe-relayed/1"
PROTOCOLS: Final = (RECORDS, BULK)  # that a listening site takes on its socket

_READ_BYTES: Final = 64 * 1024
# SHA-256 first: a handshake hashes more than it encrypts, and processors have it built in.
_CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"


class TLSError(PeerError):
    """The other end broke off, or broke, TLS; or showed a certificate that is no site's."""


class Contexts:
    """The settings of all connections of one site, made once."""

    def __init__(self, key: SiteKey, admits: Callable[[SiteID], bool]) -> None:
        """admits: whether a key may finish a handshake; a stranger may, a revoked site may not."""
        self._key = key
        self._admits = admits
        self._clients = {p: self._client(p) for p in (RECORDS, BULK, RELAYED)}
        self._servers = {False: self._server(PROTOCOLS), True: self._server((RELAYED,))}

    def dial(self, protocol: bytes) -> Channel:
        """The end that begins."""
        return Channel(self._clients[protocol], begins=True)

    def accept(self, *, relayed: bool = False) -> Channel:
        """The end that is dialled: on a socket, or in a tunnel."""
        return Channel(self._servers[relayed], begins=False)

    def _client(self, protocol: bytes) -> SSL.Context:
        context = self._context()
        context.set_alpn_protos([protocol])
        return context

    def _server(self, protocols: tuple[bytes, ...]) -> SSL.Context:
        def choose(_: SSL.Connection, offered: list[bytes]) -> bytes | object:
            for protocol in protocols:
                if protocol in offered:
                    return protocol
            return SSL.NO_OVERLAPPING_PROTOCOLS

        context = self._context()
        context.set_alpn_select_callback(choose)  # type: ignore[arg-type]
        return context

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_max_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(_CIPHERS)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_certificate(site_certificate(self._key))
        context.use_privatekey(site_private_key(self._key))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        return context

    def _verify(
        self, _: SSL.Connection, certificate: object, error: int, depth: int, ok: int
    ) -> bool:
        """Whatever OpenSSL thinks of a certificate, its key alone counts."""
        if depth:
            return True
        try:
            return self._admits(SiteID(site_of(certificate.to_cryptography())))  # type: ignore[attr-defined]
        except BadCertificate:
            return False


class Channel:
    """One TLS connection in memory."""

    def __init__(self, context: SSL.Context, *, begins: bool) -> None:
        self.peer: SiteID | None = None  # once the handshake is done
        self.protocol = b""
        self.ended = False  # the other end said that no more will come
        self._tls = SSL.Connection(context, None)
        if begins:
            self._tls.set_connect_state()
        else:
            self._tls.set_accept_state()

    def start(self) -> None:
        """Say what is to be said first."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """What came, in the clear; nothing before the handshake is done. Raises TLSError."""
        clear: list[bytes] = []
        while data:
            data = data[self._tls.bio_write(data) :]
            if self.peer is None:
                self._shake_hands()
            if self.peer is not None:
                clear += self._read()
        return b"".join(clear)

    def send(self, data: bytes) -> None:
        """Encrypt; `take` has it then. Only once the handshake is done. Raises TLSError."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.send(view[:_READ_BYTES]) :]
        except SSL.Error as error:
            raise TLSError(f"TLS failed: {_words(error)}") from None

    def take(self) -> bytes:
        """The bytes that go to the other end now."""
        parts = []
        try:
            while True:
                parts.append(self._tls.bio_read(_READ_BYTES))
        except SSL.WantReadError:
            return b"".join(parts)

    def close(self) -> None:
        """Say that no more will come."""
        with contextlib.suppress(SSL.Error):  # mid-handshake: the stream's end says it
            self._tls.shutdown()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TLSError(f"no TLS handshake: {_words(error)}") from None
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise TLSError("no certificate was shown")
        try:
            self.peer = SiteID(site_of(certificate))
        except BadCertificate as error:
            raise TLSError(str(error)) from None
        self.protocol = self._tls.get_alpn_proto_negotiated()

    def _read(self) -> list[bytes]:
        clear = []
        try:
            while not self.ended:
                clear.append(self._tls.recv(_READ_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            raise TLSError(f"TLS failed: {_words(error)}") from None
        return clear


def _words(error: SSL.Error) -> str:
    """What OpenSSL says, in short: its reasons, the innermost first."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(reason[-1]) for reason in reasons) or type(error).__name__
