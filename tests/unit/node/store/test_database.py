"""Opening the store: one process, the right schema, a local disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest
from twisted.internet.defer import maybeDeferred

from node.store.database import (
    APPLICATION_ID,
    DATABASE_NAME,
    Database,
    HomeInUse,
    NetworkHome,
    NewerSchema,
    NotAStore,
    migrate,
    network_file_system,
    schema_files,
)


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


def open_here(home, **options):
    return Database.open(home, in_thread=maybeDeferred, detect=lambda path: None, **options)


def test_a_new_database_is_durable_and_private(home):
    database = open_here(home)
    assert database.writer.pragma("journal_mode") == "wal"
    assert database.writer.pragma("synchronous") == 2
    assert database.writer.pragma("application_id") == APPLICATION_ID
    assert database.writer.pragma("user_version") == schema_files()[-1][0]
    assert os.stat(database.path).st_mode & 0o777 == 0o600
    database.close()


def test_a_second_node_on_the_home_is_refused_and_told_by_whom(home):
    database = open_here(home)
    with pytest.raises(HomeInUse, match=f"pid {os.getpid()} "):
        open_here(home)
    database.close()
    open_here(home).close()


def test_a_second_process_is_refused_until_the_first_dies(home):
    code = (
        "import sys; from pathlib import Path; from node.store.database import Database;"
        "d = Database.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert other.stdout.readline() == b"open\n"
    with pytest.raises(HomeInUse, match=f"pid {other.pid} "):
        open_here(home)
    other.kill()
    other.communicate()
    open_here(home).close()


def test_a_refused_open_leaves_the_lock_free(home):
    (home / DATABASE_NAME).write_bytes(b"this is no database, but it is long enough" * 100)
    for _ in range(2):
        with pytest.raises(NotAStore):
            open_here(home)


def test_a_newer_schema_is_refused_and_left_alone(home):
    open_here(home).close()
    connection = apsw.Connection(str(home / DATABASE_NAME))
    connection.pragma("user_version", 9999)
    connection.close()
    before = (home / DATABASE_NAME).read_bytes()
    with pytest.raises(NewerSchema, match="9999"):
        open_here(home)
    assert (home / DATABASE_NAME).read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(home):
    connection = apsw.Connection(str(home / DATABASE_NAME))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (home / DATABASE_NAME).read_bytes()
    with pytest.raises(NotAStore, match="another program"):
        open_here(home)
    assert (home / DATABASE_NAME).read_bytes() == before


def test_migration_goes_on_from_where_it_was(home):
    connection = apsw.Connection(str(home / "x"))
    steps = [(1, "a", "CREATE TABLE a (x)"), (2, "b", "CREATE TABLE b (x)")]
    assert migrate(connection, steps[:1]) == 1
    assert migrate(connection, steps) == 2
    assert migrate(connection, steps) == 2
    connection.close()


def test_a_migration_that_breaks_changes_nothing(home):
    connection = apsw.Connection(str(home / "x"))
    steps = [(1, "a", "CREATE TABLE a (x)"), (2, "b", "CREATE TABLE b (x); CREATE TABEL c (x)")]
    with pytest.raises(apsw.SQLError):
        migrate(connection, steps)
    assert connection.pragma("user_version") == 1
    names = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    assert names == [("a",)]
    connection.close()


def test_schema_files_are_numbered_without_gaps():
    assert [number for number, _, _ in schema_files()] == list(range(1, len(schema_files()) + 1))


def test_readers_see_the_last_commit_and_cannot_write(home):
    database = open_here(home)
    writer = database.writer
    writer.execute("BEGIN IMMEDIATE; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    reader = database.reader()
    assert reader.execute("SELECT count(*) FROM sqlite_schema WHERE name = 't'").get == 0
    writer.execute("COMMIT")
    assert reader.execute("SELECT x FROM t").get == 1
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("INSERT INTO t VALUES (2)")
    reader.close()
    database.close()


def test_read_gives_one_snapshot_and_passes_errors_on(home):
    database = open_here(home)
    writer = database.writer
    writer.execute("CREATE TABLE t (x)")

    def twice(conn):
        first = conn.execute("SELECT count(*) FROM t").get
        writer.execute("INSERT INTO t VALUES (1)")
        return first, conn.execute("SELECT count(*) FROM t").get

    seen = []
    database.read(twice).addCallback(seen.append)
    database.read(lambda conn: 1 / 0).addErrback(lambda failure: seen.append(failure.type))
    database.read(lambda conn: conn.execute("SELECT count(*) FROM t").get).addCallback(seen.append)
    assert seen == [(0, 0), ZeroDivisionError, 1]
    database.close()


def test_closing_goes_on_behind_threads_that_could_not_be_started(home, monkeypatch):
    database = Database.open(home, detect=lambda path: None)
    failed = []
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_more_threads)
        maybeDeferred(database.read, lambda conn: 1).addErrback(failed.append)
    database.close()
    assert len(failed) <= 1
    open_here(home).close()


def no_more_threads(thread):
    raise RuntimeError("can't start new thread")


def test_a_network_file_system_is_refused_unless_allowed(home):
    with pytest.raises(NetworkHome, match=r"NFS.*--network-home"):
        Database.open(home, detect=lambda path: "NFS")
    assert list(home.iterdir()) == []
    database = Database.open(
        home, network_home=True, detect=lambda path: "NFS", in_thread=maybeDeferred
    )
    assert database.network == "NFS"
    database.writer.execute("CREATE TABLE t (x)")
    seen = []
    database.read(lambda conn: conn.execute("SELECT count(*) FROM t").get).addCallback(seen.append)
    assert seen == [0]
    assert not list(home.glob("*-shm"))  # shared memory does not work between hosts
    code = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('SELECT x FROM t').fetchall()"
    other = subprocess.run(
        [sys.executable, "-c", code, str(database.path)], capture_output=True, text=True
    )
    assert "BusyError" in other.stderr
    database.close()


def test_this_disk_is_local():
    assert network_file_system(Path(__file__).parent) is None
    assert network_file_system(Path("/proc")) is None


def test_schema_steps_have_numbers_of_their_own():
    numbers = [number for number, _, _ in schema_files()]
    assert numbers == list(range(1, len(numbers) + 1))
