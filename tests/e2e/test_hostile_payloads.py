"""Payloads that misbehave: contained, recorded, explained; the next unit runs as if nothing was."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bench.site import Site


def submit(site: Site, name: str, script: str, *options: str, jobs: int = 1) -> dict[str, Any]:
    """One unit of a shell script, run to its end; its record."""
    path = site.home.parent / f"{name}.sh"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    site.run(
        "submit", "--name", name, "--jobs", str(jobs), "--retry", "0", *options, "--",
        f"./{name}.sh",
    )  # fmt: skip
    site.run("wait", name, "--timeout", "120", check=False)
    found: dict[str, Any] = site.json("show", f"{name}/0/main")
    return found


def alive(marker: str) -> list[str]:
    """Command lines that carry a marker."""
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if marker in line and "ps axww" not in line]


def test_what_a_payload_forks_ends_with_it(site: Site) -> None:
    mark = f"sleep 98761.{os.getpid()}"
    unit = submit(site, "forks", f"(setsid {mark} &) ; setsid {mark} & sleep 0.3")
    assert unit["unit"]["state"] == "settled"
    assert alive(mark) == []


def test_endless_output_is_cut_and_named(site: Site) -> None:
    unit = submit(site, "chatty", "exec yes 0123456789", "--disk", "50MB", "--time", "30s")
    assert unit["attempts"][-1]["error"] in ("log", "disk", "output")
    assert "chatty" in site.run("errors", "chatty")


def test_a_payload_that_ignores_sigterm_is_killed(site: Site) -> None:
    unit = submit(site, "deaf", "trap '' TERM; while :; do sleep 0.1; done", "--time", "2s")
    assert {attempt["error"] for attempt in unit["attempts"]} == {"time"}


def test_a_payload_over_its_disk_allowance_is_stopped(site: Site) -> None:
    fill = "i=0; while :; do head -c 10000000 /dev/zero > f$i; i=$((i+1)); done"
    unit = submit(site, "filler", fill, "--disk", "60MB", "--time", "60s")
    assert {attempt["error"] for attempt in unit["attempts"]} == {"disk"}
    assert "disk" in site.run("why", "filler/0/main")


def test_a_payload_over_its_memory_is_stopped(site: Site) -> None:
    eat = "python3 -c 'import time; x = b\"x\" * 900_000_000; time.sleep(60)'"
    unit = submit(site, "eater", eat, "--memory", "100MB", "--time", "60s")
    assert {attempt["error"] for attempt in unit["attempts"]} == {"memory"}


def test_a_payload_cannot_end_its_pilot(site: Site) -> None:
    before = {pilot["id"] for pilot in site.json("pilots")["pilots"]}
    unit = submit(site, "killer", "kill -9 $PPID; kill -9 -1; exit 3")
    assert unit["attempts"], "the attempt is recorded"
    submit(site, "after", "exit 0")
    assert {pilot["id"] for pilot in site.json("pilots")["pilots"]} == before


def test_binary_and_escapes_are_shown_harmless(site: Site) -> None:
    unit = submit(site, "escapes", "printf '\\033]0;owned\\007\\033[2J\\000\\377 bad' >&2; exit 9")
    assert unit["attempts"][-1]["exit"] == 9
    for words in (("errors", "escapes"), ("why", "escapes/0/main"), ("show", "escapes/0/main")):
        assert "\x1b]" not in site.run(*words)
        assert "\x07" not in site.run(*words)
    assert "bad" in site.run("logs", "escapes/0/main")


def test_the_home_of_the_node_is_hidden(site: Site) -> None:
    key = site.home / "keys" / "site.key"
    assert key.exists()
    unit = submit(site, "spy", f"cat {key} && exit 5; ls {site.home}/pilots && exit 6; exit 0")
    isolation = site.json("pilots")["pilots"][0]["isolation"]
    if isolation != "full":
        pytest.skip("this machine denies user namespaces to ordinary processes")
    assert unit["unit"]["state"] == "settled", json.dumps(unit["attempts"])


def test_scratch_folders_are_gone_afterwards(site: Site) -> None:
    submit(site, "litter", "mkdir -p a/b; chmod 000 a; exit 0")
    until = time.monotonic() + 20
    work = Path(site.home) / "pilots"
    while (
        left := [path for path in work.rglob("b") if path.is_dir()]
    ) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []
