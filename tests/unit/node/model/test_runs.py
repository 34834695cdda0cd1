"""Descriptions run to their end by the pilot's own code: what the reference says, happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.model.document import load
from node.model.pilotspec import row_of, task_spec
from node.model.plan import task_order
from node.model.rows import RowFile
from pilot.offline import run_job
from tests.unit.node.model.drafts import NONCE, small, with_module, with_task

Rows = dict[str, dict[str, Any]]


def run(table: dict[str, Any], base: Path, job: int = 0) -> tuple[Rows, Path]:
    """Each task's row, and the folder with its outputs and logs."""
    draft = load(table, base)
    made = draft.build(None, NONCE)
    files, out = base / "blobs", base / "out"
    files.mkdir()
    for digest, blob in made.blobs.items():
        content = blob if isinstance(blob, bytes) else blob.read_bytes()
        (files / digest.hex()).write_bytes(content)
    plan: dict[str, Any] = {"tasks": [task_spec(made.spec, n) for n in task_order(made.spec)]}
    if draft.rows is not None:
        rows = RowFile(base / table["foreach"]["file"], draft.rows.format, draft.rows.columns)
        plan["row"] = rows.row(row_of(made.spec, job))
    found: Rows = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            found[event["task"]] = event

    run_job(plan, job, str(files), str(out), on_event)
    return found, out / str(job)


def test_a_chain_with_params_written_files_and_streams(tmp_path: Path) -> None:
    (tmp_path / "gen.sh").write_text('#!/bin/sh\nread line\necho "$1 $line"\n')
    (tmp_path / "gen.sh").chmod(0o755)
    table = small(
        jobs=3,
        files=["gen.sh"],
        matrix={"flavor": ["e", "mu"]},
        params={"seed": "{20000 + job}"},
        task=[
            {
                "name": "reco",
                "after": ["sim"],
                "inputs": {"in.txt": "sim/{flavor}.txt"},
                "outputs": ["all.txt"],
                "module": [
                    {"run": ["cat", "in.txt"], "stdout": "all.txt"},
                    {"script": 'echo "$FLOE_P_flavor $FLOE_JOB {job}" >> all.txt'},
                ],
            },
            {
                "name": "sim",
                "outputs": ["{flavor}.txt"],
                "module": [
                    {
                        "write": {"cards.txt": "seed {seed}\n"},
                        "run": ["./gen.sh", "{flavor}"],
                        "stdin": "cards.txt",
                        "stdout": "{flavor}.txt",
                    }
                ],
            },
        ],
    )
    rows, out = run(table, tmp_path, job=3)
    assert {name: row["error"] for name, row in rows.items()} == {"sim": "", "reco": ""}
    assert (out / "reco/all.txt").read_text() == "mu seed 20003\nmu 3 {job}\n"


def test_a_row_of_a_file_reaches_the_unit(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run,note\n17,{job} $x\n18,b\n")
    table = with_module(run=["printf", "%s|", "{run}", "{note}", "{run + 1}"])
    rows, out = run(table | {"foreach": {"file": "runs.csv"}}, tmp_path)
    assert rows["sim"]["error"] == ""
    assert (out / "sim.log").read_text() == "17|{job} $x|18|"


@pytest.mark.parametrize(
    ("status", "outcome", "error"),
    [(0, 0, ""), (3, 0, ""), (4, 3, "exit-retry"), (5, 1, "exit-final"), (6, 1, "exit")],
)
def test_exit_codes_mean_what_the_description_says(
    tmp_path: Path, status: int, outcome: int, error: str
) -> None:
    exits = {"ok": [0, 3], "retry": [4], "fail": [5]}
    table = with_module(run=["sh", "-c", f"exit {status}"], exit=exits)
    rows, _ = run(table, tmp_path)
    assert (rows["sim"]["outcome"], rows["sim"]["error"]) == (outcome, error)


def test_outputs_go_to_urls_and_folders(tmp_path: Path) -> None:
    there = tmp_path / "d"
    table = with_task(
        outputs={
            "a.txt": {"to": [f"file://{there}/{{job}}.txt"]},
            "p/*.txt": {"to": [f"file://{there}/all/"]},
            "none*": {"optional": True},
        },
        module=[{"script": "echo a > a.txt; mkdir p; echo 1 > p/1.txt; echo 2 > 'p/2 %41.txt'"}],
    )
    rows, _ = run(table, tmp_path)
    assert rows["sim"]["error"] == "", rows["sim"]["tail"]
    assert (there / "0.txt").read_text() == "a\n"
    assert (there / "all/p/1.txt").read_text() == "1\n"
    assert (there / "all/p/2 %41.txt").read_text() == "2\n"


def test_the_environment_is_almost_empty_and_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "1")
    monkeypatch.setenv("KEPT_PROXY", "2")
    env = {
        "vars": {"A": "{job}", "B": "outer"},
        "keep": ["KEPT_*"],
        "setup": "S={job}; export S",
        "wrap": ["env", "W=1"],
    }
    script = 'echo "$A $B $KEPT_PROXY $S $W ${SECRET_OF_MINE-unset}"'
    table = with_module(run=None, script=script, env={"vars": {"B": "inner"}}) | {"env": env}
    rows, out = run(table, tmp_path)
    assert rows["sim"]["error"] == "", rows["sim"]["tail"]
    assert (out / "sim.log").read_text() == "0 inner 2 {job} 1 unset\n"


def test_the_first_module_that_fails_ends_the_unit(tmp_path: Path) -> None:
    modules = [{"run": ["echo", "one"]}, {"run": ["false"]}, {"run": ["echo", "three"]}]
    rows, out = run(with_task(module=modules), tmp_path)
    assert rows["sim"]["error"] == "exit"
    assert "three" not in (out / "sim.log").read_text()
