"""A real node in a mesh of fifty sites where nothing happens: its CPU, its bytes, its feeds."""

from __future__ import annotations

import time

from bench.crowd import crowd
from bench.meshes import mesh, sees, wait_until
from bench.site import Site
from bench.virtual import IDLE_SITES

IDLE_S = 120.0  # every link compares, and every site sends a beacon, once a minute
QUIET_S = 10.0  # until what joining caused has been said
LINKS_S_MAX = 90


def idle() -> dict[str, float]:
    """Share of a core and bytes a second, both ways and before TLS; entries of all control feeds.

    The other sites run the same code for links in one process, which is not counted.
    """
    with mesh(["node"], slots=1) as here:
        node = here["node"]
        key, _, address = node.json("keys", "show")["mesh"].partition("@")
        with crowd(IDLE_SITES - 1, key, address) as others:
            for other in others:
                node.run("mesh", "add", other)
            wait_until(lambda: linked(node), LINKS_S_MAX, "links with all sites")
            wait_until(lambda: sees(node, IDLE_SITES), LINKS_S_MAX, "beacons of all sites")
            time.sleep(QUIET_S)
            moved, entries = bytes_of(node), control_entries(node)
            cpu_s, began = node.cpu_s(), time.monotonic()
            time.sleep(IDLE_S)
            took_s, used_s = time.monotonic() - began, node.cpu_s() - cpu_s
            return {
                "idle_core_share": used_s / took_s,
                "idle_bytes_per_s": (bytes_of(node) - moved) / took_s,
                "idle_control_entries": float(control_entries(node) - entries),
                "idle_node_rss_mb": node.rss_mb(),
            }


def linked(node: Site) -> bool:
    return sum(link["up"] for link in node.json("mesh", "links")["links"]) == IDLE_SITES - 1


def bytes_of(node: Site) -> int:
    """Of all links of a node so far."""
    links = node.json("mesh", "links")["links"]
    return sum(int(link["sent_bytes"]) + int(link["received_bytes"]) for link in links)


def control_entries(node: Site) -> int:
    """Entries of all control feeds that a node holds."""
    feeds = node.json("store", "show")["feeds"]
    return sum(int(feed["entries"]) for feed in feeds if feed["lane"] == "control")
