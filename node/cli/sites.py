"""What verbs about sites share: sites by name, signed words about them, how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from node.cli.command import Floe
from node.cli.failures import NOT_FOUND, Failed
from node.cli.output import harmless, say
from node.client import Json

if TYPE_CHECKING:
    from federation.ids import SiteID
    from node.model.member import Order

MEMBERS = "/v1/mesh/members"
KINDS = ("members", "waiting", "revoked")


def rows(reply: Json, kind: str) -> list[Json]:
    """The sites of one kind in a reply about members."""
    return [item for item in reply.get(kind) or [] if isinstance(item, dict)]


def own(reply: Json) -> Json:
    """This site, in a reply about members."""
    return next(item for item in rows(reply, "members") if item.get("own"))


def key_of(site: Json) -> SiteID:
    from federation.ids import SiteID
    from keys.identity import parse
    from keys.signing import BadKey

    try:
        return SiteID(parse(str(site.get("key"))))
    except BadKey as error:
        raise Failed(f"the node names a site by what is no key: {error}") from None


def find(reply: Json, text: str, kinds: Sequence[str] = KINDS) -> Json:
    """The one site that `text` names: a name, `name·abcd1234`, or letters of its key.

    Raises Failed.
    """
    from federation.naming import called

    known = {key_of(site): site for kind in kinds for site in rows(reply, kind)}
    names = {key: str(site.get("name")) for key, site in known.items()}
    found = called(text, names)
    if len(found) == 1:
        return known[found[0]]
    if found:
        names_of = ", ".join(label(known[key]) for key in found)
        raise Failed(f"{harmless(text)} may be any of {names_of}", "say more of the key")
    raise Failed(
        f"no site goes by {harmless(text)!r} here",
        f"sites: {', '.join(sorted(names.values()))}",
        code="not-found",
        exit_status=NOT_FOUND,
    )


def label(site: Any) -> str:
    """name·abcd1234"""
    name = harmless(site.get("name", "?"))
    return name if "·" in name else f"{name}·{harmless(site.get('key', ''))[:8]}"


def nonce() -> bytes:
    import secrets

    return secrets.token_bytes(16)


def order(floe: Floe, made: Order) -> Json:
    """Sign a word about members and send it to the node; the members as they are then."""
    return floe.client().post(MEMBERS, floe.signed(document_of(made)))


def document_of(made: Order) -> bytes:
    """The bytes to sign. Raises Failed for what nobody would take."""
    from node.model.member import write
    from node.model.problems import Invalid

    try:
        return write(made)
    except Invalid as error:
        problem = error.errors[0]
        raise Failed(f"{problem.where}: {problem.what}", problem.right) from None


def say_standing(reply: Json, site: SiteID) -> bool:
    """Whether a site is a member now; if not, a line says what it waits for."""
    for waiting in rows(reply, "waiting"):
        if key_of(waiting) == site:
            say(waiting_line(waiting))
            return False
    return True


def waiting_line(waiting: Any) -> str:
    by = [harmless(name) for name in waiting.get("admitted_by") or []]
    needed = waiting.get("needed")
    return (
        f"{harmless(waiting.get('name', '?'))} waits: admitted by {', '.join(by)}, and the mesh"
        f" asks for {needed} members; another member's admin does the same: floe mesh add"
    )
