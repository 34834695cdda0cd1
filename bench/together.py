"""Meshes of real processes on loopback: how quick, how cheap, how soon after a loss."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from threading import Thread

import apsw

from bench.memory import work_off
from bench.meshes import mesh, wait_until
from bench.noop import floe_s
from bench.site import Site, process_cpu_s
from node.home import Home

FIVE = ("madison", "desy", "nersc", "aachen", "ulb")
CONVERGE_ROUNDS = 40
UNITS = 20_000
A_POLL = 20_000  # units that a pretended pilot takes at once
HISTORY = 1_000_000  # results that are there when a site joins
VOTE_AFTER_S = 4
CONVERGE_S_MAX = 30.0
HOLD_S = 2  # so little does each site ask for, that all get a part of a short dataset
POLL_S = 0.0005


class Table:
    """One column of a node's tables, read from beside the node, which costs the node nothing."""

    def __init__(self, site: Site, dataset: str) -> None:
        path = str(Home(site.home).database)
        self._conn = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        self._conn.set_busy_timeout(1000)
        self._dataset = dataset

    def paused(self) -> bool:
        sql = "SELECT paused FROM dataset WHERE name = ?"
        return bool(self._conn.execute(sql, (self._dataset,)).get)

    def close(self) -> None:
        self._conn.close()


def spread_s(tables: Sequence[Table], paused: bool) -> float:
    """Seconds from the first table that shows an order until all do."""
    began_s = None
    waiting = list(tables)
    until = time.monotonic() + CONVERGE_S_MAX
    while waiting:
        waiting = [table for table in waiting if table.paused() is not paused]
        if began_s is None and len(waiting) < len(tables):
            began_s = time.monotonic()
        if time.monotonic() > until:
            raise SystemExit(f"an order was not folded everywhere within {CONVERGE_S_MAX} s")
        time.sleep(POLL_S)
    assert began_s is not None
    return time.monotonic() - began_s


def converge() -> dict[str, float]:
    """Milliseconds from the commit of an order at one of five nodes until all others folded it."""
    took = []
    with mesh(FIVE, slots=0) as here:
        first = here[FIVE[0]]
        first.run("submit", "--name", "watched", "--jobs", "10", "--", "/bin/true")
        for site in here.sites.values():
            wait_until(lambda site=site: knows(site, "watched"), 30, "the dataset at all sites")
        tables = [Table(site, "watched") for site in here.sites.values()]
        for number in range(CONVERGE_ROUNDS):
            paused = number % 2 == 0
            order = Thread(
                target=first.run, args=("set", "pause" if paused else "resume", "watched")
            )
            order.start()
            took.append(spread_s(tables, paused))
            order.join()
        for table in tables:
            table.close()
    return {
        "converge_5_p50_ms": statistics.median(took) * 1000,
        "converge_5_max_ms": max(took) * 1000,
    }


def knows(site: Site, name: str) -> bool:
    return any(each["name"] == name for each in site.json("sets")["datasets"])


def join() -> dict[str, float]:
    """How soon a new site works, with a long history still on its way to it.

    Seconds from `floe init` at the new site until it has settled a unit of work that was there, and
    one that was submitted to it; how much of the history it held by then.
    """
    with mesh(FIVE[:2], slots=0) as here:
        first = here[FIVE[0]]
        first.run("submit", "--name", "history", "--jobs", str(HISTORY), "--", "/bin/true")
        token = first.json("pilots", "token", "--count", "1")["token"]
        asyncio.run(work_off(first, token, HISTORY, A_POLL))
        first.wait("history")
        first.run("submit", "--name", "waiting", "--jobs", "100", "--", "/bin/true")
        began = time.monotonic()
        site = here.add(FIVE[2], slots=1)
        site.run("submit", "--name", "new", "--jobs", "1", "--", "/bin/true")
        wait_until(lambda: settled(site, "waiting") > 0, 60, "a unit settled by the new site")
        took_s = time.monotonic() - began
        wait_until(lambda: settled(site, "new") > 0, 60, "a unit that the new site took in itself")
        both_s = time.monotonic() - began
        held = settled(site, "history")
        wait_until(lambda: settled(site, "history") == HISTORY, 120, "all of the history")
        return {
            "join_to_work_s": max(took_s, both_s),
            "join_history_held_then": held / HISTORY,
            "join_history_s": time.monotonic() - began,
        }


def settled(site: Site, name: str) -> int:
    if not knows(site, name):
        return 0
    return int(site.json("show", name)["counts"]["settled"])


def units() -> dict[str, float]:
    """CPU of all nodes together for each no-op unit that three sites share."""
    with mesh(FIVE[:3], slots=1, config=f'hold = "{HOLD_S}s"\n') as here:
        first = here[FIVE[0]]
        floe_s(first, "warm", "--jobs", "500", "--", "/bin/true")
        before = {site.pid: process_cpu_s(site.pid) for site in here.sites.values()}
        took_s = floe_s(first, "shared", "--jobs", str(UNITS), "--", "/bin/true")
        used_s = sum(process_cpu_s(pid) - was for pid, was in before.items())
        shares = [site["units"] for site in first.json("show", "shared")["sites"]]
    return {
        "cpu_us_per_unit_all_nodes": used_s / UNITS * 1e6,
        "shared_units_per_s": UNITS / took_s,
        "shared_least_part": min(shares) / UNITS if len(shares) == 3 else 0.0,
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
        before = settled(left, "long")
        wait_until(lambda: settled(left, "long") > before, 60, "the work goes on")
        took_s = time.monotonic() - began
    return {"takeover_votes_s": took_s, "takeover_vote_timeouts": took_s / VOTE_AFTER_S}


def led_by_other(site: Site) -> bool:
    return any(shard["term"] > 0 for shard in site.json("mesh", "shards")["shards"])
