"""People enter the tables by an admin's signed word, and in no other way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.ids import UserKey
from federation.records import UserAdd, UserRemove
from keys.identity import SiteKey
from keys.sshsig import PublicKey
from node.changes import UserChanged
from node.fold import digest
from node.model.person import PersonOrder, write_person
from node.store import tasks
from tests.unit.node.fold.test_fold import Site
from tests.unit.node.fold.world import ANA, BEN, database, document, fold, fold_into

EVE = UserKey(SiteKey(b"e" * 32).site)


@pytest.fixture
def site() -> Site:
    return Site()


def add(
    site: Site, key: UserKey, name: str, signer: UserKey, roles=("admin",), nonce: str = "0"
) -> UserAdd:
    groups = ("physics",)
    order = PersonOrder(
        "user.add", site.log.site, PublicKey(key), name, groups, tuple(roles), nonce.zfill(32)
    )
    # In these tests a signature is the key that signed.
    return UserAdd(key, name, groups, list(roles), write_person(order), signer, signer)


def remove(site: Site, key: UserKey, signer: UserKey) -> UserRemove:
    order = PersonOrder("user.remove", site.log.site, PublicKey(key), nonce="f" * 32)
    return UserRemove(key, write_person(order), signer, signer)


def names(site: Site) -> list[str]:
    return [person.name for person in tasks.people(site.conn)]


def test_the_first_person_signs_their_own_enrolment_and_enrols_others(site: Site) -> None:
    site.log.control(add(site, ANA, "ana", ANA), add(site, BEN, "ben", ANA, roles=()))
    assert site.fold() == [UserChanged(ANA), UserChanged(BEN)]
    assert names(site) == ["ana", "ben"]
    assert tasks.people(site.conn)[0].admin
    assert not tasks.people(site.conn)[1].admin


def test_nobody_else_enrols_anybody(site: Site) -> None:
    site.log.control(
        add(site, ANA, "ana", ANA),
        add(site, BEN, "ben", ANA, roles=()),
        add(site, EVE, "eve", BEN),
        add(site, EVE, "eve", EVE, nonce="1"),
        remove(site, ANA, BEN),
    )
    site.fold()
    assert names(site) == ["ana", "ben"]
    assert site.refused() == ["the signer is no admin of this site"] * 3


def test_the_first_person_cannot_be_enrolled_by_a_stranger(site: Site) -> None:
    site.log.control(add(site, ANA, "ana", EVE))
    site.fold()
    assert names(site) == []


def test_a_removed_admin_is_one_no_more(site: Site) -> None:
    site.log.control(
        add(site, ANA, "ana", ANA),
        add(site, BEN, "ben", ANA),
        remove(site, ANA, BEN),
        add(site, EVE, "eve", ANA),
    )
    site.fold()
    assert names(site) == ["ben"]
    assert [person.name for person in tasks.people(site.conn, everybody=True)] == ["ana", "ben"]


def test_a_record_must_say_what_its_document_says(site: Site) -> None:
    site.log.control(add(site, ANA, "ana", ANA))
    honest = add(site, BEN, "ben", ANA, roles=())
    for lie in (
        replace(honest, roles=["admin"]),
        replace(honest, key=EVE),
        replace(honest, name="bob"),
        replace(honest, groups=["other"]),
        replace(honest, signer=BEN),
    ):
        site.log.control(lie)
    site.fold()
    assert names(site) == ["ana"]
    assert len(site.refused()) == 5


def test_a_document_serves_once_and_at_its_own_site_only(site: Site) -> None:
    site.log.control(add(site, ANA, "ana", ANA), add(site, BEN, "ben", ANA))
    site.log.control(remove(site, BEN, ANA), add(site, BEN, "ben", ANA))
    elsewhere = PersonOrder(
        "user.add", b"x" * 32, PublicKey(EVE), "eve", ("physics",), (), nonce="2" * 32
    )
    site.log.control(UserAdd(EVE, "eve", ["physics"], [], write_person(elsewhere), ANA, ANA))
    site.fold()
    assert names(site) == ["ana"]
    assert site.refused() == [
        "this document was taken before",
        "the document was signed for another site",
    ]


def test_a_dataset_obeys_its_user_and_the_sites_admins_alone(site: Site) -> None:
    dataset = site.submit()
    site.log.control(add(site, BEN, "ben", BEN))
    for nonce, key in enumerate((ANA, BEN, EVE)):
        site.log.order(dataset, "cancel", nonce, key, select={"jobs": [nonce, nonce + 1]})
    site.fold()
    assert site.counts()["cancelled"] == 2
    assert site.refused() == ["ordered by neither the dataset's user nor an admin of this site"]


def test_an_admins_order_counts_only_after_the_enrolment(site: Site) -> None:
    dataset = site.submit()
    site.log.order(dataset, "cancel", 1, BEN)
    site.log.control(add(site, BEN, "ben", BEN))
    site.fold()
    assert "cancelled" not in site.counts()


def test_a_log_is_read_with_the_admins_of_earlier_generations_however_late_they_come() -> None:
    site = Site()
    site.log.entries, site.log.tips = [], {}
    site.log.control(add(site, ANA, "ana", ANA), add(site, BEN, "ben", ANA, roles=("admin",)))
    site.log.generation, site.log.tips = 2, {}
    site.log.found()
    dataset = site.log.submit(document("d"))
    site.log.order(dataset, "pause", key=BEN)
    early, *later = site.log.entries
    one, two = database(), database()
    fold_into(one, [early, *later])
    by = fold()
    fold_into(two, later, by)
    assert two.execute("SELECT paused FROM dataset").get == 0
    fold_into(two, [early], by)
    while by.behind(two):
        by.go_on(two)
    assert two.execute("SELECT paused FROM dataset").get == 1
    assert digest(two) == digest(one)
