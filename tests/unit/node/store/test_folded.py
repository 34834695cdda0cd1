"""Tables that another version of the code folded are not gone on with, and can be made anew."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from twisted.internet.defer import maybeDeferred

from node.config import Config
from node.opening import open_home
from node.store import folded
from node.store.database import DATABASE_NAME, Database, OldTables
from node.store.verify import finish, rebuild
from tests.fakes.store import ListFold, Store, a_site
from tests.unit.node.sites import make_home


def database(home: Path) -> Database:
    return Database.open(home, in_thread=maybeDeferred, detect=lambda path: None)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store with entries, whose tables an earlier version made."""
    store = Store(tmp_path / "home", fold=ListFold())
    store.journal.control(a_site("desy"))
    store.turn(0.3)
    store.close()
    conn = apsw.Connection(str(tmp_path / "home" / DATABASE_NAME))
    conn.execute("UPDATE folded SET version = x'00'")
    conn.close()
    return tmp_path / "home"


def test_a_new_database_is_current(tmp_path: Path) -> None:
    opened = database(tmp_path)
    assert folded.is_current(opened.writer)
    opened.close()


def test_a_database_of_before_is_not_current_until_it_is_rebuilt(old: Path) -> None:
    opened = database(old)
    assert not folded.is_current(opened.writer)
    assert finish(rebuild(opened.writer, ListFold())).ok
    assert folded.is_current(opened.writer)
    opened.close()


def test_a_rebuild_that_breaks_off_leaves_it_old(old: Path) -> None:
    opened = database(old)
    steps = rebuild(opened.writer, ListFold())
    next(steps)
    steps.close()
    assert not folded.is_current(opened.writer)
    opened.close()


def test_comments_make_no_other_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(sql: str) -> bytes:
        folded._tables.cache_clear()
        monkeypatch.setattr(folded, "schema_files", lambda: [(2, "0002_shared.sql", sql)])
        return folded.version()

    first = version("CREATE TABLE a (b INTEGER); -- why")
    assert version("-- why not\nCREATE TABLE a\n  (b INTEGER);") == first
    assert version("CREATE TABLE a (b TEXT);") != first
    folded._tables.cache_clear()


def test_another_kind_of_records_makes_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what was parked takes effect once the tables are made anew."""
    before = folded.version()
    monkeypatch.setattr(folded, "kinds", lambda: [1, 2, 3])
    assert folded.version() != before


@pytest.mark.parametrize("change", ["UPDATE folded SET version = x'00'", "DELETE FROM folded"])
def test_a_node_that_finds_such_tables_says_what_to_do_and_changes_nothing(
    tmp_path: Path, change: str
) -> None:
    home = make_home(tmp_path / "home")
    opened = open_home(home, Config(name="desy"))
    opened.database.writer.execute(change)
    opened.database.close()
    for _ in range(2):
        with pytest.raises(OldTables, match="floe store rebuild"):
            open_home(home, Config(name="desy"))
