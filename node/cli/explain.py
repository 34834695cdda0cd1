"""Verbs that explain: why, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.names import DATASET, NAME, Name
from node.cli.output import (
    console,
    harmless,
    number,
    print_json,
    say,
    say_marked,
    state,
    styled,
    table,
)
from node.cli.units import unit_path, unit_text
from node.client import Json, path_of

MARKS = {"ok": "green", "block": "bold red", "wait": "yellow"}


@verb("why", examples=["floe why nugen-26/417/reco", "floe why last"])
@click.argument("name", type=NAME)
@json_option
@pass_floe
def why_verb(floe: Floe, name: Name) -> None:
    """Say why the unit or dataset NAME is where it is, and what would move it."""
    if name.is_unit:
        reply = floe.client().get(f"{unit_path(name)}/why")
    elif name.job is not None:
        raise click.UsageError(f"name a unit of job {name.job}: {name.dataset}/{name.job}/TASK")
    else:
        reply = floe.client().get(path_of("datasets", name.dataset, "why"))
    if floe.as_json:
        print_json(reply)
    else:
        _explain(reply, unit_text(name) if name.is_unit else name.dataset)


def _explain(reply: Json, name: str) -> None:
    found = reply.get("why")
    why: Mapping[str, Any] = found if isinstance(found, dict) else reply
    word = str(why.get("state", "")).upper()
    headline = styled(word, "bold")
    if why.get("summary"):
        headline.append(f": {harmless(why['summary'])}" if word else harmless(why["summary"]))
    console().print(headline, soft_wrap=True)
    for line in why.get("lines") or why.get("facts") or []:
        _print_fact(line)
    for step in why.get("next") or []:
        say(f"  → {harmless(step)}")


def _print_fact(line: object) -> None:
    if not isinstance(line, dict):
        say(f"  {harmless(line)}")
        return
    mark = str(line.get("mark", ""))
    say_marked(styled(f"  {mark:<6} ", MARKS.get(mark, "")), str(line.get("text", "")), 9)


@verb("errors", examples=["floe errors nugen-26", "floe errors last --json"])
@click.argument("dataset", type=DATASET)
@json_option
@pass_floe
def errors_verb(floe: Floe, dataset: Name) -> None:
    """Group what went wrong in DATASET: how often, what, where, and a sample of each."""
    reply = floe.client().get(path_of("datasets", dataset.dataset, "errors"))
    if floe.as_json:
        print_json(reply)
        return
    errors = [item for item in reply.get("errors") or [] if isinstance(item, dict)]
    if not errors:
        say(f"nothing went wrong in {harmless(dataset.dataset)}")
        return
    table(
        [">COUNT", "KIND", "WHERE", "WHAT HAPPENS", "SAMPLE", ""],
        [
            [
                number(item.get("count")),
                state(item.get("kind", "?")),
                item.get("where", ""),
                item.get("what", ""),
                item.get("sample") or next(iter(item.get("samples") or []), ""),
                _last_line(item.get("tail")),
            ]
            for item in errors
        ],
    )


def _last_line(tail: object) -> str:
    lines = [line for line in str(tail or "").splitlines() if line.strip()]
    return f'"{lines[-1].strip()[:120]}"' if lines else ""
