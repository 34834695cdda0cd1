"""The signed documents that enrol and remove people; pure.

`{"floe":1,"kind":"user.add","site":hex,"key":line,"name":…,"groups":[…],"roles":[…],"nonce":hex}`
as canonical JSON (sorted keys, compact, UTF-8); "user.remove" has no name, groups and roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keys.signing import BadKey
from keys.sshsig import COMMENT_CHARS_MAX, PublicKey

DOCUMENT_BYTES_MAX = 16 * 1024
NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
GROUP = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
GROUPS_MAX = 16
ROLES = ("admin",)
_NONCE = re.compile(r"[0-9a-f]{32,64}")

Kind = Literal["user.add", "user.remove"]


class BadPerson(Exception):
    """A document that enrols nobody; the message says why and what would be right."""


@dataclass(frozen=True, slots=True)
class PersonOrder:
    """What an admin signed about one person."""

    kind: Kind
    site: bytes  # 32 bytes: the order is for this site alone
    key: PublicKey
    name: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    nonce: str = ""


def write_person(order: PersonOrder) -> bytes:
    """The canonical bytes to sign."""
    value: dict[str, Any] = {
        "floe": 1,
        "kind": order.kind,
        "site": order.site.hex(),
        "key": order.key.line(),
        "nonce": order.nonce,
    }
    if order.kind == "user.add":
        value |= {"name": order.name, "groups": list(order.groups), "roles": list(order.roles)}
    return canonical(value)


def canonical(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8: what people sign."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def read_person(document: bytes) -> PersonOrder:
    """The order in signed bytes. Raises BadPerson."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise BadPerson(f"the document is larger than {DOCUMENT_BYTES_MAX:,} bytes")
    try:
        value = json.loads(document.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadPerson("the document is not JSON") from None
    if not isinstance(value, dict) or type(value.get("floe")) is not int or value["floe"] != 1:
        raise BadPerson('the document is not one of Icefloe: "floe" must be 1')
    kind = value.get("kind")
    if kind not in ("user.add", "user.remove"):
        raise BadPerson(f'"kind" is {str(kind)[:40]!r}; it must be "user.add" or "user.remove"')
    fields = {"floe", "kind", "site", "key", "nonce"}
    fields |= {"name", "groups", "roles"} if kind == "user.add" else set()
    if set(value) != fields:
        raise BadPerson(f"the document must have exactly {', '.join(sorted(fields))}")
    if canonical(value) != document:
        raise BadPerson("the document is not in canonical form: sorted keys, no spaces")
    return _order(kind, value)


def _order(kind: Kind, value: dict[str, Any]) -> PersonOrder:
    key = _key(value["key"])
    nonce = _matching(value["nonce"], _NONCE, "nonce", "32 hex digits")
    site = bytes.fromhex(_matching(value["site"], re.compile("[0-9a-f]{64}"), "site", "a key"))
    if kind == "user.remove":
        return PersonOrder(kind, site, key, nonce=nonce)
    name = _matching(value["name"], NAME, "name", "a-z, 0-9, _ . and -, up to 32 characters")
    groups = _names(value["groups"], "groups")
    for group in groups:
        _matching(group, GROUP, "groups", "a-z, 0-9, _ . and -, up to 32 characters")
    roles = _names(value["roles"], "roles")
    for role in roles:
        if role not in ROLES:
            raise BadPerson(f"there is no role {role[:40]!r}; known: {', '.join(ROLES)}")
    return PersonOrder(kind, site, key, name, groups, roles, nonce)


def _key(line: object) -> PublicKey:
    try:
        key = PublicKey.parse(line if isinstance(line, str) else "")
    except BadKey as error:
        raise BadPerson(f'"key": {error}') from None
    if key.line() != line:
        right = f"write type, key and a printable comment of up to {COMMENT_CHARS_MAX} characters"
        raise BadPerson(f'"key" is not as it would be shown; {right}, one space between')
    return key


def _matching(value: object, pattern: re.Pattern[str], name: str, right: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadPerson(f'"{name}" is {str(value)[:40]!r}; write {right}')
    return value


def _names(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadPerson(f'"{name}" must be a list of strings')
    if len(set(value)) != len(value) or len(value) > GROUPS_MAX:
        raise BadPerson(f'"{name}" has at most {GROUPS_MAX} different entries')
    names: Sequence[str] = value
    return tuple(names)
