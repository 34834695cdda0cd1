"""Which invitations a site gave, and those that its admins took back."""

from __future__ import annotations

from typing import Any

import pytest

from node.model import member
from node.store.invitations import KEPT_MAX
from tests.fakes.strangers import Exchange
from tests.unit.node.http.people import EVE
from tests.unit.node.services.mesh import Node, refused, run


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def madison(exchange: Exchange) -> Node:
    return Node("madison", exchange, "madison:1")


@pytest.fixture
def desy(exchange: Exchange) -> Node:
    return Node("desy", exchange, "desy:1")


def noted(node: Node, document: bytes) -> str:
    """The id of an invitation that the node was told of."""
    signed = node.admin.sign(document)
    return str(run(node.invitations.note(document, signed, node.asking))["id"])


def withdraw(node: Node, id_: str) -> Any:
    return node.invitations.withdraw({"id": id_}, node.asking)


def states(node: Node) -> list[str]:
    return [each["state"] for each in run(node.invitations.shown())["invitations"]]


def test_a_withdrawn_invitation_lets_nobody_in(madison: Node, desy: Node) -> None:
    document = madison.invite()
    id_ = noted(madison, document)
    assert id_ == member.document_id(document).hex()
    assert states(madison) == ["open"]
    run(withdraw(madison, id_[:8]))
    assert states(madison) == ["withdrawn"]
    assert "took the token back" in refused(desy.join(madison, document)).message
    assert madison.names() == {"madison"}


def test_others_hold_on(madison: Node, desy: Node) -> None:
    kept, gone = madison.invite(), madison.invite(2000)
    noted(madison, kept)
    run(withdraw(madison, noted(madison, gone)))
    run(desy.join(madison, kept))
    assert states(madison) == ["withdrawn", "used"]


def test_who_joined_with_it_stays_and_may_ask_again(madison: Node, desy: Node) -> None:
    document = madison.invite()
    id_ = noted(madison, document)
    run(desy.join(madison, document))
    refusal = refused(withdraw(madison, id_))
    assert "desy joined with it" in refusal.message
    assert refusal.right == "floe mesh revoke desy"
    [shown] = run(madison.invitations.shown())["invitations"]
    assert (shown["state"], shown["site"]["name"]) == ("used", "desy")


def test_time_and_the_loss_of_its_admin_are_shown(madison: Node) -> None:
    noted(madison, madison.invite())
    madison.wall_ms += 2000
    assert states(madison) == ["expired"]


def test_what_is_no_invitation_of_an_admin_here_is_not_kept(madison: Node, desy: Node) -> None:
    document = madison.invite()
    asking = madison.asking
    for signed in (EVE.sign(document), desy.admin.sign(document)):
        assert refused(madison.invitations.note(document, signed, asking)).code == "denied"
    other = member.write(madison.add(desy))
    signed = madison.admin.sign(other)
    assert refused(madison.invitations.note(other, signed, asking)).code == "bad-request"
    foreign = desy.invite()
    signed = madison.admin.sign(foreign)
    assert refused(madison.invitations.note(foreign, signed, asking)).code == "denied"
    assert states(madison) == []


@pytest.mark.parametrize("start", ["", "ffff", "zz"])
def test_an_id_that_names_none_or_several_is_refused(madison: Node, start: str) -> None:
    for _ in range(2):
        noted(madison, madison.invite())
    assert refused(withdraw(madison, start)).code == "not-found"
    assert states(madison) == ["open", "open"]


def test_only_so_many_are_kept_and_those_longest_that_hold_longest(madison: Node) -> None:
    madison.conn.execute(
        "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < ?)"
        " INSERT INTO invitation SELECT randomblob(32), x'00', v, 0 FROM n",
        (KEPT_MAX,),
    )
    id_ = noted(madison, madison.invite())
    found = run(madison.invitations.shown())["invitations"]
    assert len(found) == KEPT_MAX
    assert found[0]["id"] == id_
