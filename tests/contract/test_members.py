"""What every implementation of the Members port does: the one on tables, and the links' fake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from federation.ids import SiteID
from federation.ports import Members as MembersPort
from node.members import Members
from tests.fakes.meshed import Registry
from tests.unit.node.fold.members import Author
from tests.unit.node.fold.world import database, fold_into


@dataclass
class Kept:
    """A port, and how its site admits and revokes others."""

    members: MembersPort
    own: SiteID
    admit: Callable[[SiteID, Sequence[str]], Any]
    revoke: Callable[[SiteID], Any]


def registry() -> Kept:
    made, own = Registry(), Author.new("a").site
    made.admit(own)
    return Kept(made, own, made.admit, made.revoke)


def tables() -> Kept:
    author, conn = Author.new("a"), database()
    fold_into(conn, author.log.entries)
    members = Members(conn, author.site)

    def admit(site: SiteID, addresses: Sequence[str]) -> None:
        entry = author.write(author.admission(site, "desy", tuple(addresses)))
        members.changed(fold_into(conn, [entry]))

    def revoke(site: SiteID) -> None:
        members.changed(fold_into(conn, [author.write(author.revocation(site))]))

    return Kept(members, author.site, admit, revoke)


B = Author.new("b").site


@pytest.fixture(params=[registry, tables])
def kept(request: pytest.FixtureRequest) -> Kept:
    made: Kept = request.param()
    return made


def test_a_site_alone_is_a_member(kept: Kept) -> None:
    assert list(kept.members.members()) == [kept.own]
    assert kept.members.is_member(kept.own)
    assert not kept.members.is_member(B)
    assert not kept.members.revoked(B)
    assert list(kept.members.addresses(B)) == []


def test_who_is_admitted_is_a_member_that_can_be_dialled(kept: Kept) -> None:
    kept.admit(B, ["desy.example:7421"])
    assert set(kept.members.members()) == {kept.own, B}
    assert kept.members.is_member(B)
    assert list(kept.members.addresses(B)) == ["desy.example:7421"]


def test_who_is_revoked_is_no_member_and_never_was_a_stranger(kept: Kept) -> None:
    kept.admit(B, [])
    kept.revoke(B)
    assert not kept.members.is_member(B)
    assert kept.members.revoked(B)
    assert list(kept.members.members()) == [kept.own]


def test_subscribers_hear_of_each_change_once_it_is_so(kept: Kept) -> None:
    heard: list[tuple[bool, bool]] = []
    kept.members.subscribe(
        lambda: heard.append((kept.members.is_member(B), kept.members.revoked(B)))
    )
    kept.admit(B, [])
    kept.revoke(B)
    assert heard == [(True, False), (False, True)]
