"""A small node: speaks the pilot API over TLS from memory, for tests and the pilot's benchmark."""

from __future__ import annotations

import datetime
import hashlib
import json
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "a token for one pilot"
DATASET = "d5" * 32


def task(
    *modules: Mapping[str, Any] | list[str],
    needs: Mapping[str, Any] | None = None,
    jobs: int = 1_000_000,
    **more: Any,
) -> dict[str, Any]:
    """A task as the node describes it to a pilot; a list stands for a module that runs it."""
    spec: dict[str, Any] = {
        "dataset": DATASET,
        "name": "stub",
        "task": 0,
        "task_name": "main",
        "jobs": jobs,
        "cells": 1,
        "matrix": [],
        "params": {},
        "env": {},
        "inputs": [],
        "outputs": [],
        "files": [],
        "needs": {"cpu": 1, "memory_bytes": 100_000_000, "disk_bytes": 100_000_000, "time_s": 60},
        "modules": [{"run": m} if isinstance(m, list) else dict(m) for m in modules],
    }
    spec["needs"].update(needs or {})
    spec.update(more)
    return spec


@dataclass
class Lease:
    """Units that are out at the pilot."""

    number: int
    spec: str
    left: set[int]


@dataclass
class State:
    """What the node knows; guarded by `changed`."""

    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    ready: list[dict[str, Any]] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)
    orders: list[dict[str, Any]] = field(default_factory=list)
    logs: list[list[Any]] = field(default_factory=list)  # answers to "tail" orders
    blobs: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    returned: list[tuple[int, int]] = field(default_factory=list)
    running: list[list[int]] = field(default_factory=list)
    announced: list[dict[str, Any]] = field(default_factory=list)
    batches: set[tuple[str, int]] = field(default_factory=set)
    repeated: int = 0
    left: bool = False
    why: str = ""  # it left
    session: str = ""
    sent: set[str] = field(default_factory=set)
    requests: int = 0
    polls: int = 0
    counting: bool = False  # keep counts only, for the benchmark
    units: int = 0
    failures: int = 0


class PilotServer:
    """`with PilotServer() as server:` serves on a free port of 127.0.0.1."""

    def __init__(self, port: int = 0, certificate: Path | None = None) -> None:
        self.state = State()
        self.changed = threading.Condition()
        self.poll_s = 2.0
        self.heartbeat_s = 1.0
        self.down = False  # close every connection unanswered
        self.refuse: dict[str, int] = {}  # last part of a path: status to answer once
        self._folder = tempfile.TemporaryDirectory()
        path = certificate or make_certificate(Path(self._folder.name))
        self.certificate = path
        der = ssl.PEM_cert_to_DER_cert(_first_certificate(path.read_text()))
        self.fingerprint = hashlib.sha256(der).hexdigest()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self._http = _Server(("127.0.0.1", port), _handler(self))
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._next_lease = 1

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> PilotServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.down = True
        with self.changed:
            self.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._folder.cleanup()

    # --- what a test does ---------------------------------------------------------------------

    def add(self, spec: Mapping[str, Any], jobs: Iterable[int] = (0,), **more: Any) -> str:
        """Make units of a task ready; `more` joins their leases (attempts, inputs, rows, needs)."""
        with self.changed:
            name = f"{spec['dataset']}/{spec['task']}/{len(self.state.specs)}"
            self.state.specs[name] = {**spec, "dataset": spec["dataset"]}
            self.state.ready.append({"spec": name, "jobs": list(jobs), "more": more})
            self.changed.notify_all()
        return name

    def order(self, order: Mapping[str, Any]) -> None:
        with self.changed:
            self.state.orders.append(dict(order))
            self.changed.notify_all()

    def put(self, data: bytes) -> str:
        """Hold a blob for pilots to fetch."""
        digest = hashlib.blake2b(data, digest_size=32).hexdigest()
        self.state.blobs[digest] = data
        return digest

    def until(self, true: Callable[[State], Any], timeout_s: float = 60.0) -> Any:
        """Wait for something to become true of the state. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (found := true(self.state)):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"did not happen in {timeout_s} s; rows {self.state.rows}")
                self.changed.wait(min(left, 0.5))
            return found

    def result(self, job: int = 0, timeout_s: float = 60.0) -> dict[str, Any]:
        """The last row reported of a job."""

        def of(state: State) -> list[dict[str, Any]]:
            return [row for row in state.rows if row["job"] == job]

        found: dict[str, Any] = self.until(of, timeout_s)[-1]
        return found

    def log(self, row: Mapping[str, Any]) -> bytes:
        return self.state.blobs[row["log"]] if row["log"] else b""

    def outputs(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        """Output files of a row by path."""
        listing = json.loads(self.state.blobs[row["outputs"]])
        return {entry["path"]: self.state.blobs[entry["digest"]] for entry in listing}

    # --- the API ------------------------------------------------------------------------------

    def announce(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["token"] != TOKEN:
            return 403, {"error": {"code": "token", "message": "not a token of this site"}}
        with self.changed:
            self.state.announced.append(body)
            self.state.session = f"session {len(self.state.announced)}"
            self.state.sent.clear()
            self.changed.notify_all()
        return 200, {
            "session": self.state.session,
            "heartbeat_s": self.heartbeat_s,
            "poll_s": self.poll_s,
            "site": "stub",
        }

    def poll(self, body: dict[str, Any]) -> tuple[int, Any]:
        deadline = time.monotonic() + self.poll_s
        with self.changed:
            self.state.polls += 1
            while True:
                work = self._take(body["units_max"])
                orders, self.state.orders = self.state.orders, []
                if work or orders or time.monotonic() >= deadline or self.down:
                    break
                self.changed.wait(max(0.01, deadline - time.monotonic()))
            new = {item["spec"] for item in work} - self.state.sent
            self.state.sent |= new
            specs = {name: self.state.specs[name] for name in new}
        return 200, {"work": work, "specs": specs, "orders": orders}

    def _take(self, units_max: int) -> list[dict[str, Any]]:
        work = []
        while units_max > 0 and self.state.ready:
            first = self.state.ready[0]
            jobs, first["jobs"] = first["jobs"][:units_max], first["jobs"][units_max:]
            if not first["jobs"]:
                self.state.ready.pop(0)
            units_max -= len(jobs)
            number = self._next_lease
            self._next_lease += 1
            self.state.leases[number] = Lease(number, first["spec"], set(jobs))
            work.append(
                {"lease": number, "spec": first["spec"], "jobs": _ranges(jobs), **first["more"]}
            )
        return work

    def report(self, body: dict[str, Any]) -> tuple[int, Any]:
        with self.changed:
            key = (self.state.session, body["batch"])
            if key in self.state.batches:
                self.state.repeated += 1
            else:
                self.state.batches.add(key)
                self._take_report(body)
            orders, self.state.orders = self.state.orders, []
            self.changed.notify_all()
        return 200, {"acked": body["batch"], "orders": orders}

    def _take_report(self, body: dict[str, Any]) -> None:
        self.state.running = body["running"]
        self.state.logs += body.get("logs", [])
        self.state.left = self.state.left or bool(body.get("leaving"))
        self.state.why = self.state.why or str(body.get("why", ""))
        for group in body["results"]:
            lease = self.state.leases[group["lease"]]
            assert lease.left.issuperset(group["jobs"]), "results of units that are not leased"
            lease.left -= set(group["jobs"])
            self.state.units += len(group["jobs"])
            if group["outcome"] != 0:
                outcomes = group["outcome"]
                self.state.failures += (
                    len(group["jobs"])
                    if isinstance(outcomes, int)
                    else sum(1 for outcome in outcomes if outcome)
                )
            if not self.state.counting:
                self.state.rows.extend(_rows(group))
            elif self.state.failures:
                self.state.rows.extend(_rows(group)[:1])
        for number, jobs in body["returned"]:
            self.state.leases[number].left -= set(jobs)
            self.state.returned.extend((number, job) for job in jobs)

    def store(self, data: bytes) -> tuple[int, Any]:
        (length,) = struct.unpack_from(">I", data)
        listing, at = json.loads(data[4 : 4 + length]), 4 + length
        for digest, size in listing:
            blob = data[at : at + size]
            at += size
            assert self.put(blob) == digest, "a blob that is not what its name says"
        return 200, {"stored": len(listing)}

    def store_part(self, digest: str, content_range: str, data: bytes) -> tuple[int, Any]:
        start, total = 0, len(data)
        if content_range:
            span, _, total_text = content_range.partition(" ")[2].partition("/")
            start, total = int(span.split("-")[0]), int(total_text)
        have = self.state.parts.get(digest, b"")
        assert len(have) == start, "a part that does not go on where the last one ended"
        have += data
        if len(have) < total:
            self.state.parts[digest] = have
        else:
            self.state.parts.pop(digest, None)
            assert self.put(have) == digest
        return 200, {"have": len(have)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that clients break off are no news."""


def _handler(server: PilotServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(
            self, status: int, data: bytes, headers: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
            self.wfile.flush()

        def _known(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {server.state.session}":
                return True
            self._body()
            self._answer(401, b'{"error": {"code": "session", "message": "no such session"}}')
            return False

        def _closed(self) -> bool:
            self.close_connection = self.close_connection or server.down
            return server.down

        def do_POST(self) -> None:
            server.state.requests += 1
            if self._closed():
                return
            name = self.path.rpartition("/")[2]
            if name != "announce" and not self._known():
                return
            data = self._body()
            if name in server.refuse:
                status, value = server.refuse.pop(name), {"error": {"message": "refused"}}
            elif name == "blobs":
                status, value = server.store(data)
            else:
                status, value = getattr(server, name)(json.loads(data))
            if not self._closed():
                self._answer(status, json.dumps(value, separators=(",", ":")).encode())

        def do_PUT(self) -> None:
            if self._closed() or not self._known():
                return
            digest = self.path.rpartition("/")[2]
            given = self.headers.get("Content-Range") or ""
            status, value = server.store_part(digest, given, self._body())
            self._answer(status, json.dumps(value).encode())

        def do_HEAD(self) -> None:
            if self._closed() or not self._known():
                return
            digest = self.path.rpartition("/")[2]
            have = server.state.blobs.get(digest, server.state.parts.get(digest))
            if have is None:
                self._answer(404, b"")
            else:
                self._answer(200, b"", {"X-Floe-Have": str(len(have))})

        def do_GET(self) -> None:
            if self._closed() or not self._known():
                return
            data = server.state.blobs.get(self.path.rpartition("/")[2])
            if data is None:
                self._answer(404, b'{"error": {"code": "blob", "message": "no such blob"}}')
                return
            start, _, end = (self.headers.get("Range") or "bytes=0-")[6:].partition("-")
            part = data[int(start) : int(end) + 1 if end else None]
            span = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
            self._answer(206, part, {"Content-Range": span})

    return Handler


def _rows(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A report's columns as one table a row."""
    rows = []
    tails = dict(map(tuple, group["tails"]))
    names = ("outcome", "wall_ms", "cpu_ms", "memory_kib", "disk_kib", "gpu_ms", "exit")
    for at, job in enumerate(group["jobs"]):
        row: dict[str, Any] = {"job": job, "lease": group["lease"], "spec": group["spec"]}
        for name in (*names, "outputs", "inputs", "log", "error", "offset_ms"):
            column = group[name]
            row[name] = column[at] if isinstance(column, list) else column
        row["error"] = group["errors"][row["error"]]
        row["start_ms"] = group["start_ms"] + row["offset_ms"]
        row["tail"] = tails.get(at, "")
        rows.append(row)
    return rows


def _ranges(jobs: list[int]) -> list[int]:
    flat: list[int] = []
    for job in jobs:
        if flat and flat[-1] == job:
            flat[-1] = job + 1
        else:
            flat += [job, job + 1]
    return flat


def make_certificate(folder: Path) -> Path:
    """A self-signed P-256 certificate with its key, one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stub")])
    start = datetime.datetime(2020, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    path.chmod(0o600)
    return path


def _first_certificate(pem: str) -> str:
    start = pem.index("-----BEGIN CERTIFICATE-----")
    return pem[start:]
