"""What must hold after every run, read from the log by a second, naive reading of the rules."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgpack

from federation.records import Accept, Results, Unknown, cells, decode
from federation.records import Dataset as DatasetRecord
from keys.signing import Purpose, digest
from node.model.validate import unpack_document

if TYPE_CHECKING:
    from tests.simulation.world import World


def check_settled(world: World, before: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Settled units and the entries that settled them; none of `before` may have changed."""
    now = {
        (task, job): entry
        for task, job, entry in world.query("SELECT task, job, entry FROM settled")
    }
    for unit, entry in before.items():
        assert now.get(unit) == entry, f"the settled result of {unit} changed"
    for task, count in world.query("SELECT no, settled FROM task"):
        held = sum(1 for each, _ in now if each == task)
        assert held == count, f"task {task} counts {count} settled units and holds {held}"
    return now


def check_log(
    world: World, told: Counter[tuple[str, int]], finished: Counter[tuple[str, int]]
) -> None:
    """Everything acknowledged is in the log; units and tables agree with a naive reading."""
    attempts, datasets, first = read_log(world)
    missing = set(world.submitted) - datasets
    assert not missing, "an acknowledged submission is not in the log"
    for unit, count in told.items():
        dataset, task, _ = unit[0].split("/")
        recorded = attempts[dataset, int(task), unit[1]]
        assert recorded >= count, f"{unit}: {count} results were acknowledged, {recorded} are kept"
        assert recorded <= finished[unit], f"{unit}: a result was recorded twice"
    numbers = {id: no for no, id in world.query("SELECT no, id FROM dataset")}
    kept = {
        (task, job): entry
        for task, job, entry in world.query("SELECT task, job, entry FROM settled")
    }
    for (dataset, task, job), entry in first.items():
        unit = (numbers[bytes.fromhex(dataset)] * 64 + task, job)
        assert kept.get(unit) in (entry, None), f"{unit} is settled by a later success"
    problems = world.check_store()
    assert not problems, problems


def read_log(
    world: World,
) -> tuple[Counter[tuple[str, int, int]], set[bytes], dict[tuple[str, int, int], int]]:
    """Attempts a unit, datasets, and the entry of each unit's first success that was accepted."""
    attempts: Counter[tuple[str, int, int]] = Counter()
    datasets: set[bytes] = set()
    successes: dict[tuple[int, int], list[tuple[int, Results]]] = {}
    first: dict[tuple[str, int, int], int] = {}
    through: dict[int, int] = {}
    rows = world.query(
        "SELECT e.no, f.generation, f.lane, e.seq, e.body FROM entry e"
        " JOIN feed f ON f.no = e.feed ORDER BY e.no"
    )
    for no, generation, lane, seq, body in rows:
        if lane == 1:
            successes[generation, seq] = [
                (no, record) for record in records(body) if isinstance(record, Results)
            ]
    for _no, _generation, lane, _seq, body in rows:
        for record in records(body):
            if isinstance(record, DatasetRecord):
                datasets.add(digest(Purpose.DATASET, unpack_document(record.doc)))
            elif isinstance(record, Accept):
                begin = through.get(record.generation, 0)
                for seq in range(begin + 1, record.through + 1):
                    for entry, result in successes.get((record.generation, seq), []):
                        note(first, entry, result)
                through[record.generation] = max(begin, record.through)
            elif isinstance(record, Results) and lane == 1:
                count(attempts, record)
    return attempts, datasets, first


def records(body: bytes) -> list[object]:
    found = decode(body, len(msgpack.unpackb(body, strict_map_key=False)))
    return [record for record in found if not isinstance(record, Unknown)]


def count(attempts: Counter[tuple[str, int, int]], record: Results) -> None:
    for row, job in enumerate(record.jobs):
        if record.errors[cells(record.error, len(record.jobs))[row]] != "pilot-lost":
            attempts[record.dataset.hex(), record.task, job] += 1


def note(first: dict[tuple[str, int, int], int], entry: int, record: Results) -> None:
    outcomes = cells(record.outcome, len(record.jobs))
    for job, outcome in zip(record.jobs, outcomes, strict=True):
        if outcome == 0:
            first.setdefault((record.dataset.hex(), record.task, job), entry)
