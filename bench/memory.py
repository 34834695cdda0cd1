"""What the node holds in memory with 100 million units queued and a million done."""

from __future__ import annotations

import asyncio
import time

from bench.pilots import Wire, endpoint, pull
from bench.site import Site, site


async def work_off(here: Site, token: str, units: int, a_poll: int = 2000) -> None:
    """Have so many units done by a pretended pilot, which leaves then."""
    host, port = endpoint(here)
    wire = Wire(host, port)
    await wire.open()
    await wire.announce(token, 100_000)
    count = 0
    while count < units:
        more = await pull(wire, a_poll, time.monotonic() + 60, most=units - count)
        assert more, "no unit came"
        count += more
    await wire.leave()


def memory() -> dict[str, float]:
    with site(slots=0) as here:
        for number in range(100):
            here.run("submit", "--name", f"many-{number}", "--jobs", "1000000", "--", "/bin/true")
        token = here.json("pilots", "token", "--count", "1")["token"]
        cpu, began = here.cpu_s(), time.monotonic()
        asyncio.run(work_off(here, token, 1_000_000))
        return {
            "node_rss_mb": here.rss_mb(),
            "million_results_node_us_per_unit": (here.cpu_s() - cpu),
            "million_results_per_s": 1e6 / (time.monotonic() - began),
        }
