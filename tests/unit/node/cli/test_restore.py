"""What `floe restore` says is to be done depends on what the backup holds."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from node.cli import main
from node.store.backup import back_up
from node.store.blobs import Blobs
from node.store.database import DATABASE_NAME
from tests.fakes.store import KEY, Store

OTHER = b"o" * 32


def shard(home: Path, no: int, leader: bytes, council: bytes) -> None:
    conn = apsw.Connection(str(home / DATABASE_NAME))
    conn.execute(
        "INSERT INTO shard (no, id, founder, council, term, leader, generation, voters, stopped,"
        " at_term, at_feed, at_seq, own_root, results_root, version)"
        " VALUES (?, ?, ?, ?, 0, ?, 1, 1, 0, 0, 1, 1, x'', x'', 1)",
        (no, bytes([no]) * 32, leader, council, leader),
    )
    conn.close()


def backup(tmp_path: Path, councils: list[bytes], settings: str) -> Path:
    """A backup of a site that led shards with these councils; another site led one alone."""
    home = tmp_path / "old"
    Store(home).close()
    (home / "client.toml").write_text(settings)
    shard(home, 9, OTHER, OTHER)
    for no, council in enumerate(councils, 1):
        shard(home, no, KEY.site, council)
    blobs = Blobs(home / "blobs")
    back_up(home, tmp_path / "backup", KEY.site, blobs)
    blobs.close()
    return tmp_path / "backup"


def restored(
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("HOME", str(tmp_path / "account"))
    monkeypatch.delenv("FLOE_KEY", raising=False)
    capsys.readouterr()
    assert main(["--home", str(tmp_path / "new"), "restore", str(folder)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("councils", "recover", "by_themselves"),
    [
        ([], False, False),
        ([KEY.site], True, False),
        ([KEY.site + OTHER], False, True),
        ([KEY.site, KEY.site + OTHER], True, True),
    ],
)
def test_recover_is_named_only_for_what_the_site_led_alone(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    councils: list[bytes],
    recover: bool,
    by_themselves: bool,
) -> None:
    shown = restored(tmp_path, backup(tmp_path, councils, ""), capsys, monkeypatch)
    assert ("floe mesh recover" in shown) is recover
    assert ("go on by themselves" in shown) is by_themselves


def test_a_key_that_is_where_it_was_is_used_again(
    tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = restored(tmp_path, backup(tmp_path, [], f'key = "{key}"\n'), capsys, monkeypatch)
    assert "SSH key" not in shown
    assert str(key) in (tmp_path / "new" / "client.toml").read_text()


def test_a_key_that_is_gone_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = restored(tmp_path, backup(tmp_path, [], 'key = "/gone/id"\n'), capsys, monkeypatch)
    assert f"write key = PATH into {tmp_path / 'new' / 'client.toml'}" in shown
