"""A site's feeds written by hand, folded into a database in memory, with made-up documents."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw

from federation.entry import Entry, seal
from federation.hlc import from_ms
from federation.ids import DatasetID, FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import Accept, Command, Dataset, Found, Grant, Outcome, Record, Results
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.changes import Change
from node.fold import Fold
from node.model.dataset import After, DatasetSpec, Needs, TaskSpec
from node.store.database import schema_files

ANA = UserKey(SiteKey(b"a" * 32).site)
BEN = UserKey(SiteKey(b"b" * 32).site)
DAY_MS = 86_400_000


def database() -> apsw.Connection:
    conn = apsw.Connection(":memory:")
    for _number, _name, sql in schema_files():
        conn.execute(sql)
    return conn


def document(
    name: str,
    tasks: Sequence[tuple[str, Sequence[Any]]] = (("main", ()),),
    jobs: int = 10,
    cells: int = 1,
    retry_max: int = 1,
    extend: bool = True,
) -> bytes:
    """tasks: (name, what it waits for: an index, or [other dataset's id, index, jobs or 0])."""
    plain = [
        [task, [[wait[0].hex(), *wait[1:]] if isinstance(wait, tuple) else wait for wait in after]]
        for task, after in tasks
    ]
    return json.dumps([name, plain, jobs, cells, retry_max, extend]).encode()


def read_submission(text: bytes) -> DatasetSpec:
    name, tasks, jobs, cells, retry_max, extend = json.loads(text)
    return DatasetSpec(
        id=digest(Purpose.DATASET, text),
        name=name,
        description="",
        labels={},
        group="physics",
        priority=50,
        jobs=jobs,
        cells=cells,
        extend=extend,
        tasks=tuple(
            TaskSpec(index, task, tuple(map(after, waits)), Needs(), retry_max, {})
            for index, (task, waits) in enumerate(tasks)
        ),
        files=(),
        foreach=None,
        document={},
    )


def after(wait: Any) -> After:
    if isinstance(wait, int):
        return After("", wait, "")
    other, index, jobs = wait
    return After("", index, "", bytes.fromhex(other), "other", bool(jobs), jobs)


@dataclass(frozen=True)
class Order:
    dataset: bytes
    verb: str
    args: dict[str, Any]
    follows: tuple[bytes, ...] = ()


def order(dataset: bytes, verb: str, nonce: int = 0, **args: Any) -> bytes:
    return json.dumps([dataset.hex(), verb, args, nonce]).encode()


def read_command(text: bytes) -> Order:
    dataset, verb, args, _nonce = json.loads(text)
    return Order(bytes.fromhex(dataset), verb, args)


def fold() -> Fold:
    return Fold(SiteID(b""), read_submission, read_command, lambda document, signature: signature)


def results(
    dataset: bytes,
    task: int,
    jobs: Sequence[int],
    outcome: int | Sequence[int] = 0,
    host: str = "a1",
    error: str = "",
    start_ms: int = 0,
    **columns: Any,
) -> Results:
    fields: dict[str, Any] = {
        "offset_ms": 0, "wall_ms": 20, "cpu_ms": 10, "memory_kib": 100, "disk_kib": 5, "gpu_ms": 0,
        "host": 0, "exit": 0, "outputs": b"", "inputs": b"", "log": b"",
    }  # fmt: skip
    fields.update(columns)
    return Results(
        dataset=DatasetID(dataset),
        task=task,
        jobs=list(jobs),
        outcome=outcome,
        start_ms=start_ms,
        hosts=[host],
        errors=["", error] if error else [""],
        error=1 if error else 0,
        factors=[1000, 1000],
        tails=[],
        **fields,
    )


@dataclass
class Log:
    """The feeds of one site, as entries; `fold_into` gives them to a database."""

    key: SiteKey
    entries: list[Entry] = field(default_factory=list)
    tips: dict[Lane, tuple[int, bytes]] = field(default_factory=dict)
    generation: int = 1

    @classmethod
    def new(cls, seed: bytes = b"s" * 32) -> Log:
        return cls(SiteKey(seed))

    @property
    def site(self) -> SiteID:
        return SiteID(self.key.site)

    @property
    def shard(self) -> ShardID:
        return ShardID(digest(Purpose.SHARD, self.key.site + bytes(16)))

    def write(self, lane: Lane, records: Sequence[Record]) -> Entry:
        seq, prev = self.tips.get(lane, (0, b""))
        feed = FeedID(self.site, self.generation, lane)
        entry = seal(
            self.key, feed, seq + 1, prev, from_ms(1000 + len(self.entries)), list(records)
        )
        self.tips[lane] = (seq + 1, entry.id)
        self.entries.append(entry)
        return entry

    def control(self, *records: Record) -> Entry:
        return self.write(Lane.CONTROL, records)

    def results(self, *records: Results, accept: bool = True) -> Entry:
        entry = self.write(Lane.RESULTS, records)
        if accept:
            self.accept()
        return entry

    def accept(self, by: Log | None = None) -> Entry:
        seq, id_ = self.tips[Lane.RESULTS]
        leader = by or self
        return leader.control(Accept(leader.shard, self.site, self.generation, seq, id_))

    def found(self) -> Entry:
        return self.control(Found(self.shard, bytes(16), [self.site]))

    def submit(self, text: bytes, key: UserKey = ANA) -> bytes:
        self.control(Dataset(self.shard, zlib.compress(text), key, key))
        return digest(Purpose.DATASET, text)

    def grant(self, dataset: bytes, tasks: Iterable[int], ranges: Sequence[int]) -> None:
        self.control(Grant(self.shard, DatasetID(dataset), list(tasks), list(ranges), self.site))

    def order(
        self, dataset: bytes, verb: str, nonce: int = 0, key: UserKey = ANA, **args: Any
    ) -> None:
        text = order(dataset, verb, nonce, **args)
        self.control(Command(self.shard, text, key, key))


def insert(conn: apsw.Connection, entry: Entry) -> int:
    feed = entry.ref.feed
    key = (feed.site, feed.generation, int(feed.lane))
    conn.execute(
        "INSERT INTO feed (site, generation, lane, seq, id, hlc) VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT DO UPDATE SET seq = excluded.seq, id = excluded.id",
        (*key, entry.ref.seq, entry.id),
    )
    (no,) = conn.execute(
        "SELECT no FROM feed WHERE site = ? AND generation = ? AND lane = ?", key
    ).fetchall()[0]
    conn.execute(
        "INSERT INTO entry (feed, seq, id, header, signature, body) VALUES (?, ?, ?, ?, ?, ?)",
        (no, entry.ref.seq, entry.id, entry.header_bytes, entry.signature, entry.body),
    )
    return conn.last_insert_rowid()


def fold_into(
    conn: apsw.Connection, entries: Iterable[Entry], by: Fold | None = None
) -> list[Change]:
    by = by or fold()
    changes: list[Change] = []
    for entry in entries:
        with conn:
            changes += by.apply(conn, entry.ref, insert(conn, entry), entry.records())
    return changes


COUNTS = ("settled", "failed", "blocked", "cancelled", "ready", "early", "duplicates")


def counts(conn: apsw.Connection, task: int = 64) -> dict[str, int]:
    columns = ", ".join(COUNTS)
    row = conn.execute(f"SELECT {columns} FROM task WHERE no = ?", (task,)).fetchall()[0]
    return dict(zip(COUNTS, row, strict=True))


def some(counts: dict[str, int]) -> dict[str, int]:
    """Without the zeros."""
    return {name: count for name, count in counts.items() if count}


SUCCESS, PAYLOAD, RESOURCES, INFRASTRUCTURE, STOPPED = (int(each) for each in Outcome)
