"""A command line as a description: `floe submit --jobs 1000 -- ./sim.py --seed '{job}'`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from node.model.paths import wrong_local
from node.model.problems import Invalid, Problem, clean
from node.model.rows import typed
from node.model.toml import dumps

_INTERPRETERS: Final = re.compile(
    r"(python[0-9.]*|bash|sh|zsh|dash|perl|ruby|Rscript|julia|node|env|time|nice|root)\Z"
)
TASK: Final = "main"


def from_command(
    argv: Sequence[str],
    *,
    name: str | None = None,
    jobs: int | None = None,
    foreach: str | None = None,
    matrix: Iterable[str] = (),
    files: Iterable[str] = (),
    outputs: Iterable[str] = (),
    env: Iterable[str] = (),
    cpu: int | None = None,
    gpu: int | None = None,
    memory: str | None = None,
    disk: str | None = None,
    time: str | None = None,
    retry: int | None = None,
    group: str | None = None,
    priority: int | None = None,
    base_dir: Path | None = None,
) -> dict[str, Any]:
    """The description that runs `argv`, braces expanded, for every job.

    Files here that the words of `argv` name are sent along. matrix: "g=1,2,3"; env: "NAME=VALUE".
    Raises Invalid with everything that is wrong with the options.
    """
    problems: list[Problem] = []
    base = base_dir or Path()
    run = _local_program(list(argv), base)
    outputs = list(outputs)
    sent = _files(run, list(files), outputs, base, problems)
    needs = {"cpu": cpu, "gpu": gpu, "memory": memory, "disk": disk, "time": time}
    task: dict[str, Any] = {"name": TASK, "outputs": outputs, "module": [{"run": run}]}
    table: dict[str, Any] = {
        "floe": 1,
        "name": name or default_name(run),
        "group": group,
        "priority": priority,
        "jobs": jobs,
        "files": sent,
        "foreach": {"file": foreach} if foreach else None,
        "matrix": _pairs(matrix, "--matrix", "g=1,2,3", problems),
        "env": {"vars": _pairs(env, "--env", "NAME=VALUE", problems)},
        "needs": {key: value for key, value in needs.items() if value is not None},
        "retry": {} if retry is None else {"max": retry},
        "task": [{key: value for key, value in task.items() if value}],
    }
    table["matrix"] = {axis: _values(values) for axis, values in table["matrix"].items()}
    if not table["env"]["vars"]:
        del table["env"]
    if problems:
        raise Invalid(problems, "command line")
    return {key: value for key, value in table.items() if value not in (None, {}, [])}


def as_toml(table: dict[str, Any]) -> str:
    """The same description as a file to start from."""
    return dumps(table)


def default_name(run: Sequence[str]) -> str:
    """A label from the command: the program's name, or its script's behind an interpreter."""
    word = run[0] if run else ""
    for candidate in run:
        word = candidate
        if not _INTERPRETERS.match(os.path.basename(candidate)) and candidate[:1] != "-":
            break
    stem = os.path.basename(word).partition(".")[0].lower()
    label = re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:63]
    return label if label and not label.isdigit() else f"run-{label}".rstrip("-")


def _local_program(run: list[str], base: Path) -> list[str]:
    """`sim.py` becomes `./sim.py` where only that can be meant."""
    if run and "/" not in run[0] and (base / run[0]).is_file() and not shutil.which(run[0]):
        return [f"./{run[0]}", *run[1:]]
    return run


def _files(
    run: Sequence[str],
    given: list[str],
    outputs: Sequence[str],
    base: Path,
    problems: list[Problem],
) -> list[Any]:
    """Files to send: those given, and those that the words of the command name."""
    found: dict[str, Any] = {}
    for name in given:
        to = os.path.normpath(name)
        inside = not wrong_local(to)
        to = to if inside else os.path.basename(to)
        found.setdefault(to, to if inside else {"from": name, "to": to})
    for word in run:
        for part in dict.fromkeys((word, word.partition("=")[2])):
            to = os.path.normpath(part) if part else ""
            if not to or "{" in part or os.path.isabs(part) or to in outputs:
                continue
            if not os.path.isfile(base / part):  # no error for what is too long for a name
                continue
            if wrong_local(to):
                what = f'"{clean(part)}" lies outside this folder'
                problems.append(Problem("command", what, "copy it here, or start one folder up"))
            else:
                found.setdefault(to, to)
    return list(found.values())


def _pairs(
    words: Iterable[str], option: str, right: str, problems: list[Problem]
) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            problems.append(
                Problem(option, f'"{clean(word)}" has no name and value', f"write {right}")
            )
        elif name in pairs:
            problems.append(Problem(option, f'"{clean(name)}" stands here twice', "give it once"))
        else:
            pairs[name] = value
    return pairs


def _values(text: str) -> list[str | int]:
    """`1,2,3` as a list; what is written as an integer is one."""
    return [typed(value.strip()) for value in text.split(",")]
