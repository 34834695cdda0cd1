"""Check a store from its feeds alone, and make its derived tables anew.

`verify` trusts nothing but signatures: every header and body is hashed, every signature checked,
every chain walked; then everything is folded again into an empty database beside, and both must
have the same tables and state root. `rebuild` does the second part in place, in one transaction.

Both may run for long and block: never in the reactor's thread. Both are generators that yield how
far they are and return their report; `finish` runs one to its end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw

from federation.entry import Entry, read_entry, verify_entry
from federation.errors import PeerError
from federation.feed import FeedTip, follow
from federation.ids import FeedID, Lane, SiteID
from node.store import folded
from node.store.database import READER_CACHE_KIB, keep_plans, migrate
from node.store.feeds import Feeds
from node.store.folding import Fold, fold_entry
from node.store.schema import DERIVED_MARK, schema_files

REPORT_EVERY = 256  # entries
PROBLEMS_MAX = 100

T = TypeVar("T")


class CheckedFold(Fold, Protocol):
    """A fold that can say what it has come to."""

    def digest(self, conn: apsw.Connection) -> bytes:
        """A digest over all derived tables."""

    def state_root(self, conn: apsw.Connection) -> str:
        """The running root of the log's effects, hex."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check is: `done` of `total` entries in this phase."""

    phase: str  # "entries" or "fold"
    done: int
    total: int


@dataclass(slots=True)
class Report:
    """What a check found. `problems` is cut after PROBLEMS_MAX; `ok` is what counts."""

    feeds: int = 0
    entries: int = 0
    records: int = 0
    pruned: int = 0  # bodies that are no longer held
    quarantined: int = 0
    renumbered: bool = False  # a rebuild gave datasets other local numbers: leases were dropped
    root: str = ""  # as kept
    root_again: str = ""  # as folded now
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def add(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


Check = Generator[Progress, None, Report]


def finish(
    check: Generator[Progress, None, T], tell: Callable[[Progress], None] | None = None
) -> T:
    """Run a check to its end, telling of its progress; its report."""
    while True:
        try:
            progress = next(check)
            if tell is not None:
                tell(progress)
        except StopIteration as end:
            report: T = end.value
            return report


def verify(database: Path, fold: CheckedFold, *, vfs: str | None = None) -> Check:
    """Check the store in `database`, which may be in use; nothing in it is changed.

    fold: a fresh one.
    """
    report = Report()
    source = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    try:
        keep_plans(source)
        source.pragma("cache_size", -READER_CACHE_KIB)
        with source:  # one snapshot for everything that is compared
            yield from _walk(source, report)
            yield from _fold_beside(source, database, fold, report)
    finally:
        source.close()
    return report


# Entries


def _walk(source: apsw.Connection, report: Report) -> Generator[Progress, None, None]:
    total = int(source.execute("SELECT count(*) FROM entry").get)
    feeds: list[tuple[Any, ...]] = source.execute(
        "SELECT no, site, generation, lane, seq, id FROM feed"
    ).fetchall()
    for no, site, generation, lane, seq, id in feeds:
        report.feeds += 1
        tip = FeedTip(FeedID(SiteID(site), generation, Lane(lane)))
        for row in source.execute(
            "SELECT seq, id, header, signature, body FROM entry WHERE feed = ? ORDER BY seq", (no,)
        ):
            tip = _check_entry(tip, row, report)
            report.entries += 1
            if report.entries % REPORT_EVERY == 0:
                yield Progress("entries", report.entries, total)
        if (tip.seq, tip.id) != (seq, id):
            report.add(f"{_named(tip.feed)}: its tip is entry {seq}, its last sound one {tip.seq}")
    if report.entries != total:
        report.add(f"{total - report.entries} entries belong to no feed")
    yield Progress("entries", report.entries, total)


def _check_entry(tip: FeedTip, row: tuple[Any, ...], report: Report) -> FeedTip:
    """The feed's tip after one stored entry; the same tip if there is something wrong with it."""
    seq, id, header_bytes, signature, body = row
    where = f"{_named(tip.feed)} entry {seq}"
    try:
        entry = read_entry(header_bytes, signature, body)
        verify_entry(entry)
    except PeerError as error:
        report.add(f"{where}: {error}")
        return tip
    if (entry.header.feed, entry.header.seq, entry.id) != (tip.feed, seq, id):
        report.add(f"{where}: what is stored is another entry")
        return tip
    report.pruned += body is None
    report.records += entry.header.count
    try:
        return follow(tip, entry)
    except PeerError as error:
        report.add(f"{where}: {error}")
        return FeedTip(tip.feed, seq, entry.id, entry.header.hlc)  # go on behind the gap


def _named(feed: FeedID) -> str:
    return f"{feed.lane.name.lower()} feed {feed.site.hex()[:8]}/{feed.generation}"


# Folding beside


def _fold_beside(
    source: apsw.Connection, database: Path, fold: CheckedFold, report: Report
) -> Generator[Progress, None, None]:
    last = int(source.execute("SELECT coalesce(max(no), 0) FROM entry").get)
    report.quarantined = int(source.execute("SELECT count(*) FROM quarantine").get)
    if report.quarantined:
        report.add(f"{report.quarantined} entries are quarantined: `floe store rebuild` folds anew")
    with _empty_beside(database, source.open_vfs) as again:
        yield from _fold_all(again, fold, last)
        report.root, report.root_again = fold.state_root(source), fold.state_root(again)
        if report.root != report.root_again:
            report.add(f"state root {report.root[:16]} kept, {report.root_again[:16]} folded again")
        elif fold.digest(source) != fold.digest(again):
            report.add(
                "the folded tables differ from the log: `floe store rebuild` makes them anew"
            )


@contextmanager
def _empty_beside(database: Path, vfs: str) -> Iterator[apsw.Connection]:
    """A database with empty derived tables, which sees the entries of `database`."""
    with tempfile.TemporaryDirectory(prefix="floe-verify-", dir=database.parent) as folder:
        again = apsw.Connection(
            str(Path(folder) / "again.sqlite"),
            flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
        )
        try:
            keep_plans(again)
            again.pragma("journal_mode", "MEMORY")
            again.pragma("synchronous", "OFF")
            migrate(again)
            # Without tables of their own, these names mean the attached ones.
            again.execute("DROP TABLE entry; DROP TABLE feed")
            place = database.absolute().as_uri()
            again.execute("ATTACH ? AS log", (f"{place}?mode=ro&vfs={vfs}",))
            again.execute("BEGIN")
            yield again
        finally:
            again.close()


def _fold_all(
    connection: apsw.Connection, fold: Fold, last: int
) -> Generator[Progress, None, None]:
    total = int(connection.execute("SELECT count(*) FROM entry WHERE no <= ?", (last,)).get)
    done = 0
    for no, entry in _readable(connection, last):
        if entry is not None and entry.body is not None:
            fold_entry(connection, fold, entry, no)
            while fold.behind(connection):
                fold.go_on(connection)
        done += 1
        if done % REPORT_EVERY == 0:
            yield Progress("fold", done, total)
    yield Progress("fold", done, total)


def _readable(connection: apsw.Connection, last: int) -> Iterator[tuple[int, Entry | None]]:
    """Entries in the order of arrival; None for one that is damaged (the walk has named it)."""
    after = 0
    while after < last:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT no, header, signature, body FROM entry WHERE no > ? AND no <= ? ORDER BY no"
            " LIMIT 256",
            (after, last),
        ).fetchall()
        for no, *parts in rows:
            try:
                yield no, read_entry(*parts)
            except PeerError:
                yield no, None
        after = rows[-1][0] if rows else last


# In place


def derived_tables() -> tuple[list[str], list[str]]:
    """Names of the tables that are folded from the log, and the SQL that makes them."""
    scripts = [sql for _, name, sql in schema_files() if DERIVED_MARK in name]
    sketch = apsw.Connection(":memory:")
    try:
        for sql in scripts:
            sketch.execute(sql)
        rows = sketch.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    finally:
        sketch.close()
    return [str(name) for (name,) in rows], scripts


def rebuild(writer: apsw.Connection, fold: CheckedFold) -> Check:
    """Make the derived tables anew from the entries, in one transaction; site-local ones stay.

    writer: of a database that no node runs on. fold: a fresh one. A rebuild that breaks off, by an
    exception, a kill or a power cut, leaves the tables as they were.
    """
    report = Report(root=_root_if_any(fold, writer))
    names, scripts = derived_tables()
    numbers = _dataset_numbers(writer)
    last = int(writer.execute("SELECT coalesce(max(no), 0) FROM entry").get)
    with writer:
        for name in names:
            writer.execute(f'DROP TABLE IF EXISTS "{name}"')
        for sql in scripts:
            writer.execute(sql)
        writer.execute("DELETE FROM quarantine")
        yield from _fold_all(writer, fold, last)
        folded.note(writer)
        report.root_again = fold.state_root(writer)
        report.renumbered = not numbers <= _dataset_numbers(writer)
        if report.renumbered:
            # Leases name tasks by local number. Their pilots announce what they hold once more.
            writer.execute("DELETE FROM lease")
    report.feeds = len(Feeds(writer).tips())
    report.entries = int(writer.execute("SELECT count(*) FROM entry").get)
    report.quarantined = int(writer.execute("SELECT count(*) FROM quarantine").get)
    if report.quarantined:
        report.add(f"{report.quarantined} entries could not be folded: see the log")
    if report.root and report.root != report.root_again:
        report.add(f"state root was {report.root[:16]} and is {report.root_again[:16]} now")
    return report


def _dataset_numbers(connection: apsw.Connection) -> set[tuple[int, bytes]]:
    """(local number, id) of every dataset; none where the tables are too damaged to tell."""
    try:
        rows: list[tuple[Any, ...]] = connection.execute("SELECT no, id FROM dataset").fetchall()
    except apsw.Error:
        return set()
    return {(no, id) for no, id in rows}


def _root_if_any(fold: CheckedFold, connection: apsw.Connection) -> str:
    """The root as kept; "" where the tables are too damaged to tell."""
    try:
        return fold.state_root(connection)
    except apsw.Error:
        return ""
