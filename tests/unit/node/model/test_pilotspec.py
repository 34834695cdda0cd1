"""What a pilot is told of a task, and that its code makes of it what the reference says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from node.model.pilotspec import row_of, task_spec
from pilot.expand import TaskTemplate
from tests.unit.node.model.drafts import built, small, spec_of, with_module, with_task


def told(source: Any, index: int = 0, base: Path | None = None) -> dict[str, Any]:
    """The JSON that reaches the pilot."""
    made: dict[str, Any] = json.loads(json.dumps(task_spec(spec_of(source, base), index)))
    return made


def test_a_task_is_told_whole_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    made = built(small(jobs=5, files=["a"]), tmp_path)
    assert task_spec(made.spec, 0) == {
        "dataset": made.id.hex(),
        "name": "small",
        "task": 0,
        "task_name": "sim",
        "jobs": 5,
        "cells": 1,
        "matrix": [],
        "foreach_columns": [],
        "params": {},
        "env": {"setup": "", "wrap": [], "vars": {}, "clear": True, "keep": []},
        "needs": {
            "cpu": 1,
            "gpu": 0,
            "memory_bytes": 10**9,
            "disk_bytes": 10**9,
            "time_s": 3600,
        },
        "modules": [
            {
                "name": "m0",
                "run": ["true"],
                "expand": True,
                "write": {},
                "env": {},
                "cwd": ".",
                "stdin": None,
                "stdout": None,
                "stderr": None,
                "exit": {"ok": [0], "retry": [], "fail": []},
            }
        ],
        "inputs": [],
        "outputs": [],
        "files": [{"to": "a", "digest": made.spec.files[0].digest.hex(), "size": 1, "mode": 420}],
    }


def test_environments_merge_from_the_outside_in() -> None:
    table = with_task(env={"vars": {"A": "2", "B": "2"}, "wrap": ["inner"]})
    table["env"] = {"vars": {"A": "1", "C": "1"}, "wrap": ["outer"], "setup": "x", "clear": False}
    assert told(table)["env"] == {
        "setup": "x",
        "wrap": ["inner"],
        "vars": {"A": "2", "B": "2", "C": "1"},
        "clear": False,
        "keep": [],
    }


def test_exit_codes_are_filled_in() -> None:
    assert told(with_module(exit={"fail": [3]}))["modules"][0]["exit"] == {
        "ok": [0],
        "retry": [],
        "fail": [3],
    }


def test_inputs_name_their_producers() -> None:
    table = with_task(
        after=["other/sim:*"],
        inputs={
            "in/": "other/sim:*/o.npz",
            "g.i3": {"from": "https://h/g-{job}.i3", "optional": True},
        },
    )
    table["task"].append(
        {
            "name": "reco",
            "after": ["sim"],
            "inputs": {"x": "sim/plots/a.png"},
            "module": [{"run": ["true"]}],
        }
    )
    table["task"][0]["outputs"] = ["plots/*.png"]
    first = {entry["local"]: entry for entry in told(table)["inputs"]}
    assert first["in/"] == {
        "local": "in/",
        "from": "other/sim:*/o.npz",
        "optional": False,
        "task": 1,
        "task_name": "sim",
        "dataset": (b"o" * 32).hex(),
        "all_jobs": True,
        "path": "o.npz",
    }
    assert first["g.i3"] == {"local": "g.i3", "from": "https://h/g-{job}.i3", "optional": True}
    (second,) = told(table, 1)["inputs"]
    assert (second["task"], second["dataset"], second["path"]) == (0, None, "plots/a.png")


def test_outputs_have_one_form() -> None:
    expected = [{"path": "a", "to": [], "optional": False, "temp": False}]
    assert told(with_task(outputs=["a"]))["outputs"] == expected
    assert told(with_task(outputs={"a": True}))["outputs"] == expected
    full = {"to": ["file:///d/{job}"], "optional": True, "temp": True}
    assert told(with_task(outputs={"a": full}))["outputs"] == [{"path": "a", **full}]


def test_axes_keep_the_order_of_the_description() -> None:
    made = told(
        'floe=1\nname="x"\n[matrix]\nz=[1,2]\na=["p","q"]\n[[task]]\nname="t"\n[[task.module]]\nrun=["{z}{a}"]\n'
    )
    assert made["matrix"] == [["z", [1, 2]], ["a", ["p", "q"]]]
    template = TaskTemplate(made)
    runs = [template.unit(job)["modules"][0]["run"][0] for job in range(4)]
    assert runs == ["1p", "1q", "2p", "2q"]


def test_rows_in_place_travel_with_the_task() -> None:
    rows = [{"run": "a"}, {"run": "b"}]
    made = told(small(foreach={"rows": rows}, jobs=2, params={"p": "<{run}>"}))
    assert (made["foreach_rows"], made["foreach_columns"]) == (rows, ["run"])
    assert [TaskTemplate(made).unit(job)["names"]["p"] for job in range(4)] == ["<a>", "<b>"] * 2


def test_rows_of_a_file_do_not(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("run,n\na,1\nb,2\n")
    made = told(small(foreach={"file": "r.csv"}), 0, tmp_path)
    assert "foreach_rows" not in made
    assert made["foreach_columns"] == ["run", "n"]
    assert TaskTemplate(made).unit(1, {"run": "b", "n": 2})["names"]["run"] == "b"


def test_the_pilot_and_the_node_number_rows_alike(tmp_path: Path) -> None:
    rows = [{"r": n} for n in range(3)]
    spec = spec_of(small(foreach={"rows": rows}, matrix={"a": [1, 2], "b": [1, 2]}, jobs=2))
    template = TaskTemplate(task_spec(spec, 0))
    for job in range(spec.jobs):
        assert template.names(job)["r"] == row_of(spec, job) == template.names.row_number(job)


def test_a_tasks_parameters_shadow_the_datasets() -> None:
    made = told(with_task(params={"a": 2}) | {"params": {"a": 1, "b": "{a}"}})
    assert TaskTemplate(made).unit(0)["names"]["b"] == 2
