"""The documentation tells the truth: every verb and option, every command shown, every session."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from node.cli.root import VERBS, root
from tests import cli_reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
FENCE = re.compile(r"^(?:```|~~~)(\w*)")
SHELL = {"", "console", "sh", "bash"}
STOPS = {"&&", "||", "|", ";", "&", "\\"}


def code_lines(page: Path) -> Iterator[str]:
    """Lines of what a shell is shown to get: blocks fenced as such, or indented."""
    fence = None
    for line in page.read_text("utf-8").splitlines():
        found = FENCE.match(line.strip())
        if found:
            fence = found[1] if fence is None else None
        elif fence in SHELL or (fence is None and line.startswith("    ")):
            yield line.strip()


def shown_commands(page: Path) -> Iterator[list[str]]:
    """The words behind each `floe` at the start of a shell command in a page."""
    for line in code_lines(page):
        yield from commands_of(line.removeprefix("$ "))


def commands_of(line: str) -> Iterator[list[str]]:
    """A shell line's floe commands: "floe down && floe up  # again" has two."""
    if not re.match(r"([A-Z_]+=\S+ )*floe( |$)", line):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in STOPS or word.startswith((">", "<")):
            if words and words[0] == "floe":
                yield words[1:]
            words = []
        elif words or "=" not in word:
            words.append(word)


def check_parses(words: list[str]) -> None:
    """Raises ClickException unless each verb and option exists and has values of its kind."""
    context = root.make_context("floe", list(words))
    command: click.Command = root
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        context = found.make_context(name, arguments, parent=context)
        command = found


def test_the_reference_of_the_command_line_is_that_of_the_code() -> None:
    written = cli_reference.PAGE.read_text("utf-8")
    due = "run: python -m tests.cli_reference"
    assert written == cli_reference.page_with(cli_reference.reference()), due


@pytest.mark.parametrize(("name", "command"), list(cli_reference.verbs()))
def test_every_verb_has_help_and_an_example_that_can_be_typed(
    name: str, command: click.Command
) -> None:
    assert command.help
    examples = [
        words
        for example in getattr(command, "examples", ())
        for words in commands_of(example)
        if " ".join(words).startswith(name) or f" {name}" in " ".join(words)
    ]
    assert examples, f"floe {name} shows no example of itself"
    for words in examples:
        check_parses(words)


@pytest.mark.parametrize(("name", "command"), list(cli_reference.verbs()))
def test_every_option_says_what_it_does(name: str, command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"floe {name} {parameter.opts[0]} has no help"


def test_the_list_of_verbs_says_what_each_verb_says() -> None:
    for name, (_, line) in VERBS.items():
        assert line.endswith("."), name
        assert len(line) < 70, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documentation_can_be_typed(page: Path) -> None:
    for words in shown_commands(page):
        try:
            check_parses(words)
        except click.exceptions.Exit:
            continue
        except click.ClickException as error:
            pytest.fail(f"{page.name}: floe {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"#.*exits with (\d+)")


def session(page: Path) -> Iterator[tuple[str, str]]:
    """A page as a session: ("file name", text) or ("", shell command), in order."""
    for kind, file, text in BLOCK.findall(page.read_text("utf-8")):
        if file:
            yield file, text
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    yield "", line[2:]


def test_the_first_steps_can_be_walked(tmp_path: Path) -> None:
    """Each command of docs/user.md in its order, in an account of its own, with a real node."""
    floe = Path(sys.executable).parent
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{floe}:{os.environ['PATH']}"}
    environment.pop("FLOE_HOME", None)
    try:
        for file, text in session(ROOT / "docs" / "user.md"):
            if file:
                (tmp_path / file).write_text(text)
                continue
            done = subprocess.run(
                text, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True,
                timeout=180, check=False,
            )  # fmt: skip
            due = int(found[1]) if (found := EXITS.search(text)) else 0
            assert done.returncode == due, f"$ {text}\n{done.stdout}{done.stderr}"
    finally:
        subprocess.run(
            ["floe", "down", "--pilots"], env=environment, capture_output=True, check=False
        )


def test_a_wrong_command_would_be_noticed() -> None:
    for line in ("floe shwo x", "floe show --jsno x", "floe wait x --timeout soon"):
        (words,) = commands_of(line)
        with pytest.raises(click.ClickException):
            check_parses(words)
