"""Listings of units and outputs in pages, and errors in groups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred

from federation.ids import DatasetID, EntryRef
from node.meshing.filenames import OfAttempt
from node.meshing.files import Wanted
from node.model.outputs import output_list
from node.services import errors
from node.services.people import Person
from node.services.questions import Reader, Value, asked, chosen
from node.services.refusal import Refusal
from node.store import results, tasks
from node.store.database import StoreError
from node.store.results import UnitRef, UnitRow
from node.store.tasks import DatasetRow

TASKS_A_DATASET = 64
DETAILED_MAX = 200  # pages up to this size show the last attempt of every unit
ENDED = ("settled", "failed", "cancelled")
LISTS_AT_ONCE = 200  # output lists that one page of a listing opens


Bring = Callable[[Sequence[Wanted]], Awaitable[Mapping[bytes, str]]]
"""Has files here that other sites keep; what could not be brought, and why."""


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


class OutputLists:
    """Lists of outputs, which are blobs that pilots wrote. in_thread: keeps the reactor free."""

    def __init__(
        self, blobs: Blobs, in_thread: Callable[[Callable[[], Any]], Deferred[Any]]
    ) -> None:
        self._blobs = blobs
        self._in_thread = in_thread

    async def of(self, digest: bytes) -> list[Value]:
        """One list; empty if there is none, or it is no longer kept."""
        return (await self.read([digest])).get(digest, []) if digest else []

    async def read(self, digests: Sequence[bytes]) -> dict[bytes, list[Value]]:
        """Lists by digest; those that are gone, or are no lists, are left out."""
        found: dict[bytes, list[Value]] = await self._in_thread(lambda: self._read(digests))
        return found

    def _read(self, digests: Sequence[bytes]) -> dict[bytes, list[Value]]:
        found: dict[bytes, list[Value]] = {}
        for digest in digests:
            try:
                found[digest] = output_list(self._blobs.get(digest))
            except (StoreError, ValueError):
                continue
        return found


class Listings:
    """What people page through."""

    def __init__(
        self,
        read: Reader,
        work: Work,
        lists: OutputLists,
        bring: Bring | None = None,
        need: Callable[[Sequence[OfAttempt]], None] = lambda names: None,
    ) -> None:
        """bring: lists of outputs from other sites; None for a site that is alone. need: told of
        outputs that were not to be had."""
        self._read = read
        self._work = work
        self._lists = lists
        self._bring = bring
        self._need = need

    async def jobs(self, asking: Person, ref: str, page: Page) -> Value:
        """Units in order of job, then task."""
        after = _pair(page.after)
        state = "ready" if page.state == "running" else page.state
        if state is not None and state not in results.STATES:
            raise Refusal("bad-request", f"there is no state {state[:20]!r}", _states())

        def listed(conn: apsw.Connection) -> list[tuple[str, UnitRow]]:
            row, index, names = chosen(conn, ref, asking.key, page.task)
            refs = results.units(
                conn,
                row.no,
                state=state,
                task=index,
                jobs=page.jobs,
                limit=page.limit,
                after=after,
            )
            detailed = page.limit <= DETAILED_MAX
            return [(names[each.index], _unit(conn, row.no, each, detailed)) for each in refs]

        rows = await asked(self._read, listed)
        shown = [self._listed(name, unit) for name, unit in rows]
        last = rows[-1][1] if len(rows) == page.limit else None
        following = f"{last.job}.{last.task % TASKS_A_DATASET}" if last else None
        if page.state in ("running", "ready"):
            shown = [unit for unit in shown if unit["state"] == page.state]
        return {"units": shown, "next": following}

    def _listed(self, name: str, unit: UnitRow) -> Value:
        live = live_of(self._work, unit)
        last = unit.attempts[-1] if unit.attempts else None
        return {
            "job": unit.job,
            "task": name,
            "state": shown_state(unit.state, live),
            "attempts": len(unit.attempts),
            "site": unit.owner or (last.site_name if last else None),
            "host": live["host"] if live else (last.host if last else None),
            "wall_s": last.wall_ms / 1000 if last else None,
            "error": last.error if last and not last.accepted else None,
        }

    async def outputs(self, asking: Person, ref: str, page: Page) -> Value:
        """Outputs of settled units, in order of task, then job."""
        after = _pair(page.after)
        limit = min(page.limit, LISTS_AT_ONCE)

        def listed(
            conn: apsw.Connection,
        ) -> tuple[DatasetRow, dict[int, str], list[results.OutputRow]]:
            row, index, names = chosen(conn, ref, asking.key, page.task)
            return (
                row,
                names,
                results.outputs(conn, row.no, task=index, jobs=page.jobs, limit=limit, after=after),
            )

        dataset, names, rows = await asked(self._read, listed)
        await self._have_lists(dataset, rows)
        lists = await self._lists.read(list({row.outputs for row in rows if row.outputs}))
        shown = [
            {"job": row.job, "task": names[row.index], **entry}
            for row in rows
            for entry in lists.get(row.outputs, ())
        ]
        last = rows[-1] if len(rows) == limit else None
        return {"outputs": shown, "next": f"{last.index}.{last.job}" if last else None}

    async def _have_lists(self, dataset: DatasetRow, rows: Sequence[results.OutputRow]) -> None:
        """Bring lists that other sites keep. Raises Refusal: a list that lacks some would lie."""
        if self._bring is None:
            return
        wanted = [
            wanted_of(dataset, row.index, row.job, row.entry, row.outputs)
            for row in rows
            if row.outputs
        ]
        failed = await self._bring(wanted)
        names = [each.name for each in wanted if each.digest in failed]
        self._need([name for name in names if isinstance(name, OfAttempt)])
        for why in failed.values():
            raise Refusal(
                "unavailable",
                f"outputs of {len(failed)} units are not to be had now: {why}",
                "floe mesh; if no site has them any more, they are made again",
            )

    async def errors(self, asking: Person, ref: str) -> Value:
        def grouped(conn: apsw.Connection) -> tuple[DatasetRow, list[results.ErrorGroup]]:
            row = tasks.find(conn, ref, asking.key)
            return row, results.errors(conn, row.no)

        row, groups = await asked(self._read, grouped)
        return {
            "dataset": {"id": row.id.hex(), "name": row.name},
            "errors": errors.shown(row.name, groups),
        }


def wanted_of(dataset: DatasetRow, task: int, job: int, entry: EntryRef, digest: bytes) -> Wanted:
    """A file of an attempt, by the name that opens it. task: an index."""
    name = OfAttempt(DatasetID(dataset.id), task, job, entry)
    return Wanted(digest, name, [entry.feed.site])


def live_of(work: Work, unit: UnitRow) -> dict[str, Any] | None:
    """Where a unit is now; None if nowhere."""
    return None if unit.state in ("settled", "cancelled") else work.live(unit.task, unit.job)


def shown_state(state: str, live: Mapping[str, Any] | None) -> str:
    """A unit that a pilot runs is "running", which no table knows."""
    return "running" if live and live.get("started_ms") is not None else state


def _unit(conn: apsw.Connection, dataset: int, ref: UnitRef, detailed: bool) -> UnitRow:
    """A unit of a listing, with its attempts where there are some and they are not too many.

    What has not ended is at the site that it is granted to, wherever it was tried before.
    """
    task = dataset * TASKS_A_DATASET + ref.index
    tried = detailed or ref.state in ("failed", "settled")
    attempts = tuple(results.attempts(conn, task, ref.job)) if tried else ()
    granted = tasks.owner(conn, task, ref.job) if detailed and ref.state not in ENDED else None
    return UnitRow(dataset, task, ref.job, ref.state, attempts, granted[1] if granted else None)


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
