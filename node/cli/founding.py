"""What `floe init` makes: the site's keys and settings, and the first admin's enrolment."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.cli.failures import Failed
from node.client import ClientError, Signer
from node.home import Home, write_private

_SITE_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the person chose. key: None to use ~/.ssh/id_ed25519 or make one."""

    name: str
    user: str
    key: Path | None
    groups: tuple[str, ...]
    listen: str
    slots: int | None
    network_home: bool
    mesh_listen: str
    addresses: tuple[str, ...]  # as others dial it
    dial_only: bool


@dataclass(frozen=True, slots=True)
class Founded:
    site: str  # name·abcd1234
    key_path: Path
    made_key: bool


def found(home: Home, settings: Settings) -> Founded:
    """Make a site. Raises Failed and then leaves no site behind."""
    from keys.certificate import create_api_certificate
    from keys.identity import KeyFileError, SiteKey, short
    from node.model.person import GROUP, NAME

    if home.exists():
        raise Failed(f"there is a site in {home.path} already", "name another home with FLOE_HOME")
    _check("site name", settings.name, _SITE_NAME)
    _check("user name", settings.user, NAME)
    for group in settings.groups:
        _check("group", group, GROUP)
    _check_config(settings)
    home.create()
    _check_file_system(home, settings)
    key_path, made_key = _user_key(home, settings)
    with _removed_on_failure(home.site_key, home.api_certificate, home.config, home.enrol):
        try:
            key = SiteKey.create(home.site_key)
            create_api_certificate(home.api_certificate, _certificate_names(settings.listen))
        except KeyFileError as error:
            raise Failed(str(error)) from None
        _enrol(home, key.site, settings, Signer(key_path))
        write_private(home.config, config_text(settings).encode())
        write_private(home.client, f"key = {json.dumps(str(key_path))}\n".encode())
    return Founded(short(settings.name, key.site), key_path, made_key)


def config_text(settings: Settings) -> str:
    """The first config.toml."""
    lines = [
        "# Settings of this site. `floe config show` lists all of them with their values,",
        "# `floe config check` says what is wrong here. Read when the node starts.",
        f'name = "{settings.name}"',
        "",
        "[api]",
        f'listen = "{settings.listen}"',
    ]
    if settings.network_home:
        lines += ["", "[store]", "network_home = true"]
    if settings.slots:
        lines += ["", "[site.local]", f"slots = {settings.slots}"]
    lines += ["", "[mesh]", f"listen = {json.dumps(settings.mesh_listen)}"]
    if settings.addresses:
        lines.append(f"addresses = {json.dumps(list(settings.addresses))}")
    if settings.dial_only:
        lines.append("dial_only = true")
    return "\n".join(lines) + "\n"


def systemd_unit(home: Home) -> str:
    """A user unit. KillMode=process: pilots outlive a restart of the node.

    Nobody is there who could mend what a batch system refuses: all else goes on without it.
    """
    from node.cli.lifecycle import unit_program

    return f"""[Unit]
Description=Icefloe node in {home.path}
After=network-online.target

[Service]
Type=exec
Environment={_systemd_quoted(f"FLOE_HOME={home.path}")}
ExecStart={unit_program()} up --anyway
Restart=on-failure
RestartSec=5
KillMode=process
TimeoutStopSec=60

[Install]
WantedBy=default.target"""


def _systemd_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _check(what: str, text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        raise Failed(
            f"{text!r} is no {what}",
            "write lower case letters, digits and -, beginning with a letter, up to 32",
        )


def _check_config(settings: Settings) -> None:
    """What is to be written must be such as the node reads."""
    from node.config import ConfigError, parse

    try:
        parse(config_text(settings))
    except ConfigError as error:
        raise Failed(str(error).replace("1 problem\n  ", "")) from None


def _check_file_system(home: Home, settings: Settings) -> None:
    from node.store.database import network_file_system

    kind = network_file_system(home.path)
    if kind is not None and not settings.network_home:
        raise Failed(
            f"{home.path} is on a network file system ({kind})",
            "name a home on a local disk with FLOE_HOME, or allow it: floe init --network-home",
        )


def _certificate_names(listen: str) -> list[str]:
    host = listen.rpartition(":")[0].strip("[]")
    names = [] if host in ("0.0.0.0", "::", "127.0.0.1", "localhost") else [host]
    return [*names, os.uname().nodename]


def _user_key(home: Home, settings: Settings) -> tuple[Path, bool]:
    """The key that signs for the admin, and whether it was made just now."""
    if settings.key is not None:
        return settings.key, False
    usual = Path("~/.ssh/id_ed25519").expanduser()
    if usual.exists() or usual.with_name("id_ed25519.pub").exists():
        return usual, False
    if not home.user_key.exists():
        _make_user_key(home.user_key, settings.user)
    return home.user_key, True


def _make_user_key(path: Path, user: str) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", user, "-f", str(path)]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise Failed(f"cannot run ssh-keygen: {error.strerror}", "install OpenSSH") from None
    if done.returncode:
        raise Failed(f"ssh-keygen made no key: {done.stderr.decode('utf-8', 'replace').strip()}")


def _enrol(home: Home, site: bytes, settings: Settings, signer: Signer) -> None:
    """Sign the order that makes this person the first admin, for the node's first start."""
    from keys.signing import BadKey
    from keys.sshsig import PublicKey
    from node.model.person import PersonOrder, write_person

    try:
        key = PublicKey.parse(signer.public_line())
    except BadKey as error:
        raise Failed(
            f"{signer.path} cannot be used: {error}", "floe init --key FILE names another key"
        ) from None
    except ClientError as error:
        raise Failed(error.message, "floe init --key FILE names your SSH key") from None
    order = PersonOrder(
        kind="user.add",
        site=site,
        key=key,
        name=settings.user,
        groups=settings.groups,
        roles=("admin",),
        nonce=secrets.token_hex(16),
    )
    document = write_person(order)
    enrolment = {
        "schema": 1,
        "key": key.line(),
        "name": settings.user,
        "document": base64.b64encode(document).decode(),
        "signature": base64.b64encode(signer.sign(document)).decode(),
    }
    write_private(home.enrol, json.dumps(enrolment, indent=2).encode() + b"\n")


@contextmanager
def _removed_on_failure(*paths: Path) -> Iterator[None]:
    """Take away what was made when the rest fails, so that init can be tried again."""
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
