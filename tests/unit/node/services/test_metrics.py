"""/metrics: read back with Prometheus's own parser."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from federation.pulse import Health
from node.services.meshfacts import LinkFact, MeshFacts
from node.services.metrics import Metrics
from tests.unit.node.services.test_meshwhy import MADISON, shard, site

STATUS = {
    "version": "1.4.0", "uptime_s": 7.5, "datasets": 2,
    "units": {"units": 10, "settled": 4, "running": 1},
    "pilots": {"running": 3, "idle": 1},
    "disk": {"free_bytes": 1000, "blobs_bytes": 5},
    "store": {"backlog": 0, "database_bytes": 4096}, "warnings": ["x"],
}  # fmt: skip


def read(facts: MeshFacts) -> dict[tuple[str, ...], float]:
    async def status() -> Mapping[str, Any]:
        return STATUS

    async def mesh() -> MeshFacts:
        return facts

    text = asyncio.run(Metrics(status, mesh).text()).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_figure_of_site_mesh_links_and_shards_is_there() -> None:
    link = LinkFact("aachen", "out", "x:1", True, rtt_s=0.012, sent_bytes=7, received_bytes=9)
    away = site(Health.UNREACHABLE, seen_s=2460.0, granted=12)
    found = read(MeshFacts((MADISON, away), (link,), (shard(unsettled=3),), ("a fork",)))
    assert found["floe_info", "madison", "1.4.0"] == 1
    assert found["floe_units", "settled"] == 4
    assert ("floe_units", "units") not in found  # the sum over states is Prometheus's to make
    assert found["floe_disk_bytes", "free"] == 1000
    assert found["floe_mesh_sites", "unreachable"] == 1
    assert found["floe_site_seen_seconds", "aachen"] == 2460
    assert found["floe_site_granted_units", "aachen"] == 12
    assert found["floe_link_up", "aachen"] == 1
    assert found["floe_link_bytes_total", "sent", "aachen"] == 7
    assert found["floe_shard_unsettled_records", "aachen/4f3a"] == 3
    assert found["floe_alarms",] == 1
    assert found["floe_warnings",] == 1


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    found = read(MeshFacts((MADISON, site())))
    assert ("floe_site_seen_seconds", "aachen") not in found


def test_names_from_other_sites_cannot_break_the_format() -> None:
    evil = 'x"} 1\nfloe_alarms 99'
    found = read(MeshFacts((MADISON, site(note=evil)), (LinkFact(evil, "in", "", True),)))
    assert found["floe_link_up", evil] == 1
    assert found["floe_alarms",] == 0
