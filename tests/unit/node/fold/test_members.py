"""Records about members enter the tables as said, and mean the same in any order of arrival."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.admins import NO_ADMIN, REPEATED
from federation.entry import Entry
from federation.ids import Lane
from federation.records import MemberAdd, Record
from node.changes import MembersChanged
from node.fold import digest
from node.model import member
from node.store import members as rows
from node.store import tasks
from tests.unit.node.fold.members import Author, folded, person, refused, seen
from tests.unit.node.fold.world import database, fold_into


@pytest.fixture
def a() -> Author:
    return Author.new("a")


@pytest.fixture
def b() -> Author:
    return Author.new("b")


def test_a_site_that_an_admin_admits_is_a_member(a: Author, b: Author) -> None:
    a.write(a.admission(b.site, "desy", ("desy.example:7421",)))
    conn = folded(*a.log.entries)
    view = seen(conn, a.site)
    assert set(view.members) == {a.site, b.site}
    assert [(act.name, act.addresses) for act in view.admissions] == [
        ("desy", ("desy.example:7421",))
    ]
    assert refused(conn) == []


def test_links_and_people_hear_of_the_change(a: Author, b: Author) -> None:
    conn = database()
    fold_into(conn, a.log.entries)
    entry = a.write(a.admission(b.site))
    assert fold_into(conn, [entry]) == [MembersChanged(a.site)]


def test_an_invitation_admits_who_shows_its_secret_and_once(a: Author, b: Author) -> None:
    document = a.invitation()
    c = Author.new("c")
    a.write(a.redeemed(document, b.site), a.redeemed(document, c.site))
    view = seen(folded(*a.log.entries), a.site)
    assert set(view.members) == {a.site, b.site}
    assert [each.why for each in view.ignored] == [REPEATED]


def test_what_does_not_agree_with_its_document_is_refused(a: Author, b: Author) -> None:
    good = a.admission(b.site, "desy", ("desy.example:7421",))
    invited = a.redeemed(a.invitation(), b.site)
    lies: list[Record] = [
        replace(good, site=a.site),
        replace(good, name="other"),
        replace(good, addresses=[]),
        replace(good, proof=b"s" * 32),
        replace(good, signer=person("E")),
        replace(good, doc=b"{}"),
        replace(invited, proof=b"x" * 32),
        replace(invited, proof=b""),
        replace(invited, name="Desy"),
        replace(invited, addresses=["nowhere"]),
        replace(invited, site=b"b" * 32),
        replace(a.revocation(b.site), site=a.site),
        replace(a.policy(2), doc=good.doc),
        replace(good, doc=a.revocation(b.site).doc),
        b.admission(a.site),
        a.address("nowhere"),
    ]
    a.write(*lies)
    conn = folded(*a.log.entries)
    assert len(refused(conn)) == len(lies)
    assert rows.acts(conn) == []


def test_who_signed_is_judged_with_all_records_at_hand(a: Author, b: Author) -> None:
    ben = person("B")
    a.write(a.admission(b.site, signer=ben))
    a.write(a.enrolment(ben))
    conn = folded(*a.log.entries)
    assert [each.why for each in seen(conn, a.site).ignored] == [NO_ADMIN]
    fold_into(conn, [a.write(a.admission(b.site, signer=ben))])
    assert set(seen(conn, a.site).members) == {a.site, b.site}


def test_a_stolen_site_key_admits_nobody_even_in_a_generation_that_comes_first(
    a: Author, b: Author
) -> None:
    eve, x = person("E"), Author.new("x")
    thief = b.next_generation()
    thief.control(b.enrolment(eve, eve), b.admission(x.site, signer=eve))
    a.write(a.admission(b.site))
    conn = folded(*a.log.entries, *thief.entries)
    assert x.site in seen(conn, a.site).members  # as nothing else of b was heard
    fold_into(conn, b.log.entries)
    assert set(seen(conn, a.site).members) == {a.site, b.site}
    assert [row.key for row in tasks.people(conn) if row.site == b.site] == [b.admin]
    assert refused(conn) == [NO_ADMIN]


def test_people_of_a_later_generation_wait_for_those_who_enrolled_them(b: Author) -> None:
    ben = person("Q")
    later = b.next_generation()
    later.control(b.enrolment(ben, roles=()))
    conn = folded(*later.entries)
    assert tasks.people(conn) == []
    assert refused(conn) == [NO_ADMIN]
    fold_into(conn, b.log.entries)
    assert {row.key for row in tasks.people(conn)} == {b.admin, ben}
    assert refused(conn) == []


def test_the_newest_word_of_a_site_about_itself_counts(a: Author) -> None:
    later = a.next_generation()
    entries = [
        a.write(a.address("old:1")),
        a.write(a.address("new:1", "new:2")),
        later.control(a.address()),
    ]
    for order in (entries, entries[::-1]):
        conn = database()
        for entry in order:  # the feeds of a site in one order are for the store to keep
            fold_into(conn, [entry])
        assert rows.words(conn)[a.site].addresses == ()
    assert rows.words(folded(*a.log.entries))[a.site].addresses == ("new:1", "new:2")


def test_a_revocation_and_a_policy_are_kept_whole(a: Author, b: Author) -> None:
    a.write(a.admission(b.site), a.revocation(b.site, (1, 7), (3, 2)), a.policy(2, a.site, b.site))
    view = seen(folded(*a.log.entries), a.site)
    assert dict(view.revoked) == {b.site: (a.site,)}
    assert (view.needed, view.mesh) == (2, "icecube")
    assert view.policies[a.site].members == {a.site, b.site}


def test_a_restored_site_keeps_its_members_under_its_next_generation(a: Author, b: Author) -> None:
    c = Author.new("c")
    a.write(a.admission(b.site))
    later = a.next_generation()
    later.control(a.admission(c.site))
    conn = folded(*a.log.entries, *later.entries)
    assert set(seen(conn, a.site).members) == {a.site, b.site, c.site}


def test_a_document_is_known_by_its_digest(a: Author, b: Author) -> None:
    record = a.admission(b.site)
    a.write(record)
    conn = folded(*a.log.entries)
    assert tasks.seen(conn, member.document_id(record.doc))
    assert not tasks.seen(conn, b"x" * 32)


# --- any order of arrival


def small_mesh(draw: st.DrawFn) -> list[Author]:
    """Three sites that write what they like about each other, in two generations each."""
    authors = [Author.new(letter) for letter in "abc"]
    keys = [*(author.admin for author in authors), person("E")]
    for _ in range(draw(st.integers(0, 14))):
        author = draw(st.sampled_from(authors))
        other = draw(st.sampled_from(authors)).site
        key = draw(st.sampled_from(keys))
        signer = draw(st.sampled_from([author.admin, key]))
        what = draw(st.integers(0, 6))
        record: Record
        if what <= 1:
            record = author.admission(other, signer=signer)
        elif what == 2:
            record = author.revocation(other, (1, draw(st.integers(1, 5))))
        elif what == 3:
            record = author.policy(draw(st.integers(1, 3)), *(each.site for each in authors))
        elif what == 4:
            roles = draw(st.sampled_from([(), ("admin",)]))
            record = author.enrolment(key, signer, roles)
        elif what == 5:
            record = author.removal(key, signer)
        else:
            record = author.address("new:1")
        if draw(st.booleans()):
            author.log.control(record)
        else:
            later = author.generations.get(2) or author.next_generation()
            later.control(record)
    return authors


def feeds_of(authors: list[Author]) -> list[list[Entry]]:
    logs = [log for author in authors for log in (author.log, *author.generations.values())]
    return [[entry for entry in log.entries if entry.ref.feed.lane is Lane.CONTROL] for log in logs]


def interleaved(feeds: list[list[Entry]], chance: random.Random) -> list[Entry]:
    left = [list(feed) for feed in feeds if feed]
    order = []
    while left:
        feed = chance.choice(left)
        order.append(feed.pop(0))
        left = [each for each in left if each]
    return order


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_the_same_feeds_give_the_same_tables_and_members_in_any_order(
    data: st.DataObject, seed: int
) -> None:
    authors = data.draw(st.composite(small_mesh)())
    feeds, chance = feeds_of(authors), random.Random(seed)
    one, other = folded(*interleaved(feeds, chance)), folded(*interleaved(feeds, chance))
    assert digest(one) == digest(other)
    for author in authors:
        assert seen(one, author.site) == seen(other, author.site)
    assert sorted(refused(one)) == sorted(refused(other))


def test_an_admission_fits_an_entry_at_its_largest(a: Author, b: Author) -> None:
    label = "x" * 60
    many = tuple(f"{n}.{label}.{label}.{label}.{label}:65535" for n in range(8))
    record = a.admission(b.site, "d" * 32, many)
    assert isinstance(record, MemberAdd)
    a.write(record)
    assert b.site in seen(folded(*a.log.entries), a.site).members
