"""What docs/cli.md promises to scripts, against a real node with a real pilot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.site import FLOE, Site

COUNTS = {
    "units", "settled", "running", "ready", "waiting", "failed", "blocked", "cancelled",
    "duplicates",
}  # fmt: skip


def status_of(site: Site, *arguments: str, **environment: str) -> int:
    done = subprocess.run(
        [FLOE, *arguments],
        env={**site.environment, **environment},
        cwd=site.home.parent,
        capture_output=True,
        check=False,
    )
    return done.returncode


@pytest.fixture(scope="module")
def done(site: Site) -> dict[str, Any]:
    """A dataset of four jobs of which job 3 fails; what `floe submit --json` printed."""
    script = site.home.parent / "work.sh"
    script.write_text('#!/bin/sh\necho "job $1" | tee out.txt\ntest "$1" -ne 3\n')
    script.chmod(0o755)
    words = ["--name", "four", "--jobs", "4", "--retry", "0", "--output", "out.txt"]
    told: dict[str, Any] = json.loads(
        site.run("submit", "--json", *words, "--", "./work.sh", "{job}")
    )
    assert status_of(site, "wait", "four", "--timeout", "120") == 3
    return told


def test_status_names_process_site_and_api(site: Site) -> None:
    status = site.json("status")
    assert status["schema"] == 1
    assert status["pid"] == site.pid
    assert status["site"]["name"] == "bench"
    assert status["api"].startswith("https://")


def test_submit_names_the_dataset_and_where_it_is_stored(done: dict[str, Any]) -> None:
    assert done["schema"] == 1
    assert len(done["dataset"]["id"]) == 64
    assert done["dataset"]["name"] == "four"
    assert done["units"] == 4
    assert done["stored_on"] == ["bench"]


def test_show_has_every_count(site: Site, done: dict[str, Any]) -> None:
    counts = site.json("show", "four")["counts"]
    assert set(counts) == COUNTS
    assert (counts["units"], counts["settled"], counts["failed"]) == (4, 3, 1)
    assert site.json("show", done["dataset"]["id"][:8])["counts"] == counts


def test_show_of_a_unit_has_the_whole_attempt(site: Site, done: dict[str, Any]) -> None:
    shown = site.json("show", "four/3/main")
    assert shown["unit"]["state"] == "failed"
    (attempt,) = shown["attempts"]
    assert {"number", "site", "host", "start_ms", "wall_s", "cpu_s", "memory_bytes"} <= set(attempt)
    assert (attempt["exit"], attempt["error"], attempt["outcome"]) == (1, "exit", "payload")


def test_logs_and_outputs_come_back(site: Site, done: dict[str, Any], tmp_path: Path) -> None:
    assert site.run("logs", "four/2/main") == "job 2\n"
    site.run("fetch", "four", "--to", str(tmp_path))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{job}/main/out.txt" for job in range(3)}
    assert (tmp_path / "1" / "main" / "out.txt").read_text() == "job 1\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("show four", 0),
        ("wait four --timeout 5", 3),
        ("show nothing", 4),
        ("show four/9/main", 4),
        ("show four/1/nothing", 4),
        ("logs four/1/main#7", 4),
        ("show", 2),
        ("submit no.toml", 1),
        ("--node https://127.0.0.1:9 --fingerprint 00 sets", 6),
    ],
)
def test_exit_statuses(site: Site, done: dict[str, Any], words: str, status: int) -> None:
    assert status_of(site, *words.split()) == status


def test_wait_gives_up_when_its_time_is_over(site: Site) -> None:
    site.run("submit", "--name", "slow", "--", "sleep", "600")
    assert status_of(site, "wait", "slow", "--timeout", "0.5") == 1
    site.run("set", "cancel", "slow", "--yes")
    assert status_of(site, "wait", "slow", "--timeout", "60") == 3


def test_a_stranger_and_another_user_are_denied(site: Site, done: dict[str, Any]) -> None:
    key = site.home.parent / "ben"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ben", "-f", str(key)]
    subprocess.run(argv, check=True)
    assert status_of(site, "sets", FLOE_KEY=str(key)) == 5
    site.run("users", "add", "ben", "--key-file", f"{key}.pub")
    assert status_of(site, "sets", FLOE_KEY=str(key)) == 0
    assert status_of(site, "set", "cancel", "four", "--yes", FLOE_KEY=str(key)) == 5
    assert (
        status_of(site, "users", "add", "other", "--key-file", f"{key}.pub", FLOE_KEY=str(key)) == 5
    )
    site.run("users", "remove", "ben")
    assert status_of(site, "sets", FLOE_KEY=str(key)) == 5


def test_names_of_datasets_are_completed(site: Site, done: dict[str, Any]) -> None:
    environment = {
        **site.environment,
        "_FLOE_COMPLETE": "bash_complete",
        "COMP_WORDS": "floe show fo",
        "COMP_CWORD": "2",
    }
    shown = subprocess.run(
        [FLOE], env=environment, capture_output=True, text=True, check=False
    ).stdout
    assert shown.split(",")[-1].strip() == "four"


def test_every_listing_has_a_schema(site: Site, done: dict[str, Any]) -> None:
    for words in (
        "sets", "jobs four", "errors four", "why four", "why four/3/main", "pilots", "users list",
        "usage", "mesh", "site show", "site limits", "store show", "keys show", "config show",
        "set show four",
    ):  # fmt: skip
        assert site.json(*words.split())["schema"] == 1, words


def test_the_signature_of_a_submission_holds_for_the_stock_program(
    site: Site, done: dict[str, Any], tmp_path: Path
) -> None:
    check = site.run("set", "show", "four", "--save", str(tmp_path / "signed"))
    found = subprocess.run(["sh", "-c", check], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "Good" in found.stdout + found.stderr


def test_a_backup_goes_on_as_another_generation(own_site: Site, tmp_path: Path) -> None:
    site = own_site
    site.run("submit", "--name", "kept", "--jobs", "3", "--", "true")
    site.wait("kept")
    site.run("backup", "--to", str(tmp_path / "copy"), "--keys")
    assert site.json("verify")["ok"] is True
    site.run("down")
    assert site.json("store", "rebuild")["ok"] is True
    again = {**site.environment, "FLOE_HOME": str(tmp_path / "again")}
    key = ["--key", str(site.home.parent / "id")]

    def run(*words: str) -> str:
        done = subprocess.run(
            [FLOE, *key, *words], env=again, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("restore", str(tmp_path / "copy"))
    run("up", "--detach")
    try:
        assert json.loads(run("show", "kept", "--json"))["counts"]["settled"] == 3
        assert json.loads(run("site", "show", "--json"))["site"]["generation"] > 1
        assert json.loads(run("verify", "--json"))["ok"] is True
    finally:
        run("down")


def heed_interrupts() -> None:
    """A shell has those that it runs in the background, as perhaps these tests, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupting_watch_leaves_the_work_alone(site: Site) -> None:
    site.run("submit", "--name", "held", "--", "sleep", "600")
    watching = subprocess.Popen(
        [FLOE, "watch", "held"],
        env=site.environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert watching.stdout is not None
    assert "held" in watching.stdout.readline()
    os.kill(watching.pid, signal.SIGINT)
    assert watching.wait(60) == 130
    assert site.json("show", "held")["counts"]["cancelled"] == 0
    site.run("set", "cancel", "held", "--yes")
