"""Verbs about who belongs to the mesh: mesh members, add, revoke, policy, rename, address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from node.cli import sites
from node.cli.command import Floe, json_option, pass_floe, sure, verb
from node.cli.failures import ERROR, Failed
from node.cli.output import harmless, print_json, say, styled, table
from node.client import Json

if TYPE_CHECKING:
    from federation.ids import SiteID


@verb("members", examples=["floe mesh members", "floe mesh members --json"])
@json_option
@pass_floe
def members_verb(floe: Floe) -> None:
    """List the members with who admitted them and where they are dialled, and who is out."""
    reply = floe.client().get(sites.MEMBERS)
    if floe.as_json:
        print_json(reply)
        return
    table(
        ["SITE", "KEY", "ADMITTED BY", "ADDRESSES", "LINK"],
        [_member_cells(site) for site in sites.rows(reply, "members")],
    )
    for waiting in sites.rows(reply, "waiting"):
        say(f"! {sites.waiting_line(waiting)}")
    for gone in sites.rows(reply, "revoked"):
        by = ", ".join(harmless(name) for name in gone.get("by") or [])
        say(f"revoked: {sites.label(gone)}, by {by}")
    for void in sites.rows(reply, "ignored"):
        words = f"a {harmless(void.get('kind', '?'))} of {harmless(void.get('name', '?'))}"
        say(f"! {words} does not count: {harmless(void.get('why', '?'))}")


def _member_cells(site: Json) -> list[object]:
    mine = bool(site.get("own"))
    up = styled("up", "green") if site.get("linked") else "-"
    return [
        harmless(site.get("name", "?")) + ("*" if mine else ""),
        harmless(site.get("key", ""))[:8],
        ", ".join(map(str, site.get("admitted_by") or [])),
        " ".join(map(str, site.get("addresses") or [])) or _unreached(site),
        "" if mine else up,
    ]


def _unreached(site: Json) -> str:
    """What to say of a site without addresses. A lone one tells them as it first invites others."""
    return "only dials out" if site.get("told", True) else "not told yet"


@verb(
    "add",
    examples=[
        "floe mesh add mfrggzdfmztwq2lknnwg23tpob2xe43uov3ho6dzpiydcmrtgq2a@desy.example:7421",
        "floe mesh add KEY@HOST:PORT --name desy",
    ],
)
@click.argument("site", metavar="KEY[@HOST:PORT]")
@click.option("--name", metavar="NAME", default="", help="What to call it. Default: its own name.")
@json_option
@pass_floe
def add_verb(floe: Floe, site: str, name: str) -> None:
    """Admit the site of this key; its admin does the same with this site's.

    `floe keys show` prints what the other's admin needs: send it in a way that you trust. Several
    addresses stand behind commas, none for a site that only dials out.
    """
    from federation.naming import NAMELESS
    from node.model.member import Add

    key, addresses = _dialled(site)
    before = floe.client().get(sites.MEMBERS)
    by = sites.key_of(sites.own(before))
    reply = sites.order(floe, Add(by, key, name or NAMELESS, addresses, sites.nonce()))
    if floe.as_json:
        print_json(reply)
        return
    if sites.say_standing(reply, key):
        from keys.identity import show

        (found,) = (each for each in sites.rows(reply, "members") if each.get("key") == show(key))
        say(f"{sites.label(found)} is admitted; its admin admits this site: floe keys show")


def _dialled(text: str) -> tuple[SiteID, tuple[str, ...]]:
    """Key and addresses of KEY@HOST:PORT,HOST:PORT. Raises Failed."""
    from federation.address import RIGHT, BadAddress, split_address
    from federation.ids import SiteID
    from keys.identity import parse
    from keys.signing import BadKey

    key, at, listed = text.partition("@")
    addresses = tuple(listed.split(",")) if at else ()
    try:
        for address in addresses:
            split_address(address)
        return SiteID(parse(key)), addresses
    except BadKey as error:
        raise Failed(f"{harmless(key)[:60]!r}: {error}", "floe keys show prints it") from None
    except BadAddress as error:
        raise Failed(str(error), RIGHT) from None


@verb("revoke", examples=["floe mesh revoke aachen", "floe mesh revoke aachen --void --yes"])
@click.argument("site")
@click.option("--void", is_flag=True, help="Those whom it admitted are out too.")
@click.option("--yes", is_flag=True, help="Do not ask; a script has to say it.")
@json_option
@pass_floe
def revoke_verb(floe: Floe, site: str, void: bool, yes: bool) -> None:
    """Put SITE out of the mesh, for ever: its key never counts again, whoever has it.

    For a site that is gone for good, or whose key was stolen. Its links end at once. Sites that it
    admitted up to now stay, but with --void, for when an admin's key was stolen too.
    """
    from node.model.member import Remove

    before = floe.client().get(sites.MEMBERS)
    found = sites.find(before, site)
    own = "this very site, whose key is of no more use then" if found.get("own") else ""
    sure(f"revoke {own or sites.label(found)}, for ever?", yes)
    feeds = [] if void else [tuple(pair) for pair in found.get("feeds") or []]
    by, key = sites.key_of(sites.own(before)), sites.key_of(found)
    reply = sites.order(floe, Remove(by, key, tuple(feeds), sites.nonce()))
    if floe.as_json:
        print_json(reply)
        return
    say(f"{sites.label(found)} is revoked, for ever")
    gone = {each["key"] for each in sites.rows(before, "members")} - {
        each["key"] for each in [*sites.rows(reply, "members"), found]
    }
    for each in sites.rows(before, "members"):
        if each["key"] in gone:
            say(f"! {sites.label(each)} is out with it; to let it in again: floe mesh add")


@verb(
    "policy",
    examples=["floe mesh policy", "floe mesh policy --admissions 2", "floe mesh policy --mesh ice"],
)
@click.option(
    "--admissions",
    type=click.IntRange(1, 16),
    metavar="N",
    help="So many members must admit a new site.",
)
@click.option("--mesh", "name", metavar="NAME", help="What to call the mesh.")
@json_option
@pass_floe
def policy_verb(floe: Floe, admissions: int | None, name: str | None) -> None:
    """Show, or set, what this mesh asks of new sites; those that are members stay.

    Each site has its own policy, and the strictest decides: one that another site asks for is
    taken back by that site's admins alone.
    """
    reply = floe.client().get(sites.MEMBERS)
    if admissions is not None or name is not None:
        reply = _set_policy(floe, reply, admissions, name)
    if floe.as_json:
        shown = ("mesh", "admissions", "policies")
        print_json({key: reply.get(key) for key in shown})
        return
    word = harmless(reply.get("mesh") or "the mesh")
    needed = reply.get("admissions")
    say(f"{word}: a new site needs {_admissions(needed)}")
    for each in sites.rows(reply, "policies"):
        say(f"  {harmless(each.get('name', '?'))} asks for {each.get('admissions')}")


def _set_policy(floe: Floe, reply: Json, admissions: int | None, name: str | None) -> Json:
    from node.model.member import Policy

    mine = sites.own(reply)
    before = [each for each in sites.rows(reply, "policies") if each["key"] == mine["key"]]
    now: Any = before[0] if before else {"admissions": 1, "mesh": ""}
    members = tuple(map(sites.key_of, sites.rows(reply, "members")))
    wanted = now["admissions"] if admissions is None else admissions
    mesh = now["mesh"] if name is None else name
    return sites.order(floe, Policy(sites.key_of(mine), wanted, members, mesh, sites.nonce()))


def _admissions(needed: object) -> str:
    return "one member's admission" if needed == 1 else f"admissions by {needed} members"


@verb("rename", examples=["floe mesh rename desy hamburg", "floe mesh rename hamburg --drop"])
@click.argument("site")
@click.argument("name", default="")
@click.option("--drop", is_flag=True, help="Call it what it calls itself again.")
@json_option
@pass_floe
def rename_verb(floe: Floe, site: str, name: str, drop: bool) -> None:
    """Call SITE by NAME, here at this site. Others call it as they like."""
    if bool(name) == drop:
        raise click.UsageError("say the new name, or --drop")
    client = floe.client()
    found = sites.find(client.get(sites.MEMBERS), site)
    reply = client.post("/v1/mesh/names", {"site": found["key"], "name": name})
    if floe.as_json:
        print_json(reply)
        return
    now = reply.get("site") or {}
    say(f"{harmless(found.get('name', '?'))} is {harmless(now.get('name', '?'))} now")


@verb(
    "address",
    examples=[
        "floe mesh address",
        "floe mesh address login2.desy.example",
        "floe mesh address nat.desy.example:17421 192.0.2.7",
    ],
)
@click.argument("addresses", metavar="[HOST[:PORT]]...", nargs=-1)
@json_option
@pass_floe
def address_verb(floe: Floe, addresses: tuple[str, ...]) -> int:
    """Show, or tell the other sites, where they dial this one.

    It binds until the next start of the node; addresses in [mesh] of config.toml hold for good.
    """
    client = floe.client()
    if addresses:
        reply = client.post("/v1/mesh/addresses", {"addresses": list(addresses)})
    else:
        reply = {"addresses": sites.own(client.get(sites.MEMBERS)).get("addresses")}
    if floe.as_json:
        print_json(reply)
        return 0
    told = [harmless(each) for each in reply.get("addresses") or []]
    say(" ".join(told) or "others have no address of this site: it is alone, or only dials out")
    if addresses:
        say("until the next start; for good: addresses in [mesh] of config.toml")
    return 0 if told else ERROR
