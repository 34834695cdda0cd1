"""Verbs by which a site gets into a mesh: mesh invite, mesh join."""

from __future__ import annotations

import base64
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from node.cli import sites
from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.failures import ERROR, Failed
from node.cli.output import harmless, moment, note, plural, print_json, say, table
from node.client import Client, Json

if TYPE_CHECKING:
    from node.model.token import Token

INVITATIONS = "/v1/mesh/invitations"
VALID = "7d"
VALID_S_MAX = 366 * 86_400
LOOK_S = 0.2  # between looks for the link
LINK_S = 60


@verb(
    "invite",
    examples=[
        "floe mesh invite",
        "floe mesh invite --valid 12h > token",
        "floe mesh invite --list",
        "floe mesh invite --withdraw 5f02aa91",
    ],
)
@click.option(
    "--valid", default=VALID, show_default=True, metavar="TIME", help="How long it holds: 12h, 7d."
)
@click.option("--list", "listed", is_flag=True, help="Show the invitations of this site instead.")
@click.option(
    "--withdraw", metavar="ID|TOKEN", help="Take one back instead: nobody can join with it then."
)
@json_option
@pass_floe
def invite_verb(floe: Floe, valid: str, listed: bool, withdraw: str | None) -> None:
    """Print a token with which one site may join this site's mesh, once.

    You sign, as an admin, that whoever shows the token is let in: hand it on in a way that only
    the other site's admin can read, and that admin runs `floe mesh join TOKEN`.
    """
    if listed or withdraw is not None:
        _invitations(floe, withdraw)
    else:
        _invite(floe, _valid(valid))


def _invite(floe: Floe, valid_s: int) -> None:
    from node.model.member import Invite, hash_secret
    from node.model.token import write_token

    here = floe.client().post("/v1/mesh/open", {})
    addresses = tuple(str(each) for each in here.get("addresses") or [])
    if not addresses:
        raise Failed(
            "this site only dials out: nobody could reach it to redeem a token",
            "let the other site invite this one, or set addresses in [mesh] of config.toml",
        )
    until_ms = int(here["now_ms"]) + valid_s * 1000
    secret = _secret()
    invite = Invite(
        sites.key_of(here),
        str(here["name"]),
        addresses,
        hash_secret(secret),
        until_ms,
        sites.nonce(),
    )
    document = sites.document_of(invite)
    signature = floe.signer().sign(document)
    token = write_token(secret, document, signature)
    floe.client().post(INVITATIONS, _signed(document, signature))  # without the secret
    if floe.as_json:
        print_json({"token": token, "until_ms": until_ms, "addresses": list(addresses)})
        return
    say(token)
    note(f"floe: one site may join with it until {moment(until_ms)}, at {' '.join(addresses)}:")
    note("      floe mesh join TOKEN")


def _invitations(floe: Floe, withdraw: str | None) -> None:
    """Show the invitations of this site, after taking one back."""
    client = floe.client()
    if withdraw is None:
        reply = client.get(INVITATIONS)
    else:
        reply = client.post(f"{INVITATIONS}/withdraw", {"id": _id_of(client, withdraw)})
    if floe.as_json:
        print_json(reply)
        return
    found = sites.rows(reply, "invitations")
    if not found:
        say("no invitation of this site is known here")
        return
    table(
        ["ID", "BY", "UNTIL", "STATE"],
        [
            [
                harmless(each.get("id", ""))[:8],
                harmless(each.get("by", "?")),
                moment(each.get("until_ms")),
                _state(each),
            ]
            for each in found
        ],
    )


def _state(invitation: Json) -> str:
    state = harmless(invitation.get("state", "?"))
    site = invitation.get("site")
    return f"{state} by {harmless(site.get('name', '?'))}" if isinstance(site, dict) else state


def _id_of(client: Client, text: str) -> str:
    """The id of an invitation, of which the token may be all that there is. Raises Failed."""
    from node.model.token import BadToken, read_token

    if not text.startswith("floe1."):
        return text
    try:
        token = read_token(text)
    except BadToken as error:
        raise Failed(str(error)) from None
    return str(client.post(INVITATIONS, _signed(token.document, token.signature)).get("id"))


def _signed(document: bytes, signature: bytes) -> Json:
    return {
        "document": base64.b64encode(document).decode(),
        "signature": base64.b64encode(signature).decode(),
    }


def _valid(text: str) -> int:
    """Seconds. Raises UsageError."""
    from node.model.units import TIME_RIGHT, parse_time

    try:
        valid_s = parse_time(text)
    except ValueError as error:
        raise click.UsageError(f"--valid: {error}; {TIME_RIGHT}") from None
    if not 1 <= valid_s <= VALID_S_MAX:
        raise click.UsageError("--valid: from 1s to 366d")
    return valid_s


def _secret() -> bytes:
    import secrets

    from federation.limits import SECRET_BYTES

    return secrets.token_bytes(SECRET_BYTES)


@verb(
    "join",
    examples=[
        "floe mesh join floe1.934.R0x…",
        "floe mesh join - < token",
        "floe mesh join - --name madison < token",
    ],
)
@click.argument("token")
@click.option("--name", metavar="NAME", help="What to call the site that gave the token.")
@click.option("--merge", is_flag=True, help="Make one mesh of this site's and the token's.")
@click.option(
    "--timeout",
    default=LINK_S,
    show_default=True,
    type=click.IntRange(1, 3600),
    metavar="S",
    help="Wait so long for the first link.",
)
@json_option
@pass_floe
def join_verb(floe: Floe, token: str, name: str | None, merge: bool, timeout: int) -> int:
    """Join the mesh of the site that gave TOKEN (- to read it from standard input).

    You sign, as an admin, that this site lets that one in; that one lets this site in by the
    token. Returns once both list each other and records flow; what was submitted here before
    comes along.
    """
    from node.model.member import Add

    held = _read_token(token)
    client = floe.client()
    mine = sites.own(client.get(sites.MEMBERS))
    invite = held.invite
    admission = Add(
        sites.key_of(mine), invite.by, name or invite.name, invite.addresses, sites.nonce()
    )
    body = {
        **floe.signed(sites.document_of(admission)),
        "invitation": {"document": _text(held.document), "signature": _text(held.signature)},
        "secret": _text(held.secret),
        "merge": merge,
    }
    return _joined(floe, client, client.post("/v1/mesh/join", body), timeout)


def _read_token(text: str) -> Token:
    from node.model.token import TOKEN_CHARS_MAX, BadToken, read_token

    if text == "-":
        text = sys.stdin.read(TOKEN_CHARS_MAX + 1)
    try:
        return read_token(text)
    except BadToken as error:
        raise Failed(str(error), error.right, code="token") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _joined(floe: Floe, client: Client, reply: Json, timeout: int) -> int:
    """Wait for the first link, and say how it went."""
    sponsor = reply.get("sponsor") or {}
    waits = int(reply.get("needed") or 1) - int(reply.get("admitted") or 1)
    members: Json = {}
    linked = waits <= 0
    if linked:
        members, linked = _linked(client, sponsor.get("key"), timeout)
    if floe.as_json:
        print_json({**reply, "linked": linked, "members": sites.rows(members, "members")})
        return 0 if linked else ERROR
    if waits > 0:
        many = plural(waits, "more member")
        note(f"floe: {sites.label(sponsor)} admitted this site; the mesh asks for {many}:")
        note("      their admins run floe mesh add with what floe keys show prints here")
        return ERROR
    if not linked:
        note(f"floe: joined {sites.label(sponsor)}, but no link came up in {timeout} s yet;")
        note(f"      it goes on trying: floe mesh why {harmless(sponsor.get('name', ''))}")
        return ERROR
    others = len(sites.rows(members, "members"))
    say(f"joined {sites.label(sponsor)}: {plural(others, 'site')} known so far, records flow")
    return 0


def _linked(client: Client, key: Any, timeout: int) -> tuple[Json, bool]:
    """The members, and whether the link with the sponsor came up in time."""
    until_s = time.monotonic() + timeout
    while True:
        reply = client.get(sites.MEMBERS)
        for site in sites.rows(reply, "members"):
            if site.get("key") == key and site.get("linked"):
                return reply, True
        if time.monotonic() >= until_s:
            return reply, False
        time.sleep(LOOK_S)
