"""What this site is and has at the moment: workers, pilots, speed, disk. Small, and asked often."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from node.changes import Change, UnitsSettled
from node.config import Config
from node.model.dataset import Needs
from node.services.recovery import NOBODY_LEADS
from node.services.submit import Shape
from node.services.whyfacts import Trouble, Workers

RATE_S = 60.0  # speeds are means over this time
RATE_STEPS = 12


class Pilots(Protocol):
    """The part of the work service that knows pilots."""

    def running(self, task: int) -> int: ...
    def pilots(self) -> list[dict[str, Any]]: ...


class Rate:
    """How many units settled lately, a second; in all and by dataset."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._steps: deque[tuple[float, dict[int, int]]] = deque(maxlen=RATE_STEPS)
        self._began_s = now_s()

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber."""
        for change in changes:
            if isinstance(change, UnitsSettled):
                step = self._step()
                dataset = change.task // 64
                step[dataset] = step.get(dataset, 0) + len(change.jobs)

    def _step(self) -> dict[int, int]:
        now_s = self._now_s()
        if not self._steps or now_s - self._steps[-1][0] >= RATE_S / RATE_STEPS:
            self._steps.append((now_s, {}))
        return self._steps[-1][1]

    def units_per_s(self, dataset: int | None = None) -> float:
        """Over the last minute, or since the first unit if that is shorter ago."""
        now_s = self._now_s()
        lately = [(at_s, step) for at_s, step in self._steps if now_s - at_s <= RATE_S]
        if not lately:
            return 0.0
        units = sum(
            sum(step.values()) if dataset is None else step.get(dataset, 0) for _, step in lately
        )
        return units / max(now_s - lately[0][0], 1.0)


@dataclass(slots=True)
class SiteFacts:
    """Workers and disk of this site. trouble: why no pilots are started, if so."""

    config: Config
    home: Path
    work: Pilots
    starting: Callable[[], int]
    trouble: Callable[[], str]
    still: Callable[[], Sequence[bytes]]  # shards that this site led, and that nobody leads now
    # Why a shard's council settles nothing now, and whether only an admin can end that.
    standstill: Callable[[bytes], tuple[str, bool] | None] = lambda shard: None
    # CPUs, GPUs, memory and disk of the largest pilots in batch systems.
    batch: Callable[[], Sequence[tuple[int, int, int | None, int | None]]] = lambda: ()
    # Why units that ask for this do not start, by batch system.
    explain: Callable[[Needs], Mapping[str, str]] = lambda needs: {}
    barred: Callable[[], int] = lambda: 0  # hosts that get no units
    trouble_here: Callable[[], str] = lambda: ""  # why no pilots are started on this machine
    troubles: Callable[[], Mapping[str, Trouble]] = dict  # why none are, by batch system
    strays: Callable[[], str] = lambda: ""  # what is left of batch systems that are used no more
    draining: str = ""  # why, while the site is drained

    def shapes(self) -> list[Shape]:
        """The workers that this site may offer."""
        batch = [Shape(self.config.name, *each) for each in self.batch()]
        local = self.config.local
        if not local.pilots_max:
            return batch or [self._shape_of(pilot) for pilot in self.work.pilots()]
        memory = local.memory_bytes or _machine_memory_bytes() // local.pilots_max
        disk = local.disk_bytes or shutil.disk_usage(self.home).free // local.pilots_max
        return [Shape(self.config.name, local.slots, local.gpus, memory, disk), *batch]

    def _shape_of(self, pilot: dict[str, Any]) -> Shape:
        offered = pilot["resources"]
        return Shape(
            self.config.name,
            int(offered.get("cpu", 1)),
            int(offered.get("gpu", 0)),
            offered.get("memory_bytes"),
            offered.get("disk_bytes"),
        )

    def closed(self, shard: bytes) -> str:
        """Why nothing more happens to the datasets of a shard, or ""."""
        if shard in self.still():
            return NOBODY_LEADS
        found = self.standstill(shard)
        return found[0] if found is not None and found[1] else ""

    def waits(self, shard: bytes) -> str:
        """Why nothing of a shard is settled now, though it will go on by itself; or ""."""
        found = self.standstill(shard)
        return found[0] if found is not None and not found[1] else ""

    def workers(self) -> Workers:
        """What there is to run units on."""
        # Lost ones may come back, but nothing runs there.
        pilots = [pilot for pilot in self.work.pilots() if pilot["state"] != "lost"]
        slots = sum(int(pilot["resources"].get("cpu", 1)) for pilot in pilots)
        idle = sum(int(pilot["idle_slots"]) for pilot in pilots)
        return Workers(
            shapes=self.shapes(),
            pilots=len(pilots),
            starting=self.starting(),
            slots=slots,
            busy=max(0, slots - idle),
            trouble="; ".join(filter(None, (self.trouble_here(), self.strays()))),
            troubles=self.troubles(),
            barred=self.barred(),
            draining=self.draining,
        )

    def disk(self) -> dict[str, int]:
        usage = shutil.disk_usage(self.home)
        return {"free_bytes": usage.free, "total_bytes": usage.total}


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
