"""A pilot of an ordinary account: the same walls, without any privilege to build them with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.pilot_server import TOKEN, PilotServer, task
from tests.unit.pilot.conftest import ROOT, gone, processes_with

NOBODY = 65534
CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pilot.__main__ import main; main()"


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ordinary-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pilot(server: PilotServer, home: Path, isolation: str) -> Iterator[subprocess.Popen[bytes]]:
    if os.geteuid() != 0:
        pytest.skip("all other tests ran as an ordinary account already")
    python = shutil.which("python3", path="/usr/bin:/bin")
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if python is None or subprocess.run([*as_nobody, python, "-V"]).returncode:
        pytest.skip("no python3 that everybody may use")
    work = home / "work"
    work.mkdir()
    (home / "secret").write_text("secret")
    settings = home / "settings.json"
    table = {
        "urls": [server.url],
        "fingerprint": server.fingerprint,
        "token": TOKEN,
        "work_dir": str(work),
        "hide": [str(home)],
        "cpu": 2,
        "memory_bytes": 10**9,
        "isolation": isolation,
        "grace_s": 6,
    }
    settings.write_text(json.dumps(table))
    settings.chmod(0o600)
    shutil.copytree(ROOT / "pilot", home / "code" / "pilot")
    for path in [home, *home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    process = subprocess.Popen(
        [*as_nobody, python, "-c", CODE, str(home / "code"), str(settings)],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


def test_units_run_and_leave_nothing(
    server: PilotServer, pilot: subprocess.Popen[bytes], home: Path, isolation: str
) -> None:
    mark = f"98001.{os.getpid()}"
    script = f"id -u; grep CapEff /proc/self/status; (setsid sleep {mark} &); sleep 0.3; echo x > f"
    server.add(task({"script": script}, outputs=[{"path": "f"}]))
    row = server.result()
    assert row["error"] == "", row
    assert server.state.announced[0]["isolation"] == isolation
    assert server.log(row).split() == [b"%d" % NOBODY, b"CapEff:", b"0" * 16]
    assert server.outputs(row) == {"f": b"x\n"}
    assert processes_with(mark) == []


def test_the_home_is_hidden(
    server: PilotServer, pilot: subprocess.Popen[bytes], home: Path, isolation: str
) -> None:
    if isolation == "group":
        pytest.skip("nothing can be hidden without namespaces")
    script = f"cat {home}/secret && exit 5; cat /proc/1/environ && exit 6; exit 0"
    server.add(task(["sh", "-c", script]))
    row = server.result()
    assert row["exit"] == 0, server.log(row)


def test_limits_hold(server: PilotServer, pilot: subprocess.Popen[bytes]) -> None:
    eat = "import time; x = b'x' * 400_000_000; time.sleep(60)"
    server.add(task(["python3", "-c", eat], needs={"memory_bytes": 100_000_000}), jobs=[0])
    server.add(task({"script": "sleep 100"}, needs={"time_s": 1}), jobs=[1])
    assert server.result(0)["error"] == "memory"
    assert server.result(1)["error"] == "time"


def test_a_fork_bomb_is_contained(server: PilotServer, pilot: subprocess.Popen[bytes]) -> None:
    mark = f"{os.getpid()}.98003"
    server.add(task({"script": f"b() {{ b {mark} | b & }}; b; sleep 30"}, needs={"time_s": 2}))
    row = server.result(timeout_s=180)  # hundreds of processes want the same cores
    assert row["error"] in ("time", "exit"), row  # "exit": the bomb choked on itself
    assert gone(mark)
    server.add(task(["true"]), jobs=[1])
    assert server.result(1, timeout_s=60)["outcome"] == 0


def test_a_killed_pilot_leaves_nobody(
    server: PilotServer, pilot: subprocess.Popen[bytes], isolation: str
) -> None:
    mark = f"98002.{os.getpid()}"
    server.add(task({"script": f"(setsid sleep {mark} &) ; sleep {mark}"}))
    server.until(lambda state: state.running)
    os.kill(pilot.pid, signal.SIGKILL)
    assert gone(mark)
