"""Meshes of real processes on loopback: how quick, how cheap, how soon after a loss."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.meshes import Mesh, mesh, wait_until
from bench.noop import floe_s
from bench.site import Site, process_cpu_s
from node.client import Client, Signer, find_endpoint
from node.home import Home

FIVE = ("madison", "desy", "nersc", "aachen", "ulb")
CONVERGE_ROUNDS = 40
UNITS = 10_000
VOTE_AFTER_S = 4
IDLE_SITES = 8
IDLE_S = 60
POLL_S = 0.002


def client(site: Site) -> Client:
    """A client of one node that keeps its connection."""
    home = Home(site.home)
    key = site.home.parent / "id"
    return Client(lambda: find_endpoint(home, "", "", ""), Signer(key), home.tokens)


class Eye(threading.Thread):
    """Asks one node again and again, and notes when its answer first satisfies the question."""

    def __init__(self, site: Site, path: str, wanted: Callable[[Any], bool]) -> None:
        super().__init__(daemon=True)
        self.seen_s = float("inf")
        self._client = client(site)
        self._client.get("/v1/status")  # logged in before the clock runs
        self._path = path
        self._wanted = wanted

    def run(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self._wanted(self._client.get(self._path)):
                self.seen_s = time.monotonic()
                return
            time.sleep(POLL_S)


def converge() -> dict[str, float]:
    """Milliseconds from the answer to an order at one of five nodes until all others show it."""
    took = []
    with mesh(FIVE, slots=0) as here:
        first = here[FIVE[0]]
        first.run("submit", "--name", "watched", "--jobs", "10", "--", "/bin/true")
        for site in here.sites.values():
            wait_until(lambda site=site: knows(site, "watched"), 30, "the dataset at all sites")
        for number in range(CONVERGE_ROUNDS):
            paused = number % 2 == 0
            eyes = [
                Eye(here[name], "/v1/datasets/watched", lambda reply, p=paused: _is(reply, p))
                for name in FIVE[1:]
            ]
            for eye in eyes:
                eye.start()
            first.run("set", "pause" if paused else "resume", "watched")
            began = time.monotonic()
            for eye in eyes:
                eye.join()
            took.append(max(0.0, max(eye.seen_s for eye in eyes) - began))
    return {
        "converge_5_p50_ms": statistics.median(took) * 1000,
        "converge_5_max_ms": max(took) * 1000,
    }


def _is(reply: Any, paused: bool) -> bool:
    return bool(reply["dataset"]["paused"]) is paused


def knows(site: Site, name: str) -> bool:
    return any(each["name"] == name for each in site.json("sets")["datasets"])


def join() -> dict[str, float]:
    """Seconds from `mesh join` until the new site has settled a unit of work that was there."""
    with mesh(FIVE[:2], slots=0) as here:
        here[FIVE[0]].run("submit", "--name", "waiting", "--jobs", "100", "--", "/bin/true")
        began = time.monotonic()
        site = here.add(FIVE[2], slots=1)
        wait_until(lambda: settled(site, "waiting") > 0, 60, "a unit settled by the new site")
        return {"join_to_work_s": time.monotonic() - began}


def settled(site: Site, name: str) -> int:
    if not knows(site, name):
        return 0
    return int(site.json("show", name)["counts"]["settled"])


def units() -> dict[str, float]:
    """CPU of all nodes together for each no-op unit that two sites share."""
    with mesh(FIVE[:3], slots=1) as here:
        first = here[FIVE[0]]
        floe_s(first, "warm", "--jobs", "500", "--", "/bin/true")
        before = {site.pid: process_cpu_s(site.pid) for site in here.sites.values()}
        took_s = floe_s(first, "shared", "--jobs", str(UNITS), "--", "/bin/true")
        used_s = sum(process_cpu_s(pid) - was for pid, was in before.items())
        shares = first.json("show", "shared")["sites"]
    return {
        "cpu_us_per_unit_all_nodes": used_s / UNITS * 1e6,
        "shared_units_per_s": UNITS / took_s,
        "sites_that_shared": float(len(shares)),
    }


def takeover() -> dict[str, float]:
    """Seconds, in vote timeouts, from the loss of a leader until its work goes on."""
    config = f'vote_after = "{VOTE_AFTER_S}s"\nlost_after = "{VOTE_AFTER_S}s"\n'
    with mesh(FIVE[:3], slots=1, config=config) as here:
        lost, left = here[FIVE[0]], here[FIVE[1]]
        lost.run("submit", "--wait-stored", "3", "--name", "long", "--jobs", "2000", "--",
                 "sleep", "0.05")  # fmt: skip
        wait_until(lambda: settled(left, "long") > 50, 60, "work under way")
        began = time.monotonic()
        here.kill(FIVE[0])
        assert lost.pid
        wait_until(lambda: led_by_other(left), 60, "another leader")
        took_s = time.monotonic() - began
        before = settled(left, "long")
        wait_until(lambda: settled(left, "long") > before, 60, "the work goes on")
    return {"takeover_votes_s": took_s, "takeover_vote_timeouts": took_s / VOTE_AFTER_S}


def led_by_other(site: Site) -> bool:
    return any(shard["term"] > 0 for shard in site.json("mesh", "shards")["shards"])


def idle() -> dict[str, float]:
    """Share of a core and bytes a second of a node in a mesh where nothing happens."""
    names = [f"site{number}" for number in range(IDLE_SITES)]
    with mesh(names, slots=0) as here:
        time.sleep(5)  # what joining caused has been said
        before = {name: (site.cpu_s(), moved(site)) for name, site in here.sites.items()}
        feeds = control_entries(here)
        began = time.monotonic()
        time.sleep(IDLE_S)
        took_s = time.monotonic() - began
        cpu = [here[name].cpu_s() - was for name, (was, _) in before.items()]
        bytes_ = [moved(here[name]) - was for name, (_, was) in before.items()]
        grown = control_entries(here) - feeds
    return {
        "idle_core_share": statistics.median(cpu) / took_s,
        "idle_bytes_per_s": statistics.median(bytes_) / took_s,
        "idle_control_entries": float(grown),
    }


def moved(site: Site) -> int:
    """Bytes of all links of a node so far, both ways."""
    links = site.json("mesh", "links")["links"]
    return sum(int(link["sent_bytes"]) + int(link["received_bytes"]) for link in links)


def control_entries(here: Mesh) -> int:
    """Entries of control feeds at the first node."""
    first = next(iter(here.sites.values()))
    feeds = first.json("store", "show")["feeds"]
    return sum(int(feed["entries"]) for feed in feeds if feed["lane"] == "control")
