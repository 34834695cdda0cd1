"""Who may submit here, of which site."""

from __future__ import annotations

from node.members import Members
from node.services.lookups import PeopleTable
from node.services.people import People
from tests.unit.node.fold.members import Author, person
from tests.unit.node.fold.world import database, fold_into


class Here:
    """Site a, in which b is a member and c is not, with what all three wrote."""

    def __init__(self) -> None:
        self.a, self.b, self.c = map(Author.new, "abc")
        self.ben = person("Q")
        self.b.write(self.b.enrolment(self.ben, roles=()))
        self.a.write(self.a.admission(self.b.site, "desy"))
        self.conn = database()
        for author in (self.a, self.b, self.c):
            fold_into(self.conn, author.log.entries)
        self.members = Members(self.conn, self.a.site)
        self.table = PeopleTable(self.conn, self.a.site, self.members)

    def take(self, author: Author, *records) -> list:
        changes = fold_into(self.conn, [author.write(*records)])
        self.members.changed(changes)
        return changes

    def names(self) -> dict[bytes, tuple[str, str]]:
        return {each.key: (each.name, each.at) for each in self.table.read()}


def test_people_of_members_are_known_by_name_and_site() -> None:
    here = Here()
    names = here.names()
    assert set(names) == {here.a.admin, here.b.admin, here.ben}
    assert names[here.ben] == (f"p{here.ben.hex()[:6]}@desy", "desy")
    assert names[here.a.admin][1] == ""


def test_a_role_counts_only_at_the_site_that_gave_it() -> None:
    here = Here()
    roles = {each.key: each.roles for each in here.table.read()}
    assert roles[here.a.admin] == ("admin",)
    assert roles[here.b.admin] == ()


def test_who_is_enrolled_here_too_is_one_of_ours() -> None:
    here = Here()
    here.take(here.a, here.a.enrolment(here.ben))
    assert here.names()[here.ben] == (f"p{here.ben.hex()[:6]}", "")


def test_a_site_may_let_in_its_own_people_alone() -> None:
    here = Here()
    own = PeopleTable(here.conn, here.a.site).read()
    assert [each.key for each in own] == [here.a.admin]


def test_people_go_with_their_site() -> None:
    here = Here()
    gone = []
    people = People(here.a.site, None, here.table.read, lambda _: False)  # type: ignore[arg-type]
    people.when_gone(gone.append)
    here.members.subscribe(people.reload)
    here.take(here.a, here.a.revocation(here.b.site))
    assert set(gone) == {here.ben, here.b.admin}
    assert people.find(here.ben) is None


def test_people_removed_at_their_site_are_gone_everywhere() -> None:
    here = Here()
    people = People(here.a.site, None, here.table.read, lambda _: False)  # type: ignore[arg-type]
    people.changed(here.take(here.b, here.b.removal(here.ben)))
    assert people.find(here.ben) is None
