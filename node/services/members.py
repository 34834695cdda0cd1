"""Admins' words about the sites of the mesh, and what the mesh's members are. No links here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from federation import limits, naming
from federation.address import RIGHT as ADDRESS_RIGHT
from federation.address import BadAddress, with_port
from federation.ids import SiteID, UserKey
from federation.membership import AnyAct, Standing
from federation.records import Address, MemberAdd, MemberRemove, Policy, Record
from keys.identity import parse, show
from keys.signing import BadKey
from node.members import Members
from node.model import member
from node.model.problems import Invalid
from node.ports import Control
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import wall_clock_ms, write
from node.store import members as rows

log = Logger()

Value = Mapping[str, Any]
Body = Mapping[str, Any]


class Journal(Control, Protocol):
    """The part of the journal that this needs."""

    def local(self, fn: Callable[[apsw.Connection], None]) -> Deferred[None]: ...


class Reach(Protocol):
    """How other sites and this one find each other."""

    def listen(self) -> None:
        """Let others dial this site from now on; nothing if they can. Raises CannotListenError."""

    def port(self) -> int:
        """Where this site listens; 0 for one that only dials out."""

    def told(self) -> Sequence[str]:
        """Addresses that the settings tell others, with that port."""

    def linked(self, site: SiteID) -> bool:
        """Whether a link with a site is up."""


class MemberOrders:
    """Admit, revoke, ask for more admissions, rename, say one's addresses."""

    def __init__(
        self,
        name: str,
        conn: apsw.Connection,
        journal: Journal,
        members: Members,
        seen: Callable[[bytes], bool],
        reach: Reach,
    ) -> None:
        """name: what this site calls itself; seen: whether the log has a document of a digest."""
        self._name = name
        self._conn = conn
        self._journal = journal
        self._members = members
        self._seen = seen
        self._reach = reach

    # What is known

    async def shown(self) -> Value:
        """The members, who else was ever admitted or revoked, and what is asked of new ones."""
        view = self._members.view
        return {
            "mesh": view.mesh,
            "admissions": view.needed,
            "members": [self._member(site) for site in view.members],
            "revoked": [
                {**self._named(site), "by": self._names(authors)}
                for site, authors in view.revoked.items()
            ],
            "waiting": [
                {**self._named(site), **self._standing(site, standing)}
                for site, standing in view.waiting.items()
            ],
            "policies": [
                {**self._named(site), "admissions": act.admissions, "mesh": act.mesh}
                for site, act in sorted(view.policies.items())
            ],
            "ignored": [
                {**self._named(each.act.author), "kind": _kind(each.act), "why": each.why}
                for each in view.ignored[: limits.MEMBERS_MAX]
            ],
        }

    def _named(self, site: SiteID) -> dict[str, Any]:
        return {"name": self._members.name_of(site), "key": show(site)}

    def _names(self, sites: Sequence[SiteID]) -> list[str]:
        return [self._members.name_of(site) for site in sites]

    def _standing(self, site: SiteID, standing: Standing) -> dict[str, Any]:
        by = [each for each in standing.by if each != site]
        return {"admitted_by": self._names(by), "needed": standing.needed}

    def _member(self, site: SiteID) -> dict[str, Any]:
        word = self._members.words.get(site, rows.Word())
        return {
            **self._named(site),
            "own": site == self._members.own,
            "says": word.name,
            "version": word.version,
            "addresses": list(self._members.addresses(site)),
            "told": word.addresses is not None,  # it said so itself, "only dials out" included
            "linked": self._reach.linked(site),
            "feeds": [
                list(pair) for pair in rows.control_heads(self._conn, site, limits.THROUGH_MAX)
            ],
            **self._standing(site, self._members.view.members[site]),
        }

    # Being found

    async def open(self, body: Body, asking: Person) -> Value:
        """Let other sites find this one from now on: what an invitation tells them."""
        await self.ready()
        word = self._members.words.get(self._members.own, rows.Word())
        return {
            "name": self._name,
            "key": show(self._members.own),
            "addresses": list(word.addresses or ()),
            "port": self._reach.port(),
            "now_ms": wall_clock_ms(),
        }

    async def ready(self) -> None:
        """Listen for others, and say where, unless this site did so before. Raises Refusal."""
        try:
            self._reach.listen()
        except CannotListenError as error:
            raise Refusal(
                "conflict",
                f"other sites cannot dial this one: {error}",
                "name another port: listen in [mesh] of config.toml; then start the node again",
            ) from None
        word = self._members.words.get(self._members.own)
        if word is None or not word.addresses:
            await announce(self._journal, self._members, self._reach.told())

    # What admins sign

    async def order(self, document: bytes, signature: bytes, asking: Person) -> Value:
        """Take an admin's signed document about members, durably. Raises Refusal."""
        signer = signer_of(document, signature, asking)
        order = self.checked(document, asking)
        if isinstance(order, member.Invite):
            raise Refusal(
                "bad-request",
                "an invitation is not written down before somebody redeems it",
                "give its token to the site that is to join",
            )
        self._check(order)
        if isinstance(order, member.Add):
            await self.ready()  # the new member may be the one that dials
        await write(self._journal, record_of(order, document, signature, signer))
        log.info("{kind} by {name}", kind=type(order).__name__.lower(), name=asking.name)
        return await self.shown()

    def checked(self, document: bytes, asking: Person) -> member.Order:
        """A document that an admin signed for this site and that is new. Raises Refusal."""
        if not asking.admin:
            raise Refusal(
                "denied", f"{asking.name} is no admin of this site", "ask one to sign this"
            )
        try:
            order = member.read(document)
        except Invalid as invalid:
            problems = [problem.json() for problem in invalid.errors]
            raise Refusal("invalid", str(invalid), problems=problems) from None
        if order.by != self._members.own:
            raise Refusal("denied", "the document was signed for another site", "sign it for this")
        if self._seen(member.document_id(document)):
            raise Refusal(
                "replayed", "this document was taken before", "sign a new one, with a fresh nonce"
            )
        return order

    def _check(self, order: member.Order) -> None:
        match order:
            case member.Add():
                self.check_admission(order.site)
            case member.Remove():
                self._check_revocation(order)
            case member.Policy():
                self._check_policy(order)

    def check_admission(self, site: SiteID) -> None:
        """Raise Refusal for a site that can be no new member."""
        members = self._members
        if site == members.own:
            raise Refusal("conflict", "this is the key of this site itself", "name the other's")
        if members.revoked(site):
            by = ", ".join(self._names(members.view.revoked[site]))
            raise Refusal(
                "conflict",
                f"{members.name_of(site)} was revoked by {by}, for ever",
                "it needs a new key: floe init in a new home, then a new invitation",
            )
        if not members.is_member(site) and len(members.members()) >= limits.MEMBERS_MAX:
            raise Refusal("conflict", f"a mesh has at most {limits.MEMBERS_MAX} sites")

    def _check_revocation(self, order: member.Remove) -> None:
        members = self._members
        if members.own in members.view.revoked.get(order.site, ()):
            name = members.name_of(order.site)
            raise Refusal("conflict", f"{name} was revoked by this site already")

    def _check_policy(self, order: member.Policy) -> None:
        if set(order.members) != set(self._members.members()):
            raise Refusal("conflict", "the members have changed since this was signed", "try again")

    # What binds this site alone

    async def rename(self, body: Body, asking: Person) -> Value:
        """{"site": key, "name": text}: what this site calls another; "" for its own name."""
        site = _site(body.get("site"))
        name = body.get("name")
        if not isinstance(name, str) or (name and not naming.NAME.fullmatch(name)):
            raise Refusal("invalid", f"{str(name)[:40]!r} is no site name", member.NAME_RIGHT)
        members = self._members
        if site == members.own:
            raise Refusal(
                "conflict",
                "a site's own name is in its config.toml",
                "change name there, and start the node again",
            )
        if site not in members.names:
            raise Refusal("not-found", "no site of that key is known here")
        taken = [each for each in members.find(name) if each != site] if name else []
        if taken:
            raise Refusal(
                "conflict", f"{name} is another site: {show(taken[0])[:8]}", "choose another name"
            )
        await self._local(lambda conn: rows.call(conn, site, name))
        members.reload()
        return {"site": self._named(site)}

    async def _local(self, fn: Callable[[apsw.Connection], None]) -> None:
        await self._journal.local(fn)

    async def say_addresses(self, body: Body, asking: Person) -> Value:
        """{"addresses": [HOST or HOST:PORT]}: where others dial this site, until its next start."""
        wanted = body.get("addresses")
        if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
            raise Refusal("bad-request", '"addresses" is no list of texts', ADDRESS_RIGHT)
        await self.ready()
        port = self._reach.port()
        if wanted and not port:
            raise Refusal(
                "conflict",
                "this site only dials out: nobody could reach it",
                "set dial_only = false in [mesh] of config.toml, and start the node again",
            )
        try:
            told = tuple(dict.fromkeys(with_port(each, port) for each in wanted))
        except BadAddress as error:
            raise Refusal("invalid", str(error), ADDRESS_RIGHT) from None
        if len(told) > limits.ADDRESSES_MAX:
            raise Refusal("invalid", f"at most {limits.ADDRESSES_MAX} addresses")
        await write(self._journal, Address(list(told)))
        log.info("others dial this site at {told}, says {name}", told=told, name=asking.name)
        return {"addresses": list(told), "until": "the next start of the node"}


async def announce(journal: Control, members: Members, addresses: Sequence[str]) -> None:
    """Say where this site can be dialled, if its feed says otherwise: what a start does."""
    word = members.words.get(members.own)
    if word is None or word.addresses != tuple(addresses):
        await journal.control(Address(list(addresses)))


def record_of(order: member.Order, document: bytes, signature: bytes, signer: bytes) -> Record:
    """The record that carries a signed document."""
    signed = (document, signature, UserKey(signer))
    match order:
        case member.Add(site=site, name=name, addresses=addresses):
            return MemberAdd(site, name, list(addresses), *signed, b"")
        case member.Remove(site=site):
            return MemberRemove(site, *signed)
        case member.Policy():
            return Policy(*signed)
    raise ValueError(f"no record carries a {type(order).__name__} by itself")


def _kind(act: AnyAct) -> str:
    return {"Admission": member.ADD, "Revocation": member.REMOVE}.get(
        type(act).__name__, member.POLICY
    )


def _site(text: object) -> SiteID:
    try:
        return SiteID(parse(text if isinstance(text, str) else ""))
    except BadKey as error:
        raise Refusal("bad-request", f'"site": {error}') from None
