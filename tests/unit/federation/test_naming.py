"""What sites are called and where they are dialled."""

from __future__ import annotations

from federation.naming import addresses, called, names
from keys.identity import short, show
from tests.unit.federation.mesh import Mesh, site

A, B, C, D = map(site, "abcd")


def mesh() -> Mesh:
    made = Mesh()
    made.join("ab", "bc", "bd")
    return made


def test_our_name_goes_before_its_own_and_that_before_the_names_of_others() -> None:
    seen = mesh().seen_by("a")
    assert names(seen, {}, {A: "madison"}) == {A: "madison", B: "site-b", C: "site-c", D: "site-d"}
    found = names(seen, {B: "dy"}, {A: "madison", B: "desy", C: "nersc"})
    assert found == {A: "madison", B: "dy", C: "nersc", D: "site-d"}


def test_sites_of_one_name_are_told_apart_by_their_keys_and_ours_keeps_its_name() -> None:
    found = names(mesh().seen_by("a"), {B: "desy"}, {A: "desy", C: "nersc", D: "nersc"})
    assert found[A] == "desy"
    assert found[B] == short("desy", B)
    assert (found[C], found[D]) == (short("nersc", C), short("nersc", D))


def test_a_name_that_nobody_can_type_is_not_shown() -> None:
    made = Mesh()
    made.join("ab")
    made.add("a", "c", name="\x1b]0;owned\x07")
    found = names(made.seen_by("a"), {}, {A: "Ä", B: "DROP TABLE", C: "x" * 200})
    assert (found[A], found[C]) == ("site", short("site", C))
    assert found[B] == "site-b"


def test_our_newest_admission_names_a_site() -> None:
    made = mesh()
    made.add("a", "b", name="hamburg")
    assert names(made.seen_by("a"), {}, {})[B] == "hamburg"


def test_revoked_and_waiting_sites_have_names_too() -> None:
    made = mesh()
    made.policy("a", 2, "abcd")
    made.add("a", "e")
    made.revoke("a", "d")
    assert set(names(made.seen_by("a"), {}, {})) == {A, B, C, D, site("e")}


def test_a_site_is_found_by_name_short_key_or_key() -> None:
    known = {A: "desy", B: short("nersc", B), C: short("nersc", C)}
    assert called("desy", known) == called(show(A)[:8], known) == [A]
    assert called(show(A).upper(), known) == [A]
    assert called(short("nersc", B), known) == called(short("", B)[1:], known) == [B]
    assert called("nersc", known) == [B, C]
    assert called("aachen", known) == called(show(A)[:3], known) == called("", known) == []


def test_a_key_names_its_site_even_where_another_is_called_so() -> None:
    known = {A: "desy", B: show(A)[:32]}
    assert called(show(A), known) == [A]


def test_its_own_word_about_its_addresses_comes_first_and_ours_is_kept() -> None:
    made = Mesh()
    made.add("a", "b", addresses=("old:1", "lan:1"))
    made.add("b", "a")
    seen = made.seen_by("a")
    assert addresses(seen, B, {}) == ["old:1", "lan:1"]
    assert addresses(seen, B, {B: ["new:1"]})[0] == "new:1"
    assert set(addresses(seen, B, {B: ["new:1"]})) == {"new:1", "old:1", "lan:1"}


def test_a_site_that_says_it_only_dials_out_is_not_dialled() -> None:
    made = Mesh()
    made.add("a", "b", addresses=("old:1",))
    assert addresses(made.seen_by("a"), B, {B: []}) == []


def test_before_a_site_said_anything_the_word_of_other_members_serves() -> None:
    made = Mesh()
    made.join("ab")
    made.add("b", "c", addresses=("c:1",))
    made.add("c", "b")
    seen = made.seen_by("a")
    assert addresses(seen, C, {}) == ["c:1"]
    assert addresses(seen, C, {C: ["c:2"]}) == ["c:2"]
