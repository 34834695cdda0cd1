"""The mesh as people look at it, as JSON values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from federation.ids import SiteID
from federation.shapes import MIB
from keys.identity import show
from node.meshing.roots import Compared
from node.services.meshfacts import LinkFact, MeshFacts, ShardFact, SiteFact
from node.services.meshwhy import alarms, settled_line, shard_name, why_site
from node.services.questions import Value
from node.services.refusal import Refusal

Facts = Callable[[], Awaitable[MeshFacts]]
Compare = Callable[[], Awaitable[tuple[Sequence[Compared], Mapping[SiteID, str]]]]


class MeshViews:
    """Members, links, shards, and why."""

    def __init__(self, facts: Facts, compare: Compare, name_of: Callable[[SiteID], str]) -> None:
        """facts: everything that is known at the moment; compare: asks the other members."""
        self._facts = facts
        self._compare = compare
        self._name_of = name_of

    async def mesh(self) -> Value:
        facts = await self._facts()
        return {
            "mesh": facts.own().name,
            "sites": [_site(each) for each in facts.sites],
            "settled": settled_line(facts),
            "unsettled": sum(each.unsettled for each in facts.shards),
            "alarms": alarms(facts),
        }

    async def links(self) -> Value:
        facts = await self._facts()
        return {"links": [_link(each) for each in facts.links]}

    async def shards(self) -> Value:
        facts = await self._facts()
        return {"shards": [_shard(each) for each in facts.shards]}

    async def verify(self) -> Value:
        """Whether the members hold the same tables, where their positions can be compared."""
        compared, silent = await self._compare()
        names = {each.id: shard_name(each) for each in (await self._facts()).shards}
        return {
            "equal": all(each.equal for each in compared),
            "compared": [
                {
                    "site": self._name_of(each.site),
                    "shard": each.shard.hex(),
                    "name": names.get(each.shard, each.shard.hex()[:8]),
                    "position": each.position,
                    "root": each.root,
                    "equal": each.equal,
                }
                for each in compared
            ],
            "silent": {self._name_of(site): why for site, why in silent.items()},
        }

    async def site(self, name: str) -> Value:
        """What a member says of itself, as far as it was heard. Raises Refusal."""
        site = _found(await self._facts(), name)
        workers = [
            {
                "cpu": each.cpu,
                "gpu": each.gpu,
                "memory_bytes": each.memory_mib * MIB,
                "disk_bytes": each.disk_mib * MIB,
                "time_s": each.time_s,
                "count": each.count,
                "idle": each.idle,
            }
            for each in site.workers
        ]
        return {"site": {**_site(site), "workers": workers}}

    async def why(self, name: str) -> Value:
        """Explain a member. Raises Refusal."""
        facts = await self._facts()
        site = _found(facts, name)
        return {"site": site.name, "key": show(site.key), "why": why_site(facts, site).shown()}


def _found(facts: MeshFacts, name: str) -> SiteFact:
    """Raises Refusal."""
    site = facts.site(name)
    if site is None:
        known = ", ".join(each.name for each in facts.sites)
        raise Refusal("not-found", f"no site goes by {name[:80]!r} here", f"sites: {known}")
    return site


def _rounded(seconds: float | None, digits: int = 1) -> float | None:
    return None if seconds is None else round(seconds, digits)


def _site(site: SiteFact) -> dict[str, Any]:
    return {
        "name": site.name,
        "key": show(site.key),
        "own": site.own,
        "state": site.state.value,
        "last_seen_s": _rounded(site.seen_s),
        "lag_entries": site.lag,
        "clock_offset_s": _rounded(site.clock_s),
        "version": site.version,
        "batch": list(site.batch),
        "running": site.running,
        "ready": site.ready,
        "pilots": site.pilots,
        "granted": site.granted,
        "note": site.note,
        "protocol_errors": site.broken,
        "skipped_records": site.skipped,
        "troubles": list(site.troubles),
        "barred": site.barred,
        "bans": [
            {"host": each.host, "banned_s": round(each.left_s), "why": each.why}
            for each in site.bans
        ],
    }


def _link(link: LinkFact) -> dict[str, Any]:
    return {
        "peer": link.peer,
        "direction": link.direction,
        "path": link.path,
        "up": link.up,
        "kind": link.kind,
        "handshake_s": _rounded(link.handshake_s),
        "rtt_ms": None if link.rtt_s is None else round(link.rtt_s * 1000, 1),
        "sent_bytes": link.sent_bytes,
        "received_bytes": link.received_bytes,
        "credits": list(link.credits),
        "resends": link.resends,
        "error": link.error,
        "tried_s": _rounded(link.tried_s),
    }


def _shard(shard: ShardFact) -> dict[str, Any]:
    return {
        "shard": shard.id.hex(),
        "name": shard_name(shard),
        "founder": shard.founder,
        "leader": shard.leader,
        "leader_state": shard.leader_state.value,
        "term": shard.term,
        "council": list(shard.council),
        "closed": list(shard.closed),
        "datasets": shard.datasets,
        "open": shard.open,
        "position": shard.position,
        "settled": max(0, shard.position - shard.unsettled),
        "unsettled_s": _rounded(shard.unsettled_s),
        "waits": shard.waits,
        "votes": list(shard.votes),
        "vote_term": shard.vote_term,
        "silent_s": _rounded(shard.silent_s),
        "vote_after_s": shard.vote_after_s,
        "mute_s": _rounded(shard.mute_s),
        "stands_still": shard.stands_still,
        "still_brief": shard.still_brief,
        "forced": shard.forced,
    }
