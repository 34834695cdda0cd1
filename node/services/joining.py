"""The joiner's end of an invitation: an admin here redeems what an admin elsewhere signed.

The sponsor is asked first, and this site's own admission of it is written once it said yes, so that
a token that does not hold leaves no trace. If this node dies in between, the token still holds for
it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from federation import joining, limits
from federation.errors import PeerError, RemoteRefused, Unreachable, WrongSite
from federation.ids import SiteID
from federation.joining import JoinAnswer, JoinRequest, Verdict
from federation.naming import nameless
from federation.ports import Strangers
from keys.identity import show
from node.members import Members
from node.model import member
from node.model.problems import Invalid
from node.ports import Control
from node.services.members import MemberOrders, record_of
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import wall_clock_ms, write

log = Logger()

SKEW_S = 300  # clocks further apart than this are worth a word

Value = Mapping[str, Any]
Body = Mapping[str, Any]


class Joiner:
    """Redeems an invitation of another site in the name of this one."""

    def __init__(
        self,
        name: str,
        journal: Control,
        members: Members,
        orders: MemberOrders,
        strangers: Strangers,
        wall_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """name: what this site calls itself."""
        self._name = name
        self._journal = journal
        self._members = members
        self._orders = orders
        self._strangers = strangers
        self._wall_ms = wall_ms

    async def join(self, document: bytes, signature: bytes, body: Body, asking: Person) -> Value:
        """Be taken in by the site that an admin of this one admits in `document`.

        body: {"invitation": {"document", "signature"}, "secret"} in base64, and "merge".
        Raises Refusal.
        """
        signer = signer_of(document, signature, asking)
        order = self._orders.checked(document, asking)
        if not isinstance(order, member.Add):
            raise Refusal("bad-request", "the document admits no site", "sign a member.add")
        self._orders.check_admission(order.site)
        await self._orders.ready()  # the request says where this site can be dialled
        request, invite = self._request(body)
        if invite.by != order.site:
            raise Refusal("bad-request", "the document admits another site than the sponsor")
        self._check_merge(order.site, body.get("merge") is True)
        answer = await self._ask(order, invite, request)
        await write(self._journal, record_of(order, document, signature, signer))
        name = self._members.name_of(order.site)
        log.info("joined the mesh of {name}, as {who} wants", name=name, who=asking.name)
        return {
            "sponsor": {"name": name, "key": show(order.site)},
            "admitted": answer.admitted,
            "needed": answer.needed,
            "clock_offset_s": round((answer.now_ms - self._wall_ms()) / 1000, 1),
        }

    def _request(self, body: Body) -> tuple[JoinRequest, member.Invite]:
        invitation = body.get("invitation")
        if not isinstance(invitation, dict):
            raise Refusal("bad-request", '"invitation" is missing')
        document = _bytes(invitation, "document", limits.INVITE_DOC_BYTES_MAX)
        signature = _bytes(invitation, "signature", limits.SIGNATURE_BYTES_MAX)
        secret = _bytes(body, "secret", limits.SECRET_BYTES)
        try:
            invite = member.read(document)
        except Invalid as error:
            raise Refusal("invalid", str(error)) from None
        if not isinstance(invite, member.Invite) or len(secret) != limits.SECRET_BYTES:
            raise Refusal("bad-request", "this is no invitation with its secret")
        word = self._members.words.get(self._members.own)
        addresses = word.addresses if word is not None and word.addresses else ()
        return JoinRequest(self._name, addresses, secret, document, signature), invite

    def _check_merge(self, sponsor: SiteID, merge: bool) -> None:
        """Raise Refusal where joining would make one mesh of two and nobody said so."""
        members = self._members
        others = [site for site in members.members() if site != members.own]
        if merge or not others or members.is_member(sponsor):
            return
        names = ", ".join(members.name_of(site) for site in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise Refusal(
            "conflict",
            f"the token is of another mesh: this site shares work with {names}{more} already, and"
            " joining would make one mesh of both",
            "if that is meant: floe mesh join --merge TOKEN",
        )

    async def _ask(
        self, order: member.Add, invite: member.Invite, request: JoinRequest
    ) -> JoinAnswer:
        """The sponsor's answer, if it took this site in. Raises Refusal."""
        name, where = order.name, ", ".join(invite.addresses) or "nowhere"
        try:
            reply = await self._strangers.join(
                order.site, invite.addresses, joining.write_request(request)
            )
            answer = joining.read_answer(reply)
        except WrongSite as error:
            raise Refusal(
                "conflict",
                f"at {where} another site answers than the one that gave the token:"
                f" {nameless(SiteID(error.found))}",
                "ask for a new token: its address may have changed",
            ) from None
        except Unreachable as error:
            raise Refusal(
                "unavailable",
                f"{name} cannot be reached at {where}: {error}",
                "check that its node is up, that no firewall is between, and that it has not"
                " revoked this site",
            ) from None
        except (RemoteRefused, PeerError) as error:
            raise Refusal("unavailable", f"{name} answered: {error}", "try again later") from None
        if answer.verdict != Verdict.TAKEN:
            raise _refusal(name, answer, self._wall_ms())
        return answer


def _refusal(name: str, answer: JoinAnswer, wall_ms: int) -> Refusal:
    """The sponsor's no, as this site's people read it."""
    again = f"ask an admin of {name} for a new one: floe mesh invite"
    skew = _skew(answer.now_ms - wall_ms)
    match answer.verdict:
        case Verdict.EXPIRED:
            return Refusal(
                "conflict", f"the token has expired, by the clock of {name}{skew}", again
            )
        case Verdict.WITHDRAWN:
            return Refusal("conflict", f"an admin of {name} took the token back", again)
        case Verdict.USED:
            return Refusal("conflict", f"the token was used before: {answer.words}", again)
        case Verdict.SPONSOR:
            words = f"the token is not of {name}: {answer.words}"
            return Refusal("conflict", words, "ask the site that gave it for a new one")
        case Verdict.SIGNATURE:
            words = f"{name} does not take the token: {answer.words}"
            return Refusal("conflict", words, again)
        case Verdict.SECRET:
            return Refusal("conflict", "the token's secret is not that of its invitation", again)
        case Verdict.REVOKED:
            return Refusal(
                "conflict",
                f"{name} says that this site was revoked, for ever",
                "it needs a new key: floe init in a new home, then a new token",
            )
        case Verdict.VERSION:
            words = f"{name} runs another version: {answer.words}"
            return Refusal("conflict", words, "bring the older one up to date")
        case Verdict.BUSY:
            return Refusal("busy", f"{name} says: {answer.words}", "try again in a moment")
    return Refusal("conflict", f"{name} says no: {answer.verdict} {answer.words}".rstrip(), again)


def _skew(offset_ms: int) -> str:
    """A word about clocks that are far apart, which may be why."""
    offset_s = offset_ms / 1000
    if abs(offset_s) < SKEW_S:
        return ""
    way = "ahead of" if offset_s > 0 else "behind"
    return f", which is {_spoken(abs(offset_s))} {way} this site's"


def _spoken(seconds: float) -> str:
    for unit_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(body: Body, name: str, bytes_max: int) -> bytes:
    text = body.get(name)
    if not isinstance(text, str) or len(text) > bytes_max * 4 // 3 + 4:
        raise Refusal("bad-request", f'"{name}" is missing or too large')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("bad-request", f'"{name}" is not base64') from None
