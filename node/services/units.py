"""Single units as people see them: attempts, logs, outputs, listings, why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred

from federation.records import Outcome
from node.model.dataset import DatasetSpec, Needs
from node.services import errors
from node.services.facts import Rate, SiteFacts
from node.services.people import Person
from node.services.recovery import COMMAND as RECOVER
from node.services.refusal import Refusal
from node.services.views import Reader, Value, asked
from node.services.why import Dependency, Try, UnitFacts, why_unit
from node.store import results, tasks
from node.store.database import StoreError
from node.store.results import Attempt, UnitRow
from node.store.tasks import DatasetRow

TASKS_A_DATASET = 64
DETAILED_MAX = 200  # pages up to this size show the last attempt of every unit
LISTS_AT_ONCE = 200  # output lists that one page of a listing opens


class Work(Protocol):
    """The part of the work service that knows where units are now."""

    def live(self, task: int, job: int) -> dict[str, Any] | None: ...


class Blobs(Protocol):
    """The part of the blob store that is read here, in threads."""

    def get(self, digest: bytes) -> bytes: ...


class Page(Protocol):
    """What a listing was asked for."""

    @property
    def state(self) -> str | None: ...
    @property
    def task(self) -> str | None: ...
    @property
    def jobs(self) -> Sequence[int] | None: ...
    @property
    def limit(self) -> int: ...
    @property
    def after(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with what explains it, of one snapshot."""

    dataset: DatasetRow
    spec: DatasetSpec
    row: UnitRow
    needs: Needs
    dependencies: Sequence[Dependency]
    finished: int  # units of its task that are settled
    memory_seen_bytes: int  # and the most that one of them needed

    @property
    def name(self) -> str:
        return self.spec.tasks[self.row.task % TASKS_A_DATASET].name


class UnitViews:
    """Units as people see them. in_thread: runs blob reads off the reactor."""

    def __init__(
        self,
        read: Reader,
        work: Work,
        blobs: Blobs,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        facts: SiteFacts,
        rate: Rate,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._read = read
        self._work = work
        self._blobs = blobs
        self._in_thread = in_thread
        self._facts = facts
        self._rate = rate
        self._wall_ms = wall_ms

    # One unit

    async def unit(self, asking: Person, ref: str, job: int, task: str) -> Value:
        row, found = await self._found(asking, ref, job, task)
        live = self._live(found)
        attempts = [await self._attempt(each) for each in found.attempts]
        return {
            "unit": {
                "dataset": row.name,
                "id": row.id.hex(),
                "job": job,
                "task": task,
                "state": _state(found.state, live),
            },
            "attempts": attempts,
            "live": live,
        }

    async def log(
        self, asking: Person, ref: str, job: int, task: str, attempt: int | None
    ) -> bytes:
        """Digest of the log of an attempt; of the newest that left one, if none is named."""
        row, found = await self._found(asking, ref, job, task)
        name = f"{row.name}/{job}/{task}"
        logs = [each for each in found.attempts if each.log or attempt is not None]
        if not found.attempts:
            raise Refusal("not-found", f"{name} has not run yet", f"floe why {name}")
        if attempt is not None:
            logs = [_numbered(found, attempt, name)]
        if not logs or not logs[-1].log:
            raise Refusal("not-found", f"{name} wrote no log")
        return logs[-1].log

    async def unit_outputs(
        self, asking: Person, ref: str, job: int, task: str, attempt: int | None
    ) -> Value:
        _, found = await self._found(asking, ref, job, task)
        return {"outputs": await self._outputs(_wanted(found, attempt, f"{ref}/{job}/{task}"))}

    async def output(
        self, asking: Person, ref: str, job: int, task: str, path: str, attempt: int | None
    ) -> bytes:
        """Digest of one output of the accepted attempt, or of the one named."""
        _, found = await self._found(asking, ref, job, task)
        name = f"{ref}/{job}/{task}"
        for entry in await self._outputs(_wanted(found, attempt, name)):
            if entry["path"] == path:
                return bytes.fromhex(entry["digest"])
        raise Refusal("not-found", f"{name} has no output {path[:200]!r}")

    async def why_unit(self, asking: Person, ref: str, job: int, task: str) -> Value:
        def explained(conn: apsw.Connection) -> Unit:
            row, no = _task(conn, ref, asking.key, task)
            return _with_reasons(conn, row, results.unit(conn, no, job))

        unit = await asked(self._read, explained)
        live = self._live(unit.row)
        facts = UnitFacts(
            dataset=unit.dataset.name,
            job=job,
            task=unit.name,
            state=unit.row.state,
            needs=unit.needs,
            paused=unit.dataset.paused,
            stopped=unit.dataset.quarantined or self._facts.closed(unit.dataset.shard),
            remedy="floe doctor" if unit.dataset.quarantined else RECOVER,
            dependencies=unit.dependencies,
            tries=[_try(each) for each in unit.row.attempts],
            retry_max=unit.spec.tasks[unit.row.task % TASKS_A_DATASET].retry_max,
            live=live,
            workers=self._facts.workers(),
            ready_units=unit.dataset.counts.ready,
            units_per_s=self._rate.units_per_s(),
            memory_seen_bytes=unit.memory_seen_bytes,
            finished=unit.finished,
            now_ms=self._wall_ms(),
        )
        return {"unit": facts.name, "why": why_unit(facts).shown()}

    # Listings

    async def jobs(self, asking: Person, ref: str, page: Page) -> Value:
        """Units in order of job, then task."""
        after = _pair(page.after)
        state = "ready" if page.state == "running" else page.state
        if state is not None and state not in results.STATES:
            raise Refusal("bad-request", f"there is no state {state[:20]!r}", _states())

        def listed(conn: apsw.Connection) -> list[tuple[DatasetRow, str, UnitRow]]:
            row, index, names = _chosen(conn, ref, asking.key, page.task)
            refs = results.units(
                conn,
                row.no,
                state=state,
                task=index,
                jobs=page.jobs,
                limit=page.limit,
                after=after,
            )
            first = row.no * TASKS_A_DATASET
            return [
                (
                    row,
                    names[each.index],
                    UnitRow(
                        row.no,
                        first + each.index,
                        each.job,
                        each.state,
                        tuple(results.attempts(conn, first + each.index, each.job))
                        if page.limit <= DETAILED_MAX or each.state in ("failed", "settled")
                        else (),
                    ),
                )
                for each in refs
            ]

        rows = await asked(self._read, listed)
        shown = [self._listed(name, unit) for _, name, unit in rows]
        last = rows[-1][2] if len(rows) == page.limit else None
        following = f"{last.job}.{last.task % TASKS_A_DATASET}" if last else None
        if page.state in ("running", "ready"):
            shown = [unit for unit in shown if unit["state"] == page.state]
        return {"units": shown, "next": following}

    def _listed(self, name: str, unit: UnitRow) -> Value:
        live = self._live(unit)
        last = unit.attempts[-1] if unit.attempts else None
        return {
            "job": unit.job,
            "task": name,
            "state": _state(unit.state, live),
            "attempts": len(unit.attempts),
            "site": last.site_name if last else None,
            "host": live["host"] if live else (last.host if last else None),
            "wall_s": last.wall_ms / 1000 if last else None,
            "error": last.error if last and not last.accepted else None,
        }

    async def outputs(self, asking: Person, ref: str, page: Page) -> Value:
        """Outputs of settled units, in order of task, then job."""
        after = _pair(page.after)
        limit = min(page.limit, LISTS_AT_ONCE)

        def listed(conn: apsw.Connection) -> tuple[dict[int, str], list[results.OutputRow]]:
            row, index, names = _chosen(conn, ref, asking.key, page.task)
            return names, results.outputs(
                conn, row.no, task=index, jobs=page.jobs, limit=limit, after=after
            )

        names, rows = await asked(self._read, listed)
        digests = list({row.outputs for row in rows if row.outputs})
        lists = await self._in_thread(lambda: self._lists(digests))
        shown = [
            {"job": row.job, "task": names[row.index], **entry}
            for row in rows
            for entry in lists.get(row.outputs, ())
        ]
        last = rows[-1] if len(rows) == limit else None
        return {"outputs": shown, "next": f"{last.index}.{last.job}" if last else None}

    async def errors(self, asking: Person, ref: str) -> Value:
        def grouped(conn: apsw.Connection) -> tuple[DatasetRow, list[results.ErrorGroup]]:
            row = tasks.find(conn, ref, asking.key)
            return row, results.errors(conn, row.no)

        row, groups = await asked(self._read, grouped)
        return {
            "dataset": {"id": row.id.hex(), "name": row.name},
            "errors": errors.shown(row.name, groups),
        }

    # Pieces

    async def _found(
        self, asking: Person, ref: str, job: int, task: str
    ) -> tuple[DatasetRow, UnitRow]:
        def found(conn: apsw.Connection) -> tuple[DatasetRow, UnitRow]:
            row, no = _task(conn, ref, asking.key, task)
            return row, results.unit(conn, no, job)

        return await asked(self._read, found)

    def _live(self, unit: UnitRow) -> dict[str, Any] | None:
        if unit.state in ("settled", "cancelled"):
            return None
        return self._work.live(unit.task, unit.job)

    async def _attempt(self, attempt: Attempt) -> Value:
        return {
            "number": attempt.number,
            "site": attempt.site_name,
            "host": attempt.host,
            "start_ms": attempt.start_ms,
            "wall_s": attempt.wall_ms / 1000,
            "cpu_s": attempt.cpu_ms / 1000,
            "gpu_s": attempt.gpu_ms / 1000,
            "memory_bytes": attempt.memory_kib * 1024,
            "disk_bytes": attempt.disk_kib * 1024,
            "exit": attempt.exit,
            "outcome": attempt.outcome.name.lower(),
            "error": attempt.error,
            "tail": attempt.tail,
            "accepted": attempt.accepted,
            "duplicate": attempt.duplicate,
            "log": attempt.log.hex() or None,
            "outputs": await self._outputs(attempt, lost_ok=True),
        }

    async def _outputs(self, attempt: Attempt, *, lost_ok: bool = False) -> list[Value]:
        if not attempt.outputs:
            return []
        found: Mapping[bytes, list[Value]] = await self._in_thread(
            lambda: self._lists([attempt.outputs])
        )
        if not found and not lost_ok:
            raise Refusal("not-found", "the list of its outputs is no longer kept here")
        return found.get(attempt.outputs, [])

    def _lists(self, digests: Sequence[bytes]) -> dict[bytes, list[Value]]:
        """In a thread: output lists by digest; those that are gone are left out."""
        found: dict[bytes, list[Value]] = {}
        for digest in digests:
            try:
                found[digest] = json.loads(self._blobs.get(digest))
            except (StoreError, ValueError):
                continue
        return found


def _state(state: str, live: Mapping[str, Any] | None) -> str:
    """A unit that a pilot runs is "running", which no table knows."""
    return "running" if live and live.get("started_ms") is not None else state


def _states() -> str:
    return "one of running, " + ", ".join(results.STATES)


def _pair(text: str) -> tuple[int, int] | None:
    """ "417.1" as (417, 1): where a listing goes on. Raises Refusal."""
    if not text:
        return None
    first, _, second = text.partition(".")
    if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise Refusal("bad-request", f"after is {text[:40]!r}", 'the "next" of the page before')
    return int(first[:18]), int(second[:18])


def _chosen(
    conn: apsw.Connection, ref: str, person: bytes, task: str | None
) -> tuple[DatasetRow, int | None, dict[int, str]]:
    """The dataset, the index of the task that was asked for, and the names of all tasks."""
    row = tasks.find(conn, ref, person)
    names = {each.index: each.name for each in tasks.task_counts(conn, row.no)}
    return row, None if task is None else _index(row, names, task), names


def _index(row: DatasetRow, names: Mapping[int, str], task: str) -> int:
    for index, name in names.items():
        if name == task:
            return index
    known = ", ".join(names.values())
    raise tasks.NotFound(f"{row.name} has no task {task[:40]!r}; its tasks: {known}")


def _task(conn: apsw.Connection, ref: str, person: bytes, task: str) -> tuple[DatasetRow, int]:
    """The dataset and the local number of its task."""
    row, index, _ = _chosen(conn, ref, person, task)
    assert index is not None
    return row, row.no * TASKS_A_DATASET + index


def _numbered(unit: UnitRow, attempt: int, name: str) -> Attempt:
    for each in unit.attempts:
        if each.number == attempt:
            return each
    raise Refusal("not-found", f"{name} has no attempt #{attempt}", f"floe show {name}")


def _wanted(unit: UnitRow, attempt: int | None, name: str) -> Attempt:
    """The attempt named, else the accepted one."""
    if attempt is not None:
        return _numbered(unit, attempt, name)
    accepted = next((each for each in unit.attempts if each.accepted), None)
    if accepted is None:
        raise Refusal("not-found", f"{name} is not settled: {unit.state}", f"floe why {name}")
    return accepted


def _try(attempt: Attempt) -> Try:
    return Try(
        number=attempt.number,
        outcome=Outcome(attempt.outcome).name.lower(),
        error=attempt.error,
        exit=attempt.exit,
        host=attempt.host,
        tail=attempt.tail,
        wall_s=attempt.wall_ms / 1000,
    )


def _with_reasons(conn: apsw.Connection, row: DatasetRow, unit: UnitRow) -> Unit:
    spec = tasks.spec(conn, row.no)
    counted = {each.index: each for each in tasks.task_counts(conn, row.no)}
    own = counted[unit.task % TASKS_A_DATASET]
    return Unit(
        dataset=row,
        spec=spec,
        row=unit,
        needs=tasks.needs(conn, unit.task),
        dependencies=_dependencies(conn, row, spec, unit),
        finished=own.counts.settled,
        memory_seen_bytes=own.memory_kib_max * 1024,
    )


def _dependencies(
    conn: apsw.Connection, row: DatasetRow, spec: DatasetSpec, unit: UnitRow
) -> list[Dependency]:
    found = []
    for after in spec.tasks[unit.task % TASKS_A_DATASET].after:
        no = row.no if after.dataset is None else tasks.number(conn, after.dataset)
        if no is None:
            found.append(Dependency(after.text, "", "not known here"))
            continue
        parent = no * TASKS_A_DATASET + after.task
        if after.all_jobs:
            counts = tasks.task_counts(conn, no)[after.task].counts
            settled = min(counts.settled, after.jobs)
            state = "settled" if settled >= after.jobs else "waiting"
            found.append(Dependency(after.text, "", state, settled, after.jobs))
        else:
            name = row.name if after.dataset is None else after.dataset_name
            state = tasks.state_of(conn, parent, unit.job)
            found.append(Dependency(after.text, f"{name}/{unit.job}/{after.task_name}", state))
    return found
