"""The verbs of `floe`, where each is, and what the command does with failures."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from node.cli.command import CONTEXT, Floe, write_examples
from node.cli.failures import INTERRUPTED, report, report_usage
from node.client import ClientError
from node.home import Home, HomeError

# verb -> (module of node.cli, one line for `floe --help`). Modules load when their verb is called.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Submit": {
        "submit": ("submit", "Sign and submit a dataset, from a file or a command line."),
        "plan": ("submit", "Show what a description would run; submits nothing."),
        "test": ("submit", "Run one job of a description here, with no node at all."),
    },
    "Look": {
        "sets": ("sets", "List datasets, newest first."),
        "show": ("units", "Show a dataset, or one unit with every attempt."),
        "jobs": ("units", "List the units of a dataset."),
        "watch": ("waiting", "Follow a dataset on the screen until nothing can move."),
        "why": ("explain", "Say why a unit or dataset is where it is, and what would help."),
        "errors": ("explain", "Group what went wrong in a dataset."),
        "logs": ("units", "Print what a unit wrote to its log."),
        "fetch": ("units", "Copy outputs to a folder, as JOB/TASK/FILE."),
        "wait": ("waiting", "Return when nothing of a dataset can move any more."),
    },
    "Act": {
        "set": ("sets", "Pause, resume, cancel, retry, edit or extend a dataset."),
    },
    "Run a site": {
        "init": ("lifecycle", "Make a site here, and enrol you as its admin."),
        "up": ("lifecycle", "Run the node: here, or in the background with --detach."),
        "down": ("lifecycle", "Stop the node; running pilots carry on."),
        "status": ("lifecycle", "Show the node, its work and its disk in a few lines."),
        "site": ("site", "Show, test, drain or limit this site."),
        "pilots": ("pilots", "List the pilots of this site."),
        "mesh": ("mesh", "Show the sites that share the work; recover a restored one."),
        "users": ("people", "List, add or remove the people who may submit."),
        "keys": ("people", "Show the keys of this site and yours."),
        "usage": ("people", "Show who used how much, as fair share counts it."),
        "config": ("settings", "Show or check the site's configuration."),
    },
    "Keep it safe": {
        "verify": ("upkeep", "Check every hash, signature and table from the feeds alone."),
        "backup": ("upkeep", "Copy the site's records while it runs."),
        "restore": ("upkeep", "Put a backup into an empty home."),
        "store": ("upkeep", "Show the store, or build its tables again."),
        "doctor": ("doctor", "Look for what is wrong on this machine, and say what to do."),
        "completion": ("completion", "Print the completion script of your shell."),
    },
}
VERBS = {name: place for section in SECTIONS.values() for name, place in section.items()}


class Root(click.Group):
    """Finds verbs by the table above, so that one verb costs one import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = import_module(f"node.cli.{VERBS[name][0]}")
        found = getattr(module, f"{name}_verb")
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no verb {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in verbs.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(
            [
                "floe init --name desy && floe up --detach",
                "floe submit --jobs 1000 -- ./sim.py --seed '{job}'",
                "floe watch last",
            ],
            formatter,
        )


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"floe {version('icefloe')}")
        ctx.exit()


@click.group("floe", cls=Root, context_settings=CONTEXT, invoke_without_command=True)
@click.option("--home", metavar="DIR", help="The site's home; default $FLOE_HOME, then ~/.floe.")
@click.option("--node", metavar="URL", envvar="FLOE_NODE", help="Talk to the node at this address.")
@click.option(
    "--fingerprint",
    metavar="HEX",
    envvar="FLOE_FINGERPRINT",
    help="SHA-256 of the certificate that --node must show.",
)
@click.option("--key", metavar="FILE", envvar="FLOE_KEY", help="Your SSH key, or its .pub file.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def root(
    ctx: click.Context, home: str | None, node: str | None, fingerprint: str | None, key: str | None
) -> None:
    """Run very large sets of batch jobs on sites that nobody commands.

    A dataset is one signed description: jobs, each the same few tasks. Names: nugen-26 (a
    dataset), nugen-26/417/reco (a unit), nugen-26/417/reco#2 (an attempt), last (your newest).
    """
    ctx.obj = Floe(Home.locate(home), node or "", fingerprint or "", key or "")
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _invoke(arguments: list[str]) -> object:
    """What click's own main does, but for its handling of errors and of closed pipes."""
    if "_FLOE_COMPLETE" in os.environ:
        return root.main(args=arguments, prog_name="floe", standalone_mode=False)
    with root.make_context("floe", arguments) as context:
        return root.invoke(context)


def _interrupted() -> int:
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the prompt of the shell begins its own line
    return INTERRUPTED


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see `node.cli.main`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = given[: given.index("--")] if "--" in given else given
    as_json = "--json" in options
    try:
        result = _invoke(given)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        return _interrupted()
    except click.ClickException as error:
        return report_usage(error, as_json)
    except HomeError as error:
        return report(ClientError(str(error)), as_json)
    except ClientError as error:
        return report(error, as_json)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. Nothing may be flushed at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
