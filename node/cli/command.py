"""What every verb is made of: examples in its help, --json, the home and the node it talks to."""

from __future__ import annotations

import base64
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from node.cli.failures import Failed
from node.client import Client, Endpoint, Signer, find_endpoint
from node.home import Home

SUMMARY_MAX = 300  # characters: more than any first sentence
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class Floe:
    """One run of the command: what was said on its line, and the client made from that."""

    home: Home
    node: str = ""
    fingerprint: str = ""
    key: str = ""
    as_json: bool = False
    _client: Client | None = field(default=None, repr=False)
    _settings: Mapping[str, Any] | None = field(default=None, repr=False)

    def settings(self) -> Mapping[str, Any]:
        """client.toml of the home; empty where there is none."""
        if self._settings is None:
            self._settings = _read_settings(self.home.client)
        return self._settings

    def signer(self) -> Signer:
        """The person's key: --key or FLOE_KEY, client.toml, ~/.ssh/id_ed25519, the home's own."""
        named = self.key or self._setting("key")
        if named:
            return Signer(Path(named).expanduser())
        usual = Path("~/.ssh/id_ed25519").expanduser()
        return Signer(
            usual if usual.exists() or not self.home.user_key.exists() else self.home.user_key
        )

    def endpoint(self) -> Endpoint:
        """Where the node is. Raises Unreachable."""
        url = self.node or self._setting("node")
        pinned = self.fingerprint or self._setting("fingerprint")
        return find_endpoint(self.home, url, pinned, self._setting("site"))

    def client(self) -> Client:
        """The client of this run, logged in when it first asks something."""
        if self._client is None:
            self._client = Client(self.endpoint, self.signer(), self.home.tokens)
        return self._client

    def signed(self, document: bytes) -> dict[str, str]:
        """A document with the person's signature, as the API takes it."""
        return {
            "document": base64.b64encode(document).decode(),
            "signature": base64.b64encode(self.signer().sign(document)).decode(),
        }

    def _setting(self, name: str) -> str:
        value = self.settings().get(name, "")
        if not isinstance(value, str):
            raise Failed(f"{self.home.client}: {name} must be text, in quotes")
        return value


pass_floe = click.make_pass_decorator(Floe)


class Verb(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.context_settings = {**CONTEXT, **self.context_settings}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class VerbGroup(click.Group):
    """A verb with verbs of its own: floe set pause."""

    command_class = Verb

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.context_settings = {**CONTEXT, **self.context_settings}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not self.invoke_without_command:
            verbs = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"say what to do: {ctx.command_path} with {verbs}", ctx)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each verb with its whole first sentence, folded where it is long."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, each.get_short_help_str(SUMMARY_MAX))
                    for name, each in self.commands.items()
                ]
            )


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples" if len(examples) > 1 else "Example"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def verb(name: str, *, examples: Sequence[str], **attributes: Any) -> Callable[..., Verb]:
    """Declare a verb; its docstring is its help."""
    attributes.setdefault("cls", Verb)
    decorate: Callable[..., Verb] = click.command(name, examples=examples, **attributes)
    return decorate


def verb_group(
    name: str, *, examples: Sequence[str], **attributes: Any
) -> Callable[..., VerbGroup]:
    decorate: Callable[..., VerbGroup] = click.group(
        name, cls=VerbGroup, examples=examples, **attributes
    )
    return decorate


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--json, kept on the Floe object."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        found = ctx.find_object(Floe)
        if found is not None and value:
            found.as_json = True

    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=keep,
        help="Print one JSON object with a versioned schema instead.",
    )(function)


def sure(question: str, yes: bool) -> None:
    """Ask before acting, unless --yes was said.

    Raises click.UsageError where nobody is there to be asked: a script has to say what it means.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        words = f"{question} Nobody can be asked here: say --yes"
        raise click.UsageError(words, click.get_current_context())
    click.confirm(question, abort=True, err=True)


def _read_settings(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from None
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{path} is no TOML: {error}") from None
