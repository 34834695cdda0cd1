"""How fast accepted results become rows: decode and fold, in a file, committed like the node does.

    python -m bench.fold [--units N]

A dataset of 1 to 4 tasks in a chain; every results entry holds a record of 1,000 attempts and is
accepted at once. Prints unit results a second of wall time: storing, decoding, folding and
committing; `floe store rebuild` of the same log; and folding beside threads that keep reading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from federation.entry import Entry, seal
from federation.ids import DatasetID, EntryID, FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import Accept, Dataset, Found, Grant, Record, Results
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.fold import Fold
from node.model.dataset import After, DatasetSpec, Needs, TaskSpec
from node.store import tasks
from node.store.database import configure_writer, migrate
from node.store.verify import finish, rebuild

ROWS = 1_000  # a record
KEY = SiteKey(b"bench-fold".ljust(32, b"-"))
ANA = UserKey(b"a" * 32)


@dataclass(frozen=True)
class Case:
    name: str
    tasks: int
    failing: float = 0.0  # share of the attempts


CASES = (Case("flat", 1), Case("chain of 4", 4), Case("flat, 2 % fail", 1, 0.02))


def read_submission(text: bytes) -> DatasetSpec:
    """A stand-in for the description: the fold's own cost is what counts here."""
    tasks, jobs = json.loads(text)
    return DatasetSpec(
        id=digest(Purpose.DATASET, text), name="bench", description="", labels={}, group="",
        priority=50, jobs=jobs, cells=1, extend=True, files=(), foreach=None, document={},
        tasks=tuple(
            TaskSpec(i, f"t{i}", (After("", i - 1, ""),) if i else (), Needs(), 3, {})
            for i in range(tasks)
        ),
    )  # fmt: skip


def no_commands(text: bytes) -> Any:
    raise AssertionError("no orders here")


class Feeds:
    """Seals entries of the two lanes."""

    def __init__(self) -> None:
        self._tips: dict[Lane, tuple[int, bytes]] = {}
        self.shard = ShardID(digest(Purpose.SHARD, KEY.site + bytes(16)))

    def write(self, lane: Lane, records: Sequence[Record]) -> Entry:
        seq, prev = self._tips.get(lane, (0, b""))
        feed = FeedID(SiteID(KEY.site), 1, lane)
        entry = seal(KEY, feed, seq + 1, EntryID(prev), seq + 1, list(records))
        self._tips[lane] = (seq + 1, entry.id)
        return entry

    def accept(self) -> Entry:
        seq, id_ = self._tips[Lane.RESULTS]
        accept = Accept(self.shard, SiteID(KEY.site), 1, seq, EntryID(id_))
        return self.write(Lane.CONTROL, [accept])


def entries(case: Case, units: int) -> Iterator[Entry]:
    """The whole log: what founds it, then results and their accepts."""
    feeds = Feeds()
    jobs = units // case.tasks
    text = json.dumps([case.tasks, jobs]).encode()
    id_ = DatasetID(digest(Purpose.DATASET, text))
    site = SiteID(KEY.site)
    yield feeds.write(
        Lane.CONTROL,
        [
            Found(feeds.shard, bytes(16), [site]),
            Dataset(feeds.shard, zlib.compress(text), b"signature", ANA),
            Grant(feeds.shard, id_, list(range(case.tasks)), [0, jobs], site),
        ],
    )
    for start in range(0, jobs, ROWS):
        for task in range(case.tasks):
            chosen = range(start, min(jobs, start + ROWS))
            yield feeds.write(Lane.RESULTS, [record(id_, task, chosen, case.failing)])
            yield feeds.accept()


def record(dataset: DatasetID, task: int, jobs: Sequence[int], failing: float) -> Results:
    """Columns as real units fill them: everything differs that can."""
    rows = range(len(jobs))
    bad = [int(failing > 0 and row % round(1 / failing) == 7) for row in rows]
    return Results(
        dataset=dataset,
        task=task,
        jobs=list(jobs),
        outcome=bad if any(bad) else 0,
        start_ms=1_700_000_000_000,
        offset_ms=[row * 3 for row in rows],
        wall_ms=[900 + row % 200 for row in rows],
        cpu_ms=[800 + row % 200 for row in rows],
        memory_kib=[50_000 + row % 1000 for row in rows],
        disk_kib=[row % 50 for row in rows],
        gpu_ms=0,
        hosts=["a1", "a2"],
        host=[row % 2 for row in rows],
        exit=bad if any(bad) else 0,
        errors=["", "exit"],
        error=bad if any(bad) else 0,
        outputs=[b"%032d" % row for row in rows],
        inputs=b"",
        log=b"",
        factors=[1000, 1000],
        tails=[],
    )


def new_fold() -> Fold:
    return Fold(SiteID(KEY.site), read_submission, no_commands, lambda document, signature: ANA)


def fold_all(path: Path, log: Sequence[Entry]) -> float:
    """Store, decode and fold every entry; a transaction for each results entry and its accept.
    Wall seconds."""
    conn = apsw.Connection(str(path))
    configure_writer(conn)
    migrate(conn)
    fold = new_fold()
    feeds: dict[Lane, int] = {}
    started = time.perf_counter()
    for at, entry in enumerate(log):
        if entry.header.lane is Lane.RESULTS or at == 0:
            conn.execute("BEGIN IMMEDIATE")
        no = insert(conn, feeds, entry)
        fold.apply(conn, entry.ref, no, entry.records())
        if entry.header.lane is Lane.CONTROL:
            conn.execute("COMMIT")
    took = time.perf_counter() - started
    conn.close()
    return took


def insert(conn: apsw.Connection, feeds: dict[Lane, int], entry: Entry) -> int:
    """What the journal does beside folding; its cost is not counted."""
    feed = entry.ref.feed
    if feed.lane not in feeds:
        conn.execute(
            "INSERT INTO feed (site, generation, lane, seq, id, hlc) VALUES (?, ?, ?, 0, x'', 0)",
            (feed.site, feed.generation, int(feed.lane)),
        )
        feeds[feed.lane] = conn.last_insert_rowid()
    conn.execute(
        "INSERT INTO entry (feed, seq, id, header, signature, body) VALUES (?, ?, ?, ?, ?, ?)",
        (
            feeds[feed.lane],
            entry.ref.seq,
            entry.id,
            entry.header_bytes,
            entry.signature,
            entry.body,
        ),
    )
    return conn.last_insert_rowid()


def settled(path: Path) -> int:
    """So that no figure is printed for work that was not done."""
    conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    count = int(conn.execute("SELECT count(*) FROM settled").get)
    conn.close()
    return count


@dataclass(frozen=True)
class Rates:
    """Unit results a second."""

    fold: float
    rebuild: float
    loaded: float  # folding while other threads read and encode as fast as they can


def measure(case: Case, units: int) -> Rates:
    log = list(entries(case, units))
    with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
        path = Path(folder) / "fold.sqlite"
        fold_s = fold_all(path, log)
        least = round(units * (1 - 2 * case.failing))
        assert settled(path) >= least, f"{settled(path)} of {units} units settled"
        rebuild_s = rebuild_all(path)
        with readers(path, 2):
            loaded_s = fold_all(Path(folder) / "loaded.sqlite", log)
    return Rates(units / fold_s, units / rebuild_s, units / loaded_s)


def rebuild_all(path: Path) -> float:
    """`floe store rebuild`: wall seconds."""
    conn = apsw.Connection(str(path))
    configure_writer(conn)
    started = time.perf_counter()
    report = finish(rebuild(conn, new_fold()))
    took = time.perf_counter() - started
    assert report.ok, report.problems
    assert report.root == report.root_again
    conn.close()
    return took


@contextmanager
def readers(path: Path, threads: int) -> Iterator[None]:
    """Threads that answer status requests from a store without a pause, as a busy API does."""
    stop = threading.Event()

    def answer() -> None:
        conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        conn.set_busy_timeout(5_000)
        while not stop.is_set():
            shown = [
                {"id": row.id.hex(), "name": row.name, "counts": row.counts.shown()}
                for row in tasks.datasets(conn)
            ]
            json.dumps(shown)
        conn.close()

    working = [threading.Thread(target=answer) for _ in range(threads)]
    for thread in working:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in working:
            thread.join()


def fold(units: int = 200_000, repeats: int = 3) -> dict[str, float]:
    """The figures for the benchmark's table, medians."""
    runs = [measure(CASES[1], units) for _ in range(repeats)]
    return {
        "fold_results_per_s": statistics.median(run.fold for run in runs),
        "rebuild_results_per_s": statistics.median(run.rebuild for run in runs),
        "fold_under_load_per_s": statistics.median(run.loaded for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Fold rates, in unit results a second")
    parser.add_argument("--units", type=int, default=200_000)
    units = parser.parse_args().units
    print(f"{'':<16} {'fold':>12} {'rebuild':>12} {'under load':>12}")
    for case in CASES:
        rates = measure(case, units)
        print(
            f"{case.name:<16} {rates.fold:>12,.0f} {rates.rebuild:>12,.0f} {rates.loaded:>12,.0f}"
        )


if __name__ == "__main__":
    main()
