"""What Prometheus reads at /metrics: the site and its mesh, made anew at each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from federation.pulse import Health
from node.services.mesh import Facts
from node.services.meshfacts import MeshFacts
from node.services.meshwhy import shard_name

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Status = Callable[[], Awaitable[Mapping[str, Any]]]


class Metrics:
    """status: what `floe status` shows; facts: what `floe mesh` shows."""

    def __init__(self, status: Status, facts: Facts) -> None:
        self._status = status
        self._facts = facts

    async def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(await self._status(), await self._facts()))
        return generate_latest(registry)


class _Once(Collector):
    """The figures of one moment."""

    def __init__(self, status: Mapping[str, Any], facts: MeshFacts) -> None:
        self._status = status
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from self._of_site()
        yield from self._of_sites()
        yield from self._of_links()
        yield from self._of_shards()

    def _of_site(self) -> Iterator[Metric]:
        status = self._status
        info = GaugeMetricFamily("floe_info", "This node", labels=["site", "version"])
        info.add_metric([self._facts.own().name, str(status.get("version", ""))], 1)
        yield info
        yield _gauge("floe_uptime_seconds", "Since the node started", status["uptime_s"])
        yield _gauge("floe_datasets", "Datasets known here", status["datasets"])
        yield _labelled(
            "floe_units", "Units of all datasets known here", "state", status["units"], ("units",)
        )
        yield _labelled("floe_pilots", "Pilots of this site", "state", status["pilots"])
        yield _labelled("floe_disk_bytes", "The disk of the node's home", "what", status["disk"])
        store = status["store"]
        yield _gauge("floe_store_backlog", "Records that wait for the disk", store["backlog"])
        yield _gauge("floe_database_bytes", "The database file", store["database_bytes"])
        yield _gauge("floe_warnings", "What floe status warns of", len(status["warnings"]))

    def _of_sites(self) -> Iterator[Metric]:
        states = GaugeMetricFamily("floe_mesh_sites", "Members by state", labels=["state"])
        for state in Health:
            states.add_metric([state.value], sum(s.state is state for s in self._facts.sites))
        yield states
        for name, words, attribute in (
            ("floe_site_seen_seconds", "Since a site's newest beacon", "seen_s"),
            ("floe_site_lag_entries", "Entries of a site that are not here yet", "lag"),
            ("floe_site_clock_seconds", "How far a site's clock is ahead of ours", "clock_s"),
            ("floe_site_granted_units", "Units that a site owns", "granted"),
        ):
            family = GaugeMetricFamily(name, words, labels=["site"])
            for site in self._facts.sites:
                value = getattr(site, attribute)
                if value is not None:
                    family.add_metric([site.name], value)
            yield family
        alarms = len(self._facts.alarms)
        yield _gauge("floe_alarms", "Forks and datasets that are set aside", alarms)

    def _of_links(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("floe_link_up", "Whether a link is up", labels=["peer"])
        rtt = GaugeMetricFamily("floe_link_rtt_seconds", "There and back", labels=["peer"])
        moved = CounterMetricFamily(
            "floe_link_bytes", "Bytes of this link", labels=["peer", "direction"]
        )
        for link in self._facts.links:
            up.add_metric([link.peer], int(link.up))
            if link.rtt_s is not None:
                rtt.add_metric([link.peer], link.rtt_s)
            moved.add_metric([link.peer, "sent"], link.sent_bytes)
            moved.add_metric([link.peer, "received"], link.received_bytes)
        yield from (up, rtt, moved)

    def _of_shards(self) -> Iterator[Metric]:
        for name, words, attribute in (
            ("floe_shard_term", "The newest opened term", "term"),
            ("floe_shard_open_datasets", "Unfinished datasets of a shard", "open"),
            ("floe_shard_records", "Log records folded here", "position"),
            ("floe_shard_unsettled_records", "Log records that are not settled yet", "unsettled"),
            ("floe_shard_waiting_records", "Log records that wait for results", "waits"),
        ):
            family = GaugeMetricFamily(name, words, labels=["shard"])
            for shard in self._facts.shards:
                family.add_metric([shard_name(shard)], getattr(shard, attribute))
            yield family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _labelled(
    name: str, words: str, label: str, values: Mapping[str, Any], without: tuple[str, ...] = ()
) -> Metric:
    """One gauge with a label for each number of a table."""
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        if key not in without and isinstance(value, int | float):
            family.add_metric([key.removesuffix("_bytes")], value)
    return family
