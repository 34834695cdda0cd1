"""Open the store: one process a home, local disk, right schema; hand out connections.

One connection writes (the journal's); readers see the last commit and never wait for it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from node.home import Home
from node.store import folded
from node.store.schema import schema_files

T = TypeVar("T")
InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]
"""Runs a function off the reactor thread and gives its result; tests run it in place."""

DATABASE_NAME = "floe.sqlite"
APPLICATION_ID = 0x466C6F65  # "Floe", in the file's header
READ_THREADS_MAX = 3
WRITER_CACHE_KIB = 8_192
READER_CACHE_KIB = 4_096
STATEMENTS_CACHED = 256
CHECKPOINT_PAGES = 2_000  # the log file stays near 8 MiB; each checkpoint costs two syncs
LOG_FILE_BYTES_KEPT = 32 << 20
BUSY_MS = 5_000

# f_type of statfs(2), from linux/magic.h and the file systems' own headers.
NETWORK_FILE_SYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x00C36400: "Ceph",
    0xAAD7AAEA: "PanFS",
    0x20030528: "OrangeFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x01021997: "9P",
    0x786F4256: "VirtualBox shared folder",
}
FUSE = 0x65735546
LOCAL_FUSE = {"fuseblk", "fuse.fuse-overlayfs"}

_log = Logger()


class StoreError(Exception):
    """The store cannot do what was asked; the message names the object and the next step."""


class HomeInUse(StoreError):
    """Another node runs on this home."""


class NotAStore(StoreError):
    """The file is no database of ours, or is damaged."""


class NewerSchema(StoreError):
    """A newer version of Icefloe wrote this database."""


class OldTables(StoreError):
    """The tables were folded by another version of Icefloe."""


class NetworkHome(StoreError):
    """The home is on a network file system and nobody allowed that."""


class DiskFull(StoreError):
    """There is no room; what was asked for was not taken in."""


class HomeLock:
    """An advisory lock on the home, held by the descriptor until it is closed or we die."""

    def __init__(self, home: Path) -> None:
        """Raises HomeInUse, naming the process that holds the lock."""
        path = Home(home).lock
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 256, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise HomeInUse(
                f"another node runs on {home}: {holder or 'unknown process'}. "
                "Stop it with `floe down`, or name another home with FLOE_HOME."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def network_file_system(path: Path) -> str | None:
    """Name of the network file system that holds `path`; None for a local disk."""
    kind = _statfs_type(path)
    if kind == FUSE:
        name = _mount_type(path)
        return None if name in LOCAL_FUSE else (name or "FUSE")
    return NETWORK_FILE_SYSTEMS.get(kind)


def _statfs_type(path: Path) -> int:
    """f_type of statfs(2); 0 where the call does not work."""
    buffer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF  # the first field, a word


def _mount_type(path: Path) -> str:
    """File system name of the mount that holds `path`, from /proc; "" if unknown."""
    best, found = -1, ""
    place = os.path.realpath(path)
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode().decode("unicode_escape")
        inside = point == "/" or place == point or place.startswith(point + "/")
        if inside and len(point) >= best:
            best, found = len(point), right.split(" ")[0]
    return found


def migrate(connection: apsw.Connection, steps: list[tuple[int, str, str]] | None = None) -> int:
    """Bring the schema forward, each step with its number in one transaction; the new version.

    Raises NewerSchema for a database from a later version, NotAStore for one of another program.
    """
    steps = schema_files() if steps is None else steps
    newest = steps[-1][0]
    version = check_schema(connection, newest)
    for number, _name, sql in steps:
        if number > version:
            with connection:
                connection.execute(sql)
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", number)
    return newest


def check_schema(connection: apsw.Connection, newest: int) -> int:
    """The database's schema version; 0 for an empty one. Only reads; raises like `migrate`."""
    version = int(connection.pragma("user_version"))
    ours = int(connection.pragma("application_id"))
    if ours != APPLICATION_ID and (ours or version or _has_tables(connection)):
        raise NotAStore(f"{connection.filename} belongs to another program; nothing was changed")
    if version > newest:
        raise NewerSchema(
            f"{connection.filename} has schema {version}; this version of Icefloe knows {newest}. "
            "Install the version that wrote it, or restore a backup into an empty home."
        )
    return version


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").get)


def in_pool(pool: ThreadPool, fn: Callable[[], T]) -> Deferred[T]:
    """Run `fn` in a thread of `pool`; its result comes back in the reactor's thread."""
    from twisted.internet import reactor  # not at import: tests and tools may choose another

    return deferToThreadPool(cast(IReactorFromThreads, reactor), pool, fn)


def stop_pool(pool: ThreadPool) -> None:
    """Wait for the threads of `pool` to end.

    The pool also lists threads that the system refused to start; nobody can wait for those.
    """
    pool.threads[:] = [thread for thread in pool.threads if thread.ident is not None]
    pool.stop()


class Database:
    """The site's database: one writer, any number of readers, a small pool of reading threads."""

    def __init__(
        self,
        path: Path,
        writer: apsw.Connection,
        lock: HomeLock | None,
        vfs: str | None,
        in_thread: InThread | None,
    ) -> None:
        self.path = path
        self.writer = writer
        self.network: str | None = None
        self._lock = lock
        self._vfs = vfs
        self._in_thread = in_thread
        self._pool: ThreadPool | None = None
        self._idle: list[apsw.Connection] = []
        self._guard = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        network_home: bool = False,
        vfs: str | None = None,
        in_thread: InThread | None = None,
        detect: Callable[[Path], str | None] = network_file_system,
    ) -> Database:
        """Open (or make) HOME/floe.sqlite for this process alone.

        network_home: the admin accepts a network file system.
        Raises HomeInUse, NetworkHome, NewerSchema, NotAStore.
        """
        home = Path(home)
        network = detect(home)
        if network and not network_home:
            raise NetworkHome(
                f"{home} is on {network}, where a crash can damage the database. Name a home on a "
                "local disk with FLOE_HOME, or accept the risk with --network-home."
            )
        lock = HomeLock(home)
        try:
            if network:
                _log.warn(
                    "home {home} is on {network}: locking is exclusive, power cuts there are not "
                    "safe, and a second node on another host would destroy the database",
                    home=str(home),
                    network=network,
                )
            # unix-excl keeps the index of the log in memory, as shared memory does not work there.
            name = vfs or ("unix-excl" if network else None)
            path = home / DATABASE_NAME
            database = cls(path, _open_writer(path, name), lock, name, in_thread)
        except BaseException:
            lock.release()
            raise
        database.network = network
        return database

    def reader(self) -> apsw.Connection:
        """A new connection that can only read; the caller closes it."""
        connection = apsw.Connection(
            str(self.path),
            flags=apsw.SQLITE_OPEN_READONLY,
            vfs=self._vfs,
            statementcachesize=STATEMENTS_CACHED,
        )
        connection.set_busy_timeout(BUSY_MS)
        keep_plans(connection)
        connection.pragma("query_only", True)
        connection.pragma("cache_size", -READER_CACHE_KIB)
        return connection

    def read(self, fn: Callable[[apsw.Connection], T]) -> Deferred[T]:
        """Run `fn` with a reader in another thread, on one snapshot; its result."""
        return self._defer(lambda: self.read_here(fn))

    def read_here(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run `fn` with a reader in this thread: for a few rows, where the writer may be busy."""
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self.reader()
        try:
            with connection:
                result = fn(connection)
            return result
        finally:
            self._give_back(connection)

    def _give_back(self, connection: apsw.Connection) -> None:
        with self._guard:
            keep = not self._closed and len(self._idle) < READ_THREADS_MAX
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def _defer(self, fn: Callable[[], T]) -> Deferred[T]:
        if self._in_thread is not None:
            return self._in_thread(fn)
        if self._pool is None:
            self._pool = ThreadPool(0, READ_THREADS_MAX, name="store-read")
            self._pool.start()
        return in_pool(self._pool, fn)

    def close(self) -> None:
        """Wait for reads under way, close every connection, give the home back."""
        if self._closed:
            return
        with self._guard:
            self._closed = True
        if self._pool is not None:
            stop_pool(self._pool)
        for connection in self._idle:
            connection.close()
        self.writer.close()
        if self._lock is not None:
            self._lock.release()


def _open_writer(path: Path, vfs: str | None) -> apsw.Connection:
    """The writing connection, migrated. Raises NotAStore, NewerSchema."""
    new = not path.exists()
    if new:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=STATEMENTS_CACHED)
    try:
        empty = not check_schema(connection, schema_files()[-1][0])  # before a pragma changes it
        configure_writer(connection)
        if new:
            sync_folder(path.parent)  # SQLite syncs the names of its journals only
        migrate(connection)
        if empty:
            folded.note(connection)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        connection.close()
        raise NotAStore(
            f"{path} is not a whole SQLite database ({error}). Restore a backup into an empty "
            "home with `floe restore`."
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection


def keep_plans(connection: apsw.Connection) -> None:
    """Plan each statement once.

    Else SQLite plans statements with joins or an order anew whenever other values are bound to
    them, which takes ten times as long as running one that reads a row. There are no statistics
    here that values could be compared with.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def configure_writer(connection: apsw.Connection) -> None:
    """Pragmas of a connection that writes: every commit is on disk when it returns."""
    connection.set_busy_timeout(BUSY_MS)
    keep_plans(connection)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", False)
    connection.pragma("cache_size", -WRITER_CACHE_KIB)
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("journal_size_limit", LOG_FILE_BYTES_KEPT)
    connection.wal_autocheckpoint(CHECKPOINT_PAGES)
