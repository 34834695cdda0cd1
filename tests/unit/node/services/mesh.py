"""Sites for tests of membership: real keys, signatures, fold and services; no disk, no links."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError

from federation.ids import SiteID, UserKey
from federation.records import Record, Site, UserAdd
from keys.identity import SiteKey
from node.fold import Fold
from node.members import Members
from node.model import member
from node.model.commands import read_command
from node.model.person import PersonOrder, write_person
from node.model.validate import read_submission
from node.services.invitations import Invitations
from node.services.joining import Joiner
from node.services.lookups import PeopleTable
from node.services.members import MemberOrders
from node.services.people import People
from node.services.refusal import Refusal
from node.services.sponsor import Sponsor
from node.store import members as rows
from node.store import tasks
from tests.fakes.strangers import Exchange, FakeStrangers
from tests.unit.node.fold.world import Log, database, fold_into
from tests.unit.node.http.people import Signer

NOW_MS = 1_790_000_000_000
SECRET = b"s" * 32


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def run(waiting: Any) -> Any:
    """The result of a coroutine that needs no reactor; raises what it raised."""
    found: list[Any] = []
    Deferred.fromCoroutine(waiting).addBoth(found.append)
    assert found, "it waits for something"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def refused(waiting: Any) -> Refusal:
    """The refusal of a coroutine."""
    try:
        run(waiting)
    except Refusal as refusal:
        return refusal
    raise AssertionError("it was not refused")


class Journal:
    """Writes and folds at once, or, while `held`, only when told."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.held = False
        self.waiting: list[tuple[Record, Deferred[None]]] = []

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.waiting.append((record, done))
        if not self.held:
            self.let_go()
        return done

    def let_go(self) -> None:
        self.held = False
        while self.waiting:
            record, done = self.waiting.pop(0)
            self._node.fold(self._node.log.control(record))
            done.callback(None)

    def local(self, fn: Any) -> Deferred[None]:
        fn(self._node.conn)
        return succeed(None)


class Reach:
    """Where a site can be dialled; `taken`: another process has the port."""

    def __init__(self, addresses: tuple[str, ...], port: int) -> None:
        self.addresses = addresses
        self.listening = 0
        self.taken = False
        self.links: set[SiteID] = set()
        self._port = port

    def listen(self) -> None:
        if self.taken:
            raise CannotListenError("0.0.0.0", self._port, OSError("Address already in use"))
        self.listening += 1

    def port(self) -> int:
        return self._port

    def told(self) -> tuple[str, ...]:
        return self.addresses

    def linked(self, site: SiteID) -> bool:
        return site in self.links


class Node:
    """One site with an admin who signs as OpenSSH does."""

    def __init__(self, name: str, exchange: Exchange, *addresses: str, port: int = 7421) -> None:
        self.name = name
        self.wall_ms = NOW_MS
        self.nonces = 0
        self.log = Log(SiteKey(name.encode().ljust(32, b".")))
        self.site = SiteID(self.log.key.site)
        self.admin = Signer(f"admin-of-{name}", roles=("admin",))
        self.conn = database()
        self._fold = Fold(self.site, read_submission, read_command)
        self.members = Members(self.conn, self.site)
        self.journal = Journal(self)
        self.fold(self.log.control(Site(name, "1"), self.enrolment(self.admin)))
        table = PeopleTable(self.conn, self.site, self.members)
        self.people = People(self.site, self.journal, table.read, self.seen)
        self.members.subscribe(self.people.reload)
        self.strangers = FakeStrangers(exchange, self.site, addresses)
        self.addresses = addresses
        self.reach = Reach(addresses, port)
        self.orders = MemberOrders(
            name, self.conn, self.journal, self.members, self.seen, self.reach
        )
        self.joiner = Joiner(
            name, self.journal, self.members, self.orders, self.strangers, lambda: self.wall_ms
        )
        self.invitations = Invitations(
            self.conn, self.journal, self.members, self.people, self.orders.checked,
            lambda: self.wall_ms,
        )  # fmt: skip
        self.sponsor = Sponsor(
            self.journal, self.members, self.people, lambda: self.wall_ms,
            self.invitations.withdrawn,
        )  # fmt: skip
        self.strangers.serve_strangers(self.sponsor.answer)

    def seen(self, document: bytes) -> bool:
        return tasks.seen(self.conn, document)

    def fold(self, *entries: Any) -> None:
        self.members.changed(fold_into(self.conn, entries, self._fold))

    def hear(self, *others: Node) -> None:
        """Take in what other sites wrote, as links would bring it."""
        for other in others:
            sql = "SELECT seq FROM feed WHERE site = ? AND lane = 0"
            held = self.conn.execute(sql, (other.site,)).get or 0
            self.fold(*(entry for entry in other.log.entries if entry.ref.seq > held))

    # What the admin signs

    def nonce(self) -> bytes:
        self.nonces += 1
        return self.nonces.to_bytes(16, "big")

    def enrolment(self, who: Signer, roles: tuple[str, ...] = ("admin",)) -> UserAdd:
        order = PersonOrder(
            "user.add", self.site, who.key, who.person.name, (), roles, self.nonce().hex()
        )
        document = write_person(order)
        signer = self.admin
        key = UserKey(who.key.raw)
        return UserAdd(
            key, who.person.name, [], list(roles), document, signer.sign(document),
            UserKey(signer.key.raw),
        )  # fmt: skip

    @property
    def asking(self) -> Any:
        """The admin, as a login shows them."""
        return self.people.find(self.admin.key.raw)

    def order(self, order: member.Order, signer: Signer | None = None) -> Any:
        document = member.write(order)
        signed = (signer or self.admin).sign(document)
        return self.orders.order(document, signed, self.asking)

    def add(self, other: Node, name: str = "", addresses: tuple[str, ...] = ()) -> member.Add:
        return member.Add(self.site, other.site, name or other.name, addresses, self.nonce())

    def remove(self, other: Node, *through: tuple[int, int]) -> member.Remove:
        return member.Remove(self.site, other.site, through, self.nonce())

    def policy(self, admissions: int, members: Any = None, mesh: str = "") -> member.Policy:
        listed = tuple(self.members.members() if members is None else members)
        return member.Policy(self.site, admissions, listed, mesh, self.nonce())

    def invite(self, valid_ms: int = 1000, **changes: Any) -> bytes:
        fields = {
            "by": self.site,
            "name": self.name,
            "addresses": self.addresses,
            "secret": member.hash_secret(SECRET),
            "until_ms": self.wall_ms + valid_ms,
            "nonce": self.nonce(),
        }
        return member.write(member.Invite(**{**fields, **changes}))

    def join(
        self, sponsor: Node, document: bytes, signature: bytes = b"", secret: bytes = SECRET,
        merge: bool = False, addresses: tuple[str, ...] = (),
    ) -> Any:  # fmt: skip
        """Redeem an invitation of `sponsor`, which its admin signed."""
        own = member.write(self.add(sponsor, addresses=addresses or sponsor.addresses))
        invitation = {
            "document": text(document),
            "signature": text(signature or sponsor.admin.sign(document)),
        }
        body = {"invitation": invitation, "secret": text(secret), "merge": merge}
        return self.joiner.join(own, self.admin.sign(own), body, self.asking)

    def names(self) -> set[str]:
        return {self.members.name_of(site) for site in self.members.members()}


def call(node: Node, other: Node, name: str) -> None:
    rows.call(node.conn, other.site, name)
    node.members.reload()
