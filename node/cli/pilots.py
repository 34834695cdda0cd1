"""Verbs about pilots: pilots, pilots token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.output import console, duration, harmless, number, print_json, say, state, table
from node.client import Json

SHOWN = 100  # rows: a screen or two
COLUMNS = (
    "BATCH",
    "JOB",
    "STATE",
    ">FOR",
    "HOST",
    ">UNITS",
    ">SLOTS",
    ">SEEN",
    "ISOLATION",
    "NOTE",
)
ISOLATION, NOTE = 8, 9
FULL = "full"  # isolation as it should be: not worth a column
DITTO = '"'


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
        say("  → what keeps them, if there is: floe site show")
        return
    columns, rows = pilot_table(pilots, DITTO if console().is_terminal else "")
    table(columns, rows)
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


def pilot_table(
    pilots: Sequence[Json], ditto: str = ""
) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Columns and rows. The isolation is left out where it is full everywhere.

    ditto: stands for a note that is the same as that of the row above; "" tells it again.
    """
    rows = [_pilot_row(pilot) for pilot in pilots]
    if ditto:
        for above, row in reversed(list(pairwise(rows))):
            row[NOTE] = ditto if row[NOTE] and row[NOTE] == above[NOTE] else row[NOTE]
    if {row[ISOLATION] for row in rows} <= {FULL, "-"}:
        return COLUMNS[:ISOLATION] + COLUMNS[NOTE:], [[*row[:ISOLATION], row[NOTE]] for row in rows]
    return COLUMNS, [*rows]


def _pilot_row(pilot: Json) -> list[object]:
    seen, idle = pilot.get("seen_s"), pilot.get("idle_s")
    return [
        pilot.get("system") or "?",
        _job(pilot),
        state(pilot.get("state", "?")),
        duration(pilot.get("since_s") if idle is None else idle),
        pilot.get("host") or "-",
        number(pilot.get("running")),
        number(pilot.get("slots")),
        f"{duration(seen)} ago" if isinstance(seen, int | float) else "-",
        pilot.get("isolation") or "-",
        harmless(pilot.get("note") or ""),
    ]


def _job(pilot: Json) -> str:
    """The batch system's name for it, its own where there is none; how many it may be."""
    count = pilot.get("count")
    if isinstance(count, int):
        return f"? ×{count}"
    return str(pilot.get("job") or pilot.get("tag") or pilot.get("id") or "?")
