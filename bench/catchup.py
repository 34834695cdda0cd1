"""How fast a site takes in what others wrote while it was away.

    python -m bench.catchup [--units N]

Unit results of another site, 1,000 a record, whose log is led by a third one: the control entries
come first, then the results. Storing, folding and committing go through the journal, as they do
when links bring entries; checking signatures is the links' part and not in the figure. Beside it,
what plain SQLite does with the same results as rows.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from bench.fold import ANA, ROWS, Case, new_fold, record
from federation.entry import Entry, seal
from federation.ids import DatasetID, EntryID, FeedID, Lane, ShardID, SiteID
from federation.records import Accept, Dataset, Found, Grant, Record
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.store.database import Database, configure_writer
from node.store.generation import begin_generation
from node.store.highwater import HighWater
from node.store.writer import Journal

LEADER = SiteKey(b"bench-leader".ljust(32, b"-"))
WORKER = SiteKey(b"bench-worker".ljust(32, b"-"))
READER = SiteKey(b"bench-reader".ljust(32, b"-"))
CALL_BYTES = 1 << 20  # as much as a link gives at once
CASE = Case("catch up", 1)


class Author:
    """Seals the entries of one feed."""

    def __init__(self, key: SiteKey, lane: Lane) -> None:
        self._key = key
        self.feed = FeedID(SiteID(key.site), 1, lane)
        self.seq, self.tip = 0, b""

    def write(self, *records: Record) -> Entry:
        self.seq += 1
        entry = seal(self._key, self.feed, self.seq, self.tip, self.seq, list(records))
        self.tip = entry.id
        return entry


def entries(units: int) -> Iterator[Entry]:
    """What the two sites wrote; the leader accepted each results entry by itself."""
    leader, worker = Author(LEADER, Lane.CONTROL), Author(WORKER, Lane.RESULTS)
    shard = ShardID(digest(Purpose.SHARD, LEADER.site + bytes(16)))
    text = f"[1, {units}]".encode()
    dataset = DatasetID(digest(Purpose.DATASET, text))
    site = SiteID(WORKER.site)
    results = [
        worker.write(record(dataset, 0, range(start, min(units, start + ROWS)), 0.0))
        for start in range(0, units, ROWS)
    ]
    yield leader.write(
        Found(shard, bytes(16), [SiteID(LEADER.site)]),
        Dataset(shard, zlib.compress(text), b"signature", ANA),
        Grant(shard, dataset, [0], [0, units], site),
    )
    for entry in results:
        yield leader.write(Accept(shard, site, 1, entry.ref.seq, EntryID(entry.id)))
    yield from results


def calls(log: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries as a link gives them: as many at once as its credits allow."""
    call: list[Entry] = []
    size = 0
    for entry in log:
        size += len(entry.body or b"")
        if size > CALL_BYTES:
            yield call
            call, size = [], len(entry.body or b"")
        call.append(entry)
    yield call


def ingest_s(log: Sequence[Entry], units: int, folder: Path) -> float:
    """Wall seconds until all of it is durable and folded."""
    database = Database.open(folder, in_thread=maybeDeferred)
    highwater = HighWater(folder / "floe.highwater", database.path)
    generation = begin_generation(database, SiteID(READER.site), highwater).generation
    clock = Clock()
    journal = Journal(
        clock, database, READER, generation, new_fold(), highwater, commit=maybeDeferred
    )
    started = time.perf_counter()
    for call in calls(log):
        done = journal.ingest(call)
        while not done.called:
            clock.advance(0.01)
        done.addErrback(lambda failure: failure.raiseException())
    while clock.getDelayedCalls():
        clock.advance(0.01)
    took = time.perf_counter() - started
    settled = database.writer.execute("SELECT count(*) FROM settled").get
    assert settled == units, f"{settled} of {units} units settled"
    database.close()
    return took


def plain_s(units: int, folder: Path) -> float:
    """Wall seconds to insert as many rows of the same columns, in transactions of 1,000."""
    conn = apsw.Connection(str(folder / "plain.sqlite"))
    configure_writer(conn)
    conn.execute(
        "CREATE TABLE result (dataset, task, job, outcome, start_ms, wall_ms, cpu_ms, memory_kib,"
        " disk_kib, host, exit, outputs, PRIMARY KEY (dataset, task, job)) WITHOUT ROWID"
    )
    rows = (
        (1, 0, job, 0, 1_700_000_000_000 + job, 900, 800, 50_000, 3, "a1", 0, b"%032d" % job)
        for job in range(units)
    )
    started = time.perf_counter()
    while batch := list(itertools.islice(rows, ROWS)):
        with conn:
            conn.executemany(
                "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", batch
            )
    took = time.perf_counter() - started
    conn.close()
    return took


def measure(units: int) -> tuple[float, float]:
    """Unit results a second: taken in, and as plain rows."""
    log = list(entries(units))
    with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        return units / ingest_s(log, units, home), units / plain_s(units, Path(folder))


def catch_up(units: int = 500_000, repeats: int = 3) -> dict[str, float]:
    """The figures for the benchmark's table, medians."""
    runs = [measure(units) for _ in range(repeats)]
    return {
        "catch_up_results_per_s": statistics.median(taken for taken, _ in runs),
        "catch_up_vs_plain_inserts": statistics.median(taken / plain for taken, plain in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Unit results a second that a site takes in")
    parser.add_argument("--units", type=int, default=5_000_000)
    taken, plain = measure(parser.parse_args().units)
    print(f"taken in {taken:,.0f} a second; plain rows {plain:,.0f}; {taken / plain:.2f} of that")


if __name__ == "__main__":
    main()
