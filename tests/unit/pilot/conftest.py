"""A real pilot process against the stub server, for tests of what it contains and reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.meshes import wait_until
from pilot.processes import children_of
from tests.fakes.pilot_server import TOKEN, PilotServer

ROOT = Path(__file__).resolve().parents[3]


class RunningPilot:
    """A pilot process and where it works."""

    def __init__(
        self, process: subprocess.Popen[bytes], work: Path, log: Path, settings: Path
    ) -> None:
        self.process = process
        self.work = work
        self.settings = settings
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


Launch = Callable[..., RunningPilot]


@pytest.fixture
def server() -> Iterator[PilotServer]:
    with PilotServer() as server:
        yield server


@pytest.fixture
def launch(server: PilotServer, tmp_path: Path) -> Iterator[Launch]:
    """Starts pilots of the test's server; none of them outlives the test."""
    started: list[RunningPilot] = []

    def start(
        python: str = sys.executable,
        under: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        like: RunningPilot | None = None,
        **settings: Any,
    ) -> RunningPilot:
        """like: a pilot whose settings file this one shares."""
        number = len(started)
        work = tmp_path / "home" / "pilots" / f"work {number}"
        work.mkdir(parents=True)
        path = tmp_path / "home" / "pilots" / f"settings-{number}.json"
        table = {
            "urls": [server.url],
            "fingerprint": server.fingerprint,
            "token": TOKEN,
            "tag": f"test-{number}",
            "work_dir": str(work),
            "hide": [str(tmp_path / "home")],
            "cpu": 2,
            "memory_bytes": 2_000_000_000,
            "disk_bytes": 2_000_000_000,
            "grace_s": 6,
            **settings,
        }
        path.write_text(json.dumps(table))
        path.chmod(0o600)
        if like is not None:
            path, work = like.settings, like.work
        log = tmp_path / f"pilot-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*under, python, "-m", "pilot", str(path)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environ or {})},
            )
        pilot = RunningPilot(process, work, log, path)
        started.append(pilot)
        return pilot

    yield start
    for pilot in started:
        if pilot.process.poll() is None:
            pilot.process.kill()
            pilot.process.wait()
        print(pilot.log())


@pytest.fixture(params=["full", "group"])
def isolation(request: pytest.FixtureRequest) -> str:
    """Each test with namespaces and with the fallback; "full" only where this host allows it."""
    if request.param == "full" and not _namespaces_work():
        pytest.skip("this host denies user namespaces")
    return str(request.param)


def _namespaces_work() -> bool:
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"],
        capture_output=True,
    )
    return tried.returncode == 0


def processes_with(text: str) -> list[int]:
    """Living processes whose command line or environment has a text."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text.encode() in words and state not in "ZX":
            found.append(int(name))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below one, the nearest first."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = [child for each in todo for child in children_of(each)]
        found, todo = found + below, below
    return found


def gone(text: str, timeout_s: float = 30.0) -> bool:
    """Whether such processes end; fails the test if they have not in that time."""
    return bool(wait_until(lambda: not processes_with(text), timeout_s, f"{text} is gone", 0.02))
