"""Backups: whole, checked, made beside a running node, put back into an empty home only."""

from __future__ import annotations

import json
import os
import shutil

import apsw
import pytest

from node.store.backup import (
    MANIFEST,
    BackupError,
    back_up,
    check_backup,
    read_manifest,
    restore,
)
from node.store.blobs import Blobs
from node.store.database import DATABASE_NAME, DiskFull
from node.store.highwater import Standing
from tests.fakes.store import HOST, KEY, Store, a_site, outcome, some_results

LARGE = os.urandom(100_000)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home):
    store = Store(home)
    write(store, 3)
    (home / "keys").mkdir()
    (home / "keys" / "site.key").write_text("secret")
    (home / "config.toml").write_text("name = 'desy'")
    (home / "client.toml").write_text("key = '/home/ana/.ssh/id_ed25519'")
    yield store
    store.close()


@pytest.fixture
def blobs(store, home):
    blobs = Blobs(home / "blobs")
    blobs.put_many([b"small", LARGE])
    yield blobs
    blobs.close()


def write(store, n):
    for name in range(n):
        done = [
            outcome(store.journal.control(a_site(f"s{name}"))),
            outcome(store.journal.results(some_results())),
        ]
        store.turn(0.3)
        assert done == [[None]] * 2


def test_a_backup_of_a_running_node_comes_back_whole(store, blobs, home, tmp_path):
    copied = back_up(home, tmp_path / "backup", KEY.site, blobs)
    assert copied.heads == store.journal.heads
    assert copied.damaged == ()
    write(store, 1)  # goes on, and is not in the backup
    again = tmp_path / "again"
    generation = restore(tmp_path / "backup", again, leap=lambda: 5, host=HOST)
    assert generation == 7
    restored = Store(again)
    assert restored.found.standing is Standing.FINE
    assert restored.found.generation == 7
    feeds = list(restored.feeds.tips())
    assert [tip.seq for tip in feeds] == [3, 3]
    assert (again / "config.toml").read_text() == "name = 'desy'"
    assert "id_ed25519" in (again / "client.toml").read_text()
    kept = Blobs(again / "blobs")
    assert sorted(size for _, size in kept.all()) == [5, len(LARGE)]
    assert all(kept.verify(digest) == size for digest, size in kept.all())
    kept.close()
    write(restored, 1)
    assert restored.journal.heads.generation == 7
    assert restored.journal.heads.control.seq == 1
    restored.close()


def test_a_backup_is_one_snapshot_though_the_node_writes_during_it(store, blobs, home, tmp_path):
    def tell(what, done, total):
        if what == DATABASE_NAME:
            write(store, 1)

    copied = back_up(home, tmp_path / "backup", KEY.site, blobs, tell=tell)
    assert store.journal.heads.control.seq > copied.heads.control.seq == 3
    copy = apsw.Connection(str(tmp_path / "backup" / DATABASE_NAME))
    assert copy.execute("SELECT count(*) FROM entry").get == 6
    assert copy.execute("PRAGMA integrity_check").get == "ok"
    copy.close()


def test_two_restores_of_one_backup_take_different_generations(store, blobs, home, tmp_path):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    taken = {restore(tmp_path / "backup", tmp_path / f"again{n}") for n in range(4)}
    assert min(taken) > 1
    assert len(taken) == 4  # one in ten thousand runs: the same step twice


def test_keys_are_copied_only_when_asked_for(store, blobs, home, tmp_path):
    back_up(home, tmp_path / "without", KEY.site, blobs)
    assert not (tmp_path / "without" / "keys").exists()
    back_up(home, tmp_path / "with", KEY.site, blobs, with_keys=True)
    key = tmp_path / "with" / "keys" / "site.key"
    assert key.read_text() == "secret"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "with").stat().st_mode & 0o777 == 0o700


def test_blobs_may_be_left_out(store, blobs, home, tmp_path):
    back_up(home, tmp_path / "backup", KEY.site, blobs, with_blobs=False)
    assert not (tmp_path / "backup" / "blobs").exists()
    assert read_manifest(tmp_path / "backup")["blobs"] is False


def test_a_damaged_blob_is_left_out_and_named(store, blobs, home, tmp_path):
    (digest,) = [digest for digest, size in blobs.all() if size == len(LARGE)]
    blobs.path_of(digest).write_bytes(b"rotten")
    copied = back_up(home, tmp_path / "backup", KEY.site, blobs)
    assert copied.damaged == (digest.hex(),)
    restore(tmp_path / "backup", tmp_path / "again")
    kept = Blobs(tmp_path / "again" / "blobs")
    assert kept.missing([digest]) == [digest]
    kept.close()


def test_a_folder_in_use_is_refused(store, blobs, home, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("years of work")
    with pytest.raises(BackupError, match="not empty"):
        back_up(home, tmp_path / "taken", KEY.site, blobs)
    assert (tmp_path / "taken" / "thesis.tex").exists()


def test_a_home_in_use_is_refused(store, blobs, home, tmp_path):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    with pytest.raises(BackupError, match="empty home only"):
        restore(tmp_path / "backup", home)
    write(store, 1)


@pytest.mark.parametrize("name", [DATABASE_NAME, "config.toml", "blobs/small.sqlite"])
def test_a_damaged_backup_is_refused_and_the_home_stays_empty(store, blobs, home, tmp_path, name):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    file = tmp_path / "backup" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BackupError, match="damaged"):
        check_backup(tmp_path / "backup")
    with pytest.raises(BackupError, match="damaged"):
        restore(tmp_path / "backup", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_half_a_backup_is_refused(store, blobs, home, tmp_path):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    (tmp_path / "backup" / MANIFEST).unlink()
    with pytest.raises(BackupError, match="no whole backup"):
        restore(tmp_path / "backup", tmp_path / "again")


@pytest.mark.parametrize("inside", ["", "home"])
def test_a_manifest_cannot_name_files_outside(store, blobs, home, tmp_path, inside):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    manifest = tmp_path / "backup" / MANIFEST
    outside = f"../{inside}/config.toml" if inside else str(home / "config.toml")
    manifest.write_text(manifest.read_text().replace("config.toml", outside))
    with pytest.raises(BackupError, match="outside"):
        restore(tmp_path / "backup", tmp_path / "again")


@pytest.mark.parametrize(
    "change",
    [{"site": "nobody"}, {"site": 7}, {"files": []}, {"generation": None}, {"generation": "x"}],
)
def test_a_manifest_with_wrong_fields_is_refused(store, blobs, home, tmp_path, change):
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    manifest = tmp_path / "backup" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(BackupError, match="no whole backup"):
        read_manifest(tmp_path / "backup")


def test_no_room_for_a_backup_leaves_nothing(store, blobs, home, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr("node.store.backup._copy_blobs", full)
    with pytest.raises(DiskFull):
        back_up(home, tmp_path / "backup", KEY.site, blobs)
    assert not (tmp_path / "backup").exists()
    monkeypatch.undo()
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    monkeypatch.setattr("node.store.backup._bind", full)
    (tmp_path / "again").mkdir()
    with pytest.raises(DiskFull):
        restore(tmp_path / "backup", tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []
    shutil.rmtree(tmp_path / "backup")
