"""What people look at, as JSON values: datasets and their tasks, counts, documents, the site."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import apsw
from twisted.internet.defer import Deferred

from node.model.dataset import DatasetSpec, Needs
from node.model.validate import needs_of
from node.services.counting import Counting
from node.services.dependencies import of_tasks
from node.services.facts import Rate, SiteFacts
from node.services.people import Person
from node.services.questions import Reader, Value, asked
from node.services.recovery import COMMAND as RECOVER
from node.services.recovery import shown_force
from node.services.watch import Watch
from node.services.whyfacts import Dependency
from node.services.whyset import DatasetFacts, TaskFacts, why_dataset
from node.store import held, offers, openwork, results, settling, tasks
from node.store.offers import OpenOrder
from node.store.openwork import ForcedShard
from node.store.tasks import DatasetRow, TaskCounts


@dataclass(frozen=True, slots=True)
class Whole:
    """One dataset with its tasks, of one snapshot."""

    row: DatasetRow
    tasks: Sequence[TaskCounts]
    spec: DatasetSpec
    heads: Sequence[bytes]
    sites: Sequence[tuple[bytes, str, int]]
    forced: Sequence[ForcedShard]
    unsettled: Mapping[int, int]  # by task: accepted, but not settled by the council yet
    open_orders: Sequence[OpenOrder]  # of sites, and without effect
    failed_kib: Mapping[int, int]  # by task: the largest memory of attempts that were no success


def whole(conn: apsw.Connection, ref: str, person: bytes) -> Whole:
    """Everything that `floe show` needs of a dataset. Raises NotFound, Ambiguous."""
    row = tasks.find(conn, ref, person)
    counted = tasks.task_counts(conn, row.no)
    return Whole(
        row,
        counted,
        tasks.spec(conn, row.no),
        tasks.order_heads(conn, row.no),
        tasks.sites(conn, row.no),
        openwork.forced(conn, row.shard),
        settling.unsettled(conn, row.no),
        offers.open_orders(conn, row.no),
        {
            each.task: results.failed_memory_kib(conn, each.task)
            for each in counted
            if each.payload or each.resources or each.infrastructure or each.stopped
        },
    )


class DatasetViews:
    """Datasets as people see them. now_s: monotonic; wall_ms: the wall clock, for ages."""

    def __init__(
        self,
        read: Reader,
        counting: Counting,
        watch: Watch,
        facts: SiteFacts,
        rate: Rate,
        now_s: Callable[[], float],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        files: Callable[[int], str] = lambda dataset: "",
        person: Callable[[bytes], str] = lambda key: "",
    ) -> None:
        """files: why those of a dataset that is led here are missing, if they are.

        person: name@site of somebody from another site, the name of one of this; "" if unknown.
        """
        self._read = read
        self._counting = counting
        self._watch = watch
        self._facts = facts
        self._rate = rate
        self._now_s = now_s
        self._wall_ms = wall_ms
        self._files = files
        self._person = person

    async def datasets(
        self, asking: Person, *, mine: bool, limit: int, before: int | None
    ) -> Value:
        person = asking.key if mine else None
        rows = await asked(
            self._read,
            lambda conn: [
                (row, tasks.task_counts(conn, row.no))
                for row in tasks.datasets(conn, person=person, limit=limit, before=before)
            ],
        )
        listed = [self._listed(row, counted) for row, counted in rows]
        return {"datasets": listed, "next": rows[-1][0].no if len(rows) == limit else None}

    def _listed(self, row: DatasetRow, counted: Sequence[TaskCounts]) -> Value:
        shown = self._counting.total(row.id, counted)
        return {**self._dataset(row, shown), "counts": shown}

    async def dataset(self, asking: Person, ref: str) -> Value:
        found = await asked(self._read, lambda conn: whole(conn, ref, asking.key))
        counts = self._counting.total(found.row.id, found.tasks)
        return {
            "dataset": self._dataset(found.row, counts),
            "counts": counts,
            "tasks": [
                self._task(task, found.spec.tasks[task.index].needs, each)
                | {"memory_max_failed": found.failed_kib.get(task.task, 0) * 1024}
                for task, each in self._with_counts(found)
            ],
            "sites": self._sites(found),
            "eta_s": self._eta_s(found.row.no, counts),
            "commands": [head.hex() for head in found.heads],
            "orders": [_order(each) for each in found.open_orders],
            "forced": [shown_force(each) for each in found.forced],
            "unsettled": sum(found.unsettled.values()),
        }

    async def document(self, asking: Person, ref: str) -> Value:
        def signed(conn: apsw.Connection) -> tuple[DatasetRow, bytes, bytes, bytes]:
            row = tasks.find(conn, ref, asking.key)
            return row, *tasks.document(conn, row.no)

        row, document, signature, key = await asked(self._read, signed)
        return {
            "dataset": {"id": row.id.hex(), "name": row.name},
            "user": row.user,
            "key": key.hex(),
            "document": base64.b64encode(document).decode(),
            "signature": base64.b64encode(signature).decode(),
        }

    async def wait(
        self,
        asking: Person,
        ref: str,
        timeout_s: float,
        when_gone: Callable[[Callable[[], None]], None],
    ) -> Value:
        """Once nothing of the dataset can move, or the time is over."""
        until_s = self._now_s() + timeout_s
        row = await asked(self._read, lambda conn: tasks.find(conn, ref, asking.key))
        gone: list[bool] = []
        when_gone(lambda: gone.append(True))
        while True:
            # Listen before the question is asked, so that no change falls between.
            left_s = max(0.0, until_s - self._now_s())
            change = Deferred.fromCoroutine(self._watch.change(row.no, left_s, when_gone))
            counted = await asked(self._read, lambda conn: tasks.task_counts(conn, row.no))
            done = not any(task.counts.movable for task in counted)
            if done or left_s == 0 or gone:
                change.addErrback(lambda _: None)
                change.cancel()
                counts = self._counting.total(row.id, counted)
                return {**self._named(row), "done": done, "counts": counts}
            await change

    async def why(self, asking: Person, ref: str) -> Value:
        def explained(
            conn: apsw.Connection,
        ) -> tuple[Whole, Sequence[Sequence[Dependency]], str]:
            found = whole(conn, ref, asking.key)
            foreign = of_tasks(conn, found.row, found.spec)
            return found, foreign, held.moving_to(conn, found.row.no)

        found, foreign, moving_to = await asked(self._read, explained)
        counts = self._counting.total(found.row.id, found.tasks)
        facts = DatasetFacts(
            name=found.row.name,
            counts=counts,
            tasks=[
                self._task_facts(found, task, each, foreign[task.index])
                for task, each in self._with_counts(found)
            ],
            paused=found.row.paused,
            stopped=self._stopped(found.row),
            council="" if found.row.counts.done else self._facts.waits(found.row.shard),
            remedy="floe doctor" if found.row.quarantined else RECOVER,
            moving_to=moving_to,
            files=self._files(found.row.no),
            orders=[(each.verb, each.refused) for each in found.open_orders],
            eta_s=self._eta_s(found.row.no, counts),
            workers=self._facts.workers(),
        )
        return {**self._named(found.row), "why": why_dataset(facts).shown()}

    # Pieces

    def _stopped(self, row: DatasetRow) -> str:
        if row.quarantined:
            return f"this node cannot fold it: {row.quarantined}"
        return "" if row.counts.done else self._facts.closed(row.shard)

    def _with_counts(self, found: Whole) -> Iterable[tuple[TaskCounts, Mapping[str, int]]]:
        return zip(found.tasks, self._counting.tasks(found.row.id, found.tasks), strict=True)

    def _named(self, row: DatasetRow) -> Value:
        return {"dataset": {"id": row.id.hex(), "name": row.name}}

    def _dataset(self, row: DatasetRow, counts: Mapping[str, int]) -> Value:
        state = row.state
        if state == "open":
            state = "running" if counts["running"] else "waiting"
        return {
            "id": row.id.hex(),
            "name": row.name,
            "user": self._person(row.person) or row.user,
            "group": row.group,
            "priority": row.priority,
            "jobs": row.jobs,
            "state": state,
            "paused": row.paused,
            "submitted_ms": row.submitted_ms,
            "age_s": max(0, self._wall_ms() - row.submitted_ms) // 1000,
            "shard": row.shard.hex(),
        }

    def _task(self, task: TaskCounts, submitted: Needs, counts: Mapping[str, int]) -> Value:
        return {
            "name": task.name,
            "counts": counts,
            "cpu_s": task.cpu_ms / 1000,
            "wall_s": task.wall_ms / 1000,
            "gpu_s": task.gpu_ms / 1000,
            "memory_max": task.memory_kib_max * 1024,
            "disk_max": task.disk_kib_max * 1024,
            "wall_s_max": task.wall_ms_max / 1000,
            "attempts": {
                "payload": task.payload,
                "resources": task.resources,
                "infrastructure": task.infrastructure,
                "stopped": task.stopped,
            },
            "lost_cpu_s": task.lost_cpu_ms / 1000,
            "duplicate_cpu_s": task.duplicate_cpu_ms / 1000,
            "needs": asdict(needs_of(task.overrides, submitted)),
        }

    def _sites(self, found: Whole) -> list[Value]:
        """Sites that own units, and how many they run, as far as that is known."""
        running = self._counting.by_site(found.row.id, found.tasks)
        return [
            {"name": name, "key": key.hex(), "units": units}
            | ({"running": running[key]} if key in running else {})
            for key, name, units in found.sites
        ]

    def _eta_s(self, dataset: int, counts: Mapping[str, int]) -> float | None:
        rate = self._rate.units_per_s(dataset)
        left = counts["running"] + counts["ready"] + counts["waiting"]
        return round(left / rate, 1) if rate > 0 and left else None

    def _task_facts(
        self,
        found: Whole,
        task: TaskCounts,
        counts: Mapping[str, int],
        foreign: Sequence[Dependency],
    ) -> TaskFacts:
        """foreign: what its units wait for in other datasets, as far as that is known."""
        spec = found.spec.tasks[task.index]
        by_name = {other.name: other for other in found.tasks}
        known = {each.text: each for each in foreign}
        waits = []
        for after in spec.after:
            if after.text in known:
                waits.append(known[after.text])
                continue
            parent = by_name.get(after.task_name) if after.dataset is None else None
            settled = parent.counts.settled if parent else 0
            total = parent.counts.units if parent else after.jobs or found.row.jobs
            state = "settled" if settled >= total else "waiting"
            waits.append(Dependency(after.text, "", state, settled, total))
        needs = needs_of(task.overrides, spec.needs)
        return TaskFacts(task.name, counts, needs, waits, self._facts.explain(needs))


def _order(order: OpenOrder) -> Value:
    """An order that has no effect: refused by the dataset's log, or not taken by it yet."""
    state = "refused" if order.refused else "kept"
    return {"id": order.id.hex(), "verb": order.verb, "state": state, "why": order.refused}
