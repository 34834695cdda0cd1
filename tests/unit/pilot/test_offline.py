"""One job's tasks without a node: order, files between tasks, outputs and logs where users look."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pilot.offline import run_job
from tests.fakes.pilot_server import task


def two_tasks(script: str) -> dict[str, Any]:
    first = task(
        ["sh", "gen.sh", "{job}"],
        task_name="gen",
        outputs=[{"path": "n.txt"}],
        files=[file(script)],
    )
    second = task(
        {"script": "cat in.txt; wc -c < in.txt > size"},
        task=1,
        task_name="count",
        inputs=[
            {
                "local": "in.txt",
                "from": "gen/n.txt",
                "optional": False,
                "task": 0,
                "task_name": "gen",
                "dataset": None,
                "all_jobs": False,
                "path": "n.txt",
            }
        ],
        outputs=[{"path": "size"}],
    )
    return {"tasks": [first, second]}


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def file(text: str) -> dict[str, Any]:
    return {"to": "gen.sh", "digest": digest(text), "size": len(text), "mode": 0o644}


def rehearse(tmp_path: Path, script: str) -> tuple[int, list[dict[str, Any]]]:
    files = tmp_path / "files"
    files.mkdir()
    (files / digest(script)).write_text(script)
    events: list[dict[str, Any]] = []
    status = run_job(two_tasks(script), 41, str(files), str(tmp_path / "out"), events.append)
    return status, events


def test_tasks_hand_files_on(tmp_path: Path) -> None:
    status, events = rehearse(tmp_path, 'printf "job $1" > n.txt; echo made')
    assert status == 0, events
    assert (tmp_path / "out/41/gen/n.txt").read_text() == "job 41"
    assert (tmp_path / "out/41/gen.log").read_text() == "made\n"
    assert (tmp_path / "out/41/count/size").read_text().strip() == "6"
    assert (tmp_path / "out/41/count.log").read_text() == "job 41"
    assert [(e["event"], e["task"]) for e in events] == [
        ("started", "gen"),
        ("finished", "gen"),
        ("started", "count"),
        ("finished", "count"),
    ]


def test_a_task_behind_a_failed_one_is_skipped(tmp_path: Path) -> None:
    status, events = rehearse(tmp_path, "echo broken >&2; exit 4")
    assert status == 1
    assert [(e["event"], e["task"]) for e in events][1:] == [
        ("finished", "gen"),
        ("skipped", "count"),
    ]
    assert events[1]["exit"] == 4
    assert events[1]["text"].startswith("failed: exit 4 after ")
    assert events[1]["text"].endswith("broken")


def test_a_failure_without_a_word_is_told_without_one(tmp_path: Path) -> None:
    _, events = rehearse(tmp_path, "exit 4")
    assert events[1]["text"].endswith(" s")
