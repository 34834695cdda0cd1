"""Verbs about descriptions: submit, plan, test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from node.cli.command import Floe, Verb, json_option, verb
from node.cli.output import say

ONE_LINER = "floe submit --jobs 1000 -- ./sim.py --seed '{job}'"


class CommandLineVerb(Verb):
    """A verb that takes a FILE, or a command after "--"."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["argv"] = args[:at], args[at + 1 :]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "extra argument" not in error.message:
                raise
            raise click.UsageError('a command and its words go after "--"', ctx) from None

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "FILE | -- COMMAND [ARGUMENT]..."]


def one_liner_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a command line can say in place of a file."""
    for option in reversed(
        [
            click.option(
                "--name", metavar="NAME", help="The dataset's name. Default: the command's."
            ),
            click.option(
                "--jobs", type=click.IntRange(1), metavar="N", help="Jobs; per cell and row."
            ),
            click.option(
                "--foreach",
                metavar="FILE",
                help="One job for each row of a CSV or JSONL file; its columns are names.",
            ),
            click.option(
                "--matrix",
                multiple=True,
                metavar="NAME=A,B,C",
                help="One job for each value; several axes multiply.",
            ),
            click.option(
                "--file", "files", multiple=True, metavar="FILE", help="Send this file along."
            ),
            click.option(
                "--output", "outputs", multiple=True, metavar="FILE", help="Bring this back."
            ),
            click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set for the command."),
            click.option("--cpu", type=click.IntRange(1), help="CPUs of a unit."),
            click.option("--gpu", type=click.IntRange(0), help="GPUs of a unit."),
            click.option("--memory", metavar="SIZE", help="Memory of a unit, as 2GB or 2GiB."),
            click.option("--disk", metavar="SIZE", help="Scratch of a unit, inputs included."),
            click.option("--time", metavar="TIME", help="Wall time of a unit, as 90s, 30m, 4h."),
            click.option("--retry", type=click.IntRange(0, 20), help="Retries of your failures."),
            click.option(
                "--group", metavar="GROUP", help="Whose share it uses; default your first."
            ),
            click.option("--priority", type=click.IntRange(0, 100), help="Within your share."),
        ]
    ):
        function = option(function)
    return function


@verb(
    "submit",
    cls=CommandLineVerb,
    examples=[
        "floe submit nugen.toml",
        ONE_LINER,
        "floe submit --foreach runs.csv --output fit.npz -- ./fit.py --run '{run}'",
        "floe submit --matrix g=1,2,3 --jobs 10 --print -- ./sim.py '{g}' '{rep}'",
    ],
)
@click.argument("file", required=False, metavar="FILE")
@one_liner_options
@click.option(
    "--wait-stored",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Return once K sites have it on disk, files included. Default: up to 5 s for a majority.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the description; submit nothing.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of descriptions.")
@json_option
@click.pass_context
def submit_verb(
    ctx: click.Context,
    /,
    file: str | None,
    print_only: bool,
    schema: bool,
    wait_stored: int | None,
    **options: Any,
) -> int:
    """Sign and submit a dataset: the description in FILE (TOML, JSON, - for stdin), or a command.

    The command's own script and the files that its arguments name are found and sent along.
    {job} and other names in braces are replaced for each job; quote them.
    """
    from node.cli import submission

    floe = ctx.find_object(Floe)
    assert floe is not None
    if schema:
        import json

        from node.model.schema import json_schema

        say(json.dumps(json_schema(), indent=2))
        return 0
    source = submission.Source(file, ctx.meta.get("argv"), options)
    if print_only:
        say(submission.printed(source))
        return 0
    draft = submission.load(source, submission.NOTHING_SUBMITTED)
    return submission.submit(floe, draft, wait_stored)


@verb(
    "plan",
    cls=CommandLineVerb,
    examples=["floe plan nugen.toml", "floe plan nugen.toml --job 417"],
)
@click.argument("file", required=False, metavar="FILE")
@one_liner_options
@click.option(
    "--job", type=click.IntRange(0), metavar="K", help="Show this job, not first and last."
)
@json_option
@click.pass_context
def plan_verb(ctx: click.Context, /, file: str | None, job: int | None, **options: Any) -> None:
    """Show what FILE (or a command) would run: arguments, files, needs, order. Submits nothing.

    Every literal brace and every collapsed {{ is listed.
    """
    from node.cli import submission

    floe = ctx.find_object(Floe)
    assert floe is not None
    draft = submission.load(submission.Source(file, ctx.meta.get("argv"), options))
    submission.plan(floe, draft, job)


@verb(
    "test",
    cls=CommandLineVerb,
    examples=["floe test nugen.toml --job 3", "floe test --to out -- ./sim.py --seed '{job}'"],
)
@click.argument("file", required=False, metavar="FILE")
@one_liner_options
@click.option(
    "--job", type=click.IntRange(0), default=0, show_default=True, metavar="K", help="Which job."
)
@click.option(
    "--to",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where outputs and logs go. Default: a new folder under /tmp.",
)
@json_option
@click.pass_context
def test_verb(
    ctx: click.Context, /, file: str | None, job: int, to: Path | None, **options: Any
) -> int:
    """Run one job of FILE (or a command) here, all its tasks in order, with no node at all.

    The code is the pilot's own: same folders, same limits, same measures. Exit status 3 if a task
    fails.
    """
    from node.cli import submission

    floe = ctx.find_object(Floe)
    assert floe is not None
    draft = submission.load(submission.Source(file, ctx.meta.get("argv"), options))
    return submission.test(floe, draft, job, to)
