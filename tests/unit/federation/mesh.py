"""Small meshes for tests: sites with an admin each, and what they write about one another."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.admins import Enrolment
from federation.ids import SiteID, UserKey
from federation.membership import Admission, AnyAct, PolicyAct, Revocation, View, view

PEOPLE = {name: UserKey(name[:1].encode() * 32) for name in ("ana", "ben", "eve")}


def site(letter: str) -> SiteID:
    return SiteID(letter.encode() * 32)


def letters(sites: object) -> str:
    """Sites as a sorted word."""
    return "".join(sorted(chr(each[0]) for each in sites))  # type: ignore[attr-defined]


@dataclass
class Mesh:
    """Feeds of sites that are named by letters; each has an admin with a key of its own."""

    acts: list[AnyAct] = field(default_factory=list)
    enrolments: dict[SiteID, list[Enrolment]] = field(default_factory=dict)
    seqs: dict[tuple[str, int], int] = field(default_factory=dict)
    documents: int = 0

    def at(self, letter: str, generation: int = 1) -> tuple[int, int, int]:
        """The next place in a site's control feed."""
        self.seqs[letter, generation] = self.seqs.get((letter, generation), 0) + 1
        return generation, self.seqs[letter, generation], 0

    def document(self) -> bytes:
        self.documents += 1
        return self.documents.to_bytes(32, "big")

    def admin(self, letter: str) -> UserKey:
        """The first admin of a site, enrolled when first asked for."""
        key = UserKey(b"admin" + letter.encode() * 27)
        if site(letter) not in self.enrolments:
            self.enrol(letter, key, key)
        return key

    def enrol(
        self, letter: str, key: UserKey, signer: UserKey, generation: int = 1, adds: bool = True,
        admin: bool = True,
    ) -> None:  # fmt: skip
        at = self.at(letter, generation)
        enrolment = Enrolment(at, self.document(), key, signer, adds, admin and adds)
        self.enrolments.setdefault(site(letter), []).append(enrolment)

    def add(
        self, author: str, *others: str, signer: UserKey | None = None, generation: int = 1,
        name: str = "", addresses: tuple[str, ...] = (), document: bytes = b"",
    ) -> None:  # fmt: skip
        """The author's admin admits others."""
        for other in others:
            signed = signer or self.admin(author)
            at = self.at(author, generation)
            called = name or f"site-{other}"
            self.acts.append(
                Admission(
                    site(author), at, document or self.document(), signed, site(other), called,
                    addresses,
                )
            )  # fmt: skip

    def join(self, *pairs: str) -> None:
        """Both sites of each pair admit each other."""
        for one, other in pairs:
            self.add(one, other)
            self.add(other, one)

    def revoke(
        self, author: str, other: str, through: int | None = None, signer: UserKey | None = None
    ) -> None:
        """through: seq of the revoked site's first generation; None for all of it until now."""
        signed = signer or self.admin(author)
        seq = self.seqs.get((other, 1), 0) if through is None else through
        self.acts.append(
            Revocation(
                site(author), self.at(author), self.document(), signed, site(other), ((1, seq),)
            )
        )

    def policy(self, author: str, admissions: int, members: str, mesh: str = "") -> None:
        signed = self.admin(author)
        listed = frozenset(site(letter) for letter in members)
        self.acts.append(
            PolicyAct(
                site(author), self.at(author), self.document(), signed, admissions, listed, mesh
            )
        )

    def seen_by(self, letter: str) -> View:
        return view(site(letter), self.acts, self.enrolments)

    def members(self, letter: str) -> str:
        return letters(self.seen_by(letter).members)
