"""Who is enrolled here, and the admin's signed word that changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from federation.ids import UserKey
from federation.records import UserAdd, UserRemove
from keys.signing import Purpose, digest
from keys.sshsig import PublicKey
from node.changes import Change, UserChanged
from node.model.person import BadPerson, PersonOrder, read_person
from node.ports import Control
from node.services.refusal import Refusal
from node.services.signed import signer_of
from node.services.writing import write


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may submit here. key: 32 raw bytes.

    at: the name of the member that enrolled them, where that is not this site; they are called
    `ana@desy` then, and the roles that they have there count for nothing here.
    """

    key: bytes
    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    at: str = ""

    @property
    def admin(self) -> bool:
        return "admin" in self.roles

    def shown(self) -> str:
        """ana (ssh ed25519 SHA256:…)"""
        return f"{self.name} ({PublicKey(self.key).fingerprint()})"


class People:
    """The enrolled, in memory: every request asks for them.

    read: everybody who may submit here, each key once, from the folded tables; seen: whether the
    log has a signed document of this digest, so that none serves twice.
    """

    def __init__(
        self,
        site: bytes,
        journal: Control,
        read: Callable[[], Iterable[Person]],
        seen: Callable[[bytes], bool],
    ) -> None:
        self._site = site
        self._journal = journal
        self._read = read
        self._seen = seen
        self._by_key: dict[bytes, Person] = {}
        self._gone: Callable[[bytes], None] = lambda key: None
        self.load()

    def load(self) -> None:
        """Read everybody again."""
        self._by_key = {person.key: person for person in self._read()}

    def when_gone(self, tell: Callable[[bytes], None]) -> None:
        """Call `tell` with the key of everybody who is removed from now on."""
        self._gone = tell

    def changed(self, changes: Sequence[Change]) -> None:
        """The journal's subscriber."""
        if any(isinstance(change, UserChanged) for change in changes):
            self.reload()

    def reload(self) -> None:
        """Read everybody again, and tell of those who are gone: people go with their site."""
        before = set(self._by_key)
        self.load()
        for key in before - set(self._by_key):
            self._gone(key)

    def find(self, key: bytes) -> Person | None:
        return self._by_key.get(key)

    def name_of(self, key: bytes) -> str:
        """For display; a shortened key for people who are no longer enrolled."""
        person = self._by_key.get(key)
        return person.name if person else key.hex()[:8]

    def all(self) -> list[Person]:
        return sorted(self._by_key.values(), key=lambda person: (bool(person.at), person.name))

    async def order(self, document: bytes, signature: bytes, asking: Person) -> Person:
        """Take an admin's signed document; the person it is about.

        Raises Refusal.
        """
        signer = signer_of(document, signature, asking)
        if not asking.admin:
            raise Refusal(
                "denied", f"{asking.name} is no admin of this site", "ask one to sign this"
            )
        order = self._checked(document)
        if self._seen(digest(Purpose.PERSON, document)):
            raise Refusal(
                "replayed", "this document was taken before", "sign a new one, with a fresh nonce"
            )
        await write(self._journal, _record(order, document, signature, signer))
        person = Person(order.key.raw, order.name, order.groups, order.roles)
        return self.find(order.key.raw) or person

    def _checked(self, document: bytes) -> PersonOrder:
        try:
            order = read_person(document)
        except BadPerson as error:
            raise Refusal("invalid", str(error)) from None
        if order.site != self._site:
            raise Refusal("denied", "the document was signed for another site", "sign it for this")
        known = self.find(order.key.raw)
        if order.kind == "user.remove":
            self._check_removal(order, known)
            return order
        for person in self._by_key.values():
            if person.name == order.name and person.key != order.key.raw:
                raise Refusal(
                    "conflict",
                    f"{order.name} is enrolled here with another key",
                    "choose another name, or remove the old key first: "
                    f"floe users remove {order.name}",
                )
        return order

    def _check_removal(self, order: PersonOrder, known: Person | None) -> None:
        if known is None:
            raise Refusal("not-found", f"nobody is enrolled with {order.key.fingerprint()}")
        if known.at:
            raise Refusal(
                "conflict",
                f"{known.name} was enrolled by {known.at}, not here",
                f"an admin of {known.at} can do this",
            )
        if known.admin and sum(person.admin for person in self._by_key.values()) == 1:
            raise Refusal(
                "conflict",
                f"{known.name} is the only admin here: nobody could enrol people any more",
                "make another admin first",
            )


def _record(
    order: PersonOrder, document: bytes, signature: bytes, signer: bytes
) -> UserAdd | UserRemove:
    key = UserKey(order.key.raw)
    if order.kind == "user.remove":
        return UserRemove(key, document, signature, UserKey(signer))
    return UserAdd(key, order.name, order.groups, order.roles, document, signature, UserKey(signer))
