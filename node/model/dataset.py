"""A compiled dataset: what the fold, dispatch and the API read from a signed document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CPU_MAX, GPU_MAX = 4096, 64  # of a worker, where nobody says how many it has


@dataclass(frozen=True, slots=True)
class Needs:
    """What a unit asks of a worker. Sizes in bytes, time in seconds."""

    cpu: int = 1
    gpu: int = 0
    memory_bytes: int = 1_000_000_000
    disk_bytes: int = 1_000_000_000
    time_s: int = 3600


@dataclass(frozen=True, slots=True)
class After:
    """One dependency. dataset: None for the same dataset, else (id, name, jobs, task name)."""

    text: str  # as written
    task: int  # index within its dataset
    task_name: str
    dataset: bytes | None = None  # another dataset's id
    dataset_name: str = ""
    all_jobs: bool = False  # "ds/task:*"
    jobs: int = 0  # the other dataset's job count, fixed at submission


@dataclass(frozen=True, slots=True)
class FileRef:
    """One user file, a blob: name below scratch, digest (BLAKE2b-256), size, mode bits."""

    to: str
    digest: bytes
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class TaskSpec:
    index: int
    name: str
    after: tuple[After, ...]
    needs: Needs
    retry_max: int
    sites: Mapping[str, tuple[str, ...]]  # only, avoid, prefer: globs


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """The compiled form. `document` is the parsed signed document."""

    id: bytes
    name: str
    description: str
    labels: Mapping[str, str]
    group: str
    priority: int
    jobs: int  # total: jobs per cell x cells
    cells: int
    extend: bool
    tasks: tuple[TaskSpec, ...]
    files: tuple[FileRef, ...]
    foreach: FileRef | None
    document: Mapping[str, Any]
