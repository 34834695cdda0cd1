"""Verbs about pilots: pilots, pilots token."""

from __future__ import annotations

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.output import duration, harmless, number, print_json, say, state, table
from node.client import Json


@verb_group(
    "pilots",
    examples=["floe pilots", "floe pilots --json", "floe pilots token --count 10"],
    invoke_without_command=True,
)
@json_option
@click.pass_context
def pilots_verb(ctx: click.Context) -> None:
    """List the pilots of this site, and what each is doing."""
    if ctx.invoked_subcommand is not None:
        return
    floe = ctx.find_object(Floe)
    assert floe is not None
    reply = floe.client().get("/v1/pilots")
    if floe.as_json:
        print_json(reply)
        return
    pilots = [item for item in reply.get("pilots") or [] if isinstance(item, dict)]
    if not pilots:
        say("no pilots; the node starts them when there is work")
        return
    table(
        ["PILOT", "STATE", "HOST", ">PID", ">RUNNING", ">SLOTS", ">SEEN", "ISOLATION", "NOTE"],
        [_pilot_row(pilot) for pilot in pilots],
    )


@pilots_verb.command("token", examples=["floe pilots token --count 10"])
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1, 10_000), help="For N pilots."
)
@json_option
@pass_floe
def pilots_token(floe: Floe, count: int) -> None:
    """Make a token with which pilots that you start yourself announce themselves.

    Whoever has it may take work of this site: keep it in a file of mode 0600.
    """
    reply = floe.client().post("/v1/admin/pilot-token", {"count": count})
    if floe.as_json:
        print_json(reply)
    else:
        say(harmless(reply.get("token", "")))


def _pilot_row(pilot: Json) -> list[object]:
    name = pilot.get("tag") or pilot.get("name") or pilot.get("id") or "?"
    seen = pilot.get("seen_s", pilot.get("silent_s"))
    return [
        name,
        state(pilot.get("state", "?")),
        pilot.get("host") or "-",
        pilot.get("pid") or "-",
        number(pilot.get("running")),
        number(pilot.get("slots")),
        f"{duration(seen)} ago" if isinstance(seen, int | float) else "-",
        pilot.get("isolation") or "-",
        pilot.get("note") or "",
    ]
