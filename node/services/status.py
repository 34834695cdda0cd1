"""The site at a glance: status, usage, store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apsw

from federation.ids import Lane
from keys.identity import show
from node.fold import VERSION as FOLD_VERSION
from node.fold import state_root
from node.services.facts import Rate, SiteFacts
from node.services.people import People
from node.services.questions import Reader, Value
from node.services.recovery import standing_still
from node.store import tasks
from node.store.feeds import Feeds
from node.store.openwork import council_sizes, still_shards

SECONDS_A_DAY = 86_400
MESH_OF_ONE = "settled means: on this site's disk"


class Journal(Protocol):
    @property
    def trouble(self) -> str: ...
    @property
    def backlog(self) -> int: ...


class Blobs(Protocol):
    @property
    def used_bytes(self) -> int: ...
    @property
    def quota_bytes(self) -> int: ...


class Pilots(Protocol):
    def pilots(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is."""

    site: bytes
    name: str
    version: str
    api: str
    fingerprint: str
    generation: int
    network_home: str  # the network file system that the home is on, or ""
    note: str = ""  # what the start had to say, such as an older copy of the database


def settled_note(own: int, largest: int) -> str:
    """What "settled" means here.

    own: voters of the newest council under which this site leads, 0 for none; largest: of the
    largest council known here.
    """
    if own > 1:
        return f"settled means: on the disks of {own // 2 + 1} of the {own} sites of its council"
    if largest <= 1:
        return MESH_OF_ONE
    most = "on the disks of most sites of a dataset's council"
    return f"settled means: {most}" + ("; of the newest here: on this site's disk" if own else "")


def written_not(journal: Journal) -> list[str]:
    """That nothing can be written here now, and why; or nothing."""
    return [f"nothing can be written: {journal.trouble}"] if journal.trouble else []


class StatusViews:
    """What an admin looks at first."""

    def __init__(
        self,
        identity: Identity,
        read: Reader,
        journal: Journal,
        blobs: Blobs,
        work: Pilots,
        people: People,
        facts: SiteFacts,
        rate: Rate,
        now_s: Callable[[], float],
        alarms: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """alarms: what there is to say of other copies of this site, and of councils."""
        self._identity = identity
        self._read = read
        self._journal = journal
        self._blobs = blobs
        self._work = work
        self._people = people
        self._facts = facts
        self._rate = rate
        self._now_s = now_s
        self._alarms = alarms
        self._started_s = now_s()
        self._key = show(identity.site)

    def ping(self) -> Value:
        """What anybody may know."""
        return {
            "site": self._identity.name,
            "key": self._key,
            "version": self._identity.version,
            "now_ms": time.time_ns() // 1_000_000,
        }

    async def status(self) -> Value:
        def asked(conn: apsw.Connection) -> tuple[int, tasks.Counts, int, str, str]:
            still = still_shards(conn, self._identity.site, self._identity.generation)
            number = int(conn.execute("SELECT count(*) FROM dataset").get)
            pages = int(conn.execute("PRAGMA page_count").get)
            note = settled_note(*council_sizes(conn, self._identity.site))
            return number, tasks.counts(conn), pages, standing_still(still), note

        number, counts, pages, still, note = await self._read(asked)
        workers = self._facts.workers()
        identity = self._identity
        pilots = self._work.pilots()
        running = sum(int(pilot["units"]) for pilot in pilots)
        return {
            "pid": os.getpid(),
            "site": {"name": identity.name, "key": self._key},
            "api": identity.api,
            "version": identity.version,
            "uptime_s": round(self._now_s() - self._started_s, 1),
            "note": note,
            "datasets": number,
            "units": counts.shown(running),
            "units_per_s": round(self._rate.units_per_s(), 2),
            "pilots": {
                "running": workers.pilots,
                "starting": workers.starting,
                "idle": sum(1 for pilot in pilots if pilot["state"] == "idle"),
                "slots": workers.slots,
                "busy_slots": workers.busy,
            },
            "disk": {**self._facts.disk(), "blobs_bytes": self._blobs.used_bytes},
            "store": {"backlog": self._journal.backlog, "database_bytes": pages * 4096},
            "warnings": self._warnings(still),
        }

    def _warnings(self, still: str) -> list[str]:
        identity, found = self._identity, [*self._alarms(), *([still] if still else [])]
        found += written_not(self._journal)
        if self._facts.trouble():
            found.append(self._facts.trouble())
        if self._facts.draining:
            found.append(f"this site is drained: {self._facts.draining}")
        if identity.note:
            found.append(identity.note)
        if identity.network_home:
            found.append(f"the home is on {identity.network_home}: as safe as that server's locks")
        if self._blobs.used_bytes > 0.9 * self._blobs.quota_bytes:
            found.append("the blob folder is nearly full: raise [store] blobs_max, or clear it")
        if self._facts.disk()["free_bytes"] < 2 * self._facts.config.store.free_bytes_min:
            found.append("the disk is nearly full: submissions stop soon")
        return found

    async def usage(self) -> Value:
        today = int(time.time()) // SECONDS_A_DAY

        def asked(conn: apsw.Connection) -> tuple[dict[tuple[bytes, str], float], list[Any]]:
            return tasks.usage(conn, today), tasks.usage_by_day(conn, today - 30)

        decayed, days = await self._read(asked)
        total = sum(decayed.values()) or 1.0
        name_of = self._people.name_of
        return {
            "half_life_days": tasks.HALF_LIFE_DAYS,
            "usage": [
                {
                    "user": name_of(person),
                    "group": group,
                    "used_s": round(seconds, 3),
                    "share": round(seconds / total, 4),
                }
                for (person, group), seconds in sorted(decayed.items(), key=lambda i: -i[1])
            ],
            "days": [
                {
                    "user": name_of(person),
                    "group": group,
                    "day": time.strftime("%Y-%m-%d", time.gmtime(day * SECONDS_A_DAY)),
                    "cpu_s": round(cpu_s, 3),
                    "gpu_s": round(gpu_s, 3),
                }
                for person, group, day, cpu_s, gpu_s in days
            ],
        }

    async def store(self) -> Value:
        def asked(conn: apsw.Connection) -> Value:
            return {
                "state_root": state_root(conn),
                "fold_version": FOLD_VERSION,
                "schema_version": int(conn.pragma("user_version")),
                "database_bytes": int(conn.pragma("page_count")) * int(conn.pragma("page_size")),
                "refused_records": int(conn.execute("SELECT count(*) FROM refused").get),
                "feeds": [
                    {
                        "site": show(tip.feed.site)[:8],
                        "generation": tip.feed.generation,
                        "lane": Lane(tip.feed.lane).name.lower(),
                        "entries": tip.seq,
                        "head": tip.id.hex(),
                    }
                    for tip in Feeds(conn).tips()
                ],
            }

        found = await self._read(asked)
        return {
            **found,
            "bytes": found["database_bytes"] + self._blobs.used_bytes,
            "blobs_bytes": self._blobs.used_bytes,
            "blobs_quota_bytes": self._blobs.quota_bytes,
            "backlog": self._journal.backlog,
            **self._facts.disk(),
        }
