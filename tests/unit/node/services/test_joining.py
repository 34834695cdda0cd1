"""Invitations, from both ends, and every way in which they do not hold."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail

from federation import joining
from federation.joining import JoinRequest, Verdict
from federation.records import MemberAdd, UserRemove
from node.model import member
from node.model.person import PersonOrder, write_person
from node.store.database import DiskFull
from tests.fakes.strangers import Exchange
from tests.unit.node.http.people import EVE
from tests.unit.node.services.mesh import SECRET, Node, refused, run, text

DAY_MS = 86_400_000


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def madison(exchange: Exchange) -> Node:
    return Node("madison", exchange, "madison:1")


@pytest.fixture
def desy(exchange: Exchange) -> Node:
    return Node("desy", exchange, "desy:1")


def test_both_sites_list_each_other_once_the_token_is_redeemed(madison: Node, desy: Node) -> None:
    reply = run(desy.join(madison, madison.invite()))
    assert (reply["admitted"], reply["needed"]) == (1, 1)
    assert reply["sponsor"]["name"] == "madison"
    assert madison.names() == desy.names() == {"madison", "desy"}
    (admission,) = madison.members.view.admissions
    assert (admission.site, admission.author) == (desy.site, madison.site)


def test_the_sponsor_writes_the_permission_and_the_secret_down(madison: Node, desy: Node) -> None:
    document = madison.invite()
    run(desy.join(madison, document))
    (record,) = madison.log.entries[-1].records()
    assert isinstance(record, MemberAdd)
    assert (record.doc, record.proof, record.name) == (document, SECRET, "desy")


def test_the_joiner_tells_where_it_can_be_dialled(madison: Node, desy: Node) -> None:
    run(desy.orders.say_addresses({"addresses": ["desy.example"]}, desy.asking))
    run(desy.join(madison, madison.invite()))
    assert madison.members.addresses(desy.site) == ["desy.example:7421"]
    assert desy.members.addresses(madison.site) == ["madison:1"]


def test_nothing_is_answered_before_the_admission_is_durable(madison: Node, desy: Node) -> None:
    madison.journal.held = True
    done: list[object] = []
    Deferred.fromCoroutine(desy.join(madison, madison.invite())).addBoth(done.append)
    assert (done, desy.names()) == ([], {"desy"})
    madison.journal.let_go()
    assert len(done) == 1
    assert desy.names() == {"madison", "desy"}


def test_an_answer_that_was_lost_may_be_asked_for_again(madison: Node, desy: Node) -> None:
    document = madison.invite()
    request = JoinRequest("desy", (), SECRET, document, madison.admin.sign(document))
    body = joining.write_request(request)
    for _ in range(2):
        answer = joining.read_answer(run(madison.sponsor.answer(desy.site, body)))
        assert answer.verdict == Verdict.TAKEN
    assert len([e for e in madison.log.entries if MemberAdd in map(type, e.records())]) == 1
    madison.wall_ms += 10 * DAY_MS  # long expired, but this site has redeemed it
    run(desy.join(madison, document))
    assert desy.names() == {"madison", "desy"}


# --- tokens that do not hold, each with its own words


def test_an_expired_one(madison: Node, desy: Node) -> None:
    document = madison.invite(valid_ms=DAY_MS)
    madison.wall_ms += DAY_MS + 1
    desy.wall_ms = madison.wall_ms
    error = refused(desy.join(madison, document))
    assert error.message == "the token has expired, by the clock of madison"
    assert "floe mesh invite" in error.right
    assert (madison.names(), desy.names()) == ({"madison"}, {"desy"})


def test_an_expired_one_where_the_clocks_are_far_apart(madison: Node, desy: Node) -> None:
    document = madison.invite(valid_ms=DAY_MS)
    madison.wall_ms += 3 * DAY_MS
    error = refused(desy.join(madison, document))
    assert error.message.endswith("madison, which is 3 days ahead of this site's")
    desy.wall_ms += 30 * DAY_MS
    assert "27 days behind" in refused(desy.join(madison, document)).message


def test_only_the_sponsors_clock_counts(madison: Node, desy: Node) -> None:
    document = madison.invite()
    desy.wall_ms += 365 * DAY_MS
    assert run(desy.join(madison, document))["clock_offset_s"] == -365 * 86_400


def test_one_that_another_site_used(madison: Node, desy: Node, exchange: Exchange) -> None:
    document = madison.invite()
    run(desy.join(madison, document))
    nersc = Node("nersc", exchange, "nersc:1")
    error = refused(nersc.join(madison, document))
    assert error.message == "the token was used before: desy joined with it"
    assert nersc.names() == {"nersc"}
    assert madison.names() == {"madison", "desy"}


def test_one_that_two_sites_redeem_at_once(madison: Node, desy: Node, exchange: Exchange) -> None:
    nersc = Node("nersc", exchange, "nersc:1")
    document = madison.invite()
    madison.journal.held = True
    first: list[object] = []
    Deferred.fromCoroutine(desy.join(madison, document)).addBoth(first.append)
    assert refused(nersc.join(madison, document)).code == "busy"
    madison.journal.let_go()
    assert len(first) == 1
    assert madison.names() == {"madison", "desy"}


def test_one_whose_address_belongs_to_another_site_now(
    madison: Node, desy: Node, exchange: Exchange
) -> None:
    document = madison.invite(addresses=("moved:1",))
    Node("aachen", exchange, "moved:1")
    error = refused(desy.join(madison, document))
    assert "at moved:1 another site answers than the one that gave the token" in error.message


def test_one_whose_sponsor_is_not_there(madison: Node, desy: Node, exchange: Exchange) -> None:
    exchange.down.add("madison:1")
    error = refused(desy.join(madison, madison.invite()))
    assert error.code == "unavailable"
    assert error.message.startswith("madison cannot be reached at madison:1")
    error = refused(desy.join(madison, madison.invite(addresses=())))
    assert "at nowhere" in error.message


def test_one_of_another_site_than_is_asked(madison: Node, desy: Node, exchange: Exchange) -> None:
    nersc = Node("nersc", exchange, "nersc:1")
    document = nersc.invite()
    request = JoinRequest("desy", (), SECRET, document, nersc.admin.sign(document))
    reply = run(madison.sponsor.answer(desy.site, joining.write_request(request)))
    assert joining.read_answer(reply).verdict == Verdict.SPONSOR
    error = refused(desy.join(madison, document))
    assert error.message == "the document admits another site than the sponsor"


def test_one_that_no_admin_signed(madison: Node, desy: Node) -> None:
    document = madison.invite()
    error = refused(desy.join(madison, document, EVE.sign(document)))
    assert "no admin of this site" in error.message
    assert "madison does not take the token" in error.message


def test_one_that_somebody_signed_who_is_no_admin_any_more(madison: Node, desy: Node) -> None:
    document = madison.invite()
    signature = EVE.sign(document)
    madison.fold(madison.log.control(madison.enrolment(EVE)))
    madison.people.reload()
    order = PersonOrder("user.remove", madison.site, EVE.key, nonce="f" * 32)
    removal = write_person(order)
    record = UserRemove(EVE.key.raw, removal, madison.admin.sign(removal), madison.admin.key.raw)
    madison.fold(madison.log.control(record))
    madison.people.reload()
    assert "no admin" in refused(desy.join(madison, document, signature)).message


def test_one_whose_signature_was_changed(madison: Node, desy: Node) -> None:
    document = madison.invite()
    other = madison.admin.sign(document + b" ")
    assert "madison does not take the token" in refused(desy.join(madison, document, other)).message


def test_one_with_another_secret(madison: Node, desy: Node) -> None:
    error = refused(desy.join(madison, madison.invite(), secret=b"x" * 32))
    assert "the token's secret is not that of its invitation" in error.message


def test_one_redeemed_by_a_revoked_site(madison: Node, desy: Node) -> None:
    run(madison.order(madison.add(desy)))
    run(madison.order(madison.remove(desy)))
    error = refused(desy.join(madison, madison.invite()))
    assert error.message == "madison says that this site was revoked, for ever"
    assert "new key" in error.right


def test_one_of_another_mesh(madison: Node, desy: Node, exchange: Exchange) -> None:
    nersc = Node("nersc", exchange, "nersc:1")
    run(nersc.order(nersc.add(desy)))
    error = refused(nersc.join(madison, madison.invite()))
    assert "the token is of another mesh: this site shares work with desy already" in error.message
    assert "--merge" in error.right
    assert madison.strangers.asked == 0
    run(nersc.join(madison, madison.invite(), merge=True))
    assert nersc.names() == {"nersc", "desy", "madison"}


def test_one_for_this_site_itself_or_for_a_site_that_was_revoked(madison: Node, desy: Node) -> None:
    error = refused(madison.join(madison, madison.invite()))
    assert "the key of this site itself" in error.message
    run(desy.order(desy.remove(madison)))
    assert "revoked by desy, for ever" in refused(desy.join(madison, madison.invite())).message


def test_one_that_a_later_version_made(madison: Node, desy: Node) -> None:
    answer = run(madison.sponsor.answer(desy.site, b"\x92\x02\xa1x"))
    assert joining.read_answer(answer).verdict == Verdict.VERSION


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", b"\x91\x01", b"x" * 20_000])
def test_what_is_no_request_is_answered_and_harms_nothing(
    madison: Node, desy: Node, body: bytes
) -> None:
    answer = joining.read_answer(run(madison.sponsor.answer(desy.site, body)))
    assert answer.verdict == Verdict.MALFORMED
    assert madison.names() == {"madison"}


@pytest.mark.parametrize(
    ("name", "addresses"), [("Desy", ()), ("\x1b]0;", ()), ("desy", ("nowhere",))]
)
def test_a_joiner_that_nobody_could_name_or_dial_is_refused(
    madison: Node, desy: Node, name: str, addresses: tuple[str, ...]
) -> None:
    document = madison.invite()
    request = JoinRequest(name, addresses, SECRET, document, madison.admin.sign(document))
    answer = run(madison.sponsor.answer(desy.site, joining.write_request(request)))
    assert joining.read_answer(answer).verdict == Verdict.MALFORMED


def test_under_a_policy_the_joiner_hears_how_many_admissions_are_missing(
    madison: Node, desy: Node, exchange: Exchange
) -> None:
    run(desy.join(madison, madison.invite()))
    madison.hear(desy)
    run(madison.order(madison.policy(2)))
    nersc = Node("nersc", exchange, "nersc:1")
    reply = run(nersc.join(madison, madison.invite()))
    assert (reply["admitted"], reply["needed"]) == (1, 2)
    assert madison.names() == {"madison", "desy"}
    desy.hear(madison)
    again = run(desy.join(madison, madison.invite()))
    assert again["admitted"] == again["needed"]
    run(desy.order(desy.add(nersc)))
    madison.hear(desy)
    assert madison.names() == {"madison", "desy", "nersc"}


def test_only_an_admin_joins_and_only_with_the_own_key(madison: Node, desy: Node) -> None:
    desy.fold(desy.log.control(desy.enrolment(EVE, roles=())))
    desy.people.reload()
    own = member.write(desy.add(madison))
    document = madison.invite()
    body = {
        "invitation": {"document": text(document), "signature": text(EVE.sign(document))},
        "secret": text(SECRET),
    }
    eve = desy.people.find(EVE.key.raw)
    assert eve is not None
    assert refused(desy.joiner.join(own, EVE.sign(own), body, eve)).code == "denied"
    assert refused(desy.joiner.join(own, EVE.sign(own), body, desy.asking)).code == "denied"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"invitation": 7},
        {"invitation": {"document": "x", "signature": "y"}},
        {"invitation": {"document": "é", "signature": ""}, "secret": ""},
        {"invitation": {"document": text(b"{}"), "signature": text(b"s")}, "secret": text(SECRET)},
    ],
)
def test_a_broken_request_of_the_command_line_is_refused(
    madison: Node, desy: Node, body: dict[str, object]
) -> None:
    own = member.write(desy.add(madison))
    error = refused(desy.joiner.join(own, desy.admin.sign(own), body, desy.asking))
    assert error.code in ("bad-request", "invalid")


def test_a_full_disk_of_the_sponsor_is_told(madison: Node, desy: Node) -> None:
    madison.journal.control = lambda record, intake=False: fail(DiskFull("no room"))  # type: ignore[method-assign]
    error = refused(desy.join(madison, madison.invite()))
    assert "no room" in error.message
    assert desy.names() == {"desy"}
