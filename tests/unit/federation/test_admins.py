"""Who speaks for a site, at each place of its feeds."""

from __future__ import annotations

from itertools import permutations

from federation.admins import NO_ADMIN, REPEATED, Admins, Enrolment, admins_of
from federation.ids import UserKey

ANA, BEN, EVE = (UserKey(letter * 32) for letter in (b"a", b"b", b"e"))


def enrol(
    seq: int, key: UserKey, signer: UserKey, adds: bool = True, admin: bool = True,
    generation: int = 1,
) -> Enrolment:  # fmt: skip
    document = bytes([generation, seq]) * 16
    return Enrolment((generation, seq, 0), document, key, signer, adds, admin and adds)


def test_the_first_signs_for_itself_and_others_need_an_admin() -> None:
    admins = Admins()
    assert admins.take(enrol(1, ANA, ANA)) == ""
    assert admins.take(enrol(2, EVE, EVE)) == NO_ADMIN
    assert admins.take(enrol(3, BEN, ANA, admin=False)) == ""
    assert admins.take(enrol(4, EVE, BEN)) == NO_ADMIN
    assert admins.take(enrol(5, BEN, ANA)) == ""
    assert admins.take(enrol(6, EVE, BEN)) == ""


def test_a_document_serves_once() -> None:
    first, again = enrol(1, ANA, ANA), enrol(2, ANA, ANA)
    again = Enrolment(again.at, first.document, ANA, ANA, True, True)
    admins = Admins()
    assert [admins.take(first), admins.take(again)] == ["", REPEATED]


def test_nobody_speaks_before_or_at_the_own_enrolment_nor_after_the_removal() -> None:
    admins = admins_of([enrol(2, ANA, ANA), enrol(4, BEN, ANA), enrol(7, BEN, ANA, adds=False)])
    assert [admins.spoke(BEN, (1, seq, 0)) for seq in (3, 4, 5, 7, 8)] == [
        False, False, True, True, False,
    ]  # fmt: skip
    assert not admins.spoke(EVE, (1, 5, 0))
    assert admins.spoke(ANA, (3, 1, 0))


def test_an_admin_who_is_enrolled_anew_without_the_role_speaks_no_more() -> None:
    admins = admins_of([enrol(1, ANA, ANA), enrol(2, BEN, ANA), enrol(3, BEN, ANA, admin=False)])
    assert (admins.spoke(BEN, (1, 2, 1)), admins.spoke(BEN, (1, 4, 0))) == (True, False)


def test_any_order_of_arrival_gives_the_same_admins() -> None:
    documents = [
        enrol(1, ANA, ANA),
        enrol(2, BEN, ANA),
        enrol(1, EVE, EVE, generation=2),
        enrol(2, BEN, ANA, adds=False, generation=2),
    ]
    for order in permutations(documents):
        admins = admins_of(order)
        assert not admins.spoke(EVE, (3, 1, 0))
        assert (admins.spoke(BEN, (1, 3, 0)), admins.spoke(BEN, (2, 3, 0))) == (True, False)
