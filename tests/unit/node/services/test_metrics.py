"""/metrics: read back with Prometheus's own parser."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from federation.pulse import Health
from node.services.meshfacts import LinkFact, MeshFacts
from node.services.metrics import Metrics
from node.services.siteviews import Systems
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.services.test_meshwhy import MADISON, shard, site
from tests.unit.node.work.house import Described

STATUS = {
    "version": "1.4.0", "uptime_s": 7.5, "datasets": 2,
    "units": {"units": 10, "settled": 4, "running": 1},
    "pilots": {"running": 3, "idle": 1},
    "disk": {"free_bytes": 1000, "blobs_bytes": 5},
    "store": {"backlog": 0, "database_bytes": 4096}, "warnings": ["x"],
}  # fmt: skip


def read(facts: MeshFacts, systems: Systems | None = None) -> dict[tuple[str, ...], float]:
    async def status() -> Mapping[str, Any]:
        return STATUS

    async def mesh() -> MeshFacts:
        return facts

    text = asyncio.run(Metrics(status, mesh, systems).text()).decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in samples
    }
    assert len(found) == len(samples)  # Prometheus refuses a page on which a series comes twice
    return found


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
    assert found["floe_link_up", "records", "aachen"] == 1
    assert found["floe_link_bytes_total", "sent", "records", "aachen"] == 7
    assert found["floe_shard_unsettled_records", "aachen/4f3a"] == 3
    assert found["floe_alarms",] == 2  # the fork, and that it is unreachable
    assert found["floe_warnings",] == 1


def test_several_links_of_one_kind_with_one_peer_are_one_series() -> None:
    bulk = [LinkFact("aachen", way, "x:1", True, "bulk", sent_bytes=7) for way in ("in", "out")]
    records = LinkFact("aachen", "out", "x:1", True, credits=(100, 200), resends=3)
    found = read(MeshFacts((MADISON, site()), (records, *bulk)))
    assert found["floe_link_up", "bulk", "aachen"] == 2
    assert found["floe_link_bytes_total", "sent", "bulk", "aachen"] == 14
    assert found["floe_link_credit_bytes", "results", "aachen"] == 200
    assert found["floe_link_resends_total", "aachen"] == 3


def test_a_site_that_breaks_the_protocol_and_a_shard_in_trouble_have_figures() -> None:
    still = shard(stands_still="no majority", closed=("aachen",), silent_s=90.0, forced=True)
    found = read(MeshFacts((MADISON, site(broken=3)), (), (still,)))
    assert found["floe_site_protocol_errors", "aachen"] == 3
    assert found["floe_shard_leader", "aachen", "aachen/4f3a"] == 1
    for name, value in (("stands_still", 1), ("closed_seats", 1), ("forced", 1),
                        ("leader_silent_seconds", 90)):  # fmt: skip
        assert found[f"floe_shard_{name}", "aachen/4f3a"] == value
    assert ("floe_shard_unsettled_seconds", "aachen/4f3a") not in found


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    found = read(MeshFacts((MADISON, site())))
    assert ("floe_site_seen_seconds", "aachen") not in found


def test_names_from_other_sites_cannot_break_the_format() -> None:
    evil = 'x"} 1\nfloe_alarms 99'
    found = read(MeshFacts((MADISON, site(note=evil)), (LinkFact(evil, "in", "", True),)))
    assert found["floe_link_up", "records", evil] == 1
    assert found["floe_alarms",] == 0


def test_batch_systems_have_figures() -> None:
    camp = Camp(Described(1, 5000))
    camp.batch.slots = 3
    camp.run(200)
    found = read(MeshFacts((MADISON,)), camp.node)
    assert found["floe_batch_pilots", "maui", "running"] == 3
    assert found["floe_batch_pilots", "maui", "queued"] == 3
    assert found["floe_batch_pilots_max", "maui", "running"] == SETTINGS.running_max
    assert found["floe_batch_up", "maui"] == 1
    assert found["floe_batch_look_seconds", "maui"] <= SETTINGS.look_s
    assert found["floe_batch_stopped_shapes", "maui"] == 0
    camp.batch.faults.fails = True
    camp.run(SETTINGS.look_s * 6)
    assert read(MeshFacts((MADISON,)), camp.node)["floe_batch_up", "maui"] == 0
