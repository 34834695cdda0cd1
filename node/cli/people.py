"""Verbs about people: users, keys, usage."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb, verb_group
from node.cli.failures import Failed
from node.cli.output import duration, harmless, print_json, say, styled, table
from node.client import ClientError, Json


@verb_group(
    "users",
    examples=["floe users list", 'floe users add ben "ssh-ed25519 AAAA… ben"'],
)
def users_verb() -> None:
    """List, add or remove the people who may submit here."""


@users_verb.command("list", examples=["floe users list"])
@json_option
@pass_floe
def users_list(floe: Floe) -> None:
    """List the enrolled people."""
    reply = floe.client().get("/v1/people")
    if floe.as_json:
        print_json(reply)
        return
    people = [item for item in reply.get("people") or [] if isinstance(item, dict)]
    table(
        ["NAME", "ROLES", "GROUPS", "KEY", ""],
        [
            [
                person.get("name", "?"),
                ", ".join(map(str, person.get("roles") or [])),
                ", ".join(map(str, person.get("groups") or [])),
                person.get("fingerprint") or person.get("key") or "?",
                "" if person.get("active", True) else styled("removed", "dim"),
            ]
            for person in people
        ],
    )


@users_verb.command(
    "add",
    examples=[
        'floe users add ben "ssh-ed25519 AAAA… ben"',
        "floe users add ben --key-file ben.pub --group simprod",
    ],
)
@click.argument("name")
@click.argument("key_line", metavar="[KEY]", default="")
@click.option("--key-file", type=click.Path(path_type=Path), help="Read the public key from here.")
@click.option(
    "--group", "groups", multiple=True, metavar="GROUP", help="A group; the first is usual."
)
@click.option("--admin", is_flag=True, help="May enrol people and drain the site.")
@json_option
@pass_floe
def users_add(
    floe: Floe,
    name: str,
    key_line: str,
    key_file: Path | None,
    groups: tuple[str, ...],
    admin: bool,
) -> None:
    """Enrol NAME with an OpenSSH public key; you sign it, as an admin."""
    line = _key_line(key_line, key_file)
    before = _name_of(floe, line)
    reply = _order(floe, "user.add", line, name, groups, ("admin",) if admin else ())
    if floe.as_json:
        print_json(reply)
    elif before not in ("", name):
        say(f"{harmless(before)} is now {harmless(name)}")
    else:
        say(f"{harmless(name)} may submit here")


@users_verb.command("remove", examples=["floe users remove ben"])
@click.argument("name")
@json_option
@pass_floe
def users_remove(floe: Floe, name: str) -> None:
    """Remove NAME: nothing new is taken from that key. Work under way goes on."""
    people = floe.client().get("/v1/people").get("people") or []
    found = [
        person
        for person in people
        if isinstance(person, dict) and person.get("name") == name and person.get("active", True)
    ]
    if not found:
        raise Failed(f"nobody called {harmless(name)} is enrolled here", exit_status=4)
    line = str(found[0].get("line") or found[0].get("key") or "")
    reply = _order(floe, "user.remove", line, name, (), ())
    if floe.as_json:
        print_json(reply)
    else:
        say(f"{harmless(name)} may no longer submit here")


def _name_of(floe: Floe, line: str) -> str:
    """The name under which a key is enrolled here; "" if it is not."""
    key = line.split()[:2]
    for person in floe.client().get("/v1/people").get("people") or []:
        if isinstance(person, dict) and str(person.get("key", "")).split()[:2] == key:
            return str(person.get("name", "")) if person.get("active", True) else ""
    return ""


def _key_line(given: str, file: Path | None) -> str:
    if bool(given) == (file is not None):
        raise click.UsageError("give the public key once: as an argument, or with --key-file")
    if file is None:
        return given
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"cannot read {file}: {error}") from None


def _order(
    floe: Floe,
    kind: Any,
    line: str,
    name: str,
    groups: tuple[str, ...],
    roles: tuple[str, ...],
) -> Json:
    """Sign and send one order about a person."""
    from keys.identity import parse
    from keys.signing import BadKey
    from keys.sshsig import PublicKey
    from node.model.person import BadPerson, PersonOrder, read_person, write_person

    client = floe.client()
    try:
        key = PublicKey.parse(line)
        site = parse(str(client.ping().get("key", "")))
        order = PersonOrder(kind, site, key, name, groups, roles, secrets.token_hex(16))
        document = write_person(order)
        read_person(document)
    except (BadKey, BadPerson) as error:
        raise Failed(str(error)) from None
    return client.post("/v1/people", floe.signed(document))


@verb_group("keys", examples=["floe keys show"])
def keys_verb() -> None:
    """Show the keys of this site and yours."""


@keys_verb.command("show", examples=["floe keys show --json"])
@json_option
@pass_floe
def keys_show(floe: Floe) -> None:
    """Show the site's key, the fingerprint of its API and your own key.

    The fingerprint is what `floe --node URL --fingerprint HEX` on another machine pins; what
    stands behind "mesh" is what another site's admin gives to `floe mesh add`.
    """
    found = {**_site_keys(floe), **_user_key(floe)}
    if floe.as_json:
        print_json(found)
        return
    for name, value in found.items():
        say(f"{name.replace('_', ' '):<16} {harmless(value)}")


def _site_keys(floe: Floe) -> dict[str, str]:
    from keys.certificate import load_api_certificate
    from keys.identity import KeyFileError, SiteKey, show

    if not floe.home.exists():
        pinned = floe.endpoint()
        return {"site": str(floe.client().ping().get("key", "")), "api": pinned.fingerprint}
    try:
        key = SiteKey.load(floe.home.site_key)
        certificate = load_api_certificate(floe.home.api_certificate)
    except KeyFileError as error:
        raise Failed(str(error)) from None
    return {
        "site": show(key.site),
        "mesh": "@".join(filter(None, [show(key.site), ",".join(_addresses(floe))])),
        "api_fingerprint": certificate.fingerprint,
    }


def _addresses(floe: Floe) -> list[str]:
    """Where other sites dial this one: as its node says, else as the settings do."""
    import os

    from node.config import ConfigError, load

    try:
        members = floe.client().get("/v1/mesh/members").get("members") or []
        told = [site.get("addresses") for site in members if site.get("own")]
        if told and told[0]:
            return [str(each) for each in told[0]]
    except ClientError:
        pass  # no node runs, or this person is not known to it: the files say enough
    try:
        mesh = load(floe.home.config).mesh
    except ConfigError as error:
        raise Failed(str(error), "floe config check") from None
    port = int(mesh.listen.rpartition(":")[2])
    return list(mesh.told(port, os.uname().nodename)) if port else []


def _user_key(floe: Floe) -> dict[str, str]:
    from keys.signing import BadKey
    from keys.sshsig import PublicKey

    signer = floe.signer()
    try:
        line = signer.public_line()
        return {
            "user_key": line,
            "user_fingerprint": PublicKey.parse(line).fingerprint(),
            "user_file": str(signer.path),
        }
    except (ClientError, BadKey) as error:
        return {"user_key": f"none: {error}"}


@verb("usage", examples=["floe usage", "floe usage --json"])
@json_option
@pass_floe
def usage_verb(floe: Floe) -> None:
    """Show who used how much, as fair share counts it: normalised hours, halved every 7 days."""
    reply = floe.client().get("/v1/usage")
    if floe.as_json:
        print_json(reply)
        return
    rows = [item for item in reply.get("usage") or [] if isinstance(item, dict)]
    table(
        ["USER", "GROUP", ">USED", ">OF ALL"],
        [
            [
                row.get("user", "?"),
                row.get("group") or "-",
                duration(row.get("used_s")),
                f"{100 * float(row.get('share') or 0):.0f} %",
            ]
            for row in rows
        ],
    )
