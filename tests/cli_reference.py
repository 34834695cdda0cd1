"""The reference part of docs/cli.md, made from the commands themselves.

`python -m tests.cli_reference` writes it; tests/test_docs.py says when that is due.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from node.cli.root import SECTIONS, root

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
MARK = re.compile(r"<!-- below: .*-->\n")


def verbs() -> Iterator[tuple[str, click.Command]]:
    """Every verb with its full name, groups before what is in them."""
    context = click.Context(root)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield f"{name} {inner}", found


def reference() -> str:
    """The whole reference as Markdown."""
    parts = ["### Options of every command\n\n" + options(root)]
    sections = {next(iter(table)): title for title, table in SECTIONS.items()}
    for name, command in verbs():
        if name in sections:
            parts.append(f"## {sections[name]}\n")
        parts.append(entry(name, command))
    return "\n".join(parts)


def entry(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"floe {name}")
    pieces = " ".join(command.collect_usage_pieces(context))
    text = inspect.cleandoc(command.help or "").replace("<", "\\<")
    lines = [f"### floe {name}", "", f"`floe {name} {pieces}`", "", text, ""]
    examples: tuple[str, ...] = getattr(command, "examples", ())
    lines += [f"    {example}" for example in examples]
    return "\n".join([*lines, "", options(command)]).rstrip() + "\n"


def options(command: click.Command) -> str:
    rows = [row for parameter in command.params if (row := option_row(parameter))]
    if not rows:
        return ""
    return "\n".join(["| option | |", "|---|---|", *rows]) + "\n"


def option_row(parameter: click.Parameter) -> str:
    if not isinstance(parameter, click.Option) or parameter.hidden:
        return ""
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    words = [value_of(parameter), parameter.help or "", default_of(parameter)]
    return f"| {names} | {' '.join(word for word in words if word)} |".replace("||", "|")


def value_of(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return f"`{'`, `'.join(option.type.choices)}`."
    shown = option.metavar or ("N" if isinstance(option.type, click.types.IntParamType) else "")
    return f"*{shown}*." if shown else ""


def default_of(option: click.Option) -> str:
    default: Any = option.default
    return f"Default {default}." if option.show_default and not option.is_flag else ""


def page_with(text: str) -> str:
    """docs/cli.md with this reference."""
    page = PAGE.read_text("utf-8")
    found = MARK.search(page)
    assert found is not None, f"{PAGE} has lost its mark"
    return page[: found.end()] + "\n" + text


if __name__ == "__main__":
    PAGE.write_text(page_with(reference()), "utf-8")
