"""Verbs that keep records safe: verify, backup, restore, store."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.command import Floe, json_option, pass_floe, verb, verb_group
from node.cli.failures import ERROR, OK, Failed
from node.cli.output import print_json, say, size
from node.cli.site import fact_lines


@verb("verify", examples=["floe verify", "floe verify --json"])
@json_option
@pass_floe
def verify_verb(floe: Floe) -> int:
    """Check every hash, signature and table of this site from its feeds alone.

    It reads the home's files, whether the node runs or not, and trusts no table: all are built
    again beside the store and compared. Exit status 1 when anything differs.
    """
    from node.cli import storework

    result = storework.verify(floe.home, quiet=floe.as_json)
    if floe.as_json:
        print_json(result)
    else:
        for line in fact_lines({key: value for key, value in result.items() if key != "ok"}):
            say(line)
        say("all of it holds" if result["ok"] else "this store is damaged: floe restore, or ask")
    return OK if result["ok"] else ERROR


@verb("backup", examples=["floe backup --to /backup/floe-monday", "floe backup --to b --keys"])
@click.option(
    "--to",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A folder that does not exist yet.",
)
@click.option(
    "--keys", is_flag=True, help="The site's secret keys too: keep that copy locked away."
)
@json_option
@pass_floe
def backup_verb(floe: Floe, to: Path, keys: bool) -> None:
    """Copy records, tables and blobs to DIR, whole as of one moment; the node may run."""
    from node.cli import storework

    result = storework.backup(floe.home, to.absolute(), keys)
    if floe.as_json:
        print_json(result)
    else:
        say(f"{size(result.get('bytes'))} in {to}")


@verb("restore", examples=["floe --home ~/.floe-new restore /backup/floe-monday"])
@click.argument("backup", type=click.Path(path_type=Path))
@json_option
@pass_floe
def restore_verb(floe: Floe, backup: Path) -> None:
    """Put BACKUP into an empty home.

    The node will notice that it runs on a copy and go on under a new generation, so that nothing
    forks.
    """
    from node.cli import storework

    result = storework.restore(floe.home, backup.absolute())
    if floe.as_json:
        print_json(result)
    else:
        say(f"restored to {floe.home.path}; start it: floe up --detach")


@verb_group("store", examples=["floe store show", "floe down && floe store rebuild"])
def store_verb() -> None:
    """Show the store, or build its tables again from the feeds."""


@store_verb.command("show", examples=["floe store show --json"])
@json_option
@pass_floe
def store_show(floe: Floe) -> None:
    """Show feeds, sizes, state roots and versions of the store."""
    reply = floe.client().get("/v1/store")
    if floe.as_json:
        print_json(reply)
        return
    for line in fact_lines(reply):
        say(line)


@store_verb.command("rebuild", examples=["floe down && floe store rebuild && floe up --detach"])
@json_option
@pass_floe
def store_rebuild(floe: Floe) -> int:
    """Drop every derived table and fold the feeds again; the same root must come out.

    The node must be down.
    """
    from node import daemon
    from node.cli import storework

    running = daemon.running(floe.home)
    if running is not None:
        raise Failed(f"the node runs, as process {running.pid}", "stop it first: floe down")
    result = storework.rebuild(floe.home, quiet=floe.as_json)
    if floe.as_json:
        print_json(result)
    else:
        for line in fact_lines({key: value for key, value in result.items() if key != "ok"}):
            say(line)
        say("the same root" if result["ok"] else "another root than before: floe verify")
    return OK if result["ok"] else ERROR
