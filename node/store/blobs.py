"""Content-addressed blobs: user files, outputs, output lists, logs. Durable before a call returns.

The name of a blob is the BLAKE2b-256 of its content. Small ones are rows of a second SQLite file,
because a file, an fsync and a directory entry each would cost more than they hold; larger ones are
files of their own. The rows of large blobs (digest and size) are written after their file is safe,
so a crash leaves at worst a file without a row, which the next `put` of that content takes over.

Every method may be called from any thread and may block on the disk: never from the reactor's.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import apsw

from node.store.database import DiskFull, StoreError, configure_writer, sync_folder

DIGEST_BYTES = 32
SMALL_BYTES_MAX = 32 * 1024
QUOTA_BYTES = 50 << 30
GRACE_S = 3600.0
TOUCHED_MAX = 200_000
CHUNK_BYTES = 1 << 20
ROWS_A_STATEMENT = 128
DIGESTS_A_STATEMENT = 4_096
_FULL = "the disk of the blobs is full: nothing was stored"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS small (
    no INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS large (
    digest BLOB PRIMARY KEY, size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL)
STRICT;
INSERT OR IGNORE INTO used VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS small_added AFTER INSERT ON small
BEGIN UPDATE used SET bytes = bytes + length(new.content); END;
CREATE TRIGGER IF NOT EXISTS small_gone AFTER DELETE ON small
BEGIN UPDATE used SET bytes = bytes - length(old.content); END;
CREATE TRIGGER IF NOT EXISTS large_added AFTER INSERT ON large
BEGIN UPDATE used SET bytes = bytes + new.size; END;
CREATE TRIGGER IF NOT EXISTS large_gone AFTER DELETE ON large
BEGIN UPDATE used SET bytes = bytes - old.size; END;
"""


class BlobMissing(StoreError):
    """No blob of that digest is kept here."""


class BlobDamaged(StoreError):
    """The bytes on disk are no longer those that were stored."""


class BlobMismatch(StoreError):
    """What arrived is not the content that was announced."""


class QuotaFull(DiskFull):
    """The blobs' folder has reached its quota."""


def digest_of(content: bytes) -> bytes:
    """The name of a blob."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


@dataclass(slots=True)
class _Batch:
    """Small blobs of one caller, on their way into one commit with those of others."""

    rows: dict[bytes, bytes]
    done: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class _Touched:
    """Digests that somebody was lately told are here; a sweep spares them."""

    grace_s: float
    now_s: Callable[[], float]
    since: dict[bytes, float] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, digests: Iterable[bytes]) -> None:
        now_s = self.now_s()
        with self.guard:
            for digest in digests:
                self.since.pop(digest, None)
                self.since[digest] = now_s
            while len(self.since) > TOUCHED_MAX:
                del self.since[next(iter(self.since))]

    def live(self) -> set[bytes]:
        oldest_s = self.now_s() - self.grace_s
        with self.guard:
            return {digest for digest, at_s in self.since.items() if at_s >= oldest_s}


@dataclass(slots=True)
class _Turns:
    """One thread at a time for each digest; a digest that nobody is at costs nothing."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    locks: dict[bytes, threading.Lock] = field(default_factory=dict)
    there: Counter[bytes] = field(default_factory=Counter)

    @contextlib.contextmanager
    def at(self, digest: bytes) -> Iterator[None]:
        with self.guard:
            lock = self.locks.setdefault(digest, threading.Lock())
            self.there[digest] += 1
        try:
            with lock:
                yield
        finally:
            with self.guard:
                self.there[digest] -= 1
                if not self.there[digest]:
                    del self.there[digest], self.locks[digest]


class Blobs:
    """The blobs below one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        quota_bytes: int = QUOTA_BYTES,
        grace_s: float = GRACE_S,
        now_s: Callable[[], float] = time.monotonic,
        vfs: str | None = None,
    ) -> None:
        """grace_s: how long a blob is spared by `sweep` after it was stored or asked about."""
        self.folder = Path(folder)
        self.quota_bytes = quota_bytes
        self._partial = self.folder / "partial"
        self._partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._vfs = vfs
        self._db = self._open()
        self._used = int(self._db.execute("SELECT bytes FROM used").get)
        self._db_guard = threading.RLock()  # the connection, one thread at a time
        self._gate = threading.Lock()  # the list of waiting batches
        self._waiting: list[_Batch] = []
        self._turns = _Turns()  # at the pieces of one upload
        self._touched = _Touched(grace_s, now_s)
        self._started_s = now_s()
        self._temp_no = 0
        self._clear_temporary()

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.small_path), vfs=self._vfs)
        configure_writer(connection)
        connection.pragma("recursive_triggers", False)
        with connection:
            connection.execute(_SCHEMA)
        return connection

    @property
    def small_path(self) -> Path:
        """The SQLite file of the small blobs and of the list of large ones."""
        return self.folder / "small.sqlite"

    @property
    def used_bytes(self) -> int:
        """Bytes of content kept; not counting the databases' own overhead."""
        return self._used

    def close(self) -> None:
        with self._db_guard:
            self._db.close()

    # Storing

    def put(self, content: bytes) -> bytes:
        """Store one blob; its digest. Raises QuotaFull, DiskFull."""
        return self.put_many([content])[0]

    def put_many(self, contents: Sequence[bytes]) -> list[bytes]:
        """Store blobs, the small ones with one commit; their digests in order.

        Callers that meet in time share a commit. Raises QuotaFull, DiskFull; small blobs are then
        not stored, large ones may be.
        """
        digests = [digest_of(content) for content in contents]
        found = dict(zip(digests, contents, strict=True))
        lacking = set(self.missing(list(found)))
        self._check_room(sum(len(found[digest]) for digest in lacking))
        small: dict[bytes, bytes] = {}
        for digest in lacking:
            if len(found[digest]) <= SMALL_BYTES_MAX:
                small[digest] = found[digest]
            else:
                self._put_large(digest, found[digest])
        if small:
            self._put_small(small)
        return digests

    def put_stream(self, source: BinaryIO, *, digest: bytes | None = None) -> tuple[bytes, int]:
        """Store what `source` gives until its end; (digest, size).

        digest: what it should be. Raises BlobMismatch, QuotaFull, DiskFull; nothing is then kept.
        """
        temporary = self._temporary()
        try:
            found, size = self._spool(source, temporary)
            if digest is not None and found != digest:
                raise BlobMismatch(f"blob {digest.hex()} arrived as {found.hex()}: send it again")
            self._adopt(temporary, found, size)
        finally:
            temporary.unlink(missing_ok=True)
        return found, size

    def _spool(self, source: BinaryIO, to: Path) -> tuple[bytes, int]:
        state = blake2b(digest_size=DIGEST_BYTES)
        size = 0
        with _full_disk_named(), open(to, "xb", opener=_private) as file:
            while chunk := source.read(CHUNK_BYTES):
                size += len(chunk)
                self._check_room(size)
                state.update(chunk)
                file.write(chunk)
        return state.digest(), size

    # Uploads in pieces

    def partial_size(self, digest: bytes) -> int:
        """How many bytes of an unfinished upload are here; where to go on."""
        try:
            return self._partial_path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, digest: bytes, offset: int, chunk: bytes) -> int:
        """Add a piece of an upload; how many bytes are here then.

        A piece that starts before the end overwrites; one that starts behind it leaves everything
        as it is (compare the result with what was sent). Of a blob that is stored, as when another
        sender was faster, any piece is here.
        """
        with self._turns.at(digest):
            if not self.missing([digest]):
                return offset + len(chunk)
            size = self.partial_size(digest)
            if offset > size:
                return size
            self._check_room(offset + len(chunk))
            self._write_piece(digest, offset, chunk)
        return offset + len(chunk)

    def _write_piece(self, digest: bytes, offset: int, chunk: bytes) -> None:
        with _full_disk_named():
            descriptor = os.open(
                self._partial_path(digest), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                file.seek(offset)
                file.write(chunk)
                file.truncate()

    def finish(self, digest: bytes) -> int:
        """Check a whole upload and store it; its size.

        Raises BlobMissing when nothing was sent, BlobMismatch when the content differs (the pieces
        are then dropped), QuotaFull, DiskFull.
        """
        with self._turns.at(digest):
            path = self._partial_path(digest)
            if not self.missing([digest]):
                path.unlink(missing_ok=True)
                return self.size(digest)
            if not path.exists():
                raise BlobMissing(f"nothing of blob {digest.hex()} was sent")
            # No piece is written between the check and the rename: our turn lasts for both.
            found, size = _digest_of_file(path)
            if found != digest:
                path.unlink(missing_ok=True)
                raise BlobMismatch(f"blob {digest.hex()} arrived as {found.hex()}: send it again")
            self._adopt(path, digest, size)
        return size

    # Reading

    def missing(self, digests: Sequence[bytes]) -> list[bytes]:
        """Those of `digests` that are not here; the others are spared by sweeps for a while."""
        wanted = list(dict.fromkeys(digests))
        here: set[bytes] = set()
        with self._db_guard:
            for start in range(0, len(wanted), DIGESTS_A_STATEMENT):
                some = apsw.carray(tuple(wanted[start : start + DIGESTS_A_STATEMENT]))
                found = self._db.execute(
                    "SELECT value FROM carray(?1) WHERE EXISTS (SELECT 1 FROM small WHERE "
                    "digest = value) OR EXISTS (SELECT 1 FROM large WHERE digest = value)",
                    (some,),
                )
                here.update(digest for (digest,) in found)
        self._touched.add(here)
        return [digest for digest in wanted if digest not in here]

    def size(self, digest: bytes) -> int:
        """Bytes of a blob. Raises BlobMissing."""
        with self._db_guard:
            size = self._db.execute(
                "SELECT coalesce((SELECT length(content) FROM small WHERE digest = ?1),"
                " (SELECT size FROM large WHERE digest = ?1))",
                (digest,),
            ).get
        if size is None:
            raise BlobMissing(f"blob {digest.hex()} is not kept here")
        return int(size)

    def open(self, digest: bytes) -> BinaryIO:
        """A blob as a seekable binary file, unverified. Raises BlobMissing."""
        content = self._small(digest)
        if content is not None:
            return io.BytesIO(content)
        try:
            return open(self.path_of(digest), "rb")
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest.hex()} is not kept here") from None

    def read(self, digest: bytes, offset: int = 0, length: int = -1) -> bytes:
        """A range of a blob (to the end if length < 0), unverified. Raises BlobMissing."""
        with self.open(digest) as file:
            file.seek(offset)
            return file.read(length)

    def get(self, digest: bytes) -> bytes:
        """A whole blob, verified; for blobs known to be small. Raises BlobMissing, BlobDamaged."""
        content = self.read(digest)
        if digest_of(content) != digest:
            raise BlobDamaged(f"blob {digest.hex()} is damaged on disk")
        return content

    def verify(self, digest: bytes) -> int:
        """Read a blob through and check it; its size. Raises BlobMissing, BlobDamaged."""
        state = blake2b(digest_size=DIGEST_BYTES)
        size = 0
        with self.open(digest) as file:
            while chunk := file.read(CHUNK_BYTES):
                state.update(chunk)
                size += len(chunk)
        if state.digest() != digest:
            raise BlobDamaged(f"blob {digest.hex()} is damaged on disk")
        return size

    def all(self) -> Iterator[tuple[bytes, int]]:
        """(digest, size) of every blob, large ones last."""
        last = b""
        for table, size in (("small", "length(content)"), ("large", "size")):
            last = b""
            while rows := self._page(table, size, last):
                yield from rows
                last = rows[-1][0]

    def path_of(self, digest: bytes) -> Path:
        """Where a large blob's file is, or would be."""
        name = digest.hex()
        return self.folder / name[:2] / name[2:]

    # Forgetting

    def sweep(self, keep: Iterable[bytes]) -> int:
        """Delete every blob that is neither in `keep` nor lately touched; the bytes freed.

        keep: every digest that records still name. A process younger than the grace time cannot
        know what its predecessor promised, and deletes nothing.
        """
        if self._touched.now_s() - self._started_s < self._touched.grace_s:
            return 0
        kept = set(keep)
        freed = 0
        for digest, size in list(self.all()):
            if digest not in kept and digest not in self._touched.live():
                self._delete(digest)
                freed += size
        return freed

    def _delete(self, digest: bytes) -> None:
        with self._db_guard, self._db:
            self._db.execute("DELETE FROM small WHERE digest = ?", (digest,))
            self._db.execute("DELETE FROM large WHERE digest = ?", (digest,))
        # The row goes first: a file without a row is only waste, a row without a file is a loss.
        self.path_of(digest).unlink(missing_ok=True)
        self._read_used()

    # Inner parts

    def _put_small(self, rows: dict[bytes, bytes]) -> None:
        batch = _Batch(rows)
        with self._gate:
            self._waiting.append(batch)
        with self._db_guard:
            if not batch.done:
                self._commit_waiting()
        if batch.error is not None:
            raise batch.error
        self._touched.add(rows)

    def _commit_waiting(self) -> None:
        """Write every waiting batch with one commit; the caller holds the connection."""
        with self._gate:
            batches, self._waiting = self._waiting, []
        rows = {digest: content for batch in batches for digest, content in batch.rows.items()}
        error: Exception | None = None
        try:
            with _full_disk_named(), self._db:
                _insert_small(self._db, list(rows.items()))
        except (StoreError, apsw.Error) as caught:
            error = caught
        for batch in batches:
            batch.error, batch.done = error, True
        self._read_used()

    def _put_large(self, digest: bytes, content: bytes) -> None:
        temporary = self._temporary()
        try:
            with _full_disk_named(), open(temporary, "xb", opener=_private) as file:
                file.write(content)
            self._adopt(temporary, digest, len(content))
        finally:
            temporary.unlink(missing_ok=True)

    def _adopt(self, temporary: Path, digest: bytes, size: int) -> None:
        """Take a spooled file, whose digest was checked, into the store."""
        if size <= SMALL_BYTES_MAX:
            self.put_many([temporary.read_bytes()])
            temporary.unlink(missing_ok=True)
            return
        target = self.path_of(digest)
        with _full_disk_named():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            sync_folder(target.parent)
            sync_folder(self.folder)
            with self._db_guard, self._db:
                self._db.execute("INSERT OR IGNORE INTO large VALUES (?, ?)", (digest, size))
        self._touched.add([digest])
        self._read_used()

    def _small(self, digest: bytes) -> bytes | None:
        with self._db_guard:
            content: bytes | None = self._db.execute(
                "SELECT content FROM small WHERE digest = ?", (digest,)
            ).get
        return content

    def _page(self, table: str, size: str, after: bytes) -> list[tuple[bytes, int]]:
        with self._db_guard:
            found = self._db.execute(
                f"SELECT digest, {size} FROM {table} WHERE digest > ? ORDER BY digest LIMIT 1000",
                (after,),
            )
            return [(digest, int(length)) for digest, length in found]

    def _read_used(self) -> None:
        with self._db_guard:
            self._used = int(self._db.execute("SELECT bytes FROM used").get)

    def _check_room(self, more_bytes: int) -> None:
        if more_bytes and self._used + more_bytes > self.quota_bytes:
            raise QuotaFull(
                f"{self.folder} holds {self._used} bytes of at most {self.quota_bytes}: raise the "
                "quota, or free room with `floe store sweep`"
            )

    def _partial_path(self, digest: bytes) -> Path:
        return self._partial / digest.hex()

    def _temporary(self) -> Path:
        with self._gate:
            self._temp_no += 1
            return self._partial / f"tmp-{os.getpid()}-{self._temp_no}"

    def _clear_temporary(self) -> None:
        for path in self._partial.glob("tmp-*"):
            path.unlink(missing_ok=True)


def _insert_small(connection: apsw.Connection, rows: list[tuple[bytes, bytes]]) -> None:
    """Insert many rows with few statements: a statement a row trades the interpreter lock."""
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        marks = ",".join(["(?,?)"] * len(some))
        values = [value for row in some for value in row]
        connection.execute(f"INSERT OR IGNORE INTO small (digest, content) VALUES {marks}", values)


def _digest_of_file(path: Path) -> tuple[bytes, int]:
    state = blake2b(digest_size=DIGEST_BYTES)
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            state.update(chunk)
            size += len(chunk)
    return state.digest(), size


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _full_disk_named() -> Iterator[None]:
    """Turns the several ways in which a disk says that it is full into DiskFull."""
    try:
        yield
    except apsw.FullError as error:
        raise DiskFull(_FULL) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(_FULL) from error
        raise
