"""Invitations that admins of this site made: which there are, and taking one back.

The node needs none of this to judge a token; it is told of each by `floe mesh invite`, without the
secret. What is withdrawn here holds nowhere, because nobody else redeems it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import apsw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.ids import SiteID
from keys.signing import BadSignature
from keys.sshsig import PublicKey, verify
from node.members import Members
from node.model import member
from node.services.people import Person
from node.services.refusal import Refusal
from node.services.writing import wall_clock_ms
from node.store import invitations as rows
from node.store.invitations import InvitationRow

log = Logger()

Value = Mapping[str, Any]
Body = Mapping[str, Any]


class Journal(Protocol):
    def local(self, fn: Callable[[apsw.Connection], None]) -> Deferred[None]: ...


class Enrolled(Protocol):
    """The people of this site."""

    def find(self, key: bytes) -> Person | None: ...


Checked = Callable[[bytes, Person], member.Order]
"""A document that an admin signed for this site, and that is new. Raises Refusal."""


class Invitations:
    """Keeps the ids of invitations, and which of them hold no more."""

    def __init__(
        self,
        conn: apsw.Connection,
        journal: Journal,
        members: Members,
        people: Enrolled,
        checked: Checked,
        wall_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._conn = conn
        self._journal = journal
        self._members = members
        self._people = people
        self._checked = checked
        self._wall_ms = wall_ms

    def withdrawn(self, document: bytes) -> bool:
        """Whether the invitation with this id was taken back."""
        return rows.is_withdrawn(self._conn, document)

    async def shown(self) -> Value:
        used = {
            act.document: act.site
            for act in self._members.view.admissions
            if act.author == self._members.own
        }
        return {"invitations": [self._shown(row, used) for row in rows.invitations(self._conn)]}

    async def note(self, document: bytes, signature: bytes, asking: Person) -> Value:
        """Keep an invitation that an admin of this site signed. Raises Refusal."""
        order = self._checked(document, asking)
        if not isinstance(order, member.Invite):
            raise Refusal("bad-request", "the document is no invitation")
        try:
            signer = verify(document, signature).raw
        except BadSignature as error:
            raise Refusal("signature", f"the signature does not hold: {error}") from None
        person = self._people.find(signer)
        if person is None or not person.admin:
            words = f"{PublicKey(signer).fingerprint()} is no admin's key here"
            raise Refusal("denied", f"the invitation holds nowhere: {words}")
        id_ = member.document_id(document)
        await self._journal.local(lambda conn: rows.note(conn, id_, signer, order.until_ms))
        return {"id": id_.hex(), **await self.shown()}

    async def withdraw(self, body: Body, asking: Person) -> Value:
        """{"id": the beginning of one's id, in hex}. Raises Refusal."""
        row = self._one(str(body.get("id", ""))[:64].lower())
        used = (await self.shown())["invitations"]
        (found,) = (each for each in used if each["id"] == row.id.hex())
        if found["state"] == "used":
            name = found["site"]["name"]
            raise Refusal("conflict", f"{name} joined with it", f"floe mesh revoke {name}")
        await self._journal.local(lambda conn: rows.withdraw(conn, row.id))
        log.info("{name} withdrew invitation {id}", name=asking.name, id=row.id.hex()[:8])
        return await self.shown()

    def _one(self, start: str) -> InvitationRow:
        found = [row for row in rows.invitations(self._conn) if row.id.hex().startswith(start)]
        if len(found) != 1 or not start:
            what = "no invitation" if not found else "more than one invitation"
            right = "floe mesh invite --list shows those that are known here"
            raise Refusal("not-found", f"{what} of this site begins with {start[:16]!r}", right)
        return found[0]

    def _shown(self, row: InvitationRow, used: Mapping[bytes, SiteID]) -> dict[str, Any]:
        person = self._people.find(row.key)
        shown: dict[str, Any] = {
            "id": row.id.hex(),
            "by": person.name if person is not None else PublicKey(row.key).fingerprint(),
            "until_ms": row.until_ms,
            "state": "open",
        }
        if row.id in used:
            site = used[row.id]
            shown |= {"state": "used", "site": {"name": self._members.name_of(site)}}
        elif row.withdrawn:
            shown["state"] = "withdrawn"
        elif person is None or not person.admin:
            shown["state"] = "void"  # who signed it is no admin any more
        elif self._wall_ms() > row.until_ms:
            shown["state"] = "expired"
        return shown
