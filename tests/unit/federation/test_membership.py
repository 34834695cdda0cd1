"""Who is a member, by the records alone."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from federation import limits
from federation.admins import NO_ADMIN, REPEATED
from federation.ids import UserKey
from federation.membership import Admission, view
from tests.unit.federation.mesh import Mesh, letters, site

EVE = UserKey(b"e" * 32)


def test_a_site_alone_is_its_own_mesh() -> None:
    seen = Mesh().seen_by("a")
    assert list(seen.members) == [site("a")]
    assert (seen.needed, seen.mesh, dict(seen.revoked)) == (1, "", {})


def test_members_of_members_are_members() -> None:
    mesh = Mesh()
    mesh.join("ab", "bc", "cd")
    assert {mesh.members(letter) for letter in "abcd"} == {"abcd"}


def test_who_was_admitted_but_does_not_admit_sees_only_itself() -> None:
    mesh = Mesh()
    mesh.add("a", "b")
    assert (mesh.members("a"), mesh.members("b")) == ("ab", "b")


def test_a_site_key_alone_admits_nobody() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.add("b", "x", signer=EVE)
    seen = mesh.seen_by("a")
    assert letters(seen.members) == "ab"
    assert [(each.act.signer, each.why) for each in seen.ignored] == [(EVE, NO_ADMIN)]


def test_a_stolen_site_key_makes_no_admin_in_a_new_generation() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.enrol("b", EVE, EVE, generation=2)
    mesh.add("b", "x", signer=EVE, generation=2)
    mesh.add("b", "y", signer=mesh.admin("b"), generation=2)
    assert mesh.members("a") == "aby"


def test_what_an_admin_signed_stands_after_that_admin_is_removed() -> None:
    mesh = Mesh()
    mesh.join("ab")
    ana = mesh.admin("b")
    mesh.enrol("b", EVE, ana)
    mesh.add("b", "c", signer=EVE)
    mesh.enrol("b", EVE, ana, adds=False)
    mesh.add("b", "d", signer=EVE)
    assert mesh.members("a") == "abc"


def test_an_admin_of_one_site_does_not_speak_for_another() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.admin("a")
    mesh.add("a", "x", signer=mesh.admin("b"))
    assert mesh.members("a") == "ab"


def test_an_invitation_admits_one_site() -> None:
    mesh = Mesh()
    mesh.admin("a")
    mesh.add("a", "b", document=b"i" * 32)
    mesh.add("a", "c", document=b"i" * 32, generation=2)
    mesh.acts.reverse()
    seen = mesh.seen_by("a")
    assert letters(seen.members) == "ab"
    assert [each.why for each in seen.ignored] == [REPEATED]


# --- revocation


def test_a_revoked_site_is_out_whoever_admits_it_later() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.revoke("c", "b")
    mesh.add("a", "b")
    for viewer in "ac":
        assert mesh.members(viewer) == "ac"
        assert letters(mesh.seen_by(viewer).revoked) == "b"


def test_sites_that_a_revoked_one_brought_in_stay() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac", "ad")
    mesh.revoke("b", "a")
    assert {mesh.members(letter) for letter in "bcd"} == {"bcd"}
    assert mesh.members("a") == "abcd"  # it sees itself, and that it is revoked
    assert letters(mesh.seen_by("a").revoked) == "a"


def test_what_a_revoked_site_wrote_behind_the_named_place_does_not_count() -> None:
    mesh = Mesh()
    mesh.join("ab", "bc")
    mesh.revoke("a", "b")
    mesh.add("b", "x")
    assert mesh.members("a") == "ac"


def test_a_revocation_may_void_all_that_a_site_admitted() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac", "bx", "by")
    mesh.revoke("a", "b")
    assert mesh.members("a") == "acxy"
    mesh.revoke("c", "b", through=0)
    assert mesh.members("a") == "ac"


def test_of_two_that_revoke_each_other_none_remains() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac", "bc")
    mesh.revoke("a", "b")
    mesh.revoke("b", "a")
    assert mesh.members("c") == "c"


def test_strangers_and_sites_admitted_by_too_few_revoke_nobody() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.policy("a", 2, "ab")
    mesh.add("a", "x")
    mesh.revoke("x", "b")
    mesh.revoke("z", "b")
    seen = mesh.seen_by("a")
    assert letters(seen.members) == "ab"
    assert letters(seen.waiting) == "x"


def test_a_revocation_by_a_site_key_alone_is_void() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.revoke("c", "b", signer=EVE)
    assert mesh.members("a") == "abc"


def test_who_was_shut_out_by_the_policy_of_a_site_that_was_revoked_may_revoke() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac", "cd")
    mesh.policy("b", 9, "ab")
    assert mesh.members("a") == "ab"
    mesh.revoke("a", "b", through=0)
    mesh.revoke("d", "c")
    assert mesh.members("a") == "ad"


# --- policy


def test_a_policy_asks_for_more_admissions_of_new_sites_only() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.policy("b", 2, "abc")
    mesh.add("a", "d")
    for viewer in "abc":
        seen = mesh.seen_by(viewer)
        assert (letters(seen.members), seen.needed) == ("abc", 2)
        assert seen.waiting[site("d")].by == (site("a"),)
        assert seen.waiting[site("d")].needed == 2
    mesh.add("c", "d")
    assert {mesh.members(viewer) for viewer in "abc"} == {"abcd"}


def test_a_site_that_waits_does_not_get_in_by_a_policy_of_its_own() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac", "bc")
    mesh.policy("b", 2, "abc")
    mesh.join("cx")
    mesh.policy("x", 9, "x")
    assert {mesh.members(viewer) for viewer in "abc"} == {"abc"}


def test_a_policy_keeps_out_whom_a_nearer_member_admits_alone() -> None:
    mesh = Mesh()
    mesh.join("vf", "fg", "fa", "ab")
    mesh.policy("b", 2, "abfgv")
    mesh.join("gx")
    assert {mesh.members(viewer) for viewer in "abfgv"} == {"abfgv"}


def test_who_joins_through_a_site_that_no_policy_lists_sees_the_whole_mesh() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.policy("b", 2, "abc")
    mesh.join("ad", "cd")
    mesh.join("de")
    mesh.add("a", "e")
    assert {mesh.members(viewer) for viewer in "abcde"} == {"abcde"}


def test_two_admissions_by_one_site_are_one() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.policy("a", 2, "ab")
    mesh.add("a", "c", "c")
    assert mesh.members("a") == "ab"


def test_the_strictest_policy_holds_until_its_own_author_takes_it_back() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.policy("a", 2, "ab")
    mesh.add("a", "c")
    mesh.policy("b", 1, "ab")
    assert mesh.members("a") == "ab"
    mesh.policy("a", 1, "ab")
    assert mesh.members("a") == "abc"


def test_a_policy_does_not_let_in_whom_an_older_one_of_another_site_keeps_out() -> None:
    mesh = Mesh()
    mesh.join("ab")
    mesh.policy("a", 2, "ab")
    mesh.add("b", "x")
    mesh.policy("b", 1, "abx")
    assert mesh.members("a") == "ab"


def test_a_new_member_sees_the_same_mesh_under_a_policy() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.policy("a", 2, "abc")
    mesh.join("ad", "bd")
    mesh.join("be", "ce")
    assert {mesh.members(letter) for letter in "abcde"} == {"abcde"}


def test_the_mesh_is_called_as_this_site_says_else_as_others_do() -> None:
    mesh = Mesh()
    mesh.join("ab", "ac")
    mesh.policy("b", 1, "abc", "icecube")
    assert mesh.seen_by("c").mesh == "icecube"
    mesh.policy("c", 1, "abc", "ice")
    assert (mesh.seen_by("c").mesh, mesh.seen_by("a").mesh) == ("ice", "icecube")


def test_a_mesh_has_a_largest_size() -> None:
    mesh = Mesh()
    ana, one = mesh.admin("a"), site("a")
    many = [bytes([2, n >> 8, n & 255]) + bytes(29) for n in range(limits.MEMBERS_MAX + 5)]
    mesh.acts = [
        Admission(one, (1, 2 + n, 0), n.to_bytes(32, "big"), ana, key, "x")  # type: ignore[arg-type]
        for n, key in enumerate(many)
    ]
    seen = mesh.seen_by("a")
    assert len(seen.members) == limits.MEMBERS_MAX
    mesh.acts.reverse()
    assert mesh.seen_by("a") == seen


# --- whatever the order

LETTERS = "abcdef"
LETTER = st.sampled_from(LETTERS)
STEP = st.one_of(
    st.tuples(st.just("add"), LETTER, LETTER),
    st.tuples(st.just("join"), LETTER, LETTER),
    st.tuples(st.just("revoke"), LETTER, LETTER),
    st.tuples(st.just("void"), LETTER, LETTER),
    st.tuples(st.just("policy"), LETTER, st.sampled_from("123")),
    st.tuples(st.just("forged"), LETTER, LETTER),
    st.tuples(st.just("generation"), LETTER, LETTER),
)


def written(steps: list[tuple[str, str, str]]) -> Mesh:
    mesh = Mesh()
    for what, one, other in steps:
        if what == "add":
            mesh.add(one, other)
        elif what == "join" and one != other:
            mesh.join(one + other)
        elif what == "revoke":
            mesh.revoke(one, other)
        elif what == "void":
            mesh.revoke(one, other, through=0)
        elif what == "policy":
            mesh.policy(one, int(other), LETTERS)
        elif what == "forged":
            mesh.revoke(one, other, signer=EVE)
            mesh.add(one, other, signer=EVE)
        elif what == "generation":
            mesh.add(one, other, signer=mesh.admin(one), generation=2)
    return mesh


@settings(max_examples=200)
@given(steps=st.lists(STEP, max_size=25), seed=st.integers(0, 2**32))
def test_the_same_records_give_the_same_mesh_in_any_order(
    steps: list[tuple[str, str, str]], seed: int
) -> None:
    mesh = written(steps)
    shuffled = random.Random(seed)
    for letter in LETTERS:
        seen = mesh.seen_by(letter)
        shuffled.shuffle(mesh.acts)
        for enrolled in mesh.enrolments.values():
            shuffled.shuffle(enrolled)
        assert view(site(letter), mesh.acts, mesh.enrolments) == seen


@settings(max_examples=200)
@given(steps=st.lists(STEP, max_size=25), viewer=LETTER)
def test_no_revoked_site_is_a_member(steps: list[tuple[str, str, str]], viewer: str) -> None:
    seen = written(steps).seen_by(viewer)
    assert not set(seen.revoked) & (set(seen.members) - {seen.own})
    assert seen.own in seen.members


@settings(max_examples=200)
@given(steps=st.lists(STEP, max_size=25), viewer=LETTER, more=STEP)
def test_a_revoked_site_never_comes_back(
    steps: list[tuple[str, str, str]], viewer: str, more: tuple[str, str, str]
) -> None:
    """Without policies: one that shuts a site out shuts its word about others out, too."""
    steps = [step for step in [*steps, more] if step[0] != "policy"]
    before = written(steps[:-1]).seen_by(viewer)
    assert set(before.revoked) <= set(written(steps).seen_by(viewer).revoked)


@settings(max_examples=200)
@given(steps=st.lists(STEP, max_size=25), viewer=LETTER)
def test_forged_records_change_nothing(steps: list[tuple[str, str, str]], viewer: str) -> None:
    mesh = written(steps)
    honest = [act for act in mesh.acts if act.signer != EVE]
    seen = mesh.seen_by(viewer)
    assert view(site(viewer), honest, mesh.enrolments).members == seen.members
