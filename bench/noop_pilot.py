"""The pilot alone, against a stub node, and xargs, in turn: python -m bench.noop_pilot [UNITS]

It tells what the pilot itself costs; the promised figure (bench.noop) has the real node in it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.noop import xargs_s
from tests.fakes.pilot_server import TOKEN, PilotServer, task

ROOT = Path(__file__).resolve().parent.parent
UNITS = 20_000
WARM = 500
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def pilot(server: PilotServer, isolation: str) -> Iterator[subprocess.Popen[bytes]]:
    """A pilot of two slots at work for this server."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.json"
        table = {
            "urls": [server.url],
            "fingerprint": server.fingerprint,
            "token": TOKEN,
            "work_dir": f"{folder}/work",
            "slots": 2,
            "isolation": isolation,
        }
        settings.write_text(json.dumps(table))
        settings.chmod(0o600)
        process = subprocess.Popen([sys.executable, "-m", "pilot", str(settings)], cwd=ROOT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def own_cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU that the pilot and its runners used themselves, without what units used."""
    found, todo = 0.0, [process.pid]
    while todo:
        pid = todo.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"pilot" in command:
            found += (int(fields[11]) + int(fields[12])) / TICKS
        todo.extend(map(int, children))
    return found


def run(server: PilotServer, process: subprocess.Popen[bytes], units: int) -> tuple[float, float]:
    """Wall seconds of so many no-op units, and CPU seconds of the pilot itself."""
    before, cpu_s = server.state.units, own_cpu_s(process)
    began = time.monotonic()
    server.add(task(["/bin/true"]), range(units))
    server.until(lambda state: state.units >= before + units, 600)
    assert server.state.failures == 0, server.state.rows
    return time.monotonic() - began, own_cpu_s(process) - cpu_s


def noop_pilot(units: int = UNITS, rounds: int = 3, isolation: str = "auto") -> dict[str, float]:
    ratios, cpu_us = [], []
    with PilotServer() as server, pilot(server, isolation) as process:
        server.state.counting = True
        server.poll_s, server.heartbeat_s = 25.0, 30.0
        run(server, process, WARM)
        for _ in range(rounds):
            peer = xargs_s(units)
            ours, cpu_s = run(server, process, units)
            ratios.append(peer / ours)
            cpu_us.append(cpu_s / units * 1e6)
    return {
        "pilot_alone_vs_xargs": statistics.median(ratios),
        "pilot_alone_per_s": units / ours,
        "pilot_own_cpu_us_per_unit": statistics.median(cpu_us),
    }


if __name__ == "__main__":
    asked = int(sys.argv[1]) if sys.argv[1:] else UNITS
    for level in ("full", "group"):
        print(level, json.dumps(noop_pilot(asked, isolation=level)))
