"""Whether units read what their dependencies are settled to have made.

The digest in the column `inputs` is over the digests of the output lists of the units of the same
dataset that the unit waits for, in the order of their tasks. A success that read something else
does not count: it is a loss to the infrastructure. One that is accepted before what it waits for
counts at first, and is judged when that is settled.

Source: docs/protocol.md, "Inputs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import apsw

from federation.records import Outcome, Results, cells, digest_cells
from node.fold.made import Made
from node.fold.shape import TaskRow
from node.model.inputs import read_digest

STALE: Final = "inputs-changed"  # an error class


def without_stale(
    conn: apsw.Connection, made: Made, dataset: bytes, task: TaskRow, record: Results
) -> Results:
    """The record; successes that read something else are losses in it."""
    if not task.parents or record.inputs == b"":
        return record
    rows = len(record.jobs)
    outcomes = cells(record.outcome, rows)
    read = digest_cells(record.inputs, rows)
    looked = [row for row in range(rows) if read[row] and outcomes[row] == Outcome.SUCCESS]
    expected = digests(conn, made, dataset, task, sorted({record.jobs[row] for row in looked}))
    stale = {row for row in looked if expected.get(record.jobs[row], read[row]) != read[row]}
    if not stale:
        return record
    return replace(
        record,
        outcome=_set(outcomes, stale, int(Outcome.INFRASTRUCTURE)),
        errors=[*record.errors, STALE],
        error=_set(cells(record.error, rows), stale, len(record.errors)),
    )


def digests(
    conn: apsw.Connection, made: Made, dataset: bytes, task: TaskRow, jobs: Sequence[int]
) -> Mapping[int, bytes]:
    """What units should have read, as far as all that they wait for is settled."""
    parents = [made.of(conn, dataset, parent, jobs) for parent in task.parents]
    return {
        job: read_digest([parent[job].outputs for parent in parents])
        for job in jobs
        if all(job in parent for parent in parents)
    }


def stale_among(
    conn: apsw.Connection, made: Made, dataset: bytes, task: TaskRow, jobs: Iterable[int]
) -> list[int]:
    """Settled jobs that turn out to have read something else than what is settled by now."""
    chosen = sorted(set(jobs))
    settled = made.of(conn, dataset, task.no, chosen)
    read = {job: success.inputs for job, success in settled.items() if success.inputs}
    expected = digests(conn, made, dataset, task, sorted(read))
    return [job for job in sorted(read) if expected.get(job, read[job]) != read[job]]


def _set(column: Sequence[int], rows: set[int], value: int) -> list[int]:
    return [value if row in rows else each for row, each in enumerate(column)]
