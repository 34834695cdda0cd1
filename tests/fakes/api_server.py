"""A node's JSON API without a node: the replies of docs/api.md, from tables that a test fills.

It speaks real TLS on a real port, checks real signatures, and keeps every request, so that the
client and the command line run against it unchanged.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from keys.certificate import create_api_certificate
from keys.identity import SiteKey, show
from keys.signing import BadSignature
from keys.sshsig import PublicKey, dearmor, verify

Json = dict[str, Any]
COUNTS = (
    "units",
    "settled",
    "running",
    "ready",
    "waiting",
    "failed",
    "blocked",
    "cancelled",
    "duplicates",
)
ZERO = dict.fromkeys(COUNTS, 0)


class Refuse(Exception):
    """Answer with an error."""

    def __init__(self, status: int, message: str, right: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": "test", **fields, "message": message, "right": right}


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: dict[str, str]

    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found


@dataclass
class FakeNode:
    """What the fake node holds. `replies`: path -> the object it answers (or a callable)."""

    site: SiteKey = field(default_factory=lambda: SiteKey(secrets.token_bytes(32)))
    name: str = "desy"
    people: dict[bytes, str] = field(default_factory=dict)  # key -> name
    tokens: set[str] = field(default_factory=set)
    challenges: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # path -> bytes of a download
    replies: dict[str, Any] = field(default_factory=dict)
    posted: dict[str, list[Json]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    logins: int = 0
    busy: int = 0  # so many of the next requests get 429
    cut: int = 0  # so many of the next answers are lost, with their connection

    def answer(self, request: Request) -> Json | bytes:
        self.requests.append(request)
        if self.busy:
            self.busy -= 1
            raise Refuse(429, "the node is busy")
        public = {
            "/v1/ping": self._ping,
            "/v1/login": self._login,
            "/v1/login/answer": self._login_answer,
        }
        if request.path in public:
            return public[request.path](request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refuse(401, "the token is unknown or has expired")
        return self._known(request)

    def _known(self, request: Request) -> Json | bytes:
        path = request.path
        if path in self.replies:
            reply = self.replies[path]
            found = reply(request) if callable(reply) else reply
            return found if isinstance(found, bytes) else {"schema": 1, **found}
        if path in self.files:
            return self.files[path]
        if path == "/v1/blobs/missing":
            digests = request.json()["digests"]
            return {"missing": [digest for digest in digests if digest not in self.blobs]}
        if path.startswith("/v1/blobs/") and request.method == "PUT":
            self.blobs[path.rpartition("/")[2]] = request.body
            return {"schema": 1}
        if path in ("/v1/datasets", "/v1/commands", "/v1/people") and request.method == "POST":
            return self._signed(request)
        raise Refuse(404, f"there is no {path}", "floe sets")

    def _signed(self, request: Request) -> Json:
        """Take a signed document: checked as a node checks it."""
        body = request.json()
        document = base64.b64decode(body["document"])
        try:
            key = verify(document, base64.b64decode(body["signature"]))
        except BadSignature as error:
            raise Refuse(400, str(error)) from None
        if key.raw not in self.people:
            raise Refuse(403, "this key is not enrolled")
        content = json.loads(document)
        self.posted.setdefault(request.path, []).append(content)
        if request.path != "/v1/datasets":
            counts = {**ZERO, "units": 4, "settled": 4}
            return {"schema": 1, "verb": content.get("verb"), "applied": True, "counts": counts}
        description = content["description"]
        tasks = len(description["task"])
        jobs = int(description.get("jobs", 1))
        return {
            "schema": 1,
            "dataset": {"id": "ab" * 32, "name": description["name"]},
            "jobs": jobs,
            "tasks": tasks,
            "units": jobs * tasks,
            "stored_on": [self.name],
            "warnings": [],
        }

    def _ping(self, _request: Request) -> Json:
        return {
            "schema": 1,
            "site": self.name,
            "key": show(self.site.site),
            "version": "0.1.0",
            "now_ms": int(time.time() * 1000),
        }

    def _login(self, request: Request) -> Json:
        key = PublicKey.parse(request.json()["key"])
        if key.raw not in self.people:
            raise Refuse(403, "this key is not enrolled at this site", "ask its admin")
        challenge = secrets.token_urlsafe(24)
        self.challenges.add(challenge)
        return {"schema": 1, "challenge": challenge, "expires_s": 60}

    def _login_answer(self, request: Request) -> Json:
        body = request.json()
        challenge = body["challenge"]
        if challenge not in self.challenges:
            raise Refuse(401, "the challenge was used already")
        self.challenges.discard(challenge)
        message = f"icefloe login 1\n{show(self.site.site)}\n{challenge}".encode()
        try:
            key = verify(message, dearmor(body["signature"]))
        except BadSignature as error:
            raise Refuse(401, str(error)) from None
        token = secrets.token_urlsafe(32)
        self.tokens.add(token)
        self.logins += 1
        return {"schema": 1, "token": token, "expires_s": 43200, "name": self.people[key.raw]}

    def dataset(self, name: str, jobs: int, tasks: list[str], **counts: int) -> None:
        """Serve one dataset under its name and under "last"."""
        full = {**ZERO, "units": jobs * len(tasks), **counts}
        reply = {
            "dataset": {
                "id": "cd" * 32,
                "name": name,
                "user": "ana",
                "group": "",
                "priority": 50,
                "jobs": jobs,
                "state": "running",
                "submitted_ms": 1_790_000_000_000,
            },
            "counts": full,
            "tasks": [
                {"name": task, "counts": {**full, "units": jobs}, "cpu_s": 12.5} for task in tasks
            ],
            "sites": [{"name": self.name, "running": full["running"]}],
            "commands": [],
        }
        done = full["units"] <= sum(
            full[state] for state in ("settled", "failed", "blocked", "cancelled")
        )
        for ref in (name, "last", "cd" * 32):
            self.replies[f"/v1/datasets/{ref}"] = reply
            self.replies[f"/v1/datasets/{ref}/wait"] = {"done": done, "counts": full}


def _handler(node: FakeNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(length)
            request = Request(self.command, unquote(parts.path), query, body, headers)
            try:
                found = node.answer(request)
            except Refuse as refused:
                self._send(refused.status, json.dumps({"error": refused.error}).encode())
                return
            if node.cut:
                node.cut -= 1
                self.close_connection = True
                return
            if isinstance(found, bytes):
                self._send_range(found, headers.get("range", ""))
            else:
                self._send(200, json.dumps(found).encode())

        def _send_range(self, content: bytes, asked: str) -> None:
            if not asked:
                self._send(200, content)
                return
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            if first >= len(content):
                self._send(416, b'{"error": {"code": "range", "message": "too far"}}')
                return
            self._send(206, content[first:])

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class FakeServer:
    """The fake node on a free port of localhost; use with `with`."""

    def __init__(self, folder: Path, node: FakeNode) -> None:
        self.node = node
        pem = folder / "fake-api.pem"
        self.fingerprint = create_api_certificate(pem).fingerprint
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(node))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


Reply = Callable[[Request], Json]
