"""The signed documents that admit, invite and revoke sites, and the policy of a mesh; pure.

    {"floe": 1, "kind": "member.add", "by", "site", "name", "addresses", "nonce"}
    {"floe": 1, "kind": "member.invite", "by", "name", "addresses", "secret", "until_ms", "nonce"}
    {"floe": 1, "kind": "member.remove", "by", "site", "through": [[generation, seq], …], "nonce"}
    {"floe": 1, "kind": "policy", "by", "admissions", "members", "mesh", "nonce"}

as canonical JSON. "by" is the site in whose control feed the document stands, and for whose admin
it is to sign. An invitation admits whoever shows the secret of which it has the hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from federation import limits
from federation.address import RIGHT, BadAddress, split_address
from federation.ids import SiteID
from federation.naming import NAME
from keys.signing import BadKey, Purpose, check_key, digest
from node.model.kinds import BAD, Int, Key, Kind, ListOf, Table, Text
from node.model.problems import Enough, Invalid, Path, Report, placed
from node.model.validate import HEX32, HEX64, canonical, parse_canonical

ADD: Final = "member.add"
INVITE: Final = "member.invite"
REMOVE: Final = "member.remove"
POLICY: Final = "policy"
NAME_RIGHT: Final = "write a-z, 0-9 and -, beginning with a letter, up to 32 characters"
UNTIL_MS_MAX: Final = limits.WALL_CLOCK_MS_MAX


@dataclass(frozen=True, slots=True)
class Add:
    """Admit a site that is named by its key."""

    by: SiteID
    site: SiteID
    name: str
    addresses: tuple[str, ...]
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Invite:
    """Admit the one site that shows a secret.

    name: what the site `by` calls itself. until_ms: by the clock of that site alone.
    """

    by: SiteID
    name: str
    addresses: tuple[str, ...]
    secret: bytes  # its hash: see `hash_secret`
    until_ms: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Revoke a site for ever. through: how far its control feeds still count, by generation."""

    by: SiteID
    site: SiteID
    through: tuple[tuple[int, int], ...]
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Policy:
    """Ask that `admissions` members admit each new site. members: who is one already."""

    by: SiteID
    admissions: int
    members: tuple[SiteID, ...]
    mesh: str  # a name for the mesh, or ""
    nonce: bytes


Order = Add | Invite | Remove | Policy


def document_id(document: bytes) -> bytes:
    """What a document is known by: it serves once."""
    return digest(Purpose.MEMBER, document)


def hash_secret(secret: bytes) -> bytes:
    """What an invitation says of its secret."""
    return digest(Purpose.INVITE, secret)


def write(order: Order) -> bytes:
    """The bytes to sign. Raises Invalid, as reading would."""
    values: dict[str, Any] = {"floe": 1, "by": order.by.hex(), "nonce": order.nonce.hex()}
    match order:
        case Add(site=site, name=name, addresses=addresses):
            values |= {"kind": ADD, "site": site.hex(), "name": name, "addresses": list(addresses)}
        case Invite(name=name, addresses=addresses, secret=secret, until_ms=until_ms):
            values |= {"kind": INVITE, "name": name, "addresses": list(addresses)}
            values |= {"secret": secret.hex(), "until_ms": until_ms}
        case Remove(site=site, through=through):
            pairs = [list(pair) for pair in through]
            values |= {"kind": REMOVE, "site": site.hex(), "through": pairs}
        case Policy(admissions=admissions, members=members, mesh=mesh):
            listed = sorted(site.hex() for site in members)
            values |= {"kind": POLICY, "admissions": admissions, "members": listed, "mesh": mesh}
    document = canonical(values)
    read(document)
    return document


def read(document: bytes) -> Order:
    """Check a signed document of any of these kinds. Raises Invalid with all errors."""
    table = parse_canonical(document)
    report = Report()
    clean: Mapping[str, Any] = {}
    kind = table.get("kind")
    with suppress(Enough):
        form = _FORMS.get(kind) if isinstance(kind, str) else None
        if form is None:
            report.add(("kind",), "is another kind", "one of " + ", ".join(_FORMS))
        else:
            clean = form.check(table, (), report)
    if report.problems:
        raise Invalid(placed(report.problems, {}, {}), str(kind)[:40])
    return _order(str(kind), clean)


def _order(kind: str, clean: Mapping[str, Any]) -> Order:
    by, nonce = _site(clean["by"]), bytes.fromhex(clean["nonce"])
    if kind == ADD:
        addresses = tuple(clean["addresses"])
        return Add(by, _site(clean["site"]), clean["name"], addresses, nonce)
    if kind == INVITE:
        secret = bytes.fromhex(clean["secret"])
        addresses = tuple(clean["addresses"])
        return Invite(by, clean["name"], addresses, secret, clean["until_ms"], nonce)
    if kind == REMOVE:
        through = tuple((generation, seq) for generation, seq in clean["through"])
        return Remove(by, _site(clean["site"]), through, nonce)
    members = tuple(map(_site, clean["members"]))
    return Policy(by, clean["admissions"], members, clean["mesh"], nonce)


def _site(text: str) -> SiteID:
    return SiteID(bytes.fromhex(text))


@dataclass(frozen=True, slots=True)
class _Key:
    """A site's key in hex."""

    def check(self, value: Any, path: Path, report: Report) -> Any:
        before = len(report.problems)
        checked = HEX64.check(value, path, report)
        if len(report.problems) == before:
            try:
                check_key(bytes.fromhex(checked))
            except BadKey as error:
                report.add(path, str(error), "write the key of a site in hex")
                return BAD
        return checked

    def schema(self) -> dict[str, Any]:
        return HEX64.schema()


@dataclass(frozen=True, slots=True)
class _Address:
    """`HOST:PORT`."""

    def check(self, value: Any, path: Path, report: Report) -> Any:
        try:
            split_address(value if isinstance(value, str) else "")
        except BadAddress as error:
            report.add(path, str(error), RIGHT)
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": limits.ADDRESS_BYTES_MAX}


@dataclass(frozen=True, slots=True)
class _Different:
    """A list without repeats; in_order: ascending too, so that one set has one form."""

    items: ListOf
    in_order: bool = False

    def check(self, value: Any, path: Path, report: Report) -> Any:
        checked = self.items.check(value, path, report)
        if checked is BAD:
            return BAD
        keys = [item[0] if isinstance(item, list) else item for item in checked]
        if len(set(keys)) != len(keys):
            report.add(path, "has something twice", "name each once")
        elif self.in_order and keys != sorted(keys):
            report.add(path, "is not in ascending order", "sort it")
        return checked

    def schema(self) -> dict[str, Any]:
        return self.items.schema() | {"uniqueItems": True}


@dataclass(frozen=True, slots=True)
class _Through:
    """[generation, seq]: how far one control feed still counts."""

    def check(self, value: Any, path: Path, report: Report) -> Any:
        bounds = (limits.GENERATION_MAX, limits.SEQ_MAX)
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(
                type(n) is int and 1 <= n <= most for n, most in zip(value, bounds, strict=True)
            )
        ):
            report.add(path, "is no place in a feed", "write [generation, seq]")
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}


_NAME: Final = Text(32, NAME.pattern, "is no site name", NAME_RIGHT)
_MESH_NAME: Final = Text(32, f"({NAME.pattern})?", "is no name of a mesh", NAME_RIGHT)
_ADDRESSES: Final = _Different(ListOf(_Address(), limits.ADDRESSES_MAX))


def _form(kind: str, keys: Mapping[str, Kind]) -> Table:
    only = Text(len(kind), kind.replace(".", r"\."), "is another kind", f'"{kind}"')
    common: dict[str, Kind] = {"floe": Int(1, 1), "kind": only, "by": HEX64, "nonce": HEX32}
    return Table(tuple(Key(name, of, "", required=True) for name, of in {**common, **keys}.items()))


_FORMS: Final = {
    ADD: _form(ADD, {"site": _Key(), "name": _NAME, "addresses": _ADDRESSES}),
    INVITE: _form(
        INVITE,
        {
            "name": _NAME,
            "addresses": _ADDRESSES,
            "secret": HEX64,
            "until_ms": Int(0, UNTIL_MS_MAX),
        },
    ),
    REMOVE: _form(
        REMOVE,
        {
            "site": _Key(),
            "through": _Different(ListOf(_Through(), limits.THROUGH_MAX), in_order=True),
        },
    ),
    POLICY: _form(
        POLICY,
        {
            "admissions": Int(1, limits.ADMISSIONS_MAX),
            "members": _Different(ListOf(HEX64, limits.MEMBERS_MAX), in_order=True),
            "mesh": _MESH_NAME,
        },
    ),
}
