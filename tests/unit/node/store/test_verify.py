"""Verifying and rebuilding: damage of any kind is named, and derived tables come back."""

from __future__ import annotations

import apsw
import pytest

from federation.entry import seal
from node.store.database import DATABASE_NAME
from node.store.verify import derived_tables, finish, rebuild, verify
from tests.fakes.store import KEY, ListFold, Store, a_site, some_results

KEPT = (".sqlite", ".highwater", ".lock")


@pytest.fixture
def home(tmp_path):
    store = Store(tmp_path / "home", fold=ListFold())
    for name in ("desy", "lbnl", "desy2", "kit0"):
        store.journal.control(a_site(name))
        store.journal.results(some_results())
        store.turn(0.3)
    store.close()
    return tmp_path / "home"


def check(home):
    return finish(verify(home / DATABASE_NAME, ListFold()))


def spoil(home, sql, *values):
    connection = apsw.Connection(str(home / DATABASE_NAME))
    connection.execute(sql, values)
    connection.close()


def site_rows(home):
    connection = apsw.Connection(str(home / DATABASE_NAME))
    rows = connection.execute("SELECT * FROM site ORDER BY no").fetchall()
    connection.close()
    return rows


def test_a_sound_store_verifies(home):
    report = check(home)
    assert report.problems == []
    assert (report.feeds, report.entries, report.records) == (2, 8, 8)
    assert report.root == report.root_again != ""


def test_verifying_changes_nothing(home):
    def contents():
        return {path.name: path.read_bytes() for path in home.iterdir() if path.suffix in KEPT}

    before = contents()
    check(home)
    assert contents() == before
    assert not list(home.glob("floe-verify-*"))


def test_verifying_while_the_node_writes(home):
    store = Store(home, fold=ListFold())
    seen = []
    running = verify(home / DATABASE_NAME, ListFold())
    for n in range(5):
        store.journal.control(a_site(f"new{n}"))
        store.turn(0.3)
        seen.append(next(running, None))
    report = finish(verify(home / DATABASE_NAME, ListFold()))
    assert report.problems == []
    assert report.entries == 13
    assert seen[0] is not None
    store.close()


FLIP = "(SELECT cast(substr({0}, 1, 40) || x'ff' || substr({0}, 42) AS BLOB))"


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE entry SET body = x'90' WHERE no = 3", "entry 2: a body"),
        (f"UPDATE entry SET header = {FLIP.format('header')} WHERE no = 4", "control feed"),
        (f"UPDATE entry SET signature = {FLIP.format('signature')} WHERE no = 3", "results feed"),
        ("UPDATE entry SET id = zeroblob(32) WHERE no = 3", "another entry"),
        ("DELETE FROM entry WHERE no = 3", "entry 3"),
        ("DELETE FROM entry WHERE no = 8", "its tip is entry 4"),
        ("UPDATE feed SET seq = 3 WHERE lane = 0", "its tip is entry 3"),
        ("UPDATE entry SET feed = 77 WHERE no = 8", "belong to no feed"),
        ("INSERT INTO quarantine VALUES (2, 'a bug')", "quarantined"),
        ("UPDATE site SET name = 'changed' WHERE no = 1", "state root"),
        ("UPDATE site SET version = 'changed' WHERE no = 1", "tables differ"),
        ("DELETE FROM site", "state root"),
    ],
)
def test_damage_is_named(home, sql, named):
    spoil(home, sql)
    report = check(home)
    assert not report.ok
    assert any(named in problem for problem in report.problems), report.problems


def test_an_entry_by_another_key_is_named(home):
    store = Store(home, fold=ListFold())
    tip = store.feeds.tip(store.journal._lanes[0].feed)
    forged = seal(KEY, tip.feed, tip.seq + 1, tip.id, tip.hlc + 1, [a_site("evil")])
    store.feeds.append([forged])
    store.database.writer.execute(
        "UPDATE entry SET signature = zeroblob(64) WHERE no = (SELECT max(no) FROM entry)"
    )
    store.close()
    report = check(home)
    assert any("signature" in problem for problem in report.problems)


def test_pruned_bodies_still_verify(home):
    spoil(home, "UPDATE entry SET body = NULL WHERE no = 3")
    report = check(home)
    assert report.pruned == 1
    assert report.problems == []  # the record of this entry changes no table


def test_rebuild_gives_the_same_root_and_tables(home):
    before = site_rows(home)
    store = Store(home, fold=ListFold())
    told = []
    report = finish(rebuild(store.database.writer, ListFold()), told.append)
    assert report.ok
    assert report.root == report.root_again
    assert told[-1].done == told[-1].total == 8
    store.close()
    assert site_rows(home) == before


def test_rebuild_mends_derived_tables_and_leaves_the_others(home):
    before = site_rows(home)
    spoil(
        home, "DELETE FROM site; INSERT INTO quarantine VALUES (2, 'a bug'); CREATE TABLE mine (x)"
    )
    store = Store(home, fold=ListFold())
    report = finish(rebuild(store.database.writer, ListFold()))
    assert report.root != report.root_again
    assert report.quarantined == 0
    assert store.database.writer.execute("SELECT count(*) FROM mine").get == 0
    store.close()
    assert site_rows(home) == before
    assert check(home).ok


def test_a_rebuild_that_breaks_off_leaves_the_tables_as_they_were(home):
    before = site_rows(home)
    store = Store(home, fold=ListFold())
    rebuilding = rebuild(store.database.writer, ListFold())
    next(rebuilding)
    assert store.database.writer.execute("SELECT count(*) FROM site").get == 3
    rebuilding.close()
    store.close()
    assert site_rows(home) == before


def test_derived_tables_are_those_of_the_shared_schema():
    names, _ = derived_tables()
    assert "dataset" in names
    assert not {"entry", "feed", "quarantine", "lease"} & set(names)
