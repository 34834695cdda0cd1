"""Verbs about members against a fake node: what is signed, what is printed, how they exit."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from keys.identity import SiteKey, show
from keys.sshsig import verify
from node.cli import joining
from node.model import member
from node.model.token import read_token, write_token
from tests.fakes.api_server import FakeNode, Refuse, Request
from tests.unit.node.cli.conftest import Floe
from tests.unit.node.http.people import ANA

SPONSOR = SiteKey(b"m" * 32)
NERSC, AACHEN, ULB = (SiteKey(letter * 32).site for letter in (b"n", b"x", b"u"))
SECRET = b"s" * 32
HOSTILE = "\x1b]0;owned\x07"


def site(node: FakeNode, name: str, key: bytes, **more: Any) -> dict[str, Any]:
    found = {
        "name": name,
        "key": show(key),
        "own": key == node.site.site,
        "addresses": [f"{name}:7421"],
        "feeds": [[1, 7], [3, 2]],
        "linked": False,
        "admitted_by": ["desy"],
        "needed": 1,
    }
    return {**found, **more}


class Mesh:
    """A node that knows some members, and keeps what it is sent."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.reply: dict[str, Any] = {
            "mesh": "icecube",
            "admissions": 1,
            "members": [site(node, "desy", node.site.site), site(node, "nersc", NERSC)],
            "revoked": [],
            "waiting": [],
            "policies": [],
            "ignored": [],
        }
        self.sent: list[dict[str, Any]] = []
        self.orders: list[member.Order] = []
        node.replies["/v1/mesh/members"] = self.members
        node.replies["/v1/mesh/names"] = self.keep
        node.replies["/v1/mesh/addresses"] = self.keep
        node.replies["/v1/mesh/join"] = self.keep
        node.replies["/v1/mesh/open"] = {
            "name": "desy",
            "key": show(node.site.site),
            "addresses": ["desy.example:7421"],
            "port": 7421,
            "now_ms": 1_790_000_000_000,
        }
        self.answer: dict[str, Any] = {}
        self.invitations: list[dict[str, Any]] = []
        self.noted: list[tuple[bytes, bytes]] = []  # documents and signatures of invitations
        node.replies["/v1/mesh/invitations"] = self.invited
        node.replies["/v1/mesh/invitations/withdraw"] = self.keep

    def members(self, request: Request) -> dict[str, Any]:
        if request.method == "POST":
            body = request.json()
            document = base64.b64decode(body["document"])
            verify(document, base64.b64decode(body["signature"]))
            self.orders.append(member.read(document))
        return self.reply

    def invited(self, request: Request) -> dict[str, Any]:
        reply: dict[str, Any] = {"invitations": self.invitations}
        if request.method == "POST":
            body = request.json()
            document, signature = (base64.b64decode(body[n]) for n in ("document", "signature"))
            verify(document, signature)
            self.noted.append((document, signature))
            reply["id"] = member.document_id(document).hex()
        return reply

    def keep(self, request: Request) -> dict[str, Any]:
        self.sent.append(request.json())
        return self.answer


@pytest.fixture
def mesh(node: FakeNode) -> Mesh:
    return Mesh(node)


def token(addresses: tuple[str, ...] = ("madison:7421",)) -> str:
    by = member.SiteID(SPONSOR.site)
    invite = member.Invite(by, "madison", addresses, member.hash_secret(SECRET), 1, bytes(16))
    document = member.write(invite)
    return write_token(SECRET, document, ANA.sign(document))


# --- invite


def test_invite_prints_the_token_alone(floe: Floe, mesh: Mesh) -> None:
    shown = floe("mesh", "invite", "--valid", "12h")
    assert shown.status == 0, shown.err
    assert len(shown.out.splitlines()) == 1
    held = read_token(shown.out)
    assert held.invite.by == mesh.node.site.site
    assert held.invite.name == "desy"
    assert held.invite.addresses == ("desy.example:7421",)
    assert held.invite.until_ms == 1_790_000_000_000 + 12 * 3600 * 1000
    assert held.signer.raw in mesh.node.people
    assert "floe mesh join TOKEN" in shown.err


def test_the_node_is_told_of_an_invitation_and_not_of_its_secret(floe: Floe, mesh: Mesh) -> None:
    held = read_token(floe("mesh", "invite").out)
    assert mesh.noted == [(held.document, held.signature)]
    assert held.secret not in held.document


def test_invitations_are_listed_with_what_became_of_them(floe: Floe, mesh: Mesh) -> None:
    assert "no invitation" in floe("mesh", "invite", "--list").out
    common = {"by": "ana", "until_ms": 1_790_000_000_000}
    mesh.invitations = [
        {"id": "5f02aa91" + "0" * 56, "state": "open", **common},
        {"id": "77" * 32, "state": "used", "site": {"name": HOSTILE + "lyon"}, **common},
    ]
    shown = floe("mesh", "invite", "--list").out
    assert "5f02aa91" in shown
    assert "used by" in shown
    assert "\x1b" not in shown


def test_an_invitation_is_withdrawn_by_its_id_or_by_the_token(floe: Floe, mesh: Mesh) -> None:
    mesh.answer = {"invitations": []}
    assert floe("mesh", "invite", "--withdraw", "5f02").status == 0
    assert floe("mesh", "invite", "--withdraw", token()).status == 0
    document = read_token(token()).document
    assert mesh.sent == [{"id": "5f02"}, {"id": member.document_id(document).hex()}]
    assert floe("mesh", "invite", "--withdraw", "floe1.12.zz").status == 1


def test_no_two_tokens_are_the_same(floe: Floe, mesh: Mesh) -> None:
    one, other = (floe("mesh", "invite", "--json").json() for _ in range(2))
    assert one["token"] != other["token"]
    assert read_token(one["token"]).secret != read_token(other["token"]).secret
    assert one["schema"] == 1


@pytest.mark.parametrize("valid", ["0s", "7", "soon", "400d"])
def test_a_validity_that_is_none_is_refused(floe: Floe, mesh: Mesh, valid: str) -> None:
    shown = floe("mesh", "invite", "--valid", valid)
    assert (shown.status, shown.out) == (2, "")
    assert "--valid" in shown.err


def test_a_site_that_only_dials_out_makes_no_token(floe: Floe, mesh: Mesh) -> None:
    mesh.node.replies["/v1/mesh/open"]["addresses"] = []
    shown = floe("mesh", "invite")
    assert (shown.status, shown.out) == (1, "")
    assert "only dials out" in shown.err


# --- join


def test_join_signs_an_admission_of_the_sponsor_and_sends_the_token(floe: Floe, mesh: Mesh) -> None:
    mesh.answer = {
        "sponsor": {"name": "madison", "key": show(SPONSOR.site)},
        "admitted": 1,
        "needed": 1,
    }
    mesh.reply["members"].append(site(mesh.node, "madison", SPONSOR.site, linked=True))
    shown = floe("mesh", "join", token())
    assert shown.status == 0, shown.err
    assert shown.out.startswith(f"joined madison·{show(SPONSOR.site)[:8]}: 3 sites")
    (sent,) = mesh.sent
    order = member.read(base64.b64decode(sent["document"]))
    assert isinstance(order, member.Add)
    assert (order.by, order.site) == (mesh.node.site.site, SPONSOR.site)
    assert (order.name, order.addresses) == ("madison", ("madison:7421",))
    assert base64.b64decode(sent["secret"]) == SECRET
    assert sent["merge"] is False
    document = base64.b64decode(sent["invitation"]["document"])
    assert verify(document, base64.b64decode(sent["invitation"]["signature"])).raw == ANA.key.raw


def test_join_waits_for_the_first_link_and_says_when_none_comes(
    floe: Floe, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "LOOK_S", 0.0)
    clock = iter(range(1000))
    monkeypatch.setattr(joining.time, "monotonic", lambda: next(clock))
    mesh.answer = {"sponsor": {"name": "madison", "key": show(SPONSOR.site)}}
    mesh.reply["members"].append(site(mesh.node, "madison", SPONSOR.site))
    shown = floe("mesh", "join", token(), "--timeout", "5")
    assert (shown.status, shown.out) == (1, "")
    assert "no link came up in 5 s yet" in shown.err
    assert floe("mesh", "join", token(), "--timeout", "5", "--json").json()["linked"] is False


def test_join_under_a_policy_says_how_many_must_still_admit(floe: Floe, mesh: Mesh) -> None:
    sponsor = {"name": "madison", "key": show(SPONSOR.site)}
    mesh.answer = {"sponsor": sponsor, "admitted": 1, "needed": 3}
    shown = floe("mesh", "join", token())
    assert (shown.status, shown.out) == (1, "")
    assert "the mesh asks for 2 more members" in shown.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (token()[:-5], "torn: 5 of"),
        ("hello", "this is no token"),
        ("", "this is no token"),
        ("floe7" + token()[5:], "newer floe"),
    ],
)
def test_a_broken_token_is_told_before_anything_is_signed(
    floe: Floe, mesh: Mesh, text: str, words: str
) -> None:
    shown = floe("mesh", "join", text)
    assert (shown.status, shown.out) == (1, "")
    assert words in shown.err
    assert mesh.node.requests == []
    assert floe("mesh", "join", text, "--json").json()["error"]["code"] == "token"


def test_the_sponsors_no_is_passed_on(floe: Floe, mesh: Mesh) -> None:
    def no(request: Request) -> dict[str, Any]:
        raise Refuse(409, "the token has expired", "ask for a new one", code="conflict")

    mesh.node.replies["/v1/mesh/join"] = no
    shown = floe("mesh", "join", token())
    assert shown.status == 1
    assert "the token has expired" in shown.err
    assert "ask for a new one" in shown.err


def test_a_token_may_come_from_standard_input(
    floe: Floe, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.answer = {"sponsor": {"name": "m", "key": show(SPONSOR.site)}}
    mesh.reply["members"].append(site(mesh.node, "m", SPONSOR.site, linked=True))
    monkeypatch.setattr("sys.stdin", io.StringIO(token() + "\n"))
    assert floe("mesh", "join", "-", "--name", "mad", "--merge").status == 0
    (sent,) = mesh.sent
    assert sent["merge"] is True
    assert json.loads(base64.b64decode(sent["document"]))["name"] == "mad"


# --- add, revoke, policy


def test_add_takes_what_keys_show_prints(floe: Floe, mesh: Mesh) -> None:
    key = show(SPONSOR.site)
    mesh.reply["members"].append(site(mesh.node, "madison", SPONSOR.site))
    shown = floe("mesh", "add", f"{key}@madison:7421,192.0.2.1:99", "--name", "mad")
    assert shown.status == 0, shown.err
    (order,) = mesh.orders
    assert isinstance(order, member.Add)
    assert order.addresses == ("madison:7421", "192.0.2.1:99")
    assert (order.site, order.name) == (SPONSOR.site, "mad")
    assert floe("mesh", "add", key).status == 0
    assert isinstance(mesh.orders[1], member.Add)
    assert (mesh.orders[1].addresses, mesh.orders[1].name) == ((), "site")


def test_add_says_when_more_admissions_are_needed(floe: Floe, mesh: Mesh) -> None:
    waiting = site(mesh.node, "madison", SPONSOR.site, needed=2)
    mesh.reply["waiting"].append(waiting)
    shown = floe("mesh", "add", f"{show(SPONSOR.site)}@madison:7421")
    assert shown.status == 0
    assert "madison waits: admitted by desy, and the mesh asks for 2 members" in shown.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("madison", "52 characters"),
        ("@madison:7421", "52 characters"),
        (show(SPONSOR.site) + "@", "no port"),
        (show(SPONSOR.site) + "@madison", "no port"),
        (show(SPONSOR.site)[:-1] + "b@madison:1", ""),
    ],
)
def test_add_refuses_what_is_no_key_or_address(
    floe: Floe, mesh: Mesh, text: str, words: str
) -> None:
    shown = floe("mesh", "add", text)
    assert shown.status == 1
    assert words in shown.err
    assert mesh.orders == []


def test_revoke_names_how_far_the_feeds_still_count(floe: Floe, mesh: Mesh) -> None:
    assert floe("mesh", "revoke", "nersc", "--yes").status == 0
    assert floe("mesh", "revoke", show(NERSC)[:8], "--void", "--yes").status == 0
    first, second = mesh.orders
    assert isinstance(first, member.Remove)
    assert isinstance(second, member.Remove)
    assert (first.site, first.through) == (NERSC, ((1, 7), (3, 2)))
    assert second.through == ()


def test_revoke_says_who_is_out_with_it(floe: Floe, mesh: Mesh) -> None:
    mesh.reply["members"].append(site(mesh.node, "aachen", AACHEN))
    before = dict(mesh.reply)
    after = {**before, "members": mesh.reply["members"][:1]}
    replies = [before, after]
    mesh.node.replies["/v1/mesh/members"] = lambda request: replies.pop(0)
    shown = floe("mesh", "revoke", "nersc", "--void", "--yes")
    assert "nersc·" in shown.out.splitlines()[0]
    assert "! aachen·" in shown.out
    assert "floe mesh add" in shown.out


@pytest.mark.parametrize("words", [("nersc",), ("desy",), ("nersc", "--json")])
def test_nobody_is_revoked_unasked_where_nobody_can_be_asked(
    floe: Floe, mesh: Mesh, words: tuple[str, ...]
) -> None:
    shown = floe("mesh", "revoke", *words)
    assert shown.status == 2
    assert "say --yes" in shown.err
    assert mesh.orders == []


def test_a_site_revokes_itself_only_when_told_so_twice(floe: Floe, mesh: Mesh) -> None:
    shown = floe("mesh", "revoke", "desy")
    assert "this very site" in shown.err
    assert mesh.orders == []
    assert floe("mesh", "revoke", "desy", "--yes").status == 0
    assert len(mesh.orders) == 1


@pytest.mark.parametrize("verb", [("revoke",), ("rename", "x")])
def test_an_unknown_site_is_not_found(floe: Floe, mesh: Mesh, verb: tuple[str, ...]) -> None:
    shown = floe("mesh", verb[0], "aachen", *verb[1:])
    assert shown.status == 4
    assert "no site goes by 'aachen' here" in shown.err
    assert "desy, nersc" in shown.err


def test_a_name_of_several_sites_is_not_guessed(floe: Floe, mesh: Mesh) -> None:
    mesh.reply["members"] += [
        site(mesh.node, f"ulb·{show(key)[:8]}", key)
        for key in (SiteKey(b"1" * 32).site, SiteKey(b"2" * 32).site)
    ]
    shown = floe("mesh", "revoke", "ulb")
    assert shown.status == 1
    assert "may be any of" in shown.err
    assert mesh.orders == []


def test_policy_lists_who_is_a_member_already(floe: Floe, mesh: Mesh) -> None:
    mesh.reply["policies"] = [
        {"name": "desy", "key": show(mesh.node.site.site), "admissions": 2, "mesh": "icecube"}
    ]
    assert floe("mesh", "policy", "--admissions", "3").status == 0
    assert floe("mesh", "policy", "--mesh", "ice").status == 0
    first, second = mesh.orders
    assert isinstance(first, member.Policy)
    assert isinstance(second, member.Policy)
    assert (first.admissions, first.mesh) == (3, "icecube")
    assert (second.admissions, second.mesh) == (2, "ice")
    assert set(first.members) == {mesh.node.site.site, NERSC}


def test_policy_alone_shows(floe: Floe, mesh: Mesh) -> None:
    shown = floe("mesh", "policy")
    assert shown.out == "icecube: a new site needs one member's admission\n"
    assert floe("mesh", "policy", "--json").json()["admissions"] == 1
    assert mesh.orders == []


# --- names, addresses, the list


def test_rename_and_address_send_what_is_asked(floe: Floe, mesh: Mesh) -> None:
    mesh.answer = {"site": {"name": "berkeley"}, "addresses": ["a:7421"]}
    assert floe("mesh", "rename", "nersc", "berkeley").out == "nersc is berkeley now\n"
    assert floe("mesh", "rename", "nersc", "--drop").status == 0
    assert floe("mesh", "address", "a", "b:9").status == 0
    assert mesh.sent == [
        {"site": show(NERSC), "name": "berkeley"},
        {"site": show(NERSC), "name": ""},
        {"addresses": ["a", "b:9"]},
    ]
    assert floe("mesh", "rename", "nersc").status == 2
    assert floe("mesh", "rename", "nersc", "x", "--drop").status == 2


def test_address_alone_shows_the_own_ones(floe: Floe, mesh: Mesh) -> None:
    shown = floe("mesh", "address")
    assert (shown.status, shown.out) == (0, "desy:7421\n")
    mesh.reply["members"][0]["addresses"] = []
    shown = floe("mesh", "address")
    assert shown.status == 1
    assert "only dials out" in shown.out


def test_members_lists_everybody_and_makes_names_harmless(floe: Floe, mesh: Mesh) -> None:
    mesh.reply["members"].append(site(mesh.node, f"x{HOSTILE}", AACHEN, addresses=[]))
    mesh.reply["waiting"].append(site(mesh.node, "ulb", ULB, needed=2))
    gone = {"name": "aachen", "key": show(AACHEN), "by": ["desy"]}
    mesh.reply["revoked"].append(gone)
    void = {"name": "nersc", "key": "", "kind": "member.add", "why": "the signer is no admin"}
    mesh.reply["ignored"].append(void)
    shown = floe("mesh", "members")
    assert shown.status == 0
    assert "\x1b" not in shown.out
    assert "desy*" in shown.out
    assert "only dials out" in shown.out
    assert "! ulb waits" in shown.out
    assert "revoked: aachen·" in shown.out
    assert "! a member.add of nersc does not count: the signer is no admin" in shown.out
    assert len(floe("mesh", "members", "--json").json()["members"]) == 3


def test_a_lone_site_that_has_an_address_is_not_said_to_only_dial_out(
    floe: Floe, mesh: Mesh
) -> None:
    mesh.reply["members"] = [site(mesh.node, "desy", mesh.node.site.site)]
    mesh.reply["members"][0] |= {"addresses": [], "told": False}
    shown = floe("mesh", "members")
    assert "not told yet" in shown.out
    assert "only dials out" not in shown.out
