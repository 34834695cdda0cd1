"""Verbs about pilots: pilots, pilots token."""

from __future__ import annotations

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.output import duration, harmless, number, print_json, say, state, table
from node.client import Json

SHOWN = 100  # rows: a screen or two
COLUMNS = (
    "BATCH", "JOB", "STATE", "HOST", ">UNITS", ">SLOTS", ">IDLE", ">SEEN", "ISOLATION", "NOTE",
)  # fmt: skip


@verb_group(
    "pilots",
    examples=["floe pilots", "floe pilots --json", "floe pilots token --count 10"],
    invoke_without_command=True,
)
@click.option("--batch", default="", metavar="NAME", help="Only of this batch system.")
@click.option("--state", "wanted", default="", metavar="STATE", help="Only in this state.")
@click.option("--all", "everything", is_flag=True, help=f"All, not just the first {SHOWN}.")
@json_option
@click.pass_context
def pilots_verb(ctx: click.Context, batch: str, wanted: str, everything: bool) -> None:
    """List the pilots of this site, with those that wait in batch systems."""
    if ctx.invoked_subcommand is not None:
        return
    floe = ctx.find_object(Floe)
    assert floe is not None
    limit = {} if everything or floe.as_json else {"limit": SHOWN}
    reply = floe.client().get("/v1/pilots", {"system": batch, "state": wanted, **limit})
    if floe.as_json:
        print_json(reply)
        return
    pilots = [item for item in reply.get("pilots") or [] if isinstance(item, dict)]
    _print_counts(reply)
    if not pilots:
        nothing = "no such pilots" if batch or wanted else "no pilots"
        say(f"{nothing}; the node starts them when there is work")
        return
    table(COLUMNS, [_pilot_row(pilot) for pilot in pilots])
    if reply.get("left_out"):
        say(f"… and {number(reply['left_out'])} more: --all, or choose with --batch and --state")


def _print_counts(reply: Json) -> None:
    """maui: 12 running, 8 queued, 1 held; only where there is more than the node's own machine."""
    counts = reply.get("counts")
    if not isinstance(counts, dict) or not set(counts) - {"local"}:
        return
    for name, states in counts.items():
        told = ", ".join(f"{number(count)} {harmless(word)}" for word, count in states.items())
        say(f"{harmless(name)}: {told}")


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
    seen, idle = pilot.get("seen_s"), pilot.get("idle_s")
    return [
        pilot.get("system") or "?",
        _job(pilot),
        state(pilot.get("state", "?")),
        pilot.get("host") or "-",
        number(pilot.get("running")),
        number(pilot.get("slots")),
        duration(idle),
        f"{duration(seen)} ago" if isinstance(seen, int | float) else "-",
        pilot.get("isolation") or "-",
        _note(pilot),
    ]


def _job(pilot: Json) -> str:
    """The batch system's name for it, its own where there is none; how many it may be."""
    count = pilot.get("count")
    if isinstance(count, int):
        return f"? ×{count}"
    return str(pilot.get("job") or pilot.get("tag") or pilot.get("id") or "?")


def _note(pilot: Json) -> str:
    since = pilot.get("since_s")
    words = [f"for {duration(since)}"] if isinstance(since, int | float) else []
    return ": ".join([*words, *([harmless(pilot["note"])] if pilot.get("note") else [])])
