"""What `floe why` has to know: facts about units and workers as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.model.dataset import Needs
from node.services.submit import Shape


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing that a unit waits for."""

    text: str  # as in the description: "sim", "gen/make:*"
    unit: str  # the unit's name, or "" where it is many
    state: str  # of that unit; for many: "settled" once all are
    settled: int = 0
    total: int = 1
    where: str = ""  # site and time of settling
    holdup: str = ""  # why it does not serve though it is settled, if so
    remedy: str = ""  # the command that helps against that, if there is one

    @property
    def serves(self) -> bool:
        return self.state == "settled" and not self.holdup

    @property
    def dataset(self) -> str:
        return (self.unit or self.text).partition("/")[0]


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt, as far as it explains something."""

    number: int
    outcome: str  # success, payload, resources, infrastructure, stopped
    error: str = ""
    exit: int = 0
    host: str = ""
    tail: str = ""
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a batch system gets no pilots: for people, and what it has said itself."""

    words: str
    reason: str


@dataclass(frozen=True, slots=True)
class Workers:
    """What this site has to run units on."""

    shapes: Sequence[Shape] = ()
    pilots: int = 0
    starting: int = 0
    slots: int = 0
    busy: int = 0
    trouble: str = ""  # why no pilots are started, if so, but for:
    troubles: Mapping[str, Trouble] = field(default_factory=dict)  # of batch systems
    barred: int = 0  # hosts that get no units, as everything failed there at once
    draining: str = ""  # why nothing is started at all, if so


@dataclass(frozen=True, slots=True)
class UnitFacts:
    dataset: str
    job: int
    task: str
    state: str  # settled running ready waiting failed blocked cancelled
    needs: Needs = field(default_factory=Needs)
    paused: bool = False
    stopped: str = ""  # why nothing more happens to the dataset, if so
    remedy: str = "floe doctor"  # and the command that helps
    council: str = ""  # why nothing of its log is settled at the moment
    moving_to: str = ""  # who leads the log to which the dataset is on its way
    again: bool = False  # it is settled, and runs again as its outputs were lost
    differs: bool = False  # it did, and others had read outputs that came out otherwise now
    dependencies: Sequence[Dependency] = ()
    tries: Sequence[Try] = ()
    retry_max: int = 3
    live: Mapping[str, Any] | None = None  # host, started_ms, heard_s_ago, lost
    workers: Workers = field(default_factory=Workers)
    batch: Mapping[str, str] = field(default_factory=dict)  # by batch system: why no more pilots
    ready_units: int = 0  # in all datasets that this one competes with
    units_per_s: float = 0.0  # settled lately, all datasets
    memory_seen_bytes: int = 0  # the most that a finished unit of the task needed
    finished: int = 0  # units of the task that are settled
    now_ms: int = 0

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.job}/{self.task}"
