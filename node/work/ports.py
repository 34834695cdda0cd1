"""What the work service needs from the rest of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred

from federation.records import Record
from node.model.dataset import DatasetSpec
from node.ranges import Flat
from node.unitstate import DatasetFacts, TaskState

Statement = Callable[[apsw.Connection], None]
Input = Sequence[Any]  # [local name, digest (hex), size, mode] of one input file


class Journal(Protocol):
    """The writer of the store; see node/store/writer.py."""

    @property
    def full(self) -> bool: ...

    def results(self, record: Record, local: Statement | None = None) -> Deferred[None]: ...

    def local(self, fn: Statement, *, in_order: bool = False) -> Deferred[None]: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What pilots are told of a dataset."""

    no: int
    spec: DatasetSpec
    jobs: int  # with every extension


class Tables(Protocol):
    """What the work service reads from the folded tables, in the reactor's thread."""

    def facts(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        """None when there is no such dataset, or it is none of this site's: its log is not led
        here, and no unit of it is owned here.

        with_done: read what is settled, too (long for large datasets).
        """

    def known(self, dataset: int) -> Known: ...

    def settled(self, task: int) -> Flat:
        """Ranges of a task's units that are settled and need not run again. Long for millions."""

    def number(self, dataset_id: bytes) -> int | None:
        """Local number of a dataset."""

    def open_datasets(self) -> Iterable[int]:
        """Datasets with units that are neither settled nor cancelled."""


@dataclass(frozen=True, slots=True)
class Resolved:
    inputs: Mapping[int, Sequence[Input]] = field(default_factory=dict)
    rows: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)  # job: why
    read: Mapping[int, str] = field(default_factory=dict)  # job: digest over what it gets, in hex


class Resolver(Protocol):
    """Input files of units that other units made, and rows of foreach tables."""

    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        """What each job gets; a unit whose inputs cannot be found is in `missing`."""

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        """Outputs (digests of output lists) of units that have just succeeded here."""
