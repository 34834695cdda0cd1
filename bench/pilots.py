"""Pretended pilots: they speak the pilot API over TLS and report every unit done at once."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from bench.site import Site


@dataclass
class Wire:
    """One keep-alive HTTPS connection to a node."""

    host: str
    port: int
    requests: int = 0
    errors: int = 0
    session: str = ""
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    async def open(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, ssl=context)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(body, separators=(",", ":")).encode()
        head = (
            f"POST /pilot/v1/{path} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nAuthorization: Bearer {self.session}\r\n\r\n"
        )
        self.writer.write(head.encode() + data)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        lines = answer.decode().split("\r\n")
        length = next(int(x.split(":")[1]) for x in lines if x.lower().startswith("content-length"))
        text = await self.reader.readexactly(length)
        self.requests += 1
        if " 200 " not in lines[0]:
            self.errors += 1
            return {"error": lines[0] + text.decode("utf-8", "replace")}
        found: dict[str, Any] = json.loads(text)
        return found

    async def announce(self, token: str, slots: int, pid: int = 1) -> None:
        """pid: of this pilot on its host; a pilot that announces itself again is one pilot."""
        resources = {
            "cpu": slots, "gpu": 0, "memory_bytes": slots * 4 << 30,
            "disk_bytes": slots * 10 << 30, "time_left_s": None,
        }  # fmt: skip
        answer = await self.post(
            "announce",
            {
                "token": token, "tag": "bench", "host": "bench", "pid": pid, "version": "0",
                "resources": resources, "isolation": "group", "session": None, "holding": [],
            },
        )  # fmt: skip
        assert "session" in answer, answer
        self.session = answer["session"]

    async def leave(self) -> None:
        """The pilot ends, and says so."""
        last = {"batch": 1 << 40, "results": [], "running": [], "returned": [], "leaving": True}
        await self.post("report", last)
        self.writer.close()


def jobs_of(ranges: list[int]) -> list[int]:
    return [
        job
        for low, high in zip(ranges[::2], ranges[1::2], strict=False)
        for job in range(low, high)
    ]


def done(work: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results of everything in a poll's answer: success, no output."""
    return [
        {
            "lease": item["lease"], "spec": item["spec"], "jobs": jobs_of(item["jobs"]),
            "outcome": 0, "start_ms": int(time.time() * 1000), "offset_ms": 0, "wall_ms": 1,
            "cpu_ms": 1, "memory_kib": 1000, "disk_kib": 0, "gpu_ms": 0, "exit": 0,
            "errors": [""], "error": 0, "outputs": "", "inputs": "", "log": "", "tails": [],
        }
        for item in work
    ]  # fmt: skip


async def pull(
    wire: Wire, units: int, until: float, *, slots: int = 100_000, most: int = 1 << 40
) -> int:
    """Poll and report until nothing comes, the time is over, or that is enough; the units done."""
    count, batch = 0, 0
    free = {
        "cpu": slots, "gpu": 0, "memory_bytes": slots * 4 << 30,
        "disk_bytes": slots * 10 << 30, "time_left_s": None,
    }  # fmt: skip
    while time.monotonic() < until and count < most:
        answer = await wire.post(
            "poll", {"free": free, "idle_slots": slots, "queued": 0, "units_max": units}
        )
        results = done(answer.get("work", []))
        if not results:
            break
        batch += 1
        await wire.post(
            "report", {"batch": batch, "results": results, "running": [], "returned": []}
        )
        count += sum(len(result["jobs"]) for result in results)
    return count


def endpoint(site: Site) -> tuple[str, int]:
    host, port = site.json("status")["api"].removeprefix("https://").rsplit(":", 1)
    return host, int(port)
