"""Verbs that keep records safe: verify, backup, restore, store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb, verb_group
from node.cli.facts import fact_lines
from node.cli.failures import ERROR, OK, Failed
from node.cli.output import harmless, note, plural, print_json, say, size

BACKUP_S_MAX = 24 * 3600.0  # a node answers once the whole copy is durable


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
        _print_report(result)
        say("all of it holds" if result["ok"] else "this store is damaged: floe store rebuild")
    return OK if result["ok"] else ERROR


def _print_report(result: dict[str, Any]) -> None:
    counted = [("feed", "feeds"), ("entry", "entries"), ("record", "records")]
    words = [plural(int(result[many]), one, many) for one, many in counted if result.get(many)]
    say("  ".join(words))
    say(f"state root  {result.get('root') or 'none'}")
    if result.get("root_again") != result.get("root"):
        say(f"folded now  {result.get('root_again')}")
    if result.get("pruned"):
        say(f"{result['pruned']:,} bodies are no longer kept")
    for problem in result.get("problems") or []:
        say(f"! {harmless(problem)}")


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
    """Copy records, tables and blobs to DIR, whole as of one moment; the node may run.

    DIR is on the node's machine.
    """
    from node import daemon
    from node.cli import storework

    if daemon.running(floe.home) is None and floe.home.exists():
        result = storework.backup(floe.home, to.absolute(), keys, floe.as_json)
    else:
        asked = {"to": str(to.absolute()), "keys": keys}
        result = floe.client().post("/v1/admin/backup", asked, within_s=BACKUP_S_MAX)
    if floe.as_json:
        print_json(result)
        return
    say(f"{plural(int(result.get('files') or 0), 'file')}, {size(result.get('bytes'))}, in {to}")
    for blob in result.get("damaged") or []:
        note(f"! blob {harmless(blob)} is damaged in the store and was left out")


@verb("restore", examples=["floe --home ~/.floe-new restore /backup/floe-monday"])
@click.argument("backup", type=click.Path(path_type=Path))
@click.option("--network-home", is_flag=True, help="Allow a home on a network file system.")
@json_option
@pass_floe
def restore_verb(floe: Floe, backup: Path, network_home: bool) -> None:
    """Put BACKUP into an empty home.

    The node will go on under a new generation, so that nothing forks. Datasets that it led alone
    stand still until an admin says: floe mesh recover. Those whose council has other sites go on by
    themselves once enough of these can be reached.
    """
    from node.cli import storework

    result = storework.restore(floe.home, backup.absolute(), network_home, floe.as_json)
    result["user_key"] = storework.user_key(floe)
    if floe.as_json:
        print_json(result)
        return
    say(f"restored to {floe.home.path}, generation {result['generation']}")
    if not result["keys"]:
        say(f"the backup has no keys: put site.key and api.pem into {floe.home.keys}")
    if not result["user_key"]:
        say(f"your SSH key is not where it was: write key = PATH into {floe.home.client}")
    say("start it  floe up --detach")
    if result["alone"]:
        say("then      floe mesh recover    as an admin: until then what it led alone stands still")
    if result["shared"]:
        say("datasets whose council has other sites go on by themselves once it reaches those")


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
        _print_report(result)
        say("the same root came out" if result["ok"] else "it is not as it was: floe verify")
    return OK if result["ok"] else ERROR
