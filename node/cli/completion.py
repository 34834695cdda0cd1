"""Shell completion: the script, and names of datasets while typing."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from node.cli.command import Floe, verb
from node.home import Home

NAMES_MAX = 200
HOW = {
    "bash": "floe completion bash > ~/.local/share/bash-completion/completions/floe",
    "zsh": "floe completion zsh > ~/.zfunc/_floe   (with fpath+=~/.zfunc before compinit)",
    "fish": "floe completion fish > ~/.config/fish/completions/floe.fish",
}


@verb("completion", examples=list(HOW.values()))
@click.argument("shell", type=click.Choice(list(HOW)))
@click.pass_context
def completion_verb(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    script = made(ctx.find_root().command, {}, "floe", "_FLOE_COMPLETE")
    click.echo(script.source())


def dataset_names(ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
    """The newest datasets whose names begin like that; never an error, never a question."""
    options = ctx.find_root().params
    floe = Floe(
        Home.locate(options.get("home")),
        options.get("node") or "",
        options.get("fingerprint") or "",
        options.get("key") or "",
    )
    try:
        client = floe.client()
        if not client.has_login():
            return []  # a login may ask for a passphrase, and this is no moment to
        listed = client.get("/v1/datasets", {"limit": NAMES_MAX}).get("datasets") or []
        names = [str(dataset.get("name")) for dataset in listed]
    except Exception:  # completion that prints an error destroys the line being typed
        return []
    found = [name for name in dict.fromkeys([*names, "last"]) if name.startswith(incomplete)]
    return [CompletionItem(name) for name in found]
