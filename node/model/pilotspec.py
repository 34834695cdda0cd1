"""What a pilot is told of a task once: the JSON that `pilot.expand.TaskTemplate` compiles.

{"dataset": id as hex, "name", "task": index, "task_name", "jobs", "cells",
 "matrix": [[axis, values], ...], "foreach_columns": [..], "foreach_rows": [..] (only rows that
 stand in the description), "params": {}, "env": {"setup", "wrap", "vars", "clear", "keep"},
 "needs": {"cpu", "gpu", "memory_bytes", "disk_bytes", "time_s"},
 "modules": [{"name", "run" | "script", "expand", "write": {}, "env": {own keys}, "cwd",
              "stdin", "stdout", "stderr" (null: default), "exit": {"ok", "retry", "fail"}}],
 "inputs": [{"local", "from", "optional"} and, if a task makes it, {"task": index,
             "task_name", "dataset": hex or null for this one, "all_jobs", "path"}],
 "outputs": [{"path", "to": [urls], "optional", "temp"}],
 "files": [{"to", "digest", "size", "mode"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.model import after, paths
from node.model.dataset import DatasetSpec, TaskSpec
from pilot.expand import merged_env

_ENV: dict[str, Any] = {"setup": "", "wrap": [], "vars": {}, "clear": True, "keep": []}
_EXIT: dict[str, Any] = {"ok": [0], "retry": [], "fail": []}


def task_spec(spec: DatasetSpec, index: int) -> dict[str, Any]:
    """The JSON of one task of a checked dataset."""
    description = spec.document["description"]
    task = description["task"][index]
    table = spec.document.get("foreach")
    rows = description.get("foreach", {}).get("rows")
    columns = table["columns"] if table else sorted(rows[0]) if rows else []
    result = {
        "dataset": spec.id.hex(),
        "name": spec.name,
        "task": index,
        "task_name": task["name"],
        "jobs": spec.jobs,
        "cells": spec.cells,
        "matrix": description.get("matrix", []),
        "foreach_columns": columns,
        "params": {**description.get("params", {}), **task.get("params", {})},
        "env": merged_env(merged_env(_ENV, description.get("env", {})), task.get("env", {})),
        "needs": _needs(spec.tasks[index]),
        "modules": [_module(module, i) for i, module in enumerate(task["module"])],
        "inputs": [
            _input(local, value, spec.tasks[index])
            for local, value in task.get("inputs", {}).items()
        ],
        "outputs": _outputs(task.get("outputs", {})),
        "files": [
            {"to": f.to, "digest": f.digest.hex(), "size": f.size, "mode": f.mode}
            for f in spec.files
        ],
    }
    return result if rows is None else result | {"foreach_rows": rows}


def row_of(spec: DatasetSpec, job: int) -> int:
    """Which row of `foreach`, from 0, belongs to a job; 0 without one."""
    matrix = 1
    for _, values in spec.document["description"].get("matrix", []):
        matrix *= len(values)
    return job % spec.cells // matrix


def _needs(task: TaskSpec) -> dict[str, int]:
    needs = task.needs
    return {
        "cpu": needs.cpu,
        "gpu": needs.gpu,
        "memory_bytes": needs.memory_bytes,
        "disk_bytes": needs.disk_bytes,
        "time_s": needs.time_s,
    }


def _module(module: Mapping[str, Any], index: int) -> dict[str, Any]:
    result = {
        "name": f"m{index}",
        "expand": True,
        "write": {},
        "env": {},
        "cwd": ".",
        "stdin": None,
        "stdout": None,
        "stderr": None,
    }
    return {**result, **module, "exit": {**_EXIT, **module.get("exit", {})}}


def _input(local: str, value: Any, task: TaskSpec) -> dict[str, Any]:
    origin = value if isinstance(value, str) else value["from"]
    optional = not isinstance(value, str) and value.get("optional", False)
    entry: dict[str, Any] = {"local": local, "from": origin, "optional": optional}
    waits = [after.parse(item.text) for item in task.after]
    found = None if paths.scheme(origin) else after.source(origin, waits)
    if found is None:
        return entry
    producer = task.after[waits.index(found[0])]
    return entry | {
        "task": producer.task,
        "task_name": producer.task_name,
        "dataset": producer.dataset.hex() if producer.dataset else None,
        "all_jobs": producer.all_jobs,
        "path": found[1],
    }


def _outputs(outputs: Any) -> list[dict[str, Any]]:
    result = []
    for name in outputs:
        value = outputs[name] if isinstance(outputs, dict) else True
        options = value if isinstance(value, dict) else {}
        entry = {"path": name, "to": [], "optional": False, "temp": False}
        result.append(entry | options)
    return result
