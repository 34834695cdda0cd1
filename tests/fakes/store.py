"""A whole store in one process, driven by hand: no threads, no reactor, a clock that is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from federation.ids import EntryRef, SiteID
from federation.records import Record, Refused, Results, Site
from keys.identity import SiteKey
from node.changes import Change, UserChanged
from node.store.database import Database
from node.store.feeds import Feeds
from node.store.folding import Fold
from node.store.generation import begin_generation
from node.store.highwater import Files, HighWater
from node.store.writer import Journal
from tests.fakes.disk import FakeDisk

KEY = SiteKey(b"store-test-key".ljust(32, b"-"))
HOST = "test-host"
PLENTY = 1 << 40


class WholeFold:
    """A fold that leaves nothing for later, and remembers nothing."""

    def behind(self, conn: apsw.Connection) -> bool:
        return False

    def go_on(self, conn: apsw.Connection) -> list[Change]:
        return []

    def forget(self) -> None:
        pass


class NotingFold(WholeFold):
    """A fold that notes every entry in a table of its own, and breaks when told to."""

    def __init__(self) -> None:
        self.break_on: Callable[[Sequence[Record | Refused]], bool] = lambda records: False
        self.error: Exception = ValueError("a bug")

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        conn.execute("CREATE TABLE IF NOT EXISTS noted (entry INTEGER, records INTEGER)")
        conn.execute("INSERT INTO noted VALUES (?, ?)", (entry_no, len(records)))
        if self.break_on(records):
            raise self.error
        return [UserChanged(bytes([entry_no % 256]))]


class HeldCommits:
    """In place of the commit's thread: a commit happens when the test lets it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, fn: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((fn, done))
        return done

    def release(self) -> None:
        """Let the oldest commit run and finish."""
        fn, done = self.waiting.pop(0)
        maybeDeferred(fn).chainDeferred(done)


class Store:
    """Database, high-water file and journal of one home."""

    def __init__(
        self,
        home: Path,
        *,
        key: SiteKey = KEY,
        fold: Fold | None = None,
        clock: Clock | None = None,
        disk: FakeDisk | None = None,
        files: Files | None = None,
        host: str = HOST,
        free_bytes: Callable[[], int] = lambda: PLENTY,
        **journal: Any,
    ) -> None:
        """disk: below all of the store; files: below the high-water file alone."""
        home.mkdir(exist_ok=True)
        self.home = home
        self._disk = disk
        if disk is not None and files is None:
            files = disk.files
        self.clock = clock or Clock()
        self.fold = fold or NotingFold()
        self.database = Database.open(home, vfs=disk and disk.vfs, in_thread=maybeDeferred)
        try:
            self.highwater = HighWater(
                home / "floe.highwater", self.database.path, files=files, host=host
            )
            self.found = begin_generation(self.database, SiteID(key.site), self.highwater)
        except BaseException:
            self.abandon()
            raise
        self.feeds = Feeds(self.database.writer)
        journal = {"commit": maybeDeferred, "wall_ms": lambda: 1_700_000_000_000, **journal}
        self.journal = Journal(
            self.clock,
            self.database,
            key,
            self.found.generation,
            self.fold,
            self.highwater,
            free_bytes=free_bytes,
            held="nobody knows which copy this is" if self.found.doubt else "",
            **journal,
        )

    def turn(self, seconds: float = 0.0, turns: int = 3) -> None:
        """Let `seconds` pass, then a few turns of the reactor."""
        self.clock.advance(seconds)
        for _ in range(turns):
            self.clock.advance(0)

    def settle(self) -> None:
        """Let everything that waits be written."""
        for _ in range(100):
            if not self.journal.backlog:
                return
            self.turn(0.25)
        raise AssertionError(f"{self.journal.backlog} records are still waiting")

    def close(self) -> None:
        self.journal.close()
        self.turn()
        self.database.close()

    def abandon(self) -> None:
        """Let go of a store whose disk is gone, as the kernel does with a dead process."""
        with self._disk.burying() if self._disk else contextlib.nullcontext():
            self.database.close()


def a_site(name: str = "desy") -> Site:
    """A small control record."""
    return Site(name, "0.1")


def some_results(jobs: Sequence[int] = (0, 1, 2), task: int = 0) -> Results:
    """A record of successes."""
    return Results(
        dataset=b"d" * 32,  # type: ignore[arg-type]
        task=task,
        jobs=list(jobs),
        outcome=0,
        start_ms=1_700_000_000_000,
        offset_ms=0,
        wall_ms=1000,
        cpu_ms=900,
        memory_kib=1024,
        disk_kib=0,
        gpu_ms=0,
        hosts=["worker-1"],
        host=0,
        exit=0,
        errors=[""],
        error=0,
        outputs=b"",
        inputs=b"",
        log=b"",
        factors=[1000, 1000],
        tails=[],
    )


def outcome(deferred: Deferred[None]) -> list[Any]:
    """A list that gets None, or the exception, once `deferred` fires."""
    seen: list[Any] = []
    deferred.addCallbacks(seen.append, lambda failure: seen.append(failure.value))
    return seen


class ListFold(WholeFold):
    """A small true fold: the sites that the log names, with a running root."""

    def apply(
        self,
        conn: apsw.Connection,
        ref: EntryRef,
        entry_no: int,
        records: Sequence[Record | Refused],
    ) -> list[Change]:
        for record in records:
            if isinstance(record, Site):
                conn.execute(
                    "INSERT INTO site (key, name) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " name = excluded.name, version = version || 'x'",
                    (record.name[:4].encode(), record.name),
                )
        return []

    def digest(self, conn: apsw.Connection) -> bytes:
        rows = conn.execute("SELECT * FROM site ORDER BY no").fetchall()
        return blake2b(repr(rows).encode()).digest()

    def state_root(self, conn: apsw.Connection) -> str:
        """Of the names alone, so that a table may differ under an equal root."""
        rows = conn.execute("SELECT name FROM site ORDER BY no").fetchall()
        return blake2b(repr(rows).encode()).hexdigest()
