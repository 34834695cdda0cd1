"""Single units as people see them: attempts, logs, outputs, why."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apsw

from federation.errors import RemoteRefused, Unreachable
from federation.ids import DatasetID
from federation.records import Outcome
from node.meshing.filenames import OfAttempt
from node.meshing.units import Elsewhere, UnitName
from node.model.dataset import DatasetSpec, Needs
from node.services.dependencies import of_unit
from node.services.facts import Rate, SiteFacts
from node.services.listings import Bring, OutputLists, Work, live_of, shown_state, wanted_of
from node.services.people import Person
from node.services.questions import Reader, Value, asked, chosen
from node.services.recovery import COMMAND as RECOVER
from node.services.refusal import Refusal
from node.services.why import why_unit
from node.services.whyfacts import Dependency, Try, UnitFacts
from node.store import held, results, tasks
from node.store.results import Attempt, UnitRow
from node.store.tasks import DatasetRow, NotFound

TASKS_A_DATASET = 64


class Running(Work, Protocol):
    """The part of the work service that knows where units are, and what they print."""

    async def tail(self, task: int, job: int, offset: int) -> tuple[int, bytes] | None: ...
    def explain(self, task: int, job: int) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Away:
    """What other sites keep and know."""

    elsewhere: Elsewhere
    bring: Bring
    need: Callable[[Sequence[OfAttempt]], None]  # told of outputs that were not to be had


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with what explains it, of one snapshot."""

    dataset: DatasetRow
    spec: DatasetSpec
    row: UnitRow
    needs: Needs
    dependencies: Sequence[Dependency]
    again: bool  # it runs again, as its outputs were lost
    differs: bool  # it came out otherwise then
    moving_to: str  # who leads the log to which the dataset is on its way
    finished: int  # units of its task that are settled
    memory_seen_bytes: int  # and the most that one of them needed

    @property
    def name(self) -> str:
        return self.spec.tasks[self.row.task % TASKS_A_DATASET].name


class UnitViews:
    """Units as people see them."""

    def __init__(
        self,
        read: Reader,
        work: Running,
        lists: OutputLists,
        facts: SiteFacts,
        rate: Rate,
        away: Away | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """away: other sites; None for a site that is alone."""
        self._read = read
        self._work = work
        self._away = away
        self._lists = lists
        self._facts = facts
        self._rate = rate
        self._wall_ms = wall_ms

    # One unit

    async def unit(self, asking: Person, ref: str, job: int, task: str) -> Value:
        row, found = await self._found(asking, ref, job, task)
        live = await self._live(row, found)
        attempts = [await self._attempt(row, found, each) for each in found.attempts]
        return {
            "unit": {
                "dataset": row.name,
                "id": row.id.hex(),
                "job": job,
                "task": task,
                "state": shown_state(found.state, live),
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
            if shown_state(found.state, await self._live(row, found)) == "running":
                raise Refusal(
                    "not-found",
                    f"{name} runs for the first time; its log is kept when that ends",
                    f"what it prints now: floe logs -f {name}",
                )
            raise Refusal("not-found", f"{name} has not run yet", f"floe why {name}")
        if attempt is not None:
            logs = [_numbered(found, attempt, name)]
        if not logs or not logs[-1].log:
            raise Refusal("not-found", f"{name} wrote no log")
        await self._bring(row, found, logs[-1], logs[-1].log)
        return logs[-1].log

    async def tail(self, asking: Person, ref: str, job: int, task: str, offset: int) -> Value:
        """What the running attempt has printed from a byte on, as its pilot tells it now."""
        row, found = await self._found(asking, ref, job, task)
        told = await self._tail(row, found, offset)
        if told is None:
            name = f"{row.name}/{job}/{task}"
            raise Refusal("not-found", f"{name} does not run at the moment", f"floe why {name}")
        began_ms, part = told
        return {"started_ms": began_ms, "offset": offset, "text": base64.b64encode(part).decode()}

    async def unit_outputs(
        self, asking: Person, ref: str, job: int, task: str, attempt: int | None
    ) -> Value:
        row, found = await self._found(asking, ref, job, task)
        chosen = _wanted(found, attempt, f"{ref}/{job}/{task}")
        return {"outputs": await self._outputs(row, found, chosen)}

    async def output(
        self, asking: Person, ref: str, job: int, task: str, path: str, attempt: int | None
    ) -> bytes:
        """Digest of one output of the accepted attempt, or of the one named."""
        row, found = await self._found(asking, ref, job, task)
        name = f"{ref}/{job}/{task}"
        wanted = _wanted(found, attempt, name)
        for entry in await self._outputs(row, found, wanted):
            if entry["path"] == path:
                digest = bytes.fromhex(entry["digest"])
                await self._bring(row, found, wanted, digest, needed=True)
                return digest
        raise Refusal("not-found", f"{name} has no output {path[:200]!r}")

    async def why_unit(self, asking: Person, ref: str, job: int, task: str) -> Value:
        def explained(conn: apsw.Connection) -> Unit:
            row, no = _task(conn, ref, asking.key, task)
            return _with_reasons(conn, row, results.unit(conn, no, job))

        unit = await asked(self._read, explained)
        explanation = await self._why_away(unit)
        if explanation is None:
            explanation = self._why_here(unit)
        return {"unit": f"{unit.dataset.name}/{job}/{task}", "why": explanation}

    async def why_named(self, name: UnitName) -> Value:
        """Explain a unit to another site, which asks its owner. Raises Refusal."""

        def explained(conn: apsw.Connection) -> Unit:
            no = tasks.number(conn, name.dataset)
            if no is None:
                raise NotFound("that dataset is not known here yet")
            task = no * TASKS_A_DATASET + name.task
            return _with_reasons(conn, tasks.dataset(conn, no), results.unit(conn, task, name.job))

        return self._why_here(await asked(self._read, explained))

    async def _why_away(self, unit: Unit) -> Value | None:
        """What the owner says, if that is another site and the unit could run."""
        if self._away is None or unit.row.state != "ready":
            return None
        name = _unit_name(unit.dataset, unit.row)
        owner = await self._away.elsewhere.owner(name)
        return None if owner is None else await self._away.elsewhere.why(owner, name)

    def _why_here(self, unit: Unit) -> Value:
        live = live_of(self._work, unit.row)
        facts = UnitFacts(
            dataset=unit.dataset.name,
            job=unit.row.job,
            task=unit.name,
            state=unit.row.state,
            needs=unit.needs,
            paused=unit.dataset.paused,
            stopped=unit.dataset.quarantined or self._facts.closed(unit.dataset.shard),
            remedy="floe doctor" if unit.dataset.quarantined else RECOVER,
            council=self._facts.waits(unit.dataset.shard),
            moving_to=unit.moving_to,
            again=unit.again,
            differs=unit.differs,
            dependencies=unit.dependencies,
            tries=[_try(each) for each in unit.row.attempts],
            retry_max=unit.spec.tasks[unit.row.task % TASKS_A_DATASET].retry_max,
            live=live,
            workers=self._facts.workers(),
            batch=self._batch(unit),
            ready_units=unit.dataset.counts.ready,
            units_per_s=self._rate.units_per_s(),
            memory_seen_bytes=unit.memory_seen_bytes,
            finished=unit.finished,
            now_ms=self._wall_ms(),
        )
        return why_unit(facts).shown()

    def _batch(self, unit: Unit) -> Mapping[str, str]:
        """What the batch systems say of such units; some ask for more after they failed."""
        asked_for = self._work.explain(unit.row.task, unit.row.job).get("needs", unit.needs)
        return self._facts.explain(asked_for)

    # Pieces

    async def _found(
        self, asking: Person, ref: str, job: int, task: str
    ) -> tuple[DatasetRow, UnitRow]:
        def found(conn: apsw.Connection) -> tuple[DatasetRow, UnitRow]:
            row, no = _task(conn, ref, asking.key, task)
            return row, results.unit(conn, no, job)

        return await asked(self._read, found)

    async def _live(self, row: DatasetRow, unit: UnitRow) -> Value | None:
        """Where a unit is now, here or at its owner."""
        live = live_of(self._work, unit)
        if live is not None or self._away is None or unit.state != "ready":
            return live
        name = _unit_name(row, unit)
        owner = await self._away.elsewhere.owner(name)
        if owner is None:
            return None
        try:
            return await self._away.elsewhere.live(owner, name)
        except (Unreachable, RemoteRefused):
            return None  # `floe why` says so

    async def _tail(self, row: DatasetRow, unit: UnitRow, offset: int) -> tuple[int, bytes] | None:
        told = await self._work.tail(unit.task, unit.job, offset)
        if told is not None or self._away is None:
            return told
        name = _unit_name(row, unit)
        owner = await self._away.elsewhere.owner(name)
        if owner is None:
            return None
        try:
            return await self._away.elsewhere.tail(owner, name, offset)
        except (Unreachable, RemoteRefused) as error:
            raise Refusal(
                "unavailable",
                f"{owner.name} runs it and cannot be asked: {error}",
                f"floe mesh why {owner.name}",
            ) from None

    async def _bring(
        self,
        row: DatasetRow,
        unit: UnitRow,
        attempt: Attempt,
        digest: bytes,
        *,
        needed: bool = False,
    ) -> None:
        """Have a file of an attempt here. Raises Refusal.

        needed: it is an output that somebody wants; if it is lost it is made again.
        """
        if self._away is None:
            return
        wanted = wanted_of(row, unit.task % TASKS_A_DATASET, unit.job, attempt.entry, digest)
        for why in (await self._away.bring([wanted])).values():
            next_ = f"floe mesh why {attempt.site_name}: or try again later"
            if needed and attempt.accepted and isinstance(wanted.name, OfAttempt):
                self._away.need([wanted.name])
                next_ += "; if no site has it any more, it is made again"
            raise Refusal("unavailable", why, next_)

    async def _attempt(self, row: DatasetRow, unit: UnitRow, attempt: Attempt) -> Value:
        missing = ""
        if attempt.outputs:
            try:
                await self._bring(row, unit, attempt, attempt.outputs)
            except Refusal as refusal:
                missing = refusal.message
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
            "surplus": attempt.surplus or None,
            "log": attempt.log.hex() or None,
            "outputs": await self._lists.of(attempt.outputs),
            "outputs_missing": missing or None,
        }

    async def _outputs(self, row: DatasetRow, unit: UnitRow, attempt: Attempt) -> list[Value]:
        if not attempt.outputs:
            return []
        await self._bring(row, unit, attempt, attempt.outputs, needed=True)
        found = await self._lists.read([attempt.outputs])
        if attempt.outputs not in found:
            raise Refusal("not-found", "the list of its outputs is no longer kept here")
        return found[attempt.outputs]


def _unit_name(row: DatasetRow, unit: UnitRow) -> UnitName:
    return UnitName(DatasetID(row.id), unit.task % TASKS_A_DATASET, unit.job)


def _task(conn: apsw.Connection, ref: str, person: bytes, task: str) -> tuple[DatasetRow, int]:
    """The dataset and the local number of its task."""
    row, index, _ = chosen(conn, ref, person, task)
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
        dependencies=of_unit(conn, row, spec, unit.task % TASKS_A_DATASET, unit.job),
        again=bool(held.again(conn, unit.task, unit.job, unit.job + 1)),
        differs=bool(held.differing(conn, unit.task, unit.job, unit.job + 1)),
        moving_to=held.moving_to(conn, row.no),
        finished=own.counts.settled,
        memory_seen_bytes=own.memory_kib_max * 1024,
    )
