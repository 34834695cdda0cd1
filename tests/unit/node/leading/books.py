"""Datasets, sites and claims for tests of the leader's book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from federation.claims import Claim, Held, label
from federation.ids import DatasetID, ShardID, SiteID
from federation.shapes import Shape, Workers
from node.leading.book import Book, Peer
from node.leading.ledger import DatasetFacts, TaskFacts, shape_of
from node.model.dataset import Needs
from node.ranges import Flat
from node.unitstate import Wait

SHARD = ShardID(b"h" * 32)
CPU = Needs(cpu=1, memory_bytes=1 << 30)
GPU = Needs(cpu=1, gpu=1, memory_bytes=1 << 30)
CPU_SHAPE, GPU_SHAPE = shape_of(CPU), shape_of(GPU)


def site(no: int) -> SiteID:
    return SiteID(bytes([no]) * 32)


A, B, C = site(1), site(2), site(3)


def dataset_id(no: int) -> DatasetID:
    return DatasetID(bytes([no]) * 32)


def task(
    dataset: int,
    index: int = 0,
    needs: Needs = CPU,
    *,
    after: Sequence[int] = (),
    owners: Mapping[SiteID, Flat] | None = None,
    settled: Flat = (),
    shut: Flat = (),
    sites: Mapping[str, Sequence[str]] | None = None,
    unit_s: float | None = 10.0,
) -> TaskFacts:
    waits = tuple(Wait(dataset * 64 + parent) for parent in after)
    return TaskFacts(
        dataset * 64 + index, index, needs, sites or {}, waits, owners or {}, settled, shut, unit_s
    )


def dataset(
    no: int,
    *tasks: TaskFacts,
    jobs: int = 1000,
    person: bytes = b"p",
    priority: int = 50,
    paused: bool = False,
) -> DatasetFacts:
    return DatasetFacts(
        no,
        dataset_id(no),
        SHARD,
        person * 32,
        "g",
        priority,
        no,
        jobs,
        paused,
        tasks or (task(no),),
    )


def book(*datasets: DatasetFacts) -> Book:
    made = Book()
    for facts in datasets:
        made.load(facts)
    return made


def workers(cores: int = 10, gpus: int = 0, idle: int = 0) -> list[Workers]:
    return [Workers(cores, gpus, 10**6, 10**6, 0, 1, idle)]


def peer(which: SiteID, name: str = "", *, cores: int = 10, gpus: int = 0, idle: int = 0) -> Peer:
    return Peer(which, name, workers(cores, gpus, idle))


def claim(
    units: int = 7200,
    shape: Shape = CPU_SHAPE,
    *,
    slots: int = 10,
    unit_s: float = 10.0,
    held: Mapping[int, int] | None = None,
    idle: int = 0,
    gpus: int = 0,
) -> Claim:
    """Of a site that takes unit_s for one; held: units by number of the dataset."""
    per_day = int(slots * 86_400 / unit_s)
    mine = [Held(label(dataset_id(no)), count) for no, count in (held or {}).items()]
    return Claim(shape, units, slots, per_day, workers(slots, gpus, idle), mine)
