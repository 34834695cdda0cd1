"""Questions about datasets, tasks and people, answered from the folded tables.

Every function takes a reading connection and is short unless it says otherwise. Task numbers are
local: dataset number * 64 + index of the task.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import apsw

from federation import hlc
from federation.records import Dataset, decode
from node.fold.counts import Units, settled_among
from node.fold.sets import Jobs
from node.fold.shape import TASKS_PER_DATASET, dataset_of, select
from node.model.dataset import DatasetSpec, Needs
from node.model.share import GPU_WEIGHT
from node.model.validate import needs_of, read_submission, unpack_document

HALF_LIFE_DAYS: Final = 7.0
HALF_LIVES_MAX: Final = 20  # of usage that is read at all
ID_PREFIX_MIN: Final = 6
SPECS_KEPT: Final = 128
NAMES_SHOWN: Final = 5


class NotFound(LookupError):
    """No dataset goes by this name; the message is for people."""


class Ambiguous(LookupError):
    """Several datasets go by this name; `choices` are names that tell them apart."""

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


@dataclass(frozen=True, slots=True)
class Counts:
    """Units by state. `ready` includes those that run now, which no table knows."""

    units: int = 0
    settled: int = 0
    failed: int = 0
    blocked: int = 0
    cancelled: int = 0
    ready: int = 0
    duplicates: int = 0  # successes beside the accepted ones; no units of their own

    @property
    def waiting(self) -> int:
        closed = self.settled + self.failed + self.blocked + self.cancelled
        return self.units - closed - self.ready

    @property
    def movable(self) -> bool:
        """Whether any unit can still be settled as things are."""
        return self.ready + self.waiting > 0

    @property
    def done(self) -> bool:
        """Whether every unit is settled."""
        return self.settled == self.units

    def shown(self, running: int = 0) -> dict[str, int]:
        """As the API gives them; running: how many of the ready units run now."""
        running = min(running, self.ready)
        return {
            "units": self.units,
            "settled": self.settled,
            "running": running,
            "ready": self.ready - running,
            "waiting": self.waiting,
            "failed": self.failed,
            "blocked": self.blocked,
            "cancelled": self.cancelled,
            "duplicates": self.duplicates,
        }


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset with its counts. Times are for display."""

    no: int
    id: bytes
    name: str
    person: bytes  # key of who signed it
    user: str  # that person's name here, or a piece of the key
    group: str
    priority: int
    jobs: int
    cells: int
    tasks: int
    submitted_ms: int
    shard: bytes
    paused: bool
    quarantined: str  # why this node set it aside, or ""
    counts: Counts

    @property
    def state(self) -> str:
        """settled, cancelled, stuck (nothing can move, some failed), paused, quarantined, open."""
        counts = self.counts
        if self.quarantined:
            return "quarantined"
        if counts.done:
            return "settled"
        if counts.settled + counts.cancelled == counts.units:
            return "cancelled"
        if not counts.movable:
            return "stuck"
        return "paused" if self.paused else "open"


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """A task with its counts and what its units used. Sums and peaks are over settled units."""

    task: int
    index: int
    name: str
    counts: Counts
    payload: int  # attempts that ended so
    resources: int
    infrastructure: int
    stopped: int
    cpu_ms: int
    wall_ms: int
    gpu_ms: int
    memory_kib_max: int
    disk_kib_max: int
    wall_ms_max: int
    lost_cpu_ms: int  # of attempts that were no success
    lost_wall_ms: int
    duplicate_cpu_ms: int
    duplicate_wall_ms: int
    overrides: Mapping[str, Any]  # of its needs, as in a description


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person as a site enrolled them."""

    key: bytes
    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    site: bytes
    active: bool

    @property
    def admin(self) -> bool:
        return "admin" in self.roles


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A user's order in the log."""

    id: bytes
    verb: str
    person: bytes
    follows: tuple[bytes, ...]
    given_ms: int


# Datasets

_USER = (
    "coalesce((SELECT name FROM person p WHERE p.key = d.person ORDER BY active DESC, site"
    " LIMIT 1), lower(substr(hex(d.person), 1, 8)))"
)
_COUNTS = (
    "sum(t.jobs), sum(t.settled), sum(t.failed), sum(t.blocked), sum(t.cancelled), sum(t.ready),"
    " sum(t.duplicates)"
)
_DATASET = (
    f"SELECT d.no, d.id, d.name, d.person, {_USER}, d.grp, d.priority, d.jobs, d.cells,"
    " count(*), d.hlc, (SELECT id FROM shard s WHERE s.no = d.shard), d.paused,"
    f" coalesce(d.quarantined, ''), {_COUNTS} FROM dataset d JOIN task t ON t.dataset = d.no"
)


def _dataset_row(row: Sequence[Any]) -> DatasetRow:
    values = (
        *row[:10],
        hlc.to_ms(row[10]),
        row[11],
        bool(row[12]),
        row[13],
        Counts(*row[14:]),
    )
    return DatasetRow(*values)


def datasets(
    conn: apsw.Connection,
    *,
    person: bytes | None = None,
    limit: int = 100,
    before: int | None = None,
) -> list[DatasetRow]:
    """The newest datasets first; person: only that one's; before: older than this number."""
    sql = (
        f"{_DATASET} WHERE d.no IN (SELECT no FROM dataset WHERE (?1 IS NULL OR person = ?1)"
        " AND (?2 IS NULL OR no < ?2) ORDER BY no DESC LIMIT ?3) GROUP BY d.no ORDER BY d.no DESC"
    )
    return [_dataset_row(row) for row in select(conn, sql, (person, before, limit))]


def dataset(conn: apsw.Connection, no: int) -> DatasetRow:
    """Raises NotFound."""
    for row in select(conn, f"{_DATASET} WHERE d.no = ? GROUP BY d.no", (no,)):
        return _dataset_row(row)
    raise NotFound(f"no dataset has the number {no}")


def number(conn: apsw.Connection, id: bytes) -> int | None:
    """Local number of a dataset, by its id."""
    found = select(conn, "SELECT no FROM dataset WHERE id = ?", (id,))
    return found[0][0] if found else None


def find(conn: apsw.Connection, ref: str, person: bytes | None = None) -> DatasetRow:
    """The dataset that `ref` means to a person.

    ref: "last", a name, "user@site:name", or the first 6 or more hex digits of an id. Of several
    with one name, one's own come first, and of one person's the newest. Raises NotFound, Ambiguous.
    """
    if ref == "last":
        return dataset(conn, _last(conn, person))
    owner, _, name = ref.rpartition(":")
    if owner:
        return dataset(conn, _of_user(conn, owner, name))
    by_name = select(
        conn, "SELECT person, max(no) FROM dataset WHERE name = ? GROUP BY person", (name,)
    )
    own = [no for key, no in by_name if key == person]
    if own or len(by_name) == 1:
        return dataset(conn, own[0] if own else by_name[0][1])
    if by_name:
        choices = sorted(f"{user}:{name}" for user in _users(conn, [key for key, _ in by_name]))
        raise Ambiguous(f"{name} is a dataset of several people: {_some(choices)}", choices)
    return dataset(conn, _by_prefix(conn, ref))


def _last(conn: apsw.Connection, person: bytes | None) -> int:
    sql = "SELECT max(no) FROM dataset WHERE ?1 IS NULL OR person = ?1"
    (found,) = select(conn, sql, (person,))[0]
    if found is None:
        raise NotFound("there is no dataset yet" if person is None else "you have no dataset yet")
    return int(found)


def _of_user(conn: apsw.Connection, owner: str, name: str) -> int:
    """Newest dataset of this name of "user" or "user@site"."""
    user, _, site = owner.partition("@")
    sql = (
        "SELECT max(d.no) FROM dataset d JOIN person p ON p.key = d.person"
        " JOIN site s ON s.no = p.site"
        " WHERE d.name = ?1 AND p.name = ?2 AND (?3 = '' OR s.name = ?3)"
    )
    (found,) = select(conn, sql, (name, user, site))[0]
    if found is None:
        raise NotFound(f"{owner} has no dataset {name}")
    return int(found)


def _by_prefix(conn: apsw.Connection, ref: str) -> int:
    if not re.fullmatch(f"[0-9a-f]{{{ID_PREFIX_MIN},64}}", ref):
        raise NotFound(f"no dataset is called {ref[:80]!r}; floe sets lists them")
    low, high = bytes.fromhex(ref.ljust(64, "0")), bytes.fromhex(ref.ljust(64, "f"))
    found = select(conn, "SELECT no, id FROM dataset WHERE id BETWEEN ? AND ?", (low, high))
    if not found:
        raise NotFound(f"no dataset has a name or an id that begins with {ref}")
    if len(found) > 1:
        choices = sorted(id.hex()[: len(ref) + 6] for _, id in found)
        raise Ambiguous(f"{len(found)} ids begin with {ref}: {_some(choices)}", choices)
    return int(found[0][0])


def _users(conn: apsw.Connection, keys: Iterable[bytes]) -> list[str]:
    """user@site of each key, as far as known."""
    sql = (
        "SELECT p.name || '@' || s.name FROM person p JOIN site s ON s.no = p.site"
        " WHERE p.key = ? ORDER BY p.active DESC, s.no LIMIT 1"
    )
    found = [(key, select(conn, sql, (key,))) for key in keys]
    return [rows[0][0] if rows else key.hex()[:8] for key, rows in found]


def _some(choices: Sequence[str]) -> str:
    more = len(choices) - NAMES_SHOWN
    return ", ".join(choices[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


_TASKS = (
    "SELECT no, idx, name, jobs, settled, failed, blocked, cancelled, ready, duplicates, payload,"
    " resources, infrastructure, stopped, cpu_ms, wall_ms, gpu_ms, memory_kib_max, disk_kib_max,"
    " wall_ms_max, lost_cpu_ms, lost_wall_ms, duplicate_cpu_ms, duplicate_wall_ms, needs FROM task"
)


def task_counts(conn: apsw.Connection, dataset_no: int) -> list[TaskCounts]:
    """The tasks of a dataset, in their order."""
    return [
        TaskCounts(*(*row[:3], Counts(*row[3:10]), *row[10:24], json.loads(row[24] or "{}")))
        for row in select(conn, _TASKS + " WHERE dataset = ? ORDER BY idx", (dataset_no,))
    ]


def counts(conn: apsw.Connection, dataset_no: int | None = None) -> Counts:
    """Units by state of one dataset, or of all."""
    sql = f"SELECT {_COUNTS} FROM task t JOIN dataset d ON d.no = t.dataset"
    sql += " WHERE ?1 IS NULL OR t.dataset = ?1"
    return Counts(*(value or 0 for value in select(conn, sql, (dataset_no,))[0]))


# Descriptions


_specs: OrderedDict[bytes, DatasetSpec] = OrderedDict()
_specs_guard = Lock()


def spec(conn: apsw.Connection, dataset_no: int) -> DatasetSpec:
    """A dataset's description as submitted; `needs` and the dataset's row say what was edited.

    Raises NotFound.
    """
    found = select(conn, "SELECT id FROM dataset WHERE no = ?", (dataset_no,))
    if not found:
        raise NotFound(f"no dataset has the number {dataset_no}")
    id_: bytes = found[0][0]
    with _specs_guard:
        if id_ in _specs:
            _specs.move_to_end(id_)
            return _specs[id_]
    parsed = read_submission(document(conn, dataset_no)[0])
    with _specs_guard:
        _specs[id_] = parsed
        while len(_specs) > SPECS_KEPT:
            _specs.popitem(last=False)
    return parsed


def document(conn: apsw.Connection, dataset_no: int) -> tuple[bytes, bytes, bytes]:
    """(signed document, raw SSH signature, signer's key) of a dataset. Raises NotFound."""
    sql = "SELECT e.body, d.idx FROM dataset d JOIN entry e ON e.no = d.entry WHERE d.no = ?"
    for body, idx in select(conn, sql, (dataset_no,)):
        record = decode(body)[idx]
        assert isinstance(record, Dataset)
        return unpack_document(record.doc), record.signature, record.key
    raise NotFound(f"no dataset has the number {dataset_no}")


def needs(conn: apsw.Connection, task: int) -> Needs:
    """What units of a task ask for now, edits included."""
    submitted = spec(conn, dataset_of(task)).tasks[task % TASKS_PER_DATASET].needs
    found = select(conn, "SELECT needs FROM task WHERE no = ?", (task,))
    return needs_of(json.loads(found[0][0] or "{}"), submitted)


# Orders


def orders(conn: apsw.Connection, dataset_no: int) -> list[OrderRow]:
    """The orders about a dataset, in the order of the log."""
    sql = "SELECT id, verb, person, follows, hlc FROM command WHERE dataset = ? ORDER BY pos"
    return [
        OrderRow(id, verb, person, _split(follows), hlc.to_ms(time))
        for id, verb, person, follows, time in select(conn, sql, (dataset_no,))
    ]


def _split(ids: bytes) -> tuple[bytes, ...]:
    return tuple(ids[at : at + 32] for at in range(0, len(ids), 32))


def order_heads(conn: apsw.Connection, dataset_no: int) -> list[bytes]:
    """Orders that no other follows: what the next one follows."""
    known = orders(conn, dataset_no)
    followed = {id for order in known for id in order.follows}
    return [order.id for order in known if order.id not in followed]


def seen(conn: apsw.Connection, id: bytes) -> bool:
    """Whether the log took an order, or a document about a person or a site, of this digest."""
    sql = (
        "SELECT 1 FROM command WHERE id = ?1 UNION ALL SELECT 1 FROM enrolment WHERE id = ?1"
        " AND why = '' UNION ALL SELECT 1 FROM member_act WHERE id = ?1 LIMIT 1"
    )
    return bool(select(conn, sql, (id,)))


# People and usage


def people(conn: apsw.Connection, *, everybody: bool = False) -> list[PersonRow]:
    """Who is enrolled; everybody: those who were removed, too."""
    sql = (
        "SELECT p.key, p.name, p.groups, p.roles, s.key, p.active FROM person p"
        " JOIN site s ON s.no = p.site WHERE p.active OR ? ORDER BY p.name, s.no"
    )
    return [
        PersonRow(
            key, name, tuple(json.loads(groups)), tuple(json.loads(roles)), site, bool(active)
        )
        for key, name, groups, roles, site, active in select(conn, sql, (everybody,))
    ]


def usage_by_day(
    conn: apsw.Connection, since_day: int = 0
) -> list[tuple[bytes, str, int, float, float]]:
    """(person, group, day since 1970, normalised CPU seconds, normalised GPU seconds)."""
    sql = (
        "SELECT person, grp, day, sum(cpu_us), sum(gpu_us) FROM usage WHERE day >= ?"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    return [
        (person, group, day, cpu / 1e6, gpu / 1e6)
        for person, group, day, cpu, gpu in select(conn, sql, (since_day,))
    ]


def usage(
    conn: apsw.Connection, now_day: int, half_life_days: float = HALF_LIFE_DAYS
) -> dict[tuple[bytes, str], float]:
    """{(person, group): normalised seconds}, older days counting less; GPU seconds weigh more.

    Days of which less than a millionth would count are left out.
    now_day: today, in days since 1970. A day that is still to come (somebody's clock) is today.
    """
    used: dict[tuple[bytes, str], float] = {}
    since_day = now_day - int(HALF_LIVES_MAX * half_life_days)
    for person, group, day, cpu_s, gpu_s in usage_by_day(conn, since_day):
        weight = 0.5 ** (max(0, now_day - day) / half_life_days)
        seconds = (cpu_s + GPU_WEIGHT * gpu_s) * weight
        used[person, group] = used.get((person, group), 0.0) + seconds
    return used


# Units as ranges


def settled_ranges(conn: apsw.Connection, task: int) -> list[int]:
    """Settled jobs of a task, flat. A million take tens of milliseconds; scattered ones more."""
    found = select(conn, "SELECT jobs, settled FROM task WHERE no = ?", (task,))
    jobs, settled = found[0] if found else (0, 0)
    if settled in (0, jobs):
        return [0, jobs] if settled else []
    return settled_among(conn, task, [0, jobs])


def open_ranges(conn: apsw.Connection, task: int) -> list[int]:
    """Jobs of a task that are neither settled nor cancelled nor failed, flat."""
    units = Units(conn)
    open_ = units.universe(task) - units.settled(task)
    return (open_ - units.cancelled(task) - units.failed(task)).flat


def granted(conn: apsw.Connection, site: bytes) -> dict[int, list[int]]:
    """What a site owns: {task: jobs as flat ranges}."""
    sql = (
        "SELECT o.task, o.lo, o.hi FROM owner o JOIN site s ON s.no = o.site WHERE s.key = ?"
        " ORDER BY o.task, o.lo"
    )
    found: dict[int, list[int]] = {}
    for task, lo, hi in select(conn, sql, (site,)):
        found.setdefault(task, []).extend((lo, hi))
    return found


def owner(conn: apsw.Connection, task: int, job: int) -> tuple[bytes, str] | None:
    """(site, its name) whom a unit is granted to; None before it is granted."""
    sql = (
        "SELECT site.key, site.name FROM owner JOIN site ON site.no = owner.site"
        " WHERE task = ?1 AND lo <= ?2 AND hi > ?2 ORDER BY lo DESC LIMIT 1"
    )
    found = select(conn, sql, (task, job))
    return (found[0][0], found[0][1] or found[0][0].hex()[:8]) if found else None


def sites(conn: apsw.Connection, dataset_no: int) -> list[tuple[bytes, str, int]]:
    """(site, its name, units it owns) of a dataset."""
    first = dataset_no * TASKS_PER_DATASET
    sql = (
        "SELECT s.key, s.name, sum(o.hi - o.lo) FROM owner o JOIN site s ON s.no = o.site"
        " WHERE o.task BETWEEN ? AND ? GROUP BY s.no ORDER BY s.no"
    )
    rows = select(conn, sql, (first, first + TASKS_PER_DATASET - 1))
    return [(key, name, int(units)) for key, name, units in rows]


def state_of(conn: apsw.Connection, task: int, job: int) -> str:
    """settled, cancelled, failed, blocked, ready or waiting. Raises NotFound."""
    found = select(conn, "SELECT jobs FROM task WHERE no = ?", (task,))
    if not found or not 0 <= job < found[0][0]:
        known = f": its jobs are 0 to {found[0][0] - 1:,}" if found else ""
        raise NotFound(f"the dataset has no job {job}{known}")
    units = Units(conn, Jobs((job, job + 1)))
    for state in ("settled", "cancelled", "failed", "blocked", "ready"):
        if job in getattr(units, state)(task):
            return state
    return "waiting"
