"""One attempt and what it is made from: the task compiled, the chunk it came in, what it used."""

import time
from typing import Any, Dict, Mapping, Optional

from pilot.expand import TaskTemplate
from pilot.limits import Limits

Chunk = Dict[str, Any]  # the pilot's "run" message, with "limits" and "todo"


class PilotGone(Exception):
    """The pilot closed its end: end everything and leave."""


class Stopped(Exception):
    """A unit is to end before it is done; `error` is the class of its failure."""

    def __init__(self, error: str, what: str = "") -> None:
        super().__init__(what)
        self.error = error


class Task:
    """A task's description, compiled."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.template = TaskTemplate(spec)
        self.files = spec.get("files") or []
        self.fixed = {"FLOE_ID": str(spec["dataset"]), "FLOE_DATASET": str(spec["name"])}


class Unit:
    """One attempt under way: what it may use, what it used, why it ends."""

    def __init__(self, chunk: Chunk, job: int) -> None:
        self.chunk = chunk
        self.job = job
        self.lease = int(chunk["lease"])
        self.limits: Limits = chunk["limits"]
        self.began_ms = int(time.time() * 1000)
        self.began_s = time.monotonic()
        self.cpu_s = 0.0
        self.memory_kib = 0
        self.disk_kib = 0
        self.exit = 0
        self.error = ""
        self.say = ""  # one line that explains the error
        self.started = False  # a process of it may be alive
        self.kill_at_s: Optional[float] = None
        self.told = False  # the pilot knows that it runs

    def fail(self, error: str, say: str = "") -> None:
        """Note why this unit ends; the first reason stays."""
        if not self.error:
            self.error, self.say = error, say

    def for_job(self, table: str) -> Any:
        """What the chunk has for this job in "inputs", "read", "rows" or "attempts", or None."""
        return (self.chunk.get(table) or {}).get(str(self.job))
