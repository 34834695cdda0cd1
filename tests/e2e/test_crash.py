"""kill -9 at any moment: nothing acknowledged is lost, nothing is accepted twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from bench.site import FLOE, Site

KILLS = 200
UNITS = 4000


def start(site: Site) -> subprocess.Popen[bytes]:
    log = (site.home.parent / "node.log").open("ab")
    return subprocess.Popen([FLOE, "up"], env=site.environment, stdout=log, stderr=log)


def counts(site: Site, name: str) -> dict[str, int] | None:
    """Counts of a dataset, or None while no node answers."""
    text = site.run("show", name, "--json", check=False)
    try:
        found: dict[str, int] = json.loads(text)["counts"]
    except (ValueError, KeyError):
        return None
    return found


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the node run for so long, or until it ends by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(f"the node ended by itself with {process.returncode}")


def test_two_hundred_kills_lose_nothing(own_site: Site) -> None:
    site, rng = own_site, random.Random(20261)
    script = site.home.parent / "work.sh"
    script.write_text('#!/bin/sh\necho "job $FLOE_JOB" > out.txt\n')
    script.chmod(0o755)
    site.run(
        "submit", "--name", "long", "--jobs", str(UNITS), "--output", "out.txt",
        "--", "./work.sh",
    )  # fmt: skip
    os.kill(site.pid, signal.SIGKILL)
    acknowledged, settled = ["long"], 0
    for number in range(KILLS):
        process = start(site)
        wait_for_exit(process, rng.uniform(0.2, 1.4))
        if number % 10 == 0 and "node.json" in os.listdir(site.home / "run"):
            name = f"small-{number}"
            done = subprocess.Popen(
                [FLOE, "submit", "--name", name, "--jobs", "3", "--", "/bin/true"],
                env=site.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if rng.random() < 0.5:
                wait_for_exit(process, rng.uniform(0.05, 0.4))
                process.kill()
            if done.wait(60) == 0:
                acknowledged.append(name)
        elif number % 10 == 5 and (seen := counts(site, "long")):
            assert seen["settled"] >= settled, "settled units were lost"
            settled = seen["settled"]
        process.kill()
        process.wait()
    site.up()
    for name in acknowledged:
        site.wait(name, 300)
        seen = counts(site, name)
        assert seen is not None
        assert seen["settled"] == seen["units"], (name, seen)
        assert seen["failed"] == 0
    assert site.json("verify")["ok"] is True
    fetched = site.home.parent / "fetched"
    site.run("fetch", "long", "--to", str(fetched))
    texts = {path.read_text() for path in fetched.glob("*/*/out.txt")}
    assert texts == {f"job {job}\n" for job in range(UNITS)}


def test_units_of_a_killed_pilot_run_again_and_cost_no_retry(own_site: Site) -> None:
    site = own_site
    flag = site.home.parent / "go"
    site.run(
        "submit", "--name", "held", "--jobs", "2", "--retry", "0", "--",
        "sh", "-c", f"while [ ! -e {flag} ]; do sleep 0.05; done",
    )  # fmt: skip
    poll_until(lambda: (counts(site, "held") or {}).get("running") == 2)
    for pid in site.pilots():
        with contextlib.suppress(ProcessLookupError):  # a helper ends with its pilot
            os.kill(pid, signal.SIGKILL)
    Path(flag).touch()
    site.wait("held", 120)
    unit = site.json("show", "held/0/main")
    outcomes = [attempt["outcome"] for attempt in unit["attempts"]]
    assert outcomes[-1] == "success"
    assert "infrastructure" in outcomes


def poll_until(true: object, seconds: float = 60) -> None:
    """Wait for a condition of the real world, checked ten times a second."""
    assert callable(true)
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.1)
