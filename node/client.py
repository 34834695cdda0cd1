"""HTTPS client of the node's JSON API: pinned certificate, cached login, plain errors.

Standard library only, and no import that a `floe submit` does not need: starting fast is the
point. The server is known by its certificate as pilots know it; added are people's login, a new
look at where the node is after its restart, and bodies that are too large for memory.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from node.home import Home, NodeAddress, make_private_folder, write_private
from pilot.client import WrongCertificate, dial

REPLY_S_MAX = 120.0
REPLY_BYTES_MAX = 256 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
BUSY_RETRIES_MAX = 4  # of a request that the node answered with 429
ANSWER_LOST_TRIES_MAX = 40  # when a node goes away amid a submission
ANSWER_LOST_PAUSE_S = 0.5
REPEATABLE = ("GET", "PUT")  # a blob is known by its digest
STARTING_S_MAX = 15.0  # for a node that has a process and no address
STARTING_PAUSE_S = 0.1
TOKEN_MARGIN_S = 60  # a token that ends sooner is not used any more

Json = dict[str, Any]


class ClientError(Exception):
    """What the person should read; `right` says what to do next."""

    def __init__(self, message: str, right: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.right = right
        self.code = code


class Unreachable(ClientError):
    """No node answers there, or something else does.

    sent: the request may have reached the node, and its answer was lost.
    """

    def __init__(self, message: str, right: str = "", *, sent: bool = False) -> None:
        super().__init__(message, right, "unreachable")
        self.sent = sent


class Refused(ClientError):
    """The node answered, and said no."""

    def __init__(self, status: int, code: str, message: str, right: str, detail: Json) -> None:
        super().__init__(message, right, code)
        self.status = status
        self.detail = detail  # the reply's whole "error" object


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node's API is and which certificate it must show."""

    url: str
    fingerprint: str  # SHA-256 of the certificate's DER bytes, hex
    site: str = ""  # the site's key in base32, where known
    name: str = ""


class Signer:
    """The person's SSH key, used through `ssh-keygen` so that agents and passphrases work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = ""

    def public_line(self) -> str:
        """The key as OpenSSH writes it, "ssh-ed25519 AAAA… comment".

        Raises ClientError when there is no such key.
        """
        if not self._line:
            self._line = self._read_line()
        return self._line

    def _read_line(self) -> str:
        name = str(self.path)
        public = Path(name if name.endswith(".pub") else name + ".pub")
        try:
            return public.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            line = _line_of_private(self.path)
        if not line:
            raise ClientError(
                f"no SSH key in {public}",
                'name yours with --key, or write key = "…" in client.toml',
                "no_key",
            )
        return line

    def sign(self, message: bytes) -> bytes:
        """The raw OpenSSH signature blob over `message`, namespace icefloe."""
        from keys.sshsig import SigningFailed, sign_with_agent_or_key

        try:
            return sign_with_agent_or_key(self.path, message)
        except SigningFailed as error:
            raise ClientError(str(error), code="signing") from None


def _line_of_private(path: Path) -> str:
    """The public half of a private key that has no .pub file; "" where it cannot be had."""
    import subprocess

    if not path.is_file():
        return ""
    argv = ["ssh-keygen", "-y", "-P", "", "-f", str(path)]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def login_message(site: str, challenge: str) -> bytes:
    """The bytes that a person signs to log in. Source: docs/protocol.md, "Login"."""
    return f"icefloe login 1\n{site}\n{challenge}".encode()


class Client:
    """Requests to one node in the name of one person.

    find: gives the endpoint; called again when a connection fails, so that a restarted node is
    found on its new port. It raises Unreachable where no node is known.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        signer: Signer | None = None,
        tokens: Path | None = None,
        wall_s: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._find = find
        self._signer = signer
        self._tokens = tokens
        self._wall_s = wall_s
        self._sleep = sleep
        self._connection: http.client.HTTPSConnection | None = None
        self._endpoint: Endpoint | None = None
        self._token = ""
        self._unanswered = False  # a request that changes something may have been taken

    # --- requests

    def get(
        self, path: str, query: Mapping[str, object] | None = None, *, within_s: float = 0
    ) -> Json:
        """The reply's JSON object. `within_s`: how long the node may think about it."""
        return self._json("GET", path, query, None, within_s=within_s)

    def post(self, path: str, body: Json, *, within_s: float = 0) -> Json:
        return self._json("POST", path, None, body, within_s=within_s)

    def post_once(self, path: str, body: Json) -> Json:
        """Post what the node takes once however often it comes (it knows it by its hash).

        When the answer is lost, because the node went away, it is asked again until it is back.
        """
        for left in reversed(range(ANSWER_LOST_TRIES_MAX)):
            try:
                return self.post(path, body)
            except Unreachable as error:
                self._unanswered = self._unanswered or error.sent
                if not self._unanswered or not left:
                    raise
                self._sleep(ANSWER_LOST_PAUSE_S)
            except Refused as error:
                if not (self._unanswered and error.code == "replayed"):
                    raise
                return {}
        raise AssertionError("the last try returns or raises")

    def ping(self) -> Json:
        """What the node says of itself to anybody."""
        return self._json("GET", "/v1/ping", None, None, login=False)

    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = self._find()
        return self._endpoint

    def put_blob(self, digest: str, content: bytes | Path) -> None:
        """Send one blob under its BLAKE2b-256 digest (hex)."""
        path = f"/v1/blobs/{digest}"
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(content, bytes):
            self._send_whole("PUT", path, headers, content)
            return
        size = content.stat().st_size

        def body() -> IO[bytes]:
            return content.open("rb")

        self._send_whole("PUT", path, headers | {"Content-Length": str(size)}, body)

    @contextmanager
    def download(
        self, path: str, query: Mapping[str, object] | None = None, offset: int = 0
    ) -> Iterator[Iterator[bytes]]:
        """The reply's bytes from `offset` on, in chunks; nothing if it ends before `offset`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            response = self._answered("GET", _target(path, query), headers, None)
        except Refused as error:
            if error.status != 416:
                raise
            yield iter(())
            return
        try:
            yield _from_offset(response, offset)
        finally:
            if not response.isclosed():
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- login

    def has_login(self) -> bool:
        """Whether a token is at hand, so that no signature is needed."""
        return bool(self._token or self._cached_token())

    def _authorization(self) -> Json:
        if self._signer is None:
            return {}
        if not self._token:
            self._token = self._cached_token() or self._login()
        return {"Authorization": f"Bearer {self._token}"}

    def _token_file(self) -> Path | None:
        if self._tokens is None or self._signer is None:
            return None
        name = f"{self.endpoint().fingerprint} {self._signer.public_line()}"
        return self._tokens / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"

    def _cached_token(self) -> str:
        file = self._token_file()
        if file is None:
            return ""
        try:
            kept = json.loads(file.read_bytes())
            if float(kept["expires"]) > self._wall_s() + TOKEN_MARGIN_S:
                return str(kept["token"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return ""

    def _login(self) -> str:
        from keys.sshsig import armor

        assert self._signer is not None
        line = self._signer.public_line()
        asked = self._json("POST", "/v1/login", None, {"key": line}, login=False)
        site = self.endpoint().site or str(self.ping().get("key", ""))
        signature = self._signer.sign(login_message(site, str(asked["challenge"])))
        answer = {"challenge": asked["challenge"], "signature": armor(signature)}
        given = self._json("POST", "/v1/login/answer", None, answer, login=False)
        token = str(given["token"])
        self._keep_token(token, self._wall_s() + float(given.get("expires_s", 0)))
        return token

    def _keep_token(self, token: str, expires: float) -> None:
        file = self._token_file()
        if file is None:
            return
        try:
            make_private_folder(file.parent)
            write_private(file, json.dumps({"token": token, "expires": int(expires)}).encode())
        except Exception:
            return  # a token that cannot be kept costs one more login next time

    def _forget_token(self) -> None:
        self._token = ""
        file = self._token_file()
        if file is not None:
            file.unlink(missing_ok=True)

    # --- one request

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: Json | None,
        *,
        login: bool = True,
        within_s: float = 0,
    ) -> Json:
        headers = {"Accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        response = self._answered(
            method, _target(path, query), headers, content, login=login, within_s=within_s
        )
        return _object(self._read_whole(response))

    def _send_whole(
        self, method: str, path: str, headers: Json, body: bytes | Callable[[], IO[bytes]]
    ) -> None:
        self._read_whole(self._answered(method, path, headers, body))

    def _answered(
        self,
        method: str,
        target: str,
        headers: Json,
        body: bytes | Callable[[], IO[bytes]] | None,
        *,
        login: bool = True,
        within_s: float = 0,
    ) -> http.client.HTTPResponse:
        """A 2xx response, its body unread. Logs in again once; waits when the node is busy."""
        may_login_again = login and self._signer is not None
        for attempt in range(BUSY_RETRIES_MAX + 2):
            sent = headers | self._authorization() if login else headers
            response = self._exchange(method, target, sent, body, within_s)
            if response.status < 300:
                return response
            refused = _refusal(response.status, self._read_whole(response))
            if response.status == 401 and may_login_again:
                may_login_again = False
                self._forget_token()
            elif response.status == 429 and attempt < BUSY_RETRIES_MAX:
                self._sleep(_retry_after_s(response, attempt))
            else:
                raise refused
        raise AssertionError("every attempt returns, raises or goes on to another")

    def _exchange(
        self,
        method: str,
        target: str,
        headers: Json,
        body: bytes | Callable[[], IO[bytes]] | None,
        within_s: float,
    ) -> http.client.HTTPResponse:
        """Send and read the status line.

        Where the connection breaks, what may be asked twice is asked once more, of a node that
        starts itself again; anything else only if it was not sent yet, or if the connection is a
        kept one, which may have died meanwhile.
        """
        for again in (False, True):
            kept = self._connection is not None
            sent = False
            try:
                connection = self._connected()
                sent = True
                assert connection.sock is not None
                connection.sock.settimeout(REPLY_S_MAX + within_s)
                content = body() if callable(body) else body
                try:
                    connection.request(method, target, content, headers)
                finally:
                    if callable(body) and content is not None:
                        content.close()  # type: ignore[union-attr]
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                may_repeat = method in REPEATABLE or kept or not sent
                if may_repeat and not again and not isinstance(error, TimeoutError):
                    self._unanswered |= sent and method not in REPEATABLE
                    continue
                raise self._unreachable(error, sent) from None
        raise AssertionError("the second turn returns or raises")

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._endpoint = endpoint = self._find()
            self._connection = _dialled(endpoint)
        return self._connection

    def _unreachable(self, error: Exception, sent: bool = False) -> Unreachable:
        where = self._endpoint.url if self._endpoint else "the node"
        if isinstance(error, TimeoutError | socket.timeout):
            return Unreachable(f"{where} does not answer (timed out)", "floe doctor", sent=sent)
        if isinstance(error, ConnectionRefusedError):
            return Unreachable(f"nothing listens on {where}", "start the node: floe up --detach")
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(f"cannot talk to {where}: {what}", "floe doctor", sent=sent)

    def _read_whole(self, response: http.client.HTTPResponse) -> bytes:
        try:
            content = response.read(REPLY_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error, sent=True) from None
        if len(content) > REPLY_BYTES_MAX:
            self.close()
            raise ClientError("the node's reply is too large to be one")
        if response.will_close:
            self.close()
        return content


def find_endpoint(
    home: Home,
    url: str = "",
    fingerprint: str = "",
    site: str = "",
    pause: Callable[[float], None] = time.sleep,
) -> Endpoint:
    """The node at `url`, else the one that runs on `home`. Raises Unreachable.

    One that is just starting, or starts itself again, is waited for.
    """
    if url:
        if not fingerprint:
            raise Unreachable(
                f"no fingerprint is pinned for {url}",
                "give --fingerprint, or write it in client.toml; "
                "`floe keys show` on the node's machine prints it",
            )
        return Endpoint(url, fingerprint, site)
    if (address := home.address()) is None:
        if not home.exists():
            raise Unreachable(f"there is no site in {home.path}", "make one: floe init --name NAME")
        address = _started(home, pause)
    return Endpoint(address.api, address.fingerprint, address.site, address.name)


def _started(home: Home, pause: Callable[[float], None]) -> NodeAddress:
    """Where a node is that has a process already. Raises Unreachable if none has, or for long."""
    from node.daemon import is_node  # nobody waits for this import while all is well

    looks = int(STARTING_S_MAX / STARTING_PAUSE_S)
    while (pid := home.holder()) is not None and is_node(pid):
        pause(STARTING_PAUSE_S)
        if (address := home.address()) is not None:
            return address
        looks -= 1
        if not looks:
            raise Unreachable(
                f"the node on {home.path}, process {pid}, has been starting or stopping for"
                f" {STARTING_S_MAX:.0f} s",
                f"its log says why: {home.log / 'node.log'}",
            )
    raise Unreachable(f"no node runs on {home.path}", "start it: floe up --detach")


def path_of(*parts: str | int) -> str:
    """An API path from parts that may hold any character."""
    return "/v1/" + "/".join(quote(str(part), safe="@:") for part in parts)


def _dialled(endpoint: Endpoint) -> http.client.HTTPSConnection:
    """A connection to the node, by the pilot's way of knowing it. Raises OSError, Unreachable."""
    host, port = _host_and_port(endpoint.url)
    try:
        pinned = bytes.fromhex(endpoint.fingerprint.replace(":", ""))
        return dial(host, port, pinned)
    except ValueError:
        raise Unreachable(
            f"{endpoint.fingerprint[:80]!r} is no fingerprint", "floe keys show prints it"
        ) from None
    except WrongCertificate:
        raise Unreachable(
            f"{host}:{port} shows another certificate than the one pinned here",
            "if the site's certificate was replaced on purpose, pin the new one: floe keys show "
            "on its machine, then client.toml here",
        ) from None


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "//" in url else f"https://{url}")
    try:
        if parts.scheme == "https" and parts.hostname:
            return parts.hostname, parts.port or 443
    except ValueError:
        pass
    raise Unreachable(f"{url!r} is no address of a node", "write https://HOST:PORT")


def _target(path: str, query: Mapping[str, object] | None) -> str:
    wanted = {key: value for key, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(wanted)}" if wanted else path


def _object(content: bytes) -> Json:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ClientError("the node's reply is no JSON object; is it a node of this version?")
    return value


def _refusal(status: int, content: bytes) -> Refused:
    try:
        detail = json.loads(content)["error"]
        return Refused(
            status,
            str(detail.get("code", status)),
            str(detail.get("message", "")) or http.client.responses.get(status, str(status)),
            str(detail.get("right") or ""),
            detail,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        words = http.client.responses.get(status, "error")
        return Refused(status, str(status), f"the node answered {status} {words}", "", {})


def _retry_after_s(response: http.client.HTTPResponse, attempt: int) -> float:
    try:
        return min(30.0, max(0.1, float(response.headers.get("Retry-After", ""))))
    except ValueError:
        return 0.5 * 2.0**attempt


def _from_offset(response: http.client.HTTPResponse, offset: int) -> Iterator[bytes]:
    skip = 0 if response.status == 206 else offset
    while chunk := response.read(CHUNK_BYTES):
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0
