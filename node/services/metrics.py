"""What Prometheus reads at /metrics: the site and its mesh, made anew at each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from federation.pulse import Health
from node.services.mesh import Facts
from node.services.meshfacts import LinkFact, MeshFacts
from node.services.meshwhy import alarms, shard_name
from node.services.siteviews import NoSystems, Systems

LANES = ("control", "results")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Status = Callable[[], Awaitable[Mapping[str, Any]]]


class Metrics:
    """status: what `floe status` shows; facts: what `floe mesh` shows; systems: `floe site`."""

    def __init__(self, status: Status, facts: Facts, systems: Systems | None = None) -> None:
        self._status = status
        self._facts = facts
        self._systems = systems or NoSystems()

    async def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(await self._status(), await self._facts()))
        registry.register(_Batch(self._systems.shown(), self._systems.hosts()))
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
            (
                "floe_site_protocol_errors",
                "Links that ended as a site broke the protocol",
                "broken",
            ),
        ):
            family = GaugeMetricFamily(name, words, labels=["site"])
            for site in self._facts.sites:
                value = getattr(site, attribute)
                if value is not None:
                    family.add_metric([site.name], value)
            yield family
        yield _gauge("floe_alarms", "What floe mesh shouts about", len(alarms(self._facts)))

    def _of_links(self) -> Iterator[Metric]:
        which = ["peer", "kind"]
        up = GaugeMetricFamily("floe_link_up", "Links that are up", labels=which)
        rtt = GaugeMetricFamily("floe_link_rtt_seconds", "There and back", labels=which)
        moved = CounterMetricFamily(
            "floe_link_bytes", "Bytes of links that are up", labels=[*which, "direction"]
        )
        credit = GaugeMetricFamily(
            "floe_link_credit_bytes", "What may be sent now", labels=["peer", "lane"]
        )
        again = CounterMetricFamily(
            "floe_link_resends", "Entries that came in vain, on links that are up", labels=["peer"]
        )
        # Of some kinds there may be several with one peer: a series must not come twice.
        for (peer, kind), links in self._links_by_kind().items():
            up.add_metric([peer, kind], sum(link.up for link in links))
            trips = [link.rtt_s for link in links if link.rtt_s is not None]
            if trips:
                rtt.add_metric([peer, kind], min(trips))
            moved.add_metric([peer, kind, "sent"], sum(link.sent_bytes for link in links))
            moved.add_metric([peer, kind, "received"], sum(link.received_bytes for link in links))
            if kind == "records":
                again.add_metric([peer], sum(link.resends for link in links))
                for lane, left in zip(LANES, links[0].credits, strict=False):
                    credit.add_metric([peer, lane], left)
        yield from (up, rtt, moved, credit, again)

    def _links_by_kind(self) -> dict[tuple[str, str], list[LinkFact]]:
        found: dict[tuple[str, str], list[LinkFact]] = {}
        for link in self._facts.links:
            found.setdefault((link.peer, link.kind), []).append(link)
        return found

    def _of_shards(self) -> Iterator[Metric]:
        for name, words, attribute in (
            ("floe_shard_term", "The newest opened term", "term"),
            ("floe_shard_open_datasets", "Unfinished datasets of a shard", "open"),
            ("floe_shard_records", "Log records folded here", "position"),
            ("floe_shard_unsettled_records", "Log records that are not settled yet", "unsettled"),
            ("floe_shard_waiting_records", "Log records that wait for results", "waits"),
            ("floe_shard_unsettled_seconds", "Age of the oldest unsettled record", "unsettled_s"),
            ("floe_shard_leader_silent_seconds", "Since its leader was heard", "silent_s"),
            ("floe_shard_stands_still", "Whether its council can settle nothing", "stands_still"),
            ("floe_shard_closed_seats", "Voters that count no more", "closed"),
            ("floe_shard_forced", "Whether an admin forced it on", "forced"),
        ):
            family = GaugeMetricFamily(name, words, labels=["shard"])
            for shard in self._facts.shards:
                if (value := getattr(shard, attribute)) is not None:
                    family.add_metric([shard_name(shard)], _figure(value))
            yield family
        leads = GaugeMetricFamily(
            "floe_shard_leader", "Who leads a shard: 1", labels=["shard", "leader"]
        )
        for shard in self._facts.shards:
            leads.add_metric([shard_name(shard), shard.leader], 1)
        yield leads


class _Batch(Collector):
    """The figures of the batch systems, and of workers that get no units."""

    def __init__(self, systems: Sequence[Mapping[str, Any]], hosts: Sequence[object]) -> None:
        self._systems = systems
        self._hosts = hosts

    def collect(self) -> Iterator[Metric]:
        yield _gauge("floe_barred_hosts", "Workers that get no units", len(self._hosts))
        pilots = GaugeMetricFamily(
            "floe_batch_pilots", "Pilots by what a batch system says", labels=["batch", "state"]
        )
        most = GaugeMetricFamily("floe_batch_pilots_max", "Limits", labels=["batch", "state"])
        up = GaugeMetricFamily(
            "floe_batch_up", "Whether a batch system tells of its jobs", labels=["batch"]
        )
        looked = GaugeMetricFamily(
            "floe_batch_look_seconds", "Since the last good listing", labels=["batch"]
        )
        stopped = GaugeMetricFamily(
            "floe_batch_stopped_shapes",
            "Kinds of pilots held back after failures",
            labels=["batch"],
        )
        for system in self._systems:
            name = system["name"]
            for state, count in system["states"].items():
                pilots.add_metric([name, state], count)
            for state in ("queued", "running"):
                most.add_metric([name, state], system[f"{state}_max"])
            up.add_metric([name], system["state"] not in ("no answer", "starting"))
            if system["looked_s_ago"] is not None:
                looked.add_metric([name], system["looked_s_ago"])
            stopped.add_metric([name], len(system["breakers"]))
        yield from (pilots, most, up, looked, stopped)


def _figure(value: Any) -> float:
    """A number as it is, of a list how many there are, of words whether there are any."""
    if isinstance(value, str):
        return float(bool(value))
    return float(len(value) if isinstance(value, Sequence) else value)


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
