"""The HTTPS edge: fresh connections, and many pilots that poll and report at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time

from bench.pilots import Wire, endpoint, pull
from bench.site import Site, site

PILOTS = 200
SECONDS = 15
RATE = 10_000 / 60


def connect(host: str, port: int, count: int) -> None:
    """Open so many fresh TLS connections at the promised rate, one small request each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        with (
            socket.create_connection((host, port)) as plain,
            context.wrap_socket(plain) as wire,
        ):
            wire.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            assert b" 200 " in wire.recv(4096)


def tls() -> dict[str, float]:
    """Share of one core that 10,000 fresh TLS connections a minute cost the node."""
    count = int(RATE * SECONDS)
    with site(slots=0) as here:
        host, port = endpoint(here)
        words = [sys.executable, "-c"]
        code = f"from bench.edge import connect; connect({host!r}, {port}, {{}})"
        subprocess.run([*words, code.format(200)], check=True)
        cpu, began = here.cpu_s(), time.monotonic()
        subprocess.run([*words, code.format(count)], check=True)
        share = (here.cpu_s() - cpu) / (time.monotonic() - began)
    return {"tls_10k_per_min_core_share": share}


async def load(here: Site, token: str) -> tuple[float, int]:
    """Requests a second and errors of 200 keep-alive pilots, one unit a poll."""
    host, port = endpoint(here)
    wires = [Wire(host, port) for _ in range(PILOTS)]
    for number, wire in enumerate(wires, 1):
        await wire.open()
        await wire.announce(token, 1, number)
    was, began = sum(wire.requests for wire in wires), time.monotonic()
    await asyncio.gather(*(pull(wire, 1, began + SECONDS, slots=1) for wire in wires))
    rate = (sum(wire.requests for wire in wires) - was) / (time.monotonic() - began)
    return rate, sum(wire.errors for wire in wires)


def api() -> dict[str, float]:
    """200 pilots that each take one unit and report it, against the real store."""
    with site(slots=0) as here:
        here.run("submit", "--name", "load", "--jobs", "1000000", "--", "/bin/true")
        token = here.json("pilots", "token", "--count", str(PILOTS))["token"]
        rate, errors = asyncio.run(load(here, token))
    return {"api_requests_per_s": rate, "api_errors": float(errors)}
