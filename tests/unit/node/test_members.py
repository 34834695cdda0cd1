"""The members that links and people are told of."""

from __future__ import annotations

from federation.records import Site
from node.members import Members
from node.store import members as rows
from tests.unit.node.fold.members import Author
from tests.unit.node.fold.world import database, fold_into


class Seen:
    """One site's tables, its members, and how often they changed."""

    def __init__(self, own: Author) -> None:
        self.conn = database()
        fold_into(self.conn, own.log.entries)
        self.members = Members(self.conn, own.site)
        self.told = 0
        self.members.subscribe(self.tell)

    def tell(self) -> None:
        self.told += 1

    def take(self, *entries) -> None:
        self.members.changed(fold_into(self.conn, entries))


def test_a_site_alone_is_a_member_of_its_own_mesh() -> None:
    a = Author.new("a")
    members = Seen(a).members
    assert members.members() == [a.site]
    assert members.is_member(a.site)
    assert not members.is_member(b"x" * 32)
    assert members.name_of(a.site) == "site-a"


def test_links_hear_of_a_new_member_and_of_its_addresses() -> None:
    a, b = Author.new("a"), Author.new("b")
    seen = Seen(a)
    seen.take(a.write(a.admission(b.site, "desy", ("desy.example:7421",))))
    assert seen.told == 1
    assert seen.members.is_member(b.site)
    assert seen.members.addresses(b.site) == ["desy.example:7421"]
    seen.take(*b.log.entries, b.write(b.address("new.desy.example:7421")))
    assert seen.members.addresses(b.site)[0] == "new.desy.example:7421"
    assert seen.told == 2


def test_nobody_is_told_when_nothing_changed() -> None:
    a = Author.new("a")
    seen = Seen(a)
    seen.take(a.write(Site("site-a", "1")))
    assert seen.told == 0


def test_a_revocation_ends_membership_at_once_and_for_good() -> None:
    a, b = Author.new("a"), Author.new("b")
    seen = Seen(a)
    seen.take(a.write(a.admission(b.site)), *b.log.entries)
    seen.take(a.write(a.revocation(b.site)))
    seen.take(a.write(a.admission(b.site)))
    assert not seen.members.is_member(b.site)
    assert seen.members.revoked(b.site)


def test_a_subscriber_that_fails_keeps_nobody_from_hearing() -> None:
    a, b = Author.new("a"), Author.new("b")
    seen = Seen(a)
    heard = []

    def fail() -> None:
        raise RuntimeError("boom")

    seen.members.subscribe(fail)
    seen.members.subscribe(lambda: heard.append(1))
    seen.take(a.write(a.admission(b.site)))
    assert heard == [1]


def test_our_own_name_for_a_site_is_kept_and_may_be_dropped() -> None:
    a, b = Author.new("a"), Author.new("b")
    seen = Seen(a)
    seen.take(a.write(a.admission(b.site, "desy")))
    rows.call(seen.conn, b.site, "hamburg")
    seen.members.reload()
    assert seen.members.name_of(b.site) == "hamburg"
    assert seen.members.find("hamburg") == [b.site]
    assert seen.told == 2
    rows.call(seen.conn, b.site, "")
    seen.members.reload()
    assert seen.members.name_of(b.site) == "desy"
