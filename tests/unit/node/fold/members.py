"""Feeds of several sites that admit one another, with true documents, for tests of the fold."""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw

from federation.entry import Entry
from federation.ids import SiteID, UserKey
from federation.membership import View, view
from federation.records import (
    Address,
    MemberAdd,
    MemberRemove,
    Policy,
    Record,
    Site,
    UserAdd,
    UserRemove,
)
from keys.identity import SiteKey
from keys.sshsig import PublicKey
from node.model import member
from node.model.person import PersonOrder, write_person
from node.store import members as rows
from tests.unit.node.fold.world import Log, database, fold_into

SECRET = b"s" * 32
NOWHERE: tuple[str, ...] = ()


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


def person(letter: str) -> UserKey:
    return UserKey(SiteKey(letter.encode() * 32).site)


@dataclass
class Author:
    """One site's feeds, and what its admins sign. In these tests a signature is the key."""

    log: Log
    admin: UserKey
    documents: int = 0
    generations: dict[int, Log] = field(default_factory=dict)

    @classmethod
    def new(cls, letter: str) -> Author:
        """A site that says its name and enrols its admin."""
        author = cls(Log.new(letter.encode() * 32), person(letter.upper()))
        author.log.control(Site(f"site-{letter}", "1"), author.enrolment(author.admin))
        return author

    @property
    def site(self) -> SiteID:
        return self.log.site

    def next_generation(self) -> Log:
        made = Log(self.log.key, generation=self.log.generation + 1)
        self.generations[made.generation] = made
        return made

    def nonce(self) -> bytes:
        self.documents += 1
        return nonce(self.documents)

    def enrolment(
        self, key: UserKey, signer: UserKey | None = None, roles: tuple[str, ...] = ("admin",)
    ) -> UserAdd:
        by = signer or self.admin
        name = f"p{key.hex()[:6]}"
        order = PersonOrder(
            "user.add", self.site, PublicKey(key), name, ("physics",), roles, self.nonce().hex()
        )
        return UserAdd(key, name, ["physics"], list(roles), write_person(order), by, by)

    def removal(self, key: UserKey, signer: UserKey | None = None) -> UserRemove:
        by = signer or self.admin
        order = PersonOrder("user.remove", self.site, PublicKey(key), nonce=self.nonce().hex())
        return UserRemove(key, write_person(order), by, by)

    def admission(
        self, site: SiteID, name: str = "desy", addresses: tuple[str, ...] = NOWHERE,
        signer: UserKey | None = None,
    ) -> MemberAdd:  # fmt: skip
        by = signer or self.admin
        doc = member.write(member.Add(self.site, site, name, addresses, self.nonce()))
        return MemberAdd(site, name, list(addresses), doc, by, by, b"")

    def invitation(self) -> bytes:
        secret = member.hash_secret(SECRET)
        return member.write(member.Invite(self.site, "a", ("a:1",), secret, 1, self.nonce()))

    def redeemed(self, document: bytes, site: SiteID, name: str = "desy") -> MemberAdd:
        return MemberAdd(site, name, ["b:1"], document, self.admin, self.admin, SECRET)

    def revocation(self, site: SiteID, *through: tuple[int, int]) -> MemberRemove:
        doc = member.write(member.Remove(self.site, site, through, self.nonce()))
        return MemberRemove(site, doc, self.admin, self.admin)

    def policy(self, admissions: int, *members: SiteID) -> Policy:
        doc = member.write(member.Policy(self.site, admissions, members, "icecube", self.nonce()))
        return Policy(doc, self.admin, self.admin)

    def address(self, *addresses: str) -> Address:
        return Address(list(addresses))

    def write(self, *records: Record) -> Entry:
        return self.log.control(*records)


def seen(conn: apsw.Connection, own: SiteID) -> View:
    return view(own, rows.acts(conn), rows.enrolments(conn))


def folded(*entries: Entry) -> apsw.Connection:
    conn = database()
    fold_into(conn, entries)
    return conn


def refused(conn: apsw.Connection) -> list[str]:
    return [why for (why,) in conn.execute("SELECT why FROM refused ORDER BY entry, idx")]
