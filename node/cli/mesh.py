"""Verbs about the sites that share the work: mesh."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import click

from node.cli import meshviews
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
from node.cli.output import harmless, moment, number, plural, print_json, say
from node.client import Json, path_of

SHARD_DIGITS = 12
NAMES_MAX = 20
WATCH_S = 2.0  # between two looks


@verb_group(
    "mesh",
    examples=["floe mesh", "floe mesh --watch", "floe mesh why aachen", "floe mesh invite"],
    invoke_without_command=True,
)
@click.option("--watch", is_flag=True, help="Show it again every few seconds, until Ctrl-C.")
@json_option
@click.pass_context
def mesh_verb(context: click.Context, watch: bool) -> None:
    """Show the sites that share the work: who is there, what each does, what is wrong."""
    if context.invoked_subcommand is not None:
        return
    floe = context.find_object(Floe)
    assert floe is not None
    if floe.as_json:
        print_json(floe.client().get("/v1/mesh"))
        return
    while True:
        reply = floe.client().get("/v1/mesh")
        if watch:
            click.clear()
        meshviews.print_mesh(reply)
        if not watch:
            return
        time.sleep(WATCH_S)


@mesh_verb.command("links", examples=["floe mesh links"])
@json_option
@pass_floe
def mesh_links(floe: Floe) -> None:
    """Show the links of this site: direction, path, handshake, round trip, bytes, credits."""
    _shown(floe, "/v1/mesh/links", meshviews.print_links)


@mesh_verb.command("shards", examples=["floe mesh shards"])
@json_option
@pass_floe
def mesh_shards(floe: Floe) -> None:
    """Show who leads which datasets: term, council, how far the log is settled, votes."""
    _shown(floe, "/v1/mesh/shards", meshviews.print_shards)


@mesh_verb.command("why", examples=["floe mesh why aachen"])
@click.argument("site", metavar="SITE")
@json_option
@pass_floe
def mesh_why(floe: Floe, site: str) -> None:
    """Tell what is wrong with SITE, if anything, and what to do."""
    _shown(floe, path_of("mesh", "why", site), meshviews.print_why)


@mesh_verb.command("verify", examples=["floe mesh verify"])
@json_option
@pass_floe
def mesh_verify(floe: Floe) -> int:
    """Ask all members for the roots of their tables and compare them at common positions.

    Exit status 1 if any differ.
    """
    reply = _shown(floe, "/v1/mesh/verify", meshviews.print_verified)
    return 0 if reply.get("equal") else ERROR


def _shown(floe: Floe, path: str, show: Callable[[Json], None]) -> Json:
    reply = floe.client().get(path)
    if floe.as_json:
        print_json(reply)
    else:
        show(reply)
    return reply


@mesh_verb.command(
    "recover",
    examples=["floe mesh recover --dry-run", "floe mesh recover", "floe mesh recover --newest"],
)
@click.option("--dry-run", is_flag=True, help="Only say what stands still and what was lost.")
@click.option(
    "--shard", "named", multiple=True, metavar="ID",
    help="Also one whose voters are only silent, by the beginning of its id.",
)  # fmt: skip
@click.option(
    "--newest/--older", "newest", default=None,
    help="Of a node that writes nothing yet: its database is the newest copy, or is not.",
)  # fmt: skip
@json_option
@pass_floe
def mesh_recover(floe: Floe, dry_run: bool, named: tuple[str, ...], newest: bool | None) -> None:
    """Let datasets go on that stand still: their leader or most voters of their log are gone.

    You sign, as an admin, that this node alone leads their log from here. What this node holds of
    it stands; what came after that, in a database that is gone or at sites that are lost, does not
    count any more, even if it was settled. Results that pilots still hold do count. If the old
    database is still in use anywhere, stop that node first.

    Voters that are only silent may come back, and then all goes on by itself. If you know that they
    will not: floe mesh revoke SITE, or name the shard here.

    A node whose home was moved, or whose high-water file is gone, writes nothing before other sites
    have shown that they hold no more of its records than it does. You may know better. With
    --newest you say that its database is the newest copy and that no other copy runs: it goes on as
    before. With --older it leaves its seats to others and goes on under a new generation.
    """
    client = floe.client()
    if newest is not None:
        _decide(floe, newest)
        return
    found = client.get("/v1/recovery")
    still = [item for item in found.get("still") or [] if isinstance(item, dict)]
    if not floe.as_json:
        _print_found(found, still)
    chosen = [shard for shard in still if _is_chosen(shard, named)]
    taken = [] if dry_run else [_force(floe, shard) for shard in chosen]
    if floe.as_json:
        print_json({**found, "taken": taken, "dry_run": dry_run})
        return
    for reply in taken:
        many = plural(len(reply.get("datasets") or []), "dataset")
        say(
            f"shard {_short(reply)} goes on under generation {number(reply.get('generation'))},"
            f" term {number(reply.get('term'))}: {many} under way"
        )
    if chosen and dry_run:
        say("let them go on  floe mesh recover")


def _decide(floe: Floe, newest: bool) -> None:
    reply = floe.client().post("/v1/recovery/copy", {"newest": newest})
    if floe.as_json:
        print_json(reply)
    elif newest:
        say(f"the node starts again and goes on in generation {number(reply.get('generation'))}")
    else:
        say(f"the node starts again and leaves generation {number(reply.get('generation'))}")


def _is_chosen(shard: Json, named: tuple[str, ...]) -> bool:
    """Whether only an admin can help, or one named it."""
    named_here = any(str(shard.get("shard", "")).startswith(each.lower()) for each in named if each)
    return bool(shard.get("for_good", True)) or named_here


def _force(floe: Floe, shard: Json) -> Json:
    """Force one shard on, as it stands now: to force the one before wrote records."""
    client = floe.client()
    found = client.get("/v1/recovery")
    now = [each for each in found.get("still") or [] if each.get("shard") == shard["shard"]]
    return client.post("/v1/recovery", _sign(floe, found, now[0] if now else shard))


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
    if found.get("held"):
        say(harmless(found["held"]))
    if not still:
        say("nothing stands still here")
    for shard in still:
        _print_still(shard)
    lost = [harmless(item.get("words", "?")) for item in found.get("lost") or []]
    for words in lost:
        say(f"lost: {words}. What another site holds of it comes back by itself;")
        say(
            "      of the rest, what was submitted, ordered or settled is gone, and units run again"
        )
    if any(not shard.get("council") for shard in still) and not lost:
        say(
            "what was written after that copy, and is at no other site, is lost;"
            " nothing here knows how much"
        )
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
    say(f"  {harmless(shard.get('why', ''))}")
    if not shard.get("for_good", True):
        say(f"  if they are gone for good: floe mesh recover --shard {_short(shard)}")
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
