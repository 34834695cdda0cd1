"""A pilot's report: columns of results from JSON to records, checked, stored once, and applied.

Nothing here touches single units unless they failed: columns stay lists, jobs are compared as sets.
A report is stored in one or more records; each carries, in its own transaction, the number of the
batch and how much of it is stored. A batch that comes again after a crash goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.errors import LocalError
from federation.ids import DatasetID
from federation.records import Column, DigestColumn, Outcome, Results, cells, cut_tail, split
from node.work.refusals import Refusal

# So few rows always fit into one record.
ROWS_SURELY = 100
TAILS_SURELY = 40
GROUPS_MAX = 10_000
LEASE_END = 2**63  # what a row of the store can hold
JOB_END = 2**32
SUCCESS = int(Outcome.SUCCESS)
_BY_ROW = frozenset({
    "outcome", "offset_ms", "wall_ms", "cpu_ms", "memory_kib", "disk_kib", "gpu_ms", "exit",
    "error", "outputs", "inputs", "log",
})  # fmt: skip


class BadReport(Exception):
    """A part of a report that cannot be a result; the message says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one lease and task."""

    lease: int
    dataset: bytes
    task: int  # index
    jobs: list[int]
    columns: Mapping[str, Any]


def groups_of(body: Mapping[str, Any]) -> tuple[list[Group], list[str]]:
    """The groups of a report, and what is wrong with those that are left out."""
    given = body.get("results", [])
    if type(given) is not list or len(given) > GROUPS_MAX:
        return [], ["results is no list, or too long"]
    groups, wrong = [], []
    for item in given:
        try:
            groups.append(_group(item))
        except (BadReport, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
    return groups, wrong


def _group(item: Any) -> Group:
    lease, spec, jobs = item["lease"], item["spec"], item["jobs"]
    if type(lease) is not int or type(jobs) is not list or not jobs:
        raise BadReport("no lease or no jobs")
    if type(spec) is not str:
        raise BadReport("no task")
    dataset, task = spec.split("/")[:2]
    if set(map(type, jobs)) != {int}:
        raise BadReport("jobs that are no numbers")
    return Group(lease, bytes.fromhex(dataset), int(task), jobs, item)


def chosen(group: Group, rows: Sequence[int]) -> Group:
    """Some rows of a group, ascending, as a group of their own. Raises BadReport."""
    given, place = group.columns, {row: at for at, row in enumerate(rows)}
    try:
        columns = {
            name: [value[row] for row in rows] if name in _BY_ROW and type(value) is list else value
            for name, value in given.items()
        }
        columns["tails"] = [[place[row], text] for row, text in given["tails"] if row in place]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadReport(f"{type(error).__name__}: {error}") from None
    return Group(group.lease, group.dataset, group.task, [group.jobs[row] for row in rows], columns)


def records_of(group: Group, host: str, factors: Sequence[int]) -> list[Results]:
    """The group as records that fit an entry. Raises BadReport."""
    try:
        record = _record(group, host, factors)
        if len(group.jobs) <= ROWS_SURELY and len(record.tails) <= TAILS_SURELY:
            return [record]
        return split(record)
    except (LocalError, KeyError, TypeError, ValueError) as error:
        raise BadReport(f"{type(error).__name__}: {error}") from None


def _record(group: Group, host: str, factors: Sequence[int]) -> Results:
    given = group.columns
    return Results(
        dataset=DatasetID(group.dataset),
        task=group.task,
        jobs=group.jobs,
        outcome=given["outcome"],
        start_ms=given["start_ms"],
        offset_ms=given["offset_ms"],
        wall_ms=given["wall_ms"],
        cpu_ms=given["cpu_ms"],
        memory_kib=given["memory_kib"],
        disk_kib=given["disk_kib"],
        gpu_ms=given["gpu_ms"],
        hosts=[host],
        host=0,
        exit=given["exit"],
        errors=given["errors"],
        error=given["error"],
        outputs=_digests(given["outputs"]),
        inputs=_digests(given["inputs"]),
        log=_digests(given["log"]),
        factors=list(factors),
        tails=[[row, cut_tail(_text(text))] for row, text in given["tails"]],
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise BadReport("a tail that is no text")
    return value


def _digests(column: Any) -> DigestColumn:
    if isinstance(column, str):
        return bytes.fromhex(column)
    return list(map(bytes.fromhex, column))


def total(column: Column, rows: int) -> int:
    """Sum over a column of so many rows."""
    return column * rows if isinstance(column, int) else sum(column)


def all_succeeded(record: Results) -> bool:
    outcome = record.outcome
    return outcome == SUCCESS if isinstance(outcome, int) else not any(outcome)


def failures(record: Results) -> list[tuple[int, int, str]]:
    """(job, outcome, error class) of the rows that did not succeed."""
    rows = len(record.jobs)
    names = record.errors
    return [
        (job, outcome, names[error])
        for job, outcome, error in zip(
            record.jobs, cells(record.outcome, rows), cells(record.error, rows), strict=True
        )
        if outcome != SUCCESS
    ]


def held_jobs(value: Any) -> dict[int, set[int]]:
    """[[lease, [job, ...]], ...] as sets. Raises Refusal."""
    if value is None:
        return {}
    try:
        held = {lease: set(jobs) for lease, jobs in value}
    except (TypeError, ValueError):
        held = {None: set()}
    for lease, jobs in held.items():
        if not (_below(lease, LEASE_END) and all(_below(job, JOB_END) for job in jobs)):
            raise Refusal(400, "leases are [[lease, [job, ...]], ...]", "numbers")
    return held


def _below(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end
