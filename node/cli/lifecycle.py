"""Verbs about the node itself: init, up, down, status."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from federation.address import PORT as MESH_PORT
from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.failures import Failed
from node.cli.output import (
    duration,
    harmless,
    note,
    number,
    plural,
    print_json,
    say,
    say_wrapped,
    size,
)

NAME_CHARACTERS_MAX = 32


def _account() -> str:
    """The login name, as far as it can be a user's name in the mesh."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "admin"
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower()).lstrip("0123456789.-")[:32] or "admin"


def _host() -> str:
    import socket

    short = socket.gethostname().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9-]", "-", short).lstrip("0123456789-")[:NAME_CHARACTERS_MAX] or "site"


@verb(
    "init",
    examples=[
        "floe init --name desy",
        "floe init --name desy --api-port 7422 --key ~/.ssh/id_ed25519",
        "floe init --name desy --address login1.desy.example",
        "floe init --name aachen --dial-only",
        "floe init --systemd > ~/.config/systemd/user/floe.service",
    ],
)
@click.option("--name", metavar="SITE", help="The site's name: a-z, 0-9, -. Default: this host's.")
@click.option("--user", metavar="NAME", help="Your name as a user. Default: your account's.")
@click.option("--key", metavar="FILE", help="Your SSH key (Ed25519). Default: ~/.ssh/id_ed25519.")
@click.option("--group", "groups", metavar="GROUP", multiple=True, help="A group of yours.")
@click.option(
    "--api-port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port of the API. Default: a free one, kept from then on.",
)
@click.option(
    "--listen", metavar="HOST", default="127.0.0.1", show_default=True, help="Its address."
)
@click.option(
    "--mesh-port",
    type=click.IntRange(0, 65535),
    default=MESH_PORT,
    show_default=True,
    metavar="PORT",
    help="Where other sites may reach this one.",
)
@click.option(
    "--mesh-listen",
    metavar="HOST",
    default="0.0.0.0",
    show_default=True,
    help="The address of this machine for that.",
)
@click.option(
    "--address",
    "addresses",
    metavar="HOST[:PORT]",
    multiple=True,
    help="How others dial it. Default: this host's name.",
)
@click.option("--dial-only", is_flag=True, help="Never listen to other sites, only dial them.")
@click.option(
    "--slots", type=click.IntRange(1, 4096), help="Units at once here. Default: all CPUs."
)
@click.option("--network-home", is_flag=True, help="Allow a home on a network file system.")
@click.option("--systemd", is_flag=True, help="Only print a systemd user unit for this home.")
@pass_floe
def init_verb(
    floe: Floe,
    name: str | None,
    user: str | None,
    key: str | None,
    groups: tuple[str, ...],
    api_port: int,
    listen: str,
    mesh_port: int,
    mesh_listen: str,
    addresses: tuple[str, ...],
    dial_only: bool,
    slots: int | None,
    network_home: bool,
    systemd: bool,
) -> None:
    """Make a site in FLOE_HOME: its key, its certificate, its configuration.

    You are enrolled as its admin with your SSH key. Where you have none of the right kind, one is
    made in the home and its place is said.
    """
    from node.cli import founding

    if systemd:
        say(founding.systemd_unit(floe.home))
        note("floe: save it as ~/.config/systemd/user/floe.service, then:")
        note("      systemctl --user enable --now floe && loginctl enable-linger")
        return
    settings = founding.Settings(
        name=name or _host(),
        user=user or _account(),
        key=Path(key or floe.key).expanduser().absolute() if key or floe.key else None,
        groups=groups,
        listen=f"{listen}:{api_port}",
        slots=slots,
        network_home=network_home,
        mesh_listen=f"{mesh_listen}:{mesh_port}",
        addresses=addresses,
        dial_only=dial_only,
    )
    founded = founding.found(floe.home, settings)
    say(f"site      {founded.site}   in {floe.home.path}")
    say(f"admin     {settings.user}   {founded.key_path}")
    if founded.made_key:
        say("          a new key without a passphrase, made because you had no Ed25519 key;")
        say("          keep a copy: it is you, for this site")
    if network_home:
        note("floe: the home may be on a network file system. One node alone may use it, and its")
        note("      records are as safe as that server's disk and locks.")
    say("start it  floe up --detach")


@verb("up", examples=["floe up", "floe up --detach"])
@click.option("--detach", is_flag=True, help="In the background; returns once the API answers.")
@click.option("--anyway", is_flag=True, help="Do not ask batch systems whether they take pilots.")
@json_option
@pass_floe
def up_verb(floe: Floe, detach: bool, anyway: bool) -> int:
    """Run the node of this home; Ctrl-C ends it.

    It is not started while a batch system refuses its settings, as `floe config check` shows.
    """
    from node import daemon

    if not floe.home.exists():
        raise Failed(f"there is no site in {floe.home.path}", "make one: floe init --name NAME")
    running = daemon.running(floe.home)
    if running is None and not anyway:
        from node.cli.trying import before_start

        before_start(floe.home)
    if running is not None:
        if not detach:
            raise Failed(f"this site's node runs already, as process {running.pid}", "floe down")
        note(f"floe: it runs already, as process {running.pid}")
    elif not detach:
        return daemon.run(floe.home)
    else:
        try:
            running = daemon.detach(floe.home)
        except daemon.DaemonError as error:
            raise Failed(str(error), f"its log: {floe.home.log / 'node.log'}") from None
    if floe.as_json:
        said = {"pid": running.pid, "api": running.api, "site": running.name}
        print_json({**said, "note": running.note})
    else:
        say(f"{harmless(running.name)} is up: {running.api}, process {running.pid}")
        if running.note:
            note(f"floe: {harmless(running.note)}")
    return 0


@verb("down", examples=["floe down", "floe down --pilots=drain", "floe down --pilots=cancel"])
@click.option(
    "--pilots",
    type=click.Choice(["leave", "drain", "cancel"]),
    is_flag=False,
    flag_value="cancel",
    default="leave",
    show_default=True,
    help="What becomes of its pilots. Without a word of these: cancel.",
)
@json_option
@pass_floe
def down_verb(floe: Floe, pilots: str) -> None:
    """Stop the node of this home and wait until it is gone.

    leave: its pilots carry on with what they hold and report once the node is up again; those that
    wait in a batch system may start meanwhile. drain: those that wait are cancelled, those that
    run finish what they hold, and the node goes down after the last one. cancel: all are ended
    now, and the units that they run will run again.
    """
    from node import daemon
    from node.cli import leaving

    hindrances: list[str] = []
    pids: list[int] = []
    if pilots != "leave" and daemon.running(floe.home) is not None:
        pids, hindrances = leaving.send_away(floe, pilots)
    try:
        stopped = daemon.stop(floe.home)
    except daemon.DaemonError as error:
        raise Failed(str(error)) from None
    if left := leaving.wait_gone(pids):
        note(f"still ending: process {', '.join(map(str, left))}")
    if floe.as_json:
        pid = stopped.pid if stopped else None
        print_json({"stopped": stopped is not None, "pid": pid, "hindrances": hindrances})
    elif stopped is None:
        say("no node runs here")
    else:
        say(f"{harmless(stopped.name)} is down (process {stopped.pid})")


@verb("status", examples=["floe status", "floe status --json"])
@json_option
@pass_floe
def status_verb(floe: Floe) -> int:
    """Show the node, its work, its pilots and its disk."""
    reply = floe.client().get("/v1/status")
    if floe.as_json:
        print_json(reply)
        return 0
    for line in status_lines(reply):
        say_wrapped(line)
    return 0


def status_lines(reply: dict[str, Any]) -> list[str]:
    """Status for people."""
    site = reply.get("site") or {}
    key = harmless(site.get("key", ""))[:8]
    lines = [
        f"{harmless(site.get('name', '?'))}·{key}  up {duration(reply.get('uptime_s'))}"
        f"   process {reply.get('pid')}   {harmless(reply.get('api', ''))}"
        f"   version {harmless(reply.get('version', '?'))}"
    ]
    units = reply.get("units") or {}
    worded = [f"{name} {number(units[name])}" for name in units if units[name] and name != "units"]
    datasets = reply.get("datasets")
    if isinstance(datasets, int):
        lines.append("  ".join(["  work   ", plural(datasets, "dataset"), *worded]))
    pilots = reply.get("pilots") or {}
    lines.append(f"  pilots   {_pairs(pilots)}" if pilots else "  pilots   none")
    disk = reply.get("disk") or {}
    if disk:
        lines.append(f"  disk     {_sizes(disk)}")
    for where in ("stored_on", "settled_on"):
        if isinstance(reply.get(where), str):
            lines.append(f"  {where.replace('_', ' '):10}{harmless(reply[where])}")
    if reply.get("note"):
        lines.append(f"  note     {harmless(reply['note'])}")
    lines.extend(f"! {harmless(warning)}" for warning in reply.get("warnings") or [])
    return lines


def _pairs(table: dict[str, Any]) -> str:
    return "   ".join(
        f"{harmless(name.replace('_', ' '))} {number(value)}"
        for name, value in table.items()
        if isinstance(value, int)
    )


def _sizes(table: dict[str, Any]) -> str:
    shown = []
    for name, value in table.items():
        word = harmless(name.removesuffix("_bytes").replace("_", " "))
        if isinstance(value, int):
            shown.append(f"{word} {size(value)}")
    return "   ".join(shown)


def unit_program() -> str:
    """The `floe` that runs now, for a service file."""
    beside = Path(sys.executable).with_name("floe")
    if os.access(beside, os.X_OK):
        return str(beside)
    return f"{sys.executable} -m node.cli"
