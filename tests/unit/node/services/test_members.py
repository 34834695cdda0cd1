"""What admins may say about the sites of the mesh."""

from __future__ import annotations

from typing import Any

import pytest

from federation import limits
from federation.ids import SiteID, UserKey
from federation.records import Address, MemberAdd
from keys.identity import SiteKey, show
from node.model import member
from node.services.members import announce
from tests.fakes.strangers import Exchange
from tests.unit.node.http.people import EVE
from tests.unit.node.services.mesh import Node, call, refused, run


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def desy(exchange: Exchange) -> Node:
    return Node("desy", exchange, "desy:1")


@pytest.fixture
def nersc(exchange: Exchange) -> Node:
    return Node("nersc", exchange, "nersc:1")


def test_keys_by_mail_make_members_on_both_sides(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.add(nersc, addresses=("nersc:1",))))
    assert desy.names() == {"desy", "nersc"}
    run(nersc.order(nersc.add(desy)))
    nersc.hear(desy)
    assert nersc.names() == {"desy", "nersc"}


def test_the_members_are_shown_with_who_admitted_them(desy: Node, nersc: Node) -> None:
    reply = run(desy.order(desy.add(nersc, addresses=("nersc:1",))))
    own, other = sorted(reply["members"], key=lambda each: not each["own"])
    assert (own["name"], own["own"], own["feeds"]) == ("desy", True, [[1, 3]])
    assert (other["name"], other["key"]) == ("nersc", show(nersc.site))
    assert (other["admitted_by"], other["addresses"]) == (["desy"], ["nersc:1"])
    assert (other["feeds"], other["linked"]) == ([], False)
    assert other["told"] is False  # nothing was heard from it
    desy.hear(nersc)
    (other,) = (each for each in run(desy.orders.shown())["members"] if not each["own"])
    assert (other["says"], other["version"], other["feeds"]) == ("nersc", "1", [[1, 1]])


def test_a_revocation_is_final(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.add(nersc)))
    reply = run(desy.order(desy.remove(nersc)))
    assert [(each["name"], each["by"]) for each in reply["revoked"]] == [("nersc", ["desy"])]
    assert desy.names() == {"desy"}
    assert "revoked by desy, for ever" in refused(desy.order(desy.add(nersc))).message
    assert "already" in refused(desy.order(desy.remove(nersc))).message


def test_a_site_may_revoke_itself(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.add(nersc)))
    run(nersc.order(nersc.add(desy)))
    run(desy.order(desy.remove(desy)))
    nersc.hear(desy)
    assert nersc.names() == {"nersc"}


def test_a_policy_names_exactly_the_members_of_now(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.add(nersc)))
    assert refused(desy.order(desy.policy(2, [desy.site]))).message.startswith("the members have")
    reply = run(desy.order(desy.policy(2, mesh="icecube")))
    assert (reply["admissions"], reply["mesh"]) == (2, "icecube")
    assert [each["name"] for each in reply["policies"]] == ["desy"]


def test_who_waits_is_shown(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.policy(2)))
    reply = run(desy.order(desy.add(nersc)))
    (waiting,) = reply["waiting"]
    assert (waiting["name"], waiting["admitted_by"], waiting["needed"]) == ("nersc", ["desy"], 2)


def test_records_that_do_not_count_are_shown(desy: Node, nersc: Node) -> None:
    document = member.write(desy.add(nersc))
    record = MemberAdd(
        nersc.site, "nersc", [], document, EVE.sign(document), UserKey(EVE.key.raw), b""
    )
    desy.fold(desy.log.control(record))
    (ignored,) = run(desy.orders.shown())["ignored"]
    assert (ignored["name"], ignored["kind"]) == ("desy", "member.add")
    assert "no admin" in ignored["why"]


def test_nobody_but_an_admin_changes_the_mesh(desy: Node, nersc: Node) -> None:
    desy.fold(desy.log.control(desy.enrolment(EVE, roles=())))
    desy.people.reload()
    document = member.write(desy.add(nersc))
    eve: Any = desy.people.find(EVE.key.raw)
    assert refused(desy.orders.order(document, EVE.sign(document), eve)).code == "denied"
    assert refused(desy.orders.order(document, EVE.sign(document), desy.asking)).code == "denied"
    assert desy.names() == {"desy"}


def test_a_document_serves_once_and_at_its_own_site(desy: Node, nersc: Node) -> None:
    order = desy.add(nersc)
    run(desy.order(order))
    assert refused(desy.order(order)).code == "replayed"
    assert refused(desy.order(nersc.add(desy))).code == "denied"


def test_what_is_no_document_about_members_is_refused(desy: Node) -> None:
    signed = desy.admin.sign(b"{}")
    error = refused(desy.orders.order(b"{}", signed, desy.asking))
    assert error.code == "invalid"
    assert error.fields["problems"]
    document = desy.invite()
    error = refused(desy.orders.order(document, desy.admin.sign(document), desy.asking))
    assert "not written down before somebody redeems it" in error.message


def test_a_site_does_not_admit_itself(desy: Node) -> None:
    assert "this site itself" in refused(desy.order(desy.add(desy, "other"))).message


def test_a_mesh_that_is_full_takes_nobody(
    desy: Node, nersc: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MEMBERS_MAX", 1)
    assert "at most 1 sites" in refused(desy.order(desy.add(nersc))).message


# --- names and addresses


def test_a_site_is_called_as_our_admin_likes(desy: Node, nersc: Node) -> None:
    run(desy.order(desy.add(nersc)))
    body = {"site": show(nersc.site), "name": "berkeley"}
    assert run(desy.orders.rename(body, desy.asking))["site"]["name"] == "berkeley"
    assert desy.names() == {"desy", "berkeley"}
    run(desy.orders.rename({**body, "name": ""}, desy.asking))
    assert desy.names() == {"desy", "nersc"}


def test_a_name_that_would_confuse_is_refused(desy: Node, nersc: Node, exchange: Exchange) -> None:
    aachen = Node("aachen", exchange)
    run(desy.order(desy.add(nersc)))
    run(desy.order(desy.add(aachen)))
    key = show(nersc.site)
    for name, word in (("aachen", "another site"), ("Ä", "no site name"), (7, "no site name")):
        error = refused(desy.orders.rename({"site": key, "name": name}, desy.asking))
        assert word in error.message
    error = refused(desy.orders.rename({"site": show(desy.site), "name": "x"}, desy.asking))
    assert "config.toml" in error.message
    stranger = show(SiteKey(b"q" * 32).site)
    for site, code in ((stranger, "not-found"), ("nersc", "bad-request"), (None, "bad-request")):
        error = refused(desy.orders.rename({"site": site, "name": "x"}, desy.asking))
        assert error.code == code


def test_two_sites_of_one_name_are_told_apart(desy: Node, exchange: Exchange) -> None:
    one, other = Node("nersc", exchange), Node("nersc2", exchange)
    run(desy.order(desy.add(one)))
    run(desy.order(desy.add(other, "nersc")))
    assert desy.names() == {
        "desy",
        f"nersc·{show(one.site)[:8]}",
        f"nersc·{show(other.site)[:8]}",
    }
    call(desy, other, "berkeley")
    assert desy.names() == {"desy", "nersc", "berkeley"}


def test_a_site_says_its_new_addresses(desy: Node, nersc: Node) -> None:
    run(nersc.order(nersc.add(desy, addresses=("old:1",))))
    run(desy.order(desy.add(nersc)))
    told = run(desy.orders.say_addresses({"addresses": ["new.desy", "nat:99"]}, desy.asking))
    assert told["addresses"] == ["new.desy:7421", "nat:99"]
    nersc.hear(desy)
    assert nersc.members.addresses(desy.site) == ["new.desy:7421", "nat:99", "old:1"]
    run(desy.orders.say_addresses({"addresses": []}, desy.asking))
    nersc.hear(desy)
    assert nersc.members.addresses(desy.site) == []


@pytest.mark.parametrize(
    ("addresses", "code"),
    [
        (None, "bad-request"),
        ("desy:1", "bad-request"),
        ([7], "bad-request"),
        (["de sy"], "invalid"),
        ([f"h{n}:1" for n in range(9)], "invalid"),
    ],
)
def test_an_address_that_cannot_be_dialled_is_not_said(
    desy: Node, addresses: object, code: str
) -> None:
    error = refused(desy.orders.say_addresses({"addresses": addresses}, desy.asking))
    assert error.code == code


def test_a_site_that_only_dials_out_has_no_address(exchange: Exchange) -> None:
    aachen = Node("aachen", exchange, port=0)
    error = refused(aachen.orders.say_addresses({"addresses": ["aachen"]}, aachen.asking))
    assert "only dials out" in error.message


def test_a_site_listens_and_says_where_before_others_are_to_find_it(desy: Node) -> None:
    told = run(desy.orders.open({}, desy.asking))
    assert (told["name"], told["addresses"], told["port"]) == ("desy", ["desy:1"], 7421)
    assert told["key"] == show(desy.site)
    assert desy.reach.listening
    assert desy.members.addresses(desy.site) == ["desy:1"]


def test_addresses_that_an_admin_said_are_not_replaced_by_an_invitation(desy: Node) -> None:
    run(desy.orders.say_addresses({"addresses": ["new.desy"]}, desy.asking))
    assert run(desy.orders.open({}, desy.asking))["addresses"] == ["new.desy:7421"]


def test_a_port_that_another_process_has_is_told(desy: Node, nersc: Node) -> None:
    desy.reach.taken = True
    for attempt in (desy.orders.open({}, desy.asking), desy.order(desy.add(nersc))):
        error = refused(attempt)
        assert "other sites cannot dial this one" in error.message
        assert "config.toml" in error.right
    assert desy.names() == {"desy"}


def test_a_start_says_addresses_only_when_they_changed(desy: Node) -> None:
    def said() -> int:
        entries = desy.log.entries
        return sum(isinstance(record, Address) for e in entries for record in e.records())

    for addresses, count in ((["a:1"], 1), (["a:1"], 1), (["b:1"], 2), ([], 3), ([], 3)):
        run(announce(desy.journal, desy.members, addresses))
        assert said() == count


def test_a_site_key_in_an_order_may_be_of_a_site_never_heard_of(desy: Node) -> None:
    stranger = SiteID(SiteKey(b"q" * 32).site)
    order = member.Remove(desy.site, stranger, (), desy.nonce())
    reply = run(desy.order(order))
    assert [each["key"] for each in reply["revoked"]] == [show(stranger)]
