"""Questions about units and their attempts. Details stand in the entries as they came.

Every function takes a reading connection. Those over a whole dataset may take a second for a
million units: call them in a reading thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import apsw

from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.records import (
    Outcome,
    Record,
    Refused,
    Results,
    cells,
    decode,
    digest_cells,
)
from node.fold.counts import Units
from node.fold.sets import Jobs
from node.fold.shape import TASKS_PER_DATASET, dataset_of, read_tasks, select
from node.store.tasks import NotFound, state_of

FAULTS_MAX: Final = 10_000  # faults that are looked at for what failed attempts used,
FAULT_ENTRIES_MAX: Final = 16  # and results entries that are read for it
BODIES_KEPT: Final = 4  # decoded entries
WINDOW_MIN: Final = 1024  # jobs looked at together when units are listed
WINDOW_MAX: Final = 1 << 18
GROUPS_MAX: Final = 200
SAMPLES_MAX: Final = 3
HOST_SAMPLES_MAX: Final = 20  # attempts of a group whose hosts are looked up
STATES: Final = ("settled", "ready", "waiting", "failed", "blocked", "cancelled")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a unit that the log took. Times in epoch ms and ms, sizes in KiB."""

    number: int  # order in the log, from 1
    site: bytes
    site_name: str
    host: str
    start_ms: int
    wall_ms: int
    cpu_ms: int
    gpu_ms: int
    memory_kib: int
    disk_kib: int
    exit: int  # 0..255, or minus the signal
    outcome: Outcome  # as it counted
    error: str  # class of the error, "poison" for the loss that made it so
    tail: str
    outputs: bytes  # digests, b"" for none: the output list,
    inputs: bytes  # what was read,
    log: bytes  # the log
    accepted: bool  # this is the result of the unit
    duplicate: bool  # a success beside the accepted one, or after a cancel
    entry: EntryRef  # the results entry that tells of it
    surplus: str = ""  # why it is beside the accepted one: duplicate, cancelled, restored, …


@dataclass(frozen=True, slots=True)
class UnitRow:
    dataset: int
    task: int
    job: int
    state: str
    attempts: tuple[Attempt, ...]
    owner: str | None = None  # the site that it is granted to, where that was asked for


@dataclass(frozen=True, slots=True, order=True)
class UnitRef:
    """A unit in a listing."""

    job: int
    index: int  # of its task
    state: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Attempts of one task that ended the same way."""

    task: str
    outcome: int
    error: str
    exit: int
    count: int
    hosts: tuple[str, ...]  # of a sample
    sites: tuple[str, ...]
    samples: tuple[tuple[int, int], ...]  # (job, attempt number)
    tail: str
    failed: int  # units among them that are failed now


@dataclass(frozen=True, slots=True)
class OutputRow:
    """The accepted result of a unit and the list of its outputs."""

    job: int
    index: int
    outputs: bytes  # digest of the list; b"" for no outputs
    entry: EntryRef  # the results entry that tells of it


@lru_cache(maxsize=BODIES_KEPT)
def _decoded(body: bytes) -> tuple[tuple[int, Results], ...]:
    """(number of its first row within the entry, record) of every results record."""
    found: list[tuple[int, Results]] = []
    first = 0
    records: Sequence[Record | Refused] = decode(body)
    for record in records:
        if isinstance(record, Results):
            found.append((first, record))
            first += len(record.jobs)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an attempt stands: row -1 for the first success of the unit in the entry."""

    pos: int  # of the log that it is in; -1 before it moved there,
    before: int | None  # and then of the log in which it was
    seq: int
    entry: int
    row: int
    site: bytes
    site_name: str
    body: bytes
    generation: int
    id: bytes
    outcome: int = 0
    error: str = ""
    kind: str = "accepted"  # accepted, fault, surplus


# One unit


def unit(conn: apsw.Connection, task: int, job: int) -> UnitRow:
    """A unit and every attempt that the log took, in its order. Raises NotFound."""
    state = state_of(conn, task, job)
    return UnitRow(dataset_of(task), task, job, state, tuple(attempts(conn, task, job)))


def attempts(conn: apsw.Connection, task: int, job: int) -> list[Attempt]:
    """Every attempt of a unit that the log took, in its order."""
    places = _places(conn, task, job)
    dataset = select(conn, "SELECT id FROM dataset WHERE no = ?", (dataset_of(task),))[0][0]
    index = task % TASKS_PER_DATASET
    surplus = {(place.entry, place.row) for place in places if place.kind == "surplus"}
    found: list[tuple[tuple[int, int, int, int], _Place, Results, int]] = []
    for place in places:
        for first, record in _decoded(place.body):
            if record.dataset != dataset or record.task != index:
                continue
            row = _row_of(record, job, first, place, surplus)
            if row is not None:
                at = (place.pos, place.before or 0, place.seq, first + row)
                found.append((at, place, record, row))
                break
    found.sort(key=lambda item: item[0])
    return [
        _attempt(number, place, record, row)
        for number, (_, place, record, row) in enumerate(found, 1)
    ]


# Of a dataset that moved, what its first log had counted comes before all that the next one took.
_PLACE = (
    "SELECT CASE WHEN e.seq <= l.through THEN -1 ELSE coalesce(a.pos, 0) END,"
    " CASE WHEN e.seq <= l.through THEN (SELECT b.pos FROM accepted b WHERE b.entry = x.entry"
    " AND b.shard = d.source) ELSE 0 END, e.seq, x.entry, {row}, f.site, coalesce(s.name, ''),"
    " e.body, f.generation, e.id, {rest} FROM {table} x JOIN entry e ON e.no = x.entry"
    " JOIN feed f ON f.no = e.feed JOIN dataset d ON d.no = x.task / 64"
    " LEFT JOIN site s ON s.key = f.site"
    " LEFT JOIN accepted a ON a.entry = x.entry AND a.shard = d.shard"
    " LEFT JOIN left_at l ON d.source IS NOT NULL AND l.dataset = d.no AND l.site = s.no"
    " AND l.generation = f.generation"
    " WHERE x.task = ?1 AND x.job = ?2 AND e.body IS NOT NULL"
)
_PLACES: Final = (
    _PLACE.format(table="settled", row="-1", rest="0, '', 'accepted'"),
    _PLACE.format(table="fault", row="x.row", rest="x.outcome, x.error, 'fault'"),
    _PLACE.format(table="surplus", row="x.row", rest="0, x.why, 'surplus'"),
)


def _places(conn: apsw.Connection, task: int, job: int) -> list[_Place]:
    return [_Place(*row) for sql in _PLACES for row in select(conn, sql, (task, job))]


def _row_of(
    record: Results, job: int, first: int, place: _Place, surplus: set[tuple[int, int]]
) -> int | None:
    """The row of an attempt within a record; None: it is in another."""
    if place.row >= 0:
        row = place.row - first
        return row if 0 <= row < len(record.jobs) else None
    outcome = cells(record.outcome, len(record.jobs))
    for row, each in enumerate(record.jobs):
        success = each == job and outcome[row] == Outcome.SUCCESS
        if success and (place.entry, first + row) not in surplus:
            return row
    return None


def _cell(column: Any, row: int) -> Any:
    return column if isinstance(column, int | bytes) else column[row]


def _attempt(number: int, place: _Place, record: Results, row: int) -> Attempt:
    fault = place.kind == "fault"
    return Attempt(
        number=number,
        site=place.site,
        site_name=place.site_name,
        host=record.hosts[_cell(record.host, row)],
        start_ms=record.start_ms + _cell(record.offset_ms, row),
        wall_ms=_cell(record.wall_ms, row),
        cpu_ms=_cell(record.cpu_ms, row),
        gpu_ms=_cell(record.gpu_ms, row),
        memory_kib=_cell(record.memory_kib, row),
        disk_kib=_cell(record.disk_kib, row),
        exit=_cell(record.exit, row),
        outcome=Outcome(place.outcome),
        error=place.error if fault else record.errors[_cell(record.error, row)],
        tail=_tail(record, row),
        outputs=_cell(record.outputs, row),
        inputs=_cell(record.inputs, row),
        log=_cell(record.log, row),
        accepted=place.kind == "accepted",
        duplicate=place.kind == "surplus",
        surplus=place.error if place.kind == "surplus" else "",
        entry=_ref(place.site, place.generation, place.seq, place.id),
    )


def _ref(site: bytes, generation: int, seq: int, id_: bytes) -> EntryRef:
    return EntryRef(FeedID(SiteID(site), generation, Lane.RESULTS), seq, EntryID(id_))


def _tail(record: Results, row: int) -> str:
    return next((str(text) for at, text in record.tails if at == row), "")


def failed_memory_kib(conn: apsw.Connection, task: int) -> int:
    """The largest peak among a sample of the attempts that were no success; 0 for none."""
    sql = (
        "SELECT e.body FROM (SELECT DISTINCT entry FROM (SELECT entry FROM fault WHERE task = ?1"
        f" LIMIT {FAULTS_MAX}) ORDER BY entry DESC LIMIT {FAULT_ENTRIES_MAX}) f"
        " JOIN entry e ON e.no = f.entry WHERE e.body IS NOT NULL"
    )
    dataset = select(conn, "SELECT id FROM dataset WHERE no = ?", (dataset_of(task),))[0][0]
    most = 0
    for (body,) in select(conn, sql, (task,)):
        for _, record in _decoded(body):
            if record.dataset == dataset and record.task == task % TASKS_PER_DATASET:
                many = len(record.jobs)
                ends = zip(cells(record.outcome, many), cells(record.memory_kib, many), strict=True)
                most = max([most, *(kib for end, kib in ends if end != Outcome.SUCCESS)])
    return most


# Listings


def units(
    conn: apsw.Connection,
    dataset_no: int,
    *,
    state: str | None = None,
    task: int | None = None,
    jobs: Sequence[int] | None = None,
    limit: int = 100,
    after: tuple[int, int] | None = None,
) -> list[UnitRef]:
    """Units in order of job, then task. Slow for rare states of large datasets.

    state: one of STATES; task: an index; jobs: flat ranges; after: the (job, task index) of the
    last one that was listed before. Raises NotFound for a task that is not there.
    """
    tasks = read_tasks(conn, dataset_no)
    numbers = list(tasks)
    if task is not None:
        numbers = [dataset_no * TASKS_PER_DATASET + task]
        if numbers[0] not in tasks:
            raise NotFound(f"the dataset has no task {task}")
    found: list[UnitRef] = []
    size = max((tasks[number].jobs for number in numbers), default=0)
    start = after[0] if after else 0
    window = max(WINDOW_MIN, limit)
    chosen = None if jobs is None else Jobs.joined(jobs)
    while start < size and len(found) < limit:
        part = Jobs((start, min(size, start + window)))
        part = part if chosen is None else part & chosen
        seen = Units(conn, part)
        here = [ref for no in numbers for ref in _listed(seen, no, state, limit + 64)]
        found += sorted(ref for ref in here if after is None or (ref.job, ref.index) > after)
        start += window
        window = min(WINDOW_MAX, window * 4)
    return found[:limit]


def _listed(seen: Units, task: int, state: str | None, most: int) -> list[UnitRef]:
    """The first units of a task in a state, or in any."""
    index = task % TASKS_PER_DATASET
    listed: list[UnitRef] = []
    for name in STATES if state is None else (state,):
        jobs = islice(_in_state(seen, task, name), most)
        listed += [UnitRef(job, index, name) for job in jobs]
    return listed


def _in_state(seen: Units, task: int, state: str) -> Jobs:
    if state != "waiting":
        found: Jobs = getattr(seen, state)(task)
        return found
    closed = seen.settled(task) | seen.cancelled(task) | seen.failed(task) | seen.blocked(task)
    return seen.universe(task) - closed - seen.ready(task)


def outputs_of(conn: apsw.Connection, task: int, job: int) -> bytes | None:
    """Digest of a settled unit's output list, b"" if it has no outputs; None: it is not settled."""
    for row in _outputs(conn, task, [job, job + 1], 1):
        return row.outputs
    return None


def outputs(
    conn: apsw.Connection,
    dataset_no: int,
    *,
    task: int | None = None,
    jobs: Sequence[int] | None = None,
    limit: int = 1000,
    after: tuple[int, int] | None = None,
) -> list[OutputRow]:
    """Output lists of settled units, in order of task, then job.

    after: the (task index, job) of the last one listed before.
    """
    found: list[OutputRow] = []
    after_index, after_job = after or (-1, -1)
    for number, row in read_tasks(conn, dataset_no).items():
        index = number % TASKS_PER_DATASET
        if index < after_index or (task is not None and index != task):
            continue
        first = after_job + 1 if index == after_index else 0
        part = Jobs.joined((first, row.jobs))
        flat = (part if jobs is None else part & Jobs.joined(jobs)).flat
        found += _outputs(conn, number, flat, limit - len(found))
        if len(found) >= limit:
            break
    return found


def _outputs(conn: apsw.Connection, task: int, flat: Sequence[int], limit: int) -> list[OutputRow]:
    """In order of job."""
    wanted: list[tuple[int, int]] = []
    for lo, hi in zip(flat[::2], flat[1::2], strict=True):
        if limit > len(wanted):
            sql = (
                "SELECT job, entry FROM settled WHERE task = ? AND job >= ? AND job < ?"
                " ORDER BY job LIMIT ?"
            )
            wanted += [(j, e) for j, e in select(conn, sql, (task, lo, hi, limit - len(wanted)))]
    digests = dict(_digests(conn, task, wanted))
    index = task % TASKS_PER_DATASET
    refs = {entry: _entry_ref(conn, entry) for entry in {entry for _, entry in wanted}}
    return [OutputRow(job, index, digests.get(job, b""), refs[entry]) for job, entry in wanted]


def _entry_ref(conn: apsw.Connection, entry: int) -> EntryRef:
    sql = (
        "SELECT f.site, f.generation, e.seq, e.id FROM entry e JOIN feed f ON f.no = e.feed"
        " WHERE e.no = ?"
    )
    return _ref(*select(conn, sql, (entry,))[0])


def _digests(
    conn: apsw.Connection, task: int, wanted: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, bytes]]:
    """(job, digest of its output list) of settled jobs, given as (job, entry)."""
    by_entry: dict[int, set[int]] = {}
    for job, entry in wanted:
        by_entry.setdefault(entry, set()).add(job)
    dataset = select(conn, "SELECT id FROM dataset WHERE no = ?", (dataset_of(task),))[0][0]
    for entry, jobs in sorted(by_entry.items()):
        for (body,) in select(conn, "SELECT body FROM entry WHERE no = ?", (entry,)):
            for _, record in _decoded(body):
                if record.dataset == dataset and record.task == task % TASKS_PER_DATASET:
                    yield from _successes(record, jobs)


def _successes(record: Results, jobs: set[int]) -> Iterator[tuple[int, bytes]]:
    """The first success of each of the jobs, which it takes out of the set."""
    rows = len(record.jobs)
    outcome = cells(record.outcome, rows)
    digests = digest_cells(record.outputs, rows)
    for row, job in enumerate(record.jobs):
        if job in jobs and outcome[row] == Outcome.SUCCESS:
            jobs.discard(job)
            yield job, digests[row]


# Errors


def errors(conn: apsw.Connection, dataset_no: int) -> list[ErrorGroup]:
    """Attempts that were no success, grouped by how they ended, the most frequent first."""
    first = dataset_no * TASKS_PER_DATASET
    sql = (
        "SELECT t.name, f.task, f.outcome, f.error, f.exit, count(*) FROM fault f"
        " JOIN task t ON t.no = f.task WHERE f.task BETWEEN ? AND ?"
        " GROUP BY f.task, f.outcome, f.error, f.exit ORDER BY count(*) DESC LIMIT ?"
    )
    groups = select(conn, sql, (first, first + TASKS_PER_DATASET - 1, GROUPS_MAX))
    return [_group(conn, *row) for row in groups]


def _group(
    conn: apsw.Connection, name: str, task: int, outcome: int, error: str, exit: int, count: int
) -> ErrorGroup:
    alike = "task = ?1 AND outcome = ?2 AND error = ?3 AND exit = ?4"
    key = (task, outcome, error, exit)
    (failed,) = select(
        conn,
        "SELECT count(*) FROM troubled t WHERE t.task = ?1 AND t.failed = 1 AND EXISTS"
        f" (SELECT 1 FROM fault f WHERE f.job = t.job AND f.{alike.replace('AND ', 'AND f.')})",
        key,
    )[0]
    sql = f"SELECT DISTINCT job FROM fault WHERE {alike} ORDER BY job LIMIT {HOST_SAMPLES_MAX}"
    samples: list[tuple[int, Attempt]] = []
    for (job,) in select(conn, sql, key):
        samples += [
            (job, attempt)
            for attempt in attempts(conn, task, job)
            if not attempt.accepted
            and (attempt.outcome, attempt.error, attempt.exit) == (outcome, error, exit)
        ]
    return ErrorGroup(
        task=name,
        outcome=outcome,
        error=error,
        exit=exit,
        count=count,
        hosts=tuple(sorted({attempt.host for _, attempt in samples if attempt.host})),
        sites=tuple(sorted({attempt.site_name for _, attempt in samples})),
        samples=tuple((job, attempt.number) for job, attempt in samples[:SAMPLES_MAX]),
        tail=next((attempt.tail for _, attempt in samples if attempt.tail), ""),
        failed=int(failed),
    )
