"""Exit statuses, and how a failure is told to a person and to a script."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from node.cli.output import SCHEMA, harmless, note, say_wrapped
from node.client import ClientError, Refused, Unreachable

OK = 0
ERROR = 1
USAGE = 2
WORK_FAILED = 3  # the command did its part, the work did not end well
NOT_FOUND = 4
DENIED = 5
UNREACHABLE = 6
INTERRUPTED = 130


class Failed(ClientError):
    """A command that cannot do what was asked; `exit_status` as listed above."""

    def __init__(
        self, message: str, right: str = "", *, code: str = "error", exit_status: int = ERROR
    ) -> None:
        super().__init__(message, right, code)
        self.exit_status = exit_status


def no_system(name: str, known: Iterable[str]) -> Failed:
    """A batch system that the site does not have."""
    return Failed(
        f"this site has no batch system {harmless(name)!r}",
        f"it has {', '.join(map(harmless, known))}",
        code="not-found",
        exit_status=NOT_FOUND,
    )


class Problems(Failed):
    """A description with several things wrong, all told at once."""

    def __init__(self, message: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(message, code="invalid")
        self.problems = problems


def exit_status(error: ClientError) -> int:
    if isinstance(error, Failed):
        return error.exit_status
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, Refused):
        return {401: DENIED, 403: DENIED, 404: NOT_FOUND}.get(error.status, ERROR)
    return ERROR


def problems_of(error: ClientError) -> list[dict[str, Any]]:
    """What is wrong with a description, whether found here or by the node."""
    if isinstance(error, Problems):
        return error.problems
    if isinstance(error, Refused):
        listed = error.detail.get("problems") or error.detail.get("errors") or []
        return [item for item in listed if isinstance(item, dict)]
    return []


def choices_of(error: ClientError) -> list[str]:
    """Names that could have been meant."""
    listed = error.detail.get("choices") if isinstance(error, Refused) else None
    return [str(choice) for choice in listed] if isinstance(listed, list) else []


def report(error: ClientError, as_json: bool) -> int:
    """Tell `error` to standard error, as JSON to standard output if asked; gives the status."""
    problems = problems_of(error)
    # The node's message repeats the problems for people; they are listed below.
    message = error.message.partition("\n")[0] if problems else error.message
    if as_json:
        told: dict[str, Any] = {"code": error.code, "message": message, "right": error.right}
        if problems:
            told["problems"] = problems
        if choices := choices_of(error):
            told["choices"] = choices
        print(json.dumps({"schema": SCHEMA, "error": told}, indent=2), flush=True)
    hang = " " * 6
    for line in f"floe: {harmless(message, lines=True)}".splitlines():
        say_wrapped(line, hang, note)
    for problem in problems:
        say_wrapped(problem_line(problem), hang, note)
    for choice in choices_of(error):
        note(f"{hang}{harmless(choice)}")
    if error.right:
        say_wrapped(f"{hang}{harmless(error.right)}", hang, note)
    return exit_status(error)


def problem_line(problem: dict[str, Any]) -> str:
    """ "  line 14  task.sim.needs.memory  "2 gigs" is no size; write "2GB"."""
    line = problem.get("line")
    where = harmless(problem.get("where") or "")
    if line and where.startswith("line "):
        line = None
    words = [f"line {line}" if line else "", where, harmless(problem.get("what") or "")]
    told = "  ".join(word for word in words if word)
    right = harmless(problem.get("right") or "")
    return f"  {told}; {right}" if right else f"  {told}"


def report_usage(error: click.ClickException, as_json: bool) -> int:
    """A command line that cannot be read."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "floe"
    message = harmless(error.format_message())
    right = f"{path} --help"
    if as_json:
        told = {"code": "usage", "message": message, "right": right}
        print(json.dumps({"schema": SCHEMA, "error": told}, indent=2), flush=True)
    print(f"floe: {message}", file=sys.stderr)
    print(f"      {right}", file=sys.stderr)
    return error.exit_code
