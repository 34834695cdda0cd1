"""How fast a site takes in what others wrote while it was away.

    python -m bench.catchup [--units N]

Unit results of another site, 1,000 a record, whose log is led by a third one: the control entries
come first, then the results. A process of its own takes them from a file: it checks, stores, folds
and commits them as a node does with what links bring, a megabyte at a time, and says what memory
that took at the most. Beside it, what plain SQLite does with the same results as rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw
import msgpack
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from bench.fold import ANA, ROWS, Case, new_fold, record
from federation.entry import Entry, read_entry, seal, verify_entry
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
UNITS = 5_000_000


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


def calls(log: Iterable[Entry]) -> Iterator[list[Entry]]:
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


def write_log(units: int, path: Path) -> None:
    """All entries, one after the other, as links carry them."""
    with path.open("wb") as file:
        for entry in entries(units):
            file.write(msgpack.packb([entry.header_bytes, entry.signature, entry.body]))


def read_log(path: Path) -> Iterator[Entry]:
    """The entries again, each checked as one that a link brought."""
    with path.open("rb") as file:
        for sealed in msgpack.Unpacker(file, max_buffer_size=CALL_BYTES):
            entry = read_entry(*sealed)
            verify_entry(entry)
            yield entry


def take_in(path: Path, units: int, folder: Path) -> dict[str, float]:
    """Wall seconds until all of it is durable and folded, and the most memory of this process."""
    database = Database.open(folder, in_thread=maybeDeferred)
    highwater = HighWater(folder / "floe.highwater", database.path)
    generation = begin_generation(database, SiteID(READER.site), highwater).generation
    clock = Clock()
    journal = Journal(
        clock, database, READER, generation, new_fold(), highwater, commit=maybeDeferred
    )
    started = time.perf_counter()
    for call in calls(read_log(path)):
        done = journal.ingest(call)
        while not done.called:
            clock.advance(0.01)
        done.addErrback(lambda failure: failure.raiseException())
    while clock.getDelayedCalls():
        clock.advance(0.01)
    took_s = time.perf_counter() - started
    settled = database.writer.execute("SELECT count(*) FROM settled").get
    assert settled == units, f"{settled} of {units} units settled"
    database.close()
    return {"took_s": took_s, "rss_mb": rss_mb_max()}


def rss_mb_max() -> float:
    """The most memory that this process ever had; getrusage would count its parent's, too."""
    text = Path("/proc/self/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def apart(units: int, log: Path, folder: Path) -> dict[str, float]:
    """`take_in`, in a process of its own."""
    words = [sys.executable, "-m", "bench.catchup", "--units", str(units)]
    done = subprocess.run(
        [*words, "--log", str(log), "--home", str(folder)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


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


def catch_up(units: int = UNITS) -> dict[str, float]:
    """Unit results a second, against plain inserts of as many, and the memory that it took."""
    with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
        log, home = Path(folder) / "log", Path(folder) / "home"
        home.mkdir()
        write_log(units, log)
        plain = plain_s(units, Path(folder))
        taken = apart(units, log, home)
    return {
        "catchup_results_per_s": units / taken["took_s"],
        "catchup_vs_sqlite": plain / taken["took_s"],
        "catchup_rss_mb": taken["rss_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Unit results a second that a site takes in")
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--log", type=Path, help="take in this file of entries")
    parser.add_argument("--home", type=Path, help="an empty folder, for that")
    given = parser.parse_args()
    found = take_in(given.log, given.units, given.home) if given.log else catch_up(given.units)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
