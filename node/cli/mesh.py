"""Verbs about the sites that share the work: mesh."""

from __future__ import annotations

import secrets
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.failures import ERROR
from node.cli.joining import invite_verb, join_verb
from node.cli.membership import (
    add_verb,
    address_verb,
    members_verb,
    policy_verb,
    rename_verb,
    revoke_verb,
)
from node.cli.output import harmless, moment, number, plural, print_json, say, state, table
from node.client import Json

SHARD_DIGITS = 12
NAMES_MAX = 20


@verb_group("mesh", examples=["floe mesh", "floe mesh recover"], invoke_without_command=True)
@json_option
@click.pass_context
def mesh_verb(context: click.Context) -> int:
    """Show the sites that share the work. This version knows one: this site."""
    if context.invoked_subcommand is not None:
        return 0
    floe = context.find_object(Floe)
    assert floe is not None
    return _show(floe)


def _show(floe: Floe) -> int:
    status = floe.client().get("/v1/status")
    site = status.get("site") or {}
    units, pilots = status.get("units") or {}, status.get("pilots") or {}
    row = {
        "name": site.get("name"),
        "key": site.get("key"),
        "state": site.get("state", "alive"),
        "version": status.get("version"),
        "running": units.get("running"),
        "ready": units.get("ready"),
        "pilots": pilots.get("running"),
    }
    if floe.as_json:
        print_json({"sites": [row]})
        return 0
    if not site:
        return ERROR
    say(f"MESH · {plural(1, 'site')} · settled means: on this site's disk")
    table(
        ["SITE", "STATE", "VERSION", ">RUN", ">READY", ">PILOTS"],
        [
            [
                f"{row['name']}*",
                state(row["state"]),
                row["version"],
                number(row["running"]),
                number(row["ready"]),
                number(row["pilots"]),
            ]
        ],
    )
    return 0


@mesh_verb.command("recover", examples=["floe mesh recover --dry-run", "floe mesh recover"])
@click.option("--dry-run", is_flag=True, help="Only say what stands still and what was lost.")
@json_option
@pass_floe
def mesh_recover(floe: Floe, dry_run: bool) -> None:
    """Let datasets go on that stand still since the database was put back from a copy.

    You sign, as an admin, that this node leads their log from here. What the log held when the
    copy was made stands; what came after it, in the database that is gone, does not count any
    more. Results that pilots still hold do count. If the old database is still in use anywhere,
    stop that node first.
    """
    client = floe.client()
    found = client.get("/v1/recovery")
    still = [item for item in found.get("still") or [] if isinstance(item, dict)]
    if not floe.as_json:
        _print_found(found, still)
    taken = [] if dry_run else [client.post("/v1/recovery", _sign(floe, found, s)) for s in still]
    if floe.as_json:
        print_json({**found, "taken": taken, "dry_run": dry_run})
        return
    for reply in taken:
        many = plural(len(reply.get("datasets") or []), "dataset")
        say(
            f"shard {_short(reply)} goes on under generation {number(reply.get('generation'))},"
            f" term {number(reply.get('term'))}: {many} under way"
        )
    if still and dry_run:
        say("let them go on  floe mesh recover")


def _sign(floe: Floe, found: Json, shard: Json) -> dict[str, str]:
    """The admin's word for one shard, as the API takes it."""
    from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
    from node.model.force import ForceOrder, write_force

    cut = shard["cut"]
    old = FeedID(SiteID(bytes.fromhex(cut["site"])), cut["generation"], Lane.CONTROL)
    new = FeedID(SiteID(bytes.fromhex(found["site"])), found["generation"], Lane.CONTROL)
    order = ForceOrder(
        ShardID(bytes.fromhex(shard["shard"])),
        shard["term"],
        new,
        EntryRef(old, cut["seq"], EntryID(bytes.fromhex(cut["entry"]))),
        secrets.token_bytes(16),
    )
    return floe.signed(write_force(order))


def _print_found(found: Json, still: list[Json]) -> None:
    if not still:
        say("nothing stands still here")
    for shard in still:
        _print_still(shard)
    lost = [harmless(item.get("words", "?")) for item in found.get("lost") or []]
    for words in lost:
        say(f"lost: {words}. What was submitted, ordered or settled there is gone;")
        say("      units that settled there run again")
    if still and not lost:
        say("what was written after the copy was made is lost; nothing here knows how much")
    for each in found.get("forced") or []:
        say(forced_line(each))


def _print_still(shard: Json) -> None:
    cut = shard.get("cut") or {}
    where = f"entry {number(cut.get('seq'))} of generation {number(cut.get('generation'))}"
    left = [item for item in shard.get("open") or [] if isinstance(item, dict)]
    say(
        f"shard {_short(shard)} stands still at {where}:"
        f" {len(left):,} of {plural(int(shard.get('datasets') or 0), 'dataset')} unfinished"
    )
    for item in left[:NAMES_MAX]:
        say(f"  {harmless(item.get('name', '?'))}  {number(item.get('units'))} units left")
    if len(left) > NAMES_MAX:
        say(f"  … and {len(left) - NAMES_MAX:,} more")


def forced_line(each: Any) -> str:
    """That a shard was forced on, for people."""
    cut = each.get("cut") or {}
    return (
        f"forced on by {harmless(each.get('by', '?'))}, {moment(each.get('when_ms'))}: what the"
        f" log held beyond entry {number(cut.get('seq'))} of generation"
        f" {number(cut.get('generation'))} is withdrawn"
    )


for _verb in (
    invite_verb,
    join_verb,
    members_verb,
    add_verb,
    revoke_verb,
    policy_verb,
    rename_verb,
    address_verb,
):
    mesh_verb.add_command(_verb)


def _short(shard: Json) -> str:
    return harmless(shard.get("shard", "?"))[:SHARD_DIGITS]
