"""The sponsor's end of an invitation: strangers come with a secret and are taken in.

The admin's signature, the secret's hash and the log say all there is to know of an invitation. Only
this node's clock says whether it has expired, and this node alone whether it was withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from federation import joining, limits
from federation.address import is_address
from federation.errors import PeerError
from federation.ids import SiteID, UserKey
from federation.joining import JoinAnswer, JoinRequest, OtherVersion, Verdict
from federation.naming import NAME
from federation.records import MemberAdd
from keys.identity import show
from keys.signing import BadSignature
from keys.sshsig import verify
from node.members import Members
from node.model import member
from node.model.problems import Invalid
from node.ports import Control
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.writing import wall_clock_ms, write

log = Logger()

ANSWERS_MAX = 16  # invitations that are redeemed here at once


class Enrolled(Protocol):
    """The people of this site."""

    def find(self, key: bytes) -> Person | None: ...


class Sponsor:
    """Answers strangers that come with an invitation of this site's admins."""

    def __init__(
        self,
        journal: Control,
        members: Members,
        people: Enrolled,
        wall_ms: Callable[[], int] = wall_clock_ms,
        withdrawn: Callable[[bytes], bool] = lambda document: False,
    ) -> None:
        """withdrawn: whether an admin took the invitation with this id back."""
        self._journal = journal
        self._members = members
        self._people = people
        self._wall_ms = wall_ms
        self._withdrawn = withdrawn
        self._busy: set[bytes] = set()  # documents that are being redeemed

    async def answer(self, site: SiteID, body: bytes) -> bytes:
        """What the stranger `site` is answered; never raises for what the stranger did."""
        try:
            request = joining.read_request(body)
        except OtherVersion as error:
            return self._no(Verdict.VERSION, str(error))
        except PeerError as error:
            return self._no(Verdict.MALFORMED, str(error))
        document = member.document_id(request.document)
        if document in self._busy or len(self._busy) >= ANSWERS_MAX:
            return self._no(Verdict.BUSY, "somebody redeems this invitation now; try again")
        self._busy.add(document)
        try:
            return await self._redeem(site, request)
        except Refusal as refusal:
            return self._no(Verdict.BUSY, f"{refusal.message}; {refusal.right}".rstrip("; "))
        finally:
            self._busy.discard(document)

    async def _redeem(self, site: SiteID, request: JoinRequest) -> bytes:
        refused, signer = self._judge(site, request)
        if refused is not None:
            log.info(
                "an invitation did not hold for {site}: {verdict}, {words}",
                site=show(site)[:8],
                verdict=str(refused.verdict),
                words=refused.words,
            )
            return joining.write_answer(refused)
        if self._redeemed_by(request.document) != site:
            record = MemberAdd(
                site,
                request.name,
                list(request.addresses),
                request.document,
                request.signature,
                UserKey(signer),
                request.secret,
            )
            await write(self._journal, record)
            log.info("{name} joined by invitation", name=self._members.name_of(site))
        return self._taken(site)

    def _taken(self, site: SiteID) -> bytes:
        view = self._members.view
        standing = view.members.get(site) or view.waiting.get(site)
        admitted = len(standing.by) if standing is not None else 0
        needed = admitted if site in view.members else view.needed
        return joining.write_answer(
            JoinAnswer(Verdict.TAKEN, "", self._wall_ms(), admitted, needed)
        )

    def _judge(self, site: SiteID, request: JoinRequest) -> tuple[JoinAnswer | None, bytes]:
        """(why the invitation does not hold for `site`, or None; the key that signed it)."""
        try:
            invite = member.read(request.document)
        except Invalid as error:
            return self._answer(Verdict.MALFORMED, str(error)), b""
        members = self._members
        if not isinstance(invite, member.Invite):
            return self._answer(Verdict.MALFORMED, "the document is no invitation"), b""
        if invite.by != members.own:
            return self._answer(Verdict.SPONSOR, "another site gave this invitation"), b""
        if site == members.own or not NAME.fullmatch(request.name):
            return self._answer(Verdict.MALFORMED, "the name cannot be a site's"), b""
        if not all(map(is_address, request.addresses)):
            return self._answer(Verdict.MALFORMED, "an address cannot be dialled"), b""
        try:
            signer = verify(request.document, request.signature).raw
        except BadSignature as error:
            return self._answer(Verdict.SIGNATURE, str(error)), b""
        person = self._people.find(signer)
        if person is None or not person.admin:
            words = "who signed this invitation is no admin of this site (any more)"
            return self._answer(Verdict.SIGNATURE, words), b""
        if member.hash_secret(request.secret) != invite.secret:
            return self._answer(Verdict.SECRET, "the secret is not that of the invitation"), b""
        return self._judge_use(site, request.document, invite), signer

    def _judge_use(self, site: SiteID, document: bytes, invite: member.Invite) -> JoinAnswer | None:
        members = self._members
        if members.revoked(site):
            return self._answer(Verdict.REVOKED, "this site was revoked, for ever")
        user = self._redeemed_by(document)
        if user == site:
            return None  # whose answer was lost
        if user is not None:
            return self._answer(Verdict.USED, f"{members.name_of(user)} joined with it")
        if self._withdrawn(member.document_id(document)):
            return self._answer(Verdict.WITHDRAWN, "")
        if self._wall_ms() > invite.until_ms:
            return self._answer(Verdict.EXPIRED, str(invite.until_ms))
        if len(members.members()) >= limits.MEMBERS_MAX:
            return self._answer(Verdict.BUSY, f"a mesh has at most {limits.MEMBERS_MAX} sites")
        return None

    def _redeemed_by(self, document: bytes) -> SiteID | None:
        """Who used an invitation, if anybody did."""
        id_ = member.document_id(document)
        for act in self._members.view.admissions:
            if act.document == id_ and act.author == self._members.own:
                return act.site
        return None

    def _answer(self, verdict: Verdict, words: str) -> JoinAnswer:
        return JoinAnswer(verdict, words, self._wall_ms())

    def _no(self, verdict: Verdict, words: str) -> bytes:
        return joining.write_answer(self._answer(verdict, words))
