"""A dataset of a million jobs and four tasks: what the node and the user pay for it."""

from __future__ import annotations

import statistics
import time

from bench.noop import CHAIN, LINK
from bench.site import Site, site
from node.client import Client, Signer, find_endpoint
from node.home import Home

HELD = 100


def client_of(here: Site) -> Client:
    """A logged-in client that keeps its connection, as a page or a script would."""
    home = Home(here.home)
    return Client(lambda: find_endpoint(home), Signer(here.home.parent / "id"), home.tokens)


def timed_show(here: Site, name: str) -> float:
    """Wall seconds of `floe show NAME --json`, the start of Python included."""
    began = time.monotonic()
    here.run("show", name, "--json")
    return time.monotonic() - began


def submit() -> dict[str, float]:
    """100 datasets of 1,000,000 x 4 units, none of them running."""
    walls, cpus, statuses = [], [], []
    with site(slots=0) as here:
        path = here.home.parent / "big.toml"
        rss_first = size = 0.0
        for number in range(HELD):
            text = CHAIN.format(name=f"big-{number}").replace("1000", "1_000_000")
            text += "".join(LINK.format(task=t, before=b) for b, t in ("ab", "bc", "cd"))
            path.write_text(text)
            cpu, began = here.cpu_s(), time.monotonic()
            here.run("submit", str(path))
            walls.append(time.monotonic() - began)
            cpus.append(here.cpu_s() - cpu)
            if number == 0:
                rss_first, size = here.rss_mb(), here.json("store", "show")["bytes"]
        commands = [timed_show(here, f"big-{number}") for number in range(0, HELD, 20)]
        client = client_of(here)
        for number in range(HELD):
            began = time.monotonic()
            client.get(f"/v1/datasets/big-{number}")
            statuses.append(time.monotonic() - began)
        grown = here.rss_mb() - rss_first
        stored = here.json("store", "show")["bytes"] - size
    return {
        "submit_1m_node_ms": statistics.median(cpus) * 1e3,
        "submit_1m_wall_s": statistics.median(walls),
        "submit_mb_per_dataset": grown / (HELD - 1),
        "submit_record_kb": stored / (HELD - 1) / 1e3,
        "status_ms": statistics.median(statuses) * 1e3,
        "show_command_ms": statistics.median(commands) * 1e3,
    }
