"""Small parts: when to look again, what is hidden, what a program's environment is, the cache."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilot import isolate, staging, supervisor
from pilot.client import Connection, Refused, Unreachable, parse_answer
from pilot.config import BadSettings, read
from pilot.limits import LOOK_S_MAX, LOOK_S_MIN, Limits, Pace, over
from pilot.logfile import KEPT_BYTES_MAX, LogFile
from pilot.program import NotFound, Programs
from pilot.transfer import Cache

NEEDS = {"memory_bytes": 1024_000, "disk_bytes": 2048_000, "time_s": 5}


def test_looks_become_rarer_while_nothing_grows() -> None:
    pace = Pace()
    waits = [pace.next_s(now_s, [0.1, 0.1], 0.0) for now_s in (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]
    assert waits == sorted(waits)
    assert waits[-1] == LOOK_S_MAX


def test_something_that_grows_fast_is_looked_at_soon() -> None:
    pace = Pace()
    pace.next_s(0.2, [0.0, 0.0], 0.0)
    assert pace.next_s(0.4, [0.8, 0.0], 0.0) == LOOK_S_MIN


def test_looks_that_cost_much_are_rare() -> None:
    assert Pace().next_s(0.2, [0.9, 0.9], 0.5) == 10.0


@pytest.mark.parametrize(
    ("memory", "disk", "log", "processes", "error"),
    [
        (1000, 2000, 0, 1, None),
        (1001, 0, 0, 1, "memory"),
        (0, 2001, 0, 1, "disk"),
        (0, 0, 65 << 20, 1, "log"),
        (0, 0, 0, 5000, "memory"),
    ],
)
def test_limits(memory: int, disk: int, log: int, processes: int, error: str | None) -> None:
    assert over(Limits(NEEDS), memory, disk, log, processes) == error


def test_only_the_outermost_of_what_exists_is_hidden(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home / "keys")
    kept = str(home / "work")
    os.mkdir(kept)
    hidden = isolate.outermost(
        [str(home), str(home / "keys"), str(tmp_path / "link"), str(tmp_path / "no"), "/", kept],
        [kept],
    )
    assert hidden == [str(home)]


def test_environments_begin_almost_empty() -> None:
    programs = Programs({"HOME": "/h", "LANG": "C", "SECRET": "s", "K_1": "1", "PATH": "/bin"})
    env = programs.environment({"clear": True, "keep": ["K_*"], "vars": {"V": "v"}}, {"O": "o"}, {})
    assert env == {"HOME": "/h", "LANG": "C", "PATH": "/bin", "K_1": "1", "V": "v", "O": "o"}
    assert "SECRET" in programs.environment({"clear": False}, {}, {})


def test_programs_are_found_in_the_path_of_their_module() -> None:
    programs = Programs({})
    module = {"run": ["sh", "-c", "x"], "env": {"wrap": ["env"], "setup": ""}}
    program = programs.program(module, {"PATH": "/nowhere:/usr/bin:/bin"})
    assert program.path in ("/usr/bin/env", "/bin/env")
    assert program.argv == ["env", "sh", "-c", "x"]
    with pytest.raises(NotFound, match="no program 'env' in PATH"):
        programs.program(module, {"PATH": "/nowhere"})


def test_the_cache_drops_the_oldest_that_nobody_needs(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), 250)
    for name in ("a", "b", "c", "d"):
        Path(cache.path(name)).write_bytes(b"x" * 100)
        cache.took(name, 100)
    cache.make_room({"a"})
    assert [cache.have(name) for name in "abcd"] == [True, False, False, True]
    assert sorted(os.listdir(tmp_path / "cache")) == ["a", "d"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", ".", "out/x"])
def test_names_lead_nowhere_out_of_scratch(tmp_path: Path, name: str) -> None:
    scratch = tmp_path / "work"
    scratch.mkdir()
    (scratch / "out").symlink_to(tmp_path)
    with pytest.raises(staging.Failed, match="not inside"):
        staging.inside(str(scratch), name)


def test_a_log_is_cut_in_the_middle_and_its_disk_given_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    log = LogFile(str(tmp_path), str(tmp_path / "out"))
    os.write(log.fd, b"begin")
    for _ in range(3):
        os.write(log.fd, b"x" * KEPT_BYTES_MAX)
        log.trim()
    os.write(log.fd, b"end")
    assert os.fstat(log.fd).st_blocks * 512 < 1.5 * KEPT_BYTES_MAX
    assert log.tail(3) == b"end"
    blob = log.take()
    assert blob is not None
    data = (tmp_path / "out" / blob[3]).read_bytes()
    assert data.startswith(b"begin")
    assert data.endswith(b"end")
    assert KEPT_BYTES_MAX < len(data) < KEPT_BYTES_MAX + 200
    assert hashlib.blake2b(data, digest_size=32).hexdigest() == blob[0]
    assert log.take() is None


def test_an_unused_port_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        Connection(["https://127.0.0.1:9"], "00" * 32).json("GET", "/")


def test_addresses_without_tls_are_refused() -> None:
    with pytest.raises(ValueError, match="no https address"):
        Connection(["http://127.0.0.1:9"], "00" * 32)


def test_answers_that_are_no_json() -> None:
    with pytest.raises(Refused) as refused:
        parse_answer(502, b"<html>")
    assert refused.value.status == 502
    with pytest.raises(Unreachable, match="no JSON"):
        parse_answer(200, b"<html>")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"urls": []}', "\xff"])
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(BadSettings):
        read(str(path))


@pytest.mark.parametrize(
    ("digest", "file"),
    [("ab" * 32, "../../../../key"), ("ab" * 32, "/key"), ("ab" * 32, "cd" * 32),
     ("../key", "../key"), ("AB" * 32, "AB" * 32), ("ab" * 32 + "\n", "ab" * 32 + "\n"), ("", "")],
)  # fmt: skip
def test_a_runner_cannot_have_other_files_moved(tmp_path: Path, digest: str, file: str) -> None:
    (tmp_path / "outbox").mkdir()
    out = tmp_path / "slots" / "0" / "out"
    out.mkdir(parents=True)
    (tmp_path / "key").write_text("secret")
    for name in ("cd" * 32, "AB" * 32):
        (out / name).write_text("other")
    ours, theirs = socket.socketpair()
    pilot: Any = SimpleNamespace(_folder=lambda name: str(tmp_path / name), _blobs={})
    with ours, theirs:
        slot = supervisor._Slot(0, ours)
        with pytest.raises(OSError, match="may not"):
            supervisor.Pilot._keep_blob(pilot, slot, digest, 6, None, file)
    assert (tmp_path / "key").read_text() == "secret"
    assert not pilot._blobs
