"""What units come to, and what they put out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from node.store.blobs import digest_of


@dataclass(frozen=True, slots=True)
class Fate:
    """What one attempt comes to."""

    wall_s: float
    error: str  # "": success
    id: str  # hex; stands in the row's `log`, so that every attempt can be found again


class Fates:
    """Draws what units come to: a function of the seed, the unit, and how often it was tried."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tries: dict[tuple[str, str, int], int] = {}
        self.calm = False  # workers do not fail any more; units may
        self.healthy = False  # nothing ever fails
        self.unit_s: float | None = None  # how long units take; drawn if None
        self.put_out = False  # whether every unit puts out a file `x`,
        self.by_host = False  # which is another one at each site

    def draw(self, spec: str, job: int, *, broken: bool) -> Fate:
        dataset, task = spec.split("/")[:2]
        unit = (dataset, task, job)
        number = self._tries[unit] = self._tries.get(unit, 0) + 1
        name = f"{self._seed} {dataset} {task} {job}"
        nature, luck = Random(name), Random(f"{name} {number}")
        pace_s = Random(f"{self._seed} {dataset} {task}").choice([0.03, 0.5, 6.0, 40.0])
        pace_s = pace_s if self.unit_s is None else self.unit_s
        error = "worker" if broken else self._error(nature, luck, number)
        id = blake2b(f"{name} {number}".encode(), digest_size=32).hexdigest()
        return Fate(pace_s * luck.uniform(0.5, 2.0), error, id)

    def _error(self, nature: Random, luck: Random, number: int) -> str:
        kind = nature.random()
        if self.healthy:
            return ""
        if kind < 0.03:
            return "exit"  # whatever one does
        if kind < 0.04:
            return "exit-final"
        if kind < 0.14 and number <= nature.randint(1, 3):
            return nature.choice(["exit", "signal", "output"])
        if kind < 0.20 and number <= nature.randint(1, 4):
            return nature.choice(["memory", "disk", "time"])
        if not self.calm and luck.random() < 0.03:
            return luck.choice(["input-fetch", "runner-lost", "output-store"])
        return ""


def put_out(spec: str, job: int, host: str = "") -> tuple[bytes, bytes]:
    """What a unit puts out, each time the same: a file `x`, and the list that names it.

    host: of a unit that comes out otherwise at each site.
    """
    dataset, task = spec.split("/")[:2]
    content = f"{dataset} {task} {job} {host}".strip().encode()
    digest = digest_of(content).hex()
    listed = {"path": "x", "digest": digest, "size": len(content), "mode": 0o644}
    return content, json.dumps([listed]).encode()
