"""The node's own share of a unit: out by a poll, back by a report, without network and disk."""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from federation.records import Record, encode
from node.dispatch import Dispatch, Offer, Room
from node.model.dataset import DatasetSpec, Needs, TaskSpec
from node.model.share import Shares
from node.unitstate import DatasetFacts, TaskFacts, TaskState, Wait
from node.work import Work
from node.work.ports import Known, Resolved, Statement

JOBS = 1_000_000
TASKS = 4
ROWS = 100  # in one report: a tenth of a second at a thousand units a second
UNITS = 40_000
RESOURCES = {
    "cpu": 2, "gpu": 0, "memory_bytes": 10**11, "disk_bytes": 10**12, "time_left_s": None,
}  # fmt: skip


def chain(no: int) -> DatasetFacts:
    """A million jobs of four tasks, one after the other, all granted here."""
    tasks = tuple(
        TaskFacts(
            no * 64 + index,
            index,
            Needs(),
            (Wait(no * 64 + index - 1),) if index else (),
            owned=[0, JOBS],
        )
        for index in range(TASKS)
    )
    return DatasetFacts(no, bytes([no % 7]) * 32, "g", 50, no, JOBS, False, tasks)


class Instant:
    """A journal that is done at once; records are encoded as the real one does."""

    full = False

    def results(self, record: Record, local: Statement | None = None) -> Deferred[None]:
        encode(record)
        return succeed(None)

    def local(self, fn: Statement, *, in_order: bool = False) -> Deferred[None]:
        return succeed(None)


class Tables:
    def facts(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        return chain(dataset)

    def known(self, dataset: int) -> Known:
        names = [f"t{index}" for index in range(TASKS)]
        description = {"task": [{"name": name, "module": []} for name in names]}
        tasks = tuple(TaskSpec(i, name, (), Needs(), 3, {}) for i, name in enumerate(names))
        spec = DatasetSpec(
            bytes([dataset]) * 32, "d", "", {}, "g", 50, JOBS, 1, True, tasks, (), None,
            {"description": description},
        )  # fmt: skip
        return Known(dataset, spec, JOBS)

    def number(self, dataset_id: bytes) -> int | None:
        return dataset_id[0]

    def open_datasets(self) -> Iterable[int]:
        return [1]


class NoInputs:
    async def resolve(self, known: Known, task: TaskState, jobs: Sequence[int]) -> Resolved:
        return Resolved()

    def note(self, task: TaskState, jobs: Sequence[int], outputs: Any) -> None:
        pass


def answer(asked: Coroutine[Deferred[Any], Any, Any]) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(asked).addCallback(found.append)
    return found[0]


def result_columns(item: dict[str, Any], jobs: list[int]) -> dict[str, Any]:
    """As a pilot reports no-op units."""
    rows = len(jobs)
    return {
        "lease": item["lease"], "spec": item["spec"], "jobs": jobs, "outcome": 0,
        "start_ms": 1_700_000_000_000, "offset_ms": list(range(rows)), "wall_ms": [1] * rows,
        "cpu_ms": [row % 2 for row in range(rows)],
        "memory_kib": [900 + row for row in range(rows)],
        "disk_kib": 0, "gpu_ms": 0, "exit": 0, "errors": [""], "error": 0, "outputs": "",
        "inputs": "", "log": "", "tails": [],
    }  # fmt: skip


def round_trip_us(units: int = UNITS) -> float:
    """CPU microseconds of the node's code for one unit of a chain, JSON included."""
    work = Work(
        Clock(), Instant(), Tables(), Dispatch(Shares()), NoInputs(), site=b"s" * 32, site_name="b"
    )
    work.load([1])
    token = "t" * 32
    answer(work.arrivals.expect("tag", token, 1, "local"))
    hello = {"token": token, "session": None, "host": "h", "pid": 1, "resources": RESOURCES}
    session = work.session(answer(work.announce(hello))["session"])
    assert session is not None
    for task in work.dispatch.ready.tasks.values():
        task.wall_s = 0.001
    done, seen, batch = 0, 0, 0
    began = time.process_time()
    while done < units:
        ask = {"free": RESOURCES, "idle_slots": 0, "units_max": 5 * ROWS, "seen": seen}
        got = json.loads(json.dumps(answer(work.poll(session, ask))))
        for item in got["work"]:
            seen = item["lease"]
            flat = item["jobs"]
            jobs = [job for i in range(0, len(flat), 2) for job in range(flat[i], flat[i + 1])]
            for at in range(0, len(jobs), ROWS):
                batch += 1
                report = {"batch": batch, "results": [result_columns(item, jobs[at : at + ROWS])]}
                answer(work.report(session, json.loads(json.dumps(report))))
            done += len(jobs)
    return (time.process_time() - began) / done * 1e6


def take_us(datasets: int = 100) -> float:
    """Microseconds of one poll that gets one unit, among many datasets of seven people."""
    made = Dispatch(Shares())
    for no in range(1, datasets + 1):
        made.ready.load(chain(no))
    room = Room(2, 0, 10**11, 10**12)
    began = time.perf_counter()
    for _ in range(2000):
        made.take(Offer(room, room, 1))
    return (time.perf_counter() - began) / 2000 * 1e6


def held_mb(datasets: int = 100) -> float:
    """Memory of dispatch with so many datasets of a million jobs x four tasks."""
    tracemalloc.start()
    made = Dispatch(Shares())
    for no in range(1, datasets + 1):
        made.ready.load(chain(no))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / 1e6


def dispatch() -> dict[str, float]:
    return {
        "dispatch_us_per_unit": statistics.median(round_trip_us() for _ in range(3)),
        "dispatch_take_us": take_us(),
        "dispatch_mb_100_datasets": held_mb(),
    }
