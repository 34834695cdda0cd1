"""HTTPS with a pinned certificate: the pilot's client, and the command line's.

The server is known by the SHA-256 of its certificate and by nothing else: names, dates and
authorities are not looked at. Nothing is sent before the certificate was compared.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

CONNECT_S_MAX = 15.0
ANSWER_BYTES_MAX = 256 << 20
# How a kept connection shows that the server had closed it before our request.
_STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class Unreachable(Exception):
    """The node did not answer: refused, timed out, closed the connection. Trying later may help."""


class BrokenOff(Unreachable):
    """Somebody here closed the connection while a request waited for its answer."""


class WrongCertificate(Exception):
    """Somebody else answers at this address: the certificate is not the pinned one."""


class Refused(Exception):
    """The node answered with an error: `status`, `code` and the message are its own."""

    def __init__(self, status: int, code: str, message: str, body: Any = None) -> None:
        super().__init__(message or code or "status %d" % status)
        self.status = status
        self.code = code
        self.body = body


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if hasattr(context, "minimum_version"):
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # novm
    else:  # Python 3.6
        context.options |= ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    return context


def dial(
    host: str, port: int, fingerprint: bytes, context: Optional[ssl.SSLContext] = None
) -> http.client.HTTPSConnection:
    """An open connection to the server that shows this certificate, and to no other.

    fingerprint: SHA-256 of the certificate (DER). Raises OSError, WrongCertificate.
    """
    connection = http.client.HTTPSConnection(
        host, port, timeout=CONNECT_S_MAX, context=context or _context()
    )
    connection.connect()
    found = hashlib.sha256(connection.sock.getpeercert(True) or b"").digest()
    if not hmac.compare_digest(found, fingerprint):
        connection.close()
        raise WrongCertificate(
            "%s:%d shows certificate %s, not the pinned %s"
            % (host, port, found.hex(), fingerprint.hex())
        )
    return connection


class Connection:
    """One keep-alive connection to a server known by its certificate; one request at a time.

    urls: addresses of the same node, tried in turn from the one that last answered.
    fingerprint: SHA-256 of the certificate (DER), hex.
    `close` may be called from another thread and ends a request that waits.
    """

    def __init__(self, urls: Sequence[str], fingerprint: str) -> None:
        self._urls = [_address(url) for url in urls]
        self._fingerprint = bytes.fromhex(fingerprint.replace(":", ""))
        self._context = _context()
        self._http: Optional[http.client.HTTPSConnection] = None
        self._lock = threading.Lock()  # guards _http against close()
        self._closed = 0  # how often close() was called

    def request(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout_s: float = 60.0,
    ) -> Tuple[int, Dict[str, str], bytes]:
        """Send one request, give (status, headers with lower-case names, body).

        A kept connection that the server had closed meanwhile is opened again once, which can
        send the same request twice. Raises Unreachable, WrongCertificate.
        """
        fresh = self._http is None
        closed = self._closed
        try:
            return self._send(method, path, body, headers or {}, timeout_s)
        except (OSError, ValueError, http.client.HTTPException) as fault:
            self._drop()
            if self._closed != closed:
                raise BrokenOff("closed here") from fault
            if fresh or not isinstance(fault, _STALE):
                raise Unreachable(_why(fault)) from fault
        try:
            return self._send(method, path, body, headers or {}, timeout_s)
        except (OSError, ValueError, http.client.HTTPException) as fault:
            self._drop()
            raise Unreachable(_why(fault)) from fault

    def json(
        self,
        method: str,
        path: str,
        value: Any = None,
        token: str = "",
        timeout_s: float = 60.0,
    ) -> Any:
        """Send a JSON value (or none), give the JSON answer.

        Raises Refused for an error answer, Unreachable when it is no JSON or none came.
        """
        body = None if value is None else json.dumps(value, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = "Bearer " + token
        status, _, answer = self.request(method, path, body, headers, timeout_s)
        return parse_answer(status, answer)

    def close(self) -> None:
        """Close the connection; a request that waits in another thread raises BrokenOff."""
        self._closed += 1
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            connection, self._http = self._http, None
        if connection is None:
            return
        if connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        connection.close()

    def _send(
        self,
        method: str,
        path: str,
        body: Optional[bytes],
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Tuple[int, Dict[str, str], bytes]:
        connection = self._http or self._open()
        assert connection.sock is not None
        connection.sock.settimeout(timeout_s)
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX)
        if response.will_close:
            self._drop()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, answer

    def _open(self) -> http.client.HTTPSConnection:
        fault: Optional[Exception] = None
        for at, (host, port) in enumerate(self._urls):
            try:
                connection = dial(host, port, self._fingerprint, self._context)
            except OSError as error:
                fault = error
                continue
            self._urls = self._urls[at:] + self._urls[:at]
            with self._lock:
                self._http = connection
            return connection
        raise fault or OSError("no address")


def parse_answer(status: int, answer: bytes) -> Any:
    """The JSON of an answer. Raises Refused for an error status, Unreachable for no JSON."""
    try:
        value = json.loads(answer.decode("utf-8")) if answer else None
    except (ValueError, RecursionError) as fault:
        if status < 400:
            raise Unreachable("the answer is no JSON: %r" % answer[:80]) from fault
        value = None
    if status >= 400:
        error = value.get("error") if isinstance(value, dict) else None
        error = error if isinstance(error, dict) else {}
        raise Refused(status, str(error.get("code", "")), str(error.get("message", "")), value)
    return value


def _address(url: str) -> Tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("%r is no https address" % url)
    return parts.hostname, parts.port or 443


def _why(fault: Exception) -> str:
    return str(fault) or type(fault).__name__
