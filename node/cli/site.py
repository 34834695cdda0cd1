"""Verbs about this site; what they show is drawn by the modules that they name."""

from __future__ import annotations

import click

from node.cli.command import Floe, json_option, pass_floe, verb_group
from node.cli.output import harmless, print_json, say


@verb_group("site", examples=["floe site show", "floe site test", "floe site drain"])
def site_verb() -> None:
    """Show, test, drain or limit this site."""


@site_verb.command(
    "show", examples=["floe site show", "floe site show maui", "floe site show desy"]
)
@click.argument("name", default="")
@json_option
@pass_floe
def site_show(floe: Floe, name: str) -> None:
    """Show this site: batch systems with what is wrong there, workers, hosts that get no units.

    NAME: one of its batch systems with limits and queues, or another site by its own word.
    """
    from node.cli.siteviews import show_site

    show_site(floe, name)


@site_verb.command("test", examples=["floe site test", "floe site test maui"])
@click.argument("name", default="")
@click.option(
    "--timeout",
    type=click.IntRange(5, 86_400),
    metavar="S",
    help="Give up after S seconds. Default: 120, in a batch system 600.",
)
@json_option
@pass_floe
def site_test(floe: Floe, name: str, timeout: int | None) -> int:
    """Try this site: submit one pilot, see it start, speak, run one unit and leave.

    NAME: one of its batch systems; without, all of them, and this machine if pilots run here. Exit
    status 1 when a step fails; the step says what to do.
    """
    from node.cli.probing import run_probes

    return run_probes(floe, name, timeout)


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


@site_verb.command("allow", examples=["floe site allow c17"])
@click.argument("host")
@json_option
@pass_floe
def site_allow(floe: Floe, host: str) -> None:
    """Give units to the worker HOST again, which is banned; say it once that is mended."""
    reply = floe.client().post("/v1/admin/allow", {"host": host})
    if floe.as_json:
        print_json(reply)
    else:
        say(f"{harmless(host)} gets units again; if they fail there as before, it is banned again")


@site_verb.command(
    "limits",
    examples=[
        "floe site limits",
        "floe site limits --pilots 0",
        "floe site limits maui --pilots 50 --queued 5",
    ],
)
@click.argument("name", default="")
@click.option("--pilots", type=click.IntRange(0, 100_000), help="At most so many pilots.")
@click.option("--queued", type=click.IntRange(0, 100_000), help="At most so many in its queue.")
@json_option
@pass_floe
def site_limits(floe: Floe, name: str, pilots: int | None, queued: int | None) -> None:
    """Show the limits of pilots, and of the queues that they go to; or change them for now.

    NAME: a batch system; without, pilots on the node's own machine are changed, and all are shown.
    What is changed here counts until the next start of the node; config.toml holds limits for good.
    """
    from node.cli.limits import limits

    limits(floe, name, pilots, queued)
