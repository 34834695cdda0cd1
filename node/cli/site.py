"""Verbs about this site: site, pilots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.output import duration, harmless, number, print_json, say, size, state, table
from node.client import Json


@verb_group("site", examples=["floe site show", "floe site test", "floe site drain"])
def site_verb() -> None:
    """Show, test, drain or limit this site."""


@site_verb.command("show", examples=["floe site show --json"])
@json_option
@pass_floe
def site_show(floe: Floe) -> None:
    """Show this site: its key, batch systems, what its workers offer and how they isolate units."""
    reply = floe.client().get("/v1/site")
    if floe.as_json:
        print_json(reply)
        return
    known = reply.get("site")
    site: Mapping[str, Any] = known if isinstance(known, dict) else reply
    for line in fact_lines(site):
        say(line)


def fact_lines(table_of: Mapping[str, Any], indent: str = "") -> list[str]:
    """Any tree of facts as indented lines, sizes and times readable."""
    lines: list[str] = []
    for name, value in table_of.items():
        label = harmless(str(name).removesuffix("_bytes").removesuffix("_s").replace("_", " "))
        if isinstance(value, dict):
            lines += [f"{indent}{label}", *fact_lines(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for item in value:
                lines += [f"{indent}{label}", *fact_lines(item, indent + "  ")]
        elif name != "schema":
            lines.append(f"{indent}{label:<20} {_fact(str(name), value)}")
    return lines


def _fact(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if name in ("memory_bytes", "disk_bytes") and value == 0:
        return "all of it"  # of the machine; see LocalConfig
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_s"):
        return duration(value)
    if isinstance(value, list):
        return harmless(", ".join(str(item) for item in value)) or "-"
    return number(value) if isinstance(value, int) else harmless(value)


@site_verb.command("test", examples=["floe site test"])
@click.option(
    "--timeout",
    default=120,
    show_default=True,
    type=click.IntRange(5, 3600),
    metavar="S",
    help="Give up after S seconds.",
)
@json_option
@pass_floe
def site_test(floe: Floe, timeout: int) -> int:
    """Try this site: submit one pilot, see it start, speak and run one unit.

    Exit status 1 when a step fails; the step says what to do.
    """
    from node.cli.probing import run_probe

    return run_probe(floe, timeout)


@site_verb.command("drain", examples=["floe site drain", "floe site drain --off"])
@click.option("--off", is_flag=True, help="Take work again.")
@click.option("--why", default="", metavar="TEXT", help="A word for those who ask why.")
@json_option
@pass_floe
def site_drain(floe: Floe, off: bool, why: str) -> None:
    """Start nothing new here, let others lead its datasets; what runs is finished."""
    reply = floe.client().post("/v1/admin/drain", {"drain": not off, "why": why})
    if floe.as_json:
        print_json(reply)
    else:
        say("this site takes work again" if off else "draining: nothing new starts here")


@site_verb.command("limits", examples=["floe site limits", "floe site limits --pilots 0"])
@click.option("--pilots", type=click.IntRange(0, 100_000), help="At most so many pilots.")
@json_option
@pass_floe
def site_limits(floe: Floe, pilots: int | None) -> None:
    """Show the limits of this site, or change them until the next start of the node.

    config.toml holds them for good.
    """
    body = {} if pilots is None else {"pilots_max": pilots}
    reply = floe.client().post("/v1/admin/limits", body)
    if floe.as_json:
        print_json(reply)
        return
    limits = reply.get("limits")
    for line in fact_lines(limits if isinstance(limits, dict) else reply):
        say(line)


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
