"""The site's workers as people see them: its batch systems, every pilot, workers without units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from keys.identity import show
from node.config import as_tables
from node.services.facts import SiteFacts
from node.services.questions import Value
from node.services.status import Identity, Pilots
from node.services.submit import offers

LOCAL: Final = "local"
STARTING: Final = "starting"  # the batch system runs it, and it has not spoken yet
ENDING: Final = "ending"  # its pilot has left; the batch system has not said that it is over


class Systems(Protocol):
    """The batch systems of this node."""

    def shown(self) -> list[dict[str, Any]]: ...
    def jobs(self) -> Iterable[dict[str, Any]]:
        """Those that have not ended, and what may exist without being known."""

    def hosts(self) -> list[dict[str, Any]]:
        """Workers that get no units, and why."""


class NoSystems:
    """Of a node that only starts pilots on its own machine."""

    def shown(self) -> list[dict[str, Any]]:
        return []

    def jobs(self) -> Iterable[dict[str, Any]]:
        return ()

    def hosts(self) -> list[dict[str, Any]]:
        return []


class SiteViews:
    """What `floe site show` and `floe pilots` show."""

    def __init__(
        self, identity: Identity, work: Pilots, facts: SiteFacts, systems: Systems
    ) -> None:
        self._identity = identity
        self._work = work
        self._facts = facts
        self._systems = systems

    async def site(self) -> Value:
        identity = self._identity
        pilots = self._work.pilots()
        return {
            "site": {
                "name": identity.name,
                "key": show(identity.site),
                "api": identity.api,
                "fingerprint": identity.fingerprint,
                "version": identity.version,
                "generation": identity.generation,
                "state": "drained" if self._facts.draining else "alive",
                "draining": self._facts.draining,
                "batch": [self._local(pilots), *self._systems.shown()],
                "hosts": self._systems.hosts(),
                "workers": offers(self._facts.shapes()),
                "isolation": sorted({str(pilot["isolation"]) for pilot in pilots}),
            }
        }

    def _local(self, pilots: Sequence[dict[str, Any]]) -> Value:
        trouble = self._facts.trouble_here()
        settings = as_tables(self._facts.config)["site.local"]
        running = sum(pilot["tag"].startswith(f"{LOCAL}-") for pilot in pilots)
        state = "stopped" if trouble else "ok" if settings["pilots_max"] else "off"
        return {
            "name": LOCAL,
            "kind": LOCAL,
            "state": state,
            "running": running,
            "running_max": settings["pilots_max"],
            "trouble": trouble,
            **settings,
        }

    async def pilots(self, system: str, state: str, limit: int) -> Value:
        """system, state: only those; "" for all. limit: at most so many, `left_out` tells."""
        found = list(self._rows())
        counts: dict[str, Counter[str]] = {}
        for row in found:
            counts.setdefault(row["system"], Counter())[row["state"]] += row.get("count", 1)
        rows = [
            row
            for row in found
            if (not system or row["system"] == system) and (not state or row["state"] == state)
        ]
        return {
            "pilots": rows[:limit],
            "left_out": max(0, len(rows) - limit),
            "counts": {name: dict(each) for name, each in counts.items()},
        }

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Pilots that speak, with their jobs; then jobs from which none spoke."""
        jobs = list(self._systems.jobs())
        by_pilot = {job["pilot"]: job for job in jobs if job["pilot"] is not None}
        systems = {job["tag"]: job["system"] for job in jobs}
        for pilot in self._work.pilots():
            yield _pilot(pilot, by_pilot.pop(pilot["pilot"], None), systems)
        for job in jobs:
            if job["pilot"] is None:
                yield _job(job)
            elif job["pilot"] in by_pilot:  # its session is over, the batch system not yet done
                ending = {"state": ENDING, "since_s": None} if job["state"] == "running" else {}
                yield {**_job(job), **ending}


def _system(tag: str, systems: Mapping[str, str]) -> str:
    """Where a pilot comes from, by its tag: local-2, hand-ab12, floe-maui-ab12cd34-3."""
    known = systems.get(tag) or systems.get(tag.rpartition("-")[0])
    return known or tag.removeprefix("floe-").partition("-")[0]


def _pilot(
    pilot: dict[str, Any], job: dict[str, Any] | None, systems: Mapping[str, str]
) -> dict[str, Any]:
    offered = pilot["resources"]
    # Why it waited is of no use any more, once it speaks.
    told = job is not None and job["state"] not in ("running", "queued")
    words = job["words"] if job is not None and told else ""
    return {
        "id": pilot["pilot"],
        "tag": pilot["tag"],
        "system": _system(pilot["tag"], systems) if job is None else job["system"],
        "job": pilot["job"] if job is None else job["job"],
        "state": pilot["state"],
        "host": pilot["host"],
        "pid": pilot["pid"],
        "running": pilot["units"],
        "slots": int(offered.get("cpu", 1)),
        "idle_slots": pilot["idle_slots"],
        "idle_s": pilot["idle_s"],
        "seen_s": pilot["heard_s_ago"],
        "isolation": pilot["isolation"],
        "resources": offered,
        "note": "; ".join(each for each in (pilot["note"], words) if each),
    }


def _job(job: dict[str, Any]) -> dict[str, Any]:
    state = STARTING if job["state"] == "running" else job["state"]
    row = {
        "id": job["pilot"], "tag": job["tag"], "system": job["system"], "job": job["job"],
        "state": state, "host": job["host"], "pid": None, "running": 0, "slots": None,
        "idle_slots": None, "idle_s": None, "seen_s": None, "isolation": "", "resources": {},
        "shape": job["shape"], "since_s": job["since_s"], "note": job["words"],
    }  # fmt: skip
    return row | ({"count": job["count"]} if "count" in job else {})
