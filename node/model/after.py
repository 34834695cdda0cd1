"""What stands in `after`, and what an input names: "task", "dataset/task", "dataset/task:*"."""

from __future__ import annotations

import re
from dataclasses import dataclass

_AFTER = re.compile(
    r"(?:(?P<dataset>[A-Za-z0-9][A-Za-z0-9._@:-]{0,254})/)?"
    r"(?P<task>[A-Za-z0-9][A-Za-z0-9._-]{0,62})(?P<jobs>:.*)?"
)


@dataclass(frozen=True, slots=True)
class Wait:
    """One parsed entry of `after`. dataset: "" for the same one."""

    text: str
    dataset: str
    task: str
    all_jobs: bool


class BadAfter(ValueError):
    """(what, right) for an entry that we cannot take."""


def parse(text: str) -> Wait:
    """Raises BadAfter(what, right)."""
    match = _AFTER.fullmatch(text)
    if match is None:
        right = 'write "task", "dataset/task" or "dataset/task:*"'
        raise BadAfter(f'"{text[:60]}" is no task', right)
    dataset, task, jobs = match["dataset"] or "", match["task"], match["jobs"]
    if jobs and jobs != ":*":
        raise BadAfter(f'"{jobs[:60]}" in after is not yet supported', 'use ":*" for all jobs')
    if jobs and not dataset:
        what = f'"{text}": no task can wait for all jobs of its own dataset'
        raise BadAfter(what, "put it in a second dataset")
    return Wait(text, dataset, task, bool(jobs))


def source(text: str, waits: list[Wait]) -> tuple[Wait, str] | None:
    """(entry of `after`, file) of an input such as "sim/out.npz"; the longest entry that fits."""
    fits = [wait for wait in waits if text.startswith(wait.text + "/")]
    if not fits:
        return None
    wait = max(fits, key=lambda w: len(w.text))
    return wait, text[len(wait.text) + 1 :]
