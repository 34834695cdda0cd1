"""How people name datasets, units and ranges of jobs on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

JOB_MAX = 1_000_000_000
RANGES_MAX = 10_000  # of one selection; more come from a step, and are better asked in pieces


@dataclass(frozen=True, slots=True)
class Name:
    """DATASET, DATASET/JOB, DATASET/JOB/TASK or DATASET/JOB/TASK#ATTEMPT."""

    dataset: str
    job: int | None = None
    task: str | None = None
    attempt: int | None = None

    @property
    def is_unit(self) -> bool:
        return self.task is not None


def parse_name(text: str) -> Name:
    """Raises ValueError with what would be right."""
    body, hash_sign, attempt = text.partition("#")
    parts = body.split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise ValueError(f"{text[:60]!r} is no name; write NAME, NAME/JOB or NAME/JOB/TASK")
    if hash_sign and len(parts) != 3:
        raise ValueError(f"{text[:60]!r}: an attempt belongs to a unit; write NAME/JOB/TASK#2")
    job = _integer(parts[1], "a job is a number from 0 on") if len(parts) > 1 else None
    task = parts[2] if len(parts) > 2 else None
    number = _integer(attempt, "an attempt is a number from 1 on") if hash_sign else None
    if number == 0:
        raise ValueError("an attempt is a number from 1 on, not '0'")
    return Name(parts[0], job, task, number)


def parse_jobs(text: str) -> list[int]:
    """ "1-10:2,40" -> flat half-open ranges [1,2,3,4,…,40,41]; "all" -> [].

    Ends are included, "_" may stand between digits. Raises ValueError.
    """
    if text.strip() in ("", "all"):
        return []
    pairs: list[tuple[int, int]] = []
    for piece in text.split(","):
        pairs.extend(_piece(piece.strip()))
        if len(pairs) > RANGES_MAX:
            raise ValueError(f"{text[:60]!r}… is more than {RANGES_MAX:,} ranges; ask in pieces")
    return _merged(sorted(pairs))


def jobs_text(ranges: list[int]) -> str:
    """The inverse of parse_jobs, as the API takes it: [1, 11, 40, 41] -> "1-10,40"."""
    pairs = zip(ranges[::2], ranges[1::2], strict=True)
    return ",".join(str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairs)


def _piece(text: str) -> list[tuple[int, int]]:
    wrong = f"{text[:60]!r} is no range of jobs; write 7, 1-10, 1-10:2 or 5,8-9"
    span, colon, step_text = text.partition(":")
    first_text, dash, last_text = span.partition("-")
    first = _integer(first_text, wrong)
    last = _integer(last_text, wrong) if dash else first
    step = _integer(step_text, wrong) if colon else 1
    if last < first or step < 1:
        raise ValueError(wrong)
    if step == 1:
        return [(first, last + 1)]
    if (last - first) // step >= RANGES_MAX:
        raise ValueError(f"{text[:60]!r} is more than {RANGES_MAX:,} ranges; ask in pieces")
    return [(job, job + 1) for job in range(first, last + 1, step)]


def _merged(pairs: list[tuple[int, int]]) -> list[int]:
    flat: list[int] = []
    for low, high in pairs:
        if flat and low <= flat[-1]:
            flat[-1] = max(flat[-1], high)
        else:
            flat += [low, high]
    return flat


def _integer(text: str, wrong: str) -> int:
    digits = text.replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12 or int(digits) > JOB_MAX:
        raise ValueError(f"{wrong}, not {text[:60]!r}" if "write" not in wrong else wrong)
    return int(digits)


class NameType(click.ParamType[Any]):
    """A dataset or one of its units. Completes the names of the user's datasets."""

    name = "name"

    def __init__(self, *, dataset_only: bool = False, unit_only: bool = False) -> None:
        self.dataset_only = dataset_only
        self.unit_only = unit_only

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Name:
        if isinstance(value, Name):
            return value
        try:
            name = parse_name(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self.dataset_only and name.job is not None:
            self.fail(
                f"{value!r} names a unit; here a dataset is meant: {name.dataset}", param, ctx
            )
        if self.unit_only and not name.is_unit:
            self.fail(f"{value!r} is no unit; write NAME/JOB/TASK", param, ctx)
        return name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        from node.cli.completion import dataset_names

        return dataset_names(ctx, incomplete)


class JobsType(click.ParamType[Any]):
    """A selection of jobs, as flat half-open ranges; empty for all."""

    name = "jobs"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return parse_jobs(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DATASET = NameType(dataset_only=True)
UNIT = NameType(unit_only=True)
NAME = NameType()
JOBS = JobsType()
