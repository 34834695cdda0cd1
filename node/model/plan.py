"""What a description would run, without running it: `floe plan`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from node.model import dag, rules
from node.model.dataset import DatasetSpec
from node.model.document import Draft
from node.model.pilotspec import row_of, task_spec
from node.model.problems import Invalid, Path, Problem, clean, rows
from node.model.rows import RowFile
from node.model.units import show_size, show_time
from pilot.expand import ExpandError, TaskTemplate, Template, written

SCHEMA = 1
CONTENT_CHARS_MAX = 200
_BRACES = (("literals", "literal brace"), ("collapsed", '"{{" becomes "{"'))


def plan_json(draft: Draft, job: int | None = None) -> dict[str, Any]:
    """Tasks in the order in which they run, each with what `job` runs (default: first and last).

    Raises Invalid with everything that is wrong.
    """
    made = draft.rehearse()
    spec = made.spec
    jobs = _jobs(spec, job)
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "jobs": spec.jobs,
        "units": made.units,
        "cells": spec.cells,
        "document_bytes": made.stored_bytes,
        "files": [{"to": f.to, "size": f.size, "mode": f"{f.mode:04o}"} for f in spec.files],
        "foreach": _foreach(draft, spec),
        "tasks": [_task(draft, spec, index, jobs) for index in task_order(spec)],
        "braces": list(_braces(draft, spec)),
        "warnings": [warning.json() for warning in made.warnings],
    }


def rehearsal(draft: Draft, spec: DatasetSpec, job: int) -> dict[str, Any]:
    """What `pilot.offline.run_job` needs to run one job here. Raises Invalid."""
    _jobs(spec, job)
    tasks = [task_spec(spec, index) for index in task_order(spec)]
    return {"tasks": tasks, "row": _row(draft, spec, job)}


def task_order(spec: DatasetSpec) -> list[int]:
    """Indices of the tasks, parents first."""
    return dag.order([[a.task for a in task.after if a.dataset is None] for task in spec.tasks])


def _jobs(spec: DatasetSpec, job: int | None) -> list[int]:
    if job is None:
        return sorted({0, spec.jobs - 1})
    if not 0 <= job < spec.jobs:
        right = f"use 0 to {spec.jobs - 1:,}"
        raise Invalid([Problem("job", f"there is no job {job:,}", right)], spec.name)
    return [job]


def _foreach(draft: Draft, spec: DatasetSpec) -> dict[str, Any] | None:
    inline = spec.document["description"].get("foreach", {}).get("rows")
    if draft.rows is not None:
        table = draft.rows
        return {"rows": table.rows, "columns": list(table.columns), "format": table.format}
    return {"rows": len(inline), "columns": sorted(inline[0])} if inline else None


def _task(draft: Draft, spec: DatasetSpec, index: int, jobs: list[int]) -> dict[str, Any]:
    task = spec.tasks[index]
    told = task_spec(spec, index)
    template = TaskTemplate(told)
    return {
        "name": task.name,
        "after": [after.text for after in task.after],
        "needs": told["needs"],
        "retry_max": task.retry_max,
        "sites": {key: list(globs) for key, globs in task.sites.items()},
        "runs": [_unit(template, job, _row(draft, spec, job)) for job in jobs],
    }


def _row(draft: Draft, spec: DatasetSpec, job: int) -> Mapping[str, Any] | None:
    table = draft.rows
    if table is None:
        return None
    number = row_of(spec, job)
    if number in (0, table.rows - 1):
        return table.last if number else table.first
    path = draft.base / draft.table["foreach"]["file"]
    return RowFile(path, table.format, table.columns).row(number)


def _unit(template: TaskTemplate, job: int, row: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        unit = template.unit(job, row)
    except ExpandError as error:
        return {"job": job, "error": f"{error.what}; {error.right}"}
    return {
        "job": job,
        "names": unit["names"],
        "modules": [_module(module) for module in unit["modules"]],
        "inputs": [{key: entry[key] for key in ("local", "from")} for entry in unit["inputs"]],
        "outputs": unit["outputs"],
    }


def _module(module: Mapping[str, Any]) -> dict[str, Any]:
    env = module["env"]
    shown: dict[str, Any] = {"name": module["name"]}
    if "run" in module:
        shown["run"] = [*env["wrap"], *module["run"]]
    else:
        shown["script"] = module["script"]
    shown["write"] = {name: written(value) for name, value in module["write"].items()}
    shown |= {"vars": env["vars"], "setup": env["setup"], "cwd": module["cwd"]}
    return shown | {key: module[key] for key in ("stdin", "stdout", "stderr") if module[key]}


def _braces(draft: Draft, spec: DatasetSpec) -> Iterator[dict[str, Any]]:
    """Every literal brace and every collapsed pair, once a place."""
    seen: set[tuple[Path, str]] = set()
    description = dict(spec.document["description"])
    for index in range(len(spec.tasks)):
        for path, template in _templates(description, index):
            if (path, template.text) in seen:
                continue
            seen.add((path, template.text))
            place = draft.place(path)
            for field, what in _BRACES:
                for at in getattr(template, field):
                    found = {"where": place.where, "line": place.line, "what": what}
                    yield found | {"text": template.text[max(0, at - 20) : at + 40]}


def _templates(description: Mapping[str, Any], index: int) -> Iterator[tuple[Path, Template]]:
    for path, text in rules.texts(description, index):
        yield path, Template(text)
    for _, (path, value) in rules.param_values(description, index):
        yield from ((path, template) for template in _inside(value))
    for path, value in rules.values(description, index):
        yield from ((path, template) for template in _inside(value))


def _inside(value: Any) -> Iterator[Template]:
    if isinstance(value, str):
        yield Template(value)
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _inside(item)


# --- for people -----------------------------------------------------------------------------


def plan_text(draft: Draft, job: int | None = None) -> str:
    """The plan on about one screen. Raises Invalid."""
    plan = plan_json(draft, job)
    tasks = len(plan["tasks"])
    count = f"{plan['jobs']:,} job{'s' * (plan['jobs'] != 1)} × {tasks} task{'s' * (tasks != 1)}"
    lines = [f"{plan['name']}   {count} = {plan['units']:,} unit{'s' * (plan['units'] != 1)}"]
    if plan["files"]:
        shown = [f"{clean(f['to'])} ({show_size(f['size'])})" for f in plan["files"]]
        lines.append("files    " + ", ".join(shown))
    if plan["foreach"]:
        table = plan["foreach"]
        count = "1 row" if table["rows"] == 1 else f"{table['rows']:,} rows"
        lines.append(f"foreach  {count} of {', '.join(table['columns'])}")
    for task in plan["tasks"]:
        lines += ["", *_task_lines(task)]
    if plan["braces"]:
        lines += ["", "braces that stay as they are, and doubled ones"]
        lines += [_brace_line(brace) for brace in plan["braces"]]
    if plan["warnings"]:
        lines += ["", "warnings", *rows([Problem(**warning) for warning in plan["warnings"]])]
    return "\n".join(lines)


def _brace_line(brace: Mapping[str, Any]) -> str:
    line = f"line {brace['line']}  " if brace["line"] else ""
    return f"  {line}{brace['where']}  {brace['what']}: {clean(brace['text'])}"


def _task_lines(task: Mapping[str, Any]) -> list[str]:
    after = f"after {', '.join(task['after'])}; " if task["after"] else ""
    lines = [f"{task['name']}   {after}{_needs_text(task['needs'])}"]
    for run in task["runs"]:
        lines += _run_lines(run)
    return lines


def _needs_text(needs: Mapping[str, int]) -> str:
    gpu = f", {needs['gpu']} GPU" if needs["gpu"] else ""
    sizes = f"{show_size(needs['memory_bytes'])} memory, {show_size(needs['disk_bytes'])} disk"
    return f"{needs['cpu']} CPU{gpu}, {sizes}, {show_time(needs['time_s'])}"


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    head = f"  job {run['job']}"
    if "error" in run:
        return [f"{head}  cannot be expanded: {clean(run['error'])}"]
    lines = [head]
    lines += [f"    get    {clean(i['local'])}  from {clean(i['from'])}" for i in run["inputs"]]
    for module in run["modules"]:
        for name, content in module["write"].items():
            lines.append(f"    write  {clean(name)}  {_content(content)}")
        if "run" in module:
            lines.append("    run    " + clean(shlex.join(module["run"])))
        else:
            lines.append("    script " + _content(module["script"]))
    for output in run["outputs"]:
        to = "".join(f"  to {clean(url)}" for url in output["to"])
        lines.append(f"    keep   {clean(output['path'])}{to}")
    return lines


def _content(text: str) -> str:
    first = text.strip().partition("\n")[0][:CONTENT_CHARS_MAX]
    return clean(first) + (" ..." if len(first) < len(text.strip()) else "")
