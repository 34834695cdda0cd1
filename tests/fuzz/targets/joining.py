"""What a stranger may ask of a real sponsor, and a sponsor answer a real joiner."""

from __future__ import annotations

from functools import cache
from typing import Any

from federation import joining
from federation.ids import SiteID
from federation.joining import JoinAnswer, JoinRequest, Verdict
from keys.identity import SiteKey
from node.model import member
from node.services.joining import _refusal
from node.services.refusal import Refusal
from tests.fakes.strangers import Exchange
from tests.fuzz.forms import MSGPACK
from tests.fuzz.target import Target
from tests.unit.node.services.mesh import NOW_MS, SECRET, Node, run

STRANGER = SiteID(SiteKey(b"x" * 32).site)
ASKED_MAX = 500  # of one sponsor, whose log grows with those that it lets in


@cache
def _sponsors() -> list[Node]:
    return []


def _sponsor() -> Node:
    sponsors = _sponsors()
    if not sponsors or len(sponsors[0].log.entries) > ASKED_MAX:
        sponsors[:] = [Node("madison", Exchange(), "madison:1")]
    return sponsors[0]


def ask(data: bytes) -> JoinAnswer:
    """Whatever comes is answered in a way that a joiner reads."""
    sponsor = _sponsor()
    before = set(sponsor.members.members())
    answer = joining.read_answer(run(sponsor.sponsor.answer(STRANGER, data)))
    let_in = set(sponsor.members.members()) - before
    assert let_in <= {STRANGER}
    assert answer.verdict == Verdict.TAKEN or not let_in
    return answer


def told(data: bytes) -> str:
    """What the joiner's people read of an answer."""
    answer = joining.read_answer(data)
    if answer.verdict == Verdict.TAKEN:
        return ""
    refusal: Any = _refusal("madison", answer, NOW_MS)
    assert isinstance(refusal, Refusal)
    return str(refusal.message)


def _requests() -> dict[str, bytes]:
    sponsor = Node("madison", Exchange(), "madison:1")
    good, late = sponsor.invite(), sponsor.invite(-1)

    def request(document: bytes, secret: bytes = SECRET) -> bytes:
        signed = sponsor.admin.sign(document)
        return joining.write_request(JoinRequest("desy", ("desy:1",), secret, document, signed))

    add = member.write(member.Add(sponsor.site, STRANGER, "desy", (), bytes(16)))
    return {
        "good": request(good),
        "expired": request(late),
        "another secret": request(good, bytes(32)),
        "no invitation": request(add),
    }


def _answers() -> dict[str, bytes]:
    return {
        verdict.value: joining.write_answer(JoinAnswer(verdict, "words", NOW_MS, 1, 2))
        for verdict in Verdict
    }


TARGETS = (
    Target("sponsor", ask, (), _requests, MSGPACK),
    Target("sponsors-word", told, (joining.PeerError,), _answers, MSGPACK),
)
