"""What every implementation of the Requests and Floods ports does: real links, and their fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from federation.beacon import write_beacon
from federation.errors import RemoteRefused, Unreachable
from federation.ids import SiteID
from federation.ports import Floods, Requests
from node.leading.questions import Questions
from tests.fakes.loop import Loop
from tests.fakes.meshed import MeshedSite, Registry
from tests.fakes.requests import Exchange
from tests.fakes.wires import Wires
from tests.unit.federation.test_beacon import USUAL

A, B, NOBODY = (SiteID(letter * 32) for letter in (b"a", b"b", b"n"))


@dataclass
class Ends:
    """Two sites that reach each other; `until` lets things happen until it is so."""

    one: Any
    one_site: SiteID
    other: Any
    other_site: SiteID
    until: Callable[[Callable[[], Any]], None]
    close: Callable[[], None] = lambda: None


def direct() -> Ends:
    exchange = Exchange()
    return Ends(exchange.of(A), A, exchange.of(B), B, lambda true: None)


def wires() -> Ends:
    clock = Clock()
    made = Wires(clock)
    return Ends(made.of(A), A, made.of(B), B, lambda true: clock.advance(1) or clock.advance(1))


def questions() -> Ends:
    exchange = Exchange()
    one, other = Questions(A, exchange.of(A)), Questions(B, exchange.of(B))
    return Ends(one, A, other, B, lambda true: None)


def own_questions() -> Ends:
    """Asked of the own site: nothing goes out."""
    own = Questions(A, Exchange().of(A))
    return Ends(own, A, own, A, lambda true: None)


def links() -> Ends:
    loop, members = Loop(), Registry()
    one, other = (MeshedSite(loop, members, number).join() for number in (1, 2))
    loop.until(lambda: other.id in one.linked() and one.id in other.linked())

    def close() -> None:
        for site in (one, other):
            loop.result(site.mesh.stop())
        loop.close()

    return Ends(one.mesh, one.id, other.mesh, other.id, loop.until, close)


@pytest.fixture(params=[direct, wires, questions, own_questions, links])
def asking(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    made.close()


@pytest.fixture(params=[wires, links])
def telling(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    made.close()


def result(ends: Ends, waiting: Deferred[bytes]) -> Any:
    """What a Deferred came to: bytes, or an exception."""
    found: list[Any] = []
    waiting.addCallbacks(found.append, lambda failure: found.append(failure.value))
    ends.until(lambda: found)
    assert found, "nothing came of it"
    return found[0]


def test_an_answer_comes_from_the_handler_of_the_kind_who_knows_who_asks(asking: Ends) -> None:
    one: Requests = asking.one

    async def handler(site: SiteID, body: bytes) -> bytes:
        return site + body

    async def another(site: SiteID, body: bytes) -> bytes:
        return b"wrong"

    asking.other.serve("claim", handler)
    asking.other.serve("recall", another)
    answer = result(asking, one.request(asking.other_site, "claim", b"five"))
    assert answer == asking.one_site + b"five"


def test_a_refusal_comes_back_in_its_words(asking: Ends) -> None:
    async def handler(site: SiteID, body: bytes) -> bytes:
        raise RemoteRefused("not today")

    asking.other.serve("claim", handler)
    error = result(asking, asking.one.request(asking.other_site, "claim", b""))
    assert isinstance(error, RemoteRefused)
    assert error.reason == "not today"


def test_a_kind_that_nobody_serves_is_refused(asking: Ends) -> None:
    error = result(asking, asking.one.request(asking.other_site, "claim", b""))
    assert isinstance(error, RemoteRefused)


def test_a_handler_may_take_its_time(asking: Ends) -> None:
    gate: Deferred[bytes] = Deferred()
    asked: list[bytes] = []

    async def handler(site: SiteID, body: bytes) -> bytes:
        asked.append(body)
        return await gate

    asking.other.serve("claim", handler)
    waiting = asking.one.request(asking.other_site, "claim", b"x")
    asking.until(lambda: asked)
    assert not waiting.called
    gate.callback(b"at last")
    assert result(asking, waiting) == b"at last"


@pytest.mark.parametrize("make", [wires, links])
def test_a_site_that_no_link_leads_to_is_unreachable(make: Callable[[], Ends]) -> None:
    ends = make()
    try:
        error = result(ends, ends.one.request(NOBODY, "claim", b""))
        assert isinstance(error, Unreachable)
    finally:
        ends.close()


def test_a_flood_is_heard_by_others_under_its_origin_and_by_the_origin_never(
    telling: Ends,
) -> None:
    one: Floods = telling.one
    heard: list[tuple[SiteID, bytes]] = []
    own: list[tuple[SiteID, bytes]] = []
    telling.other.on_flood("beacon", lambda origin, document: heard.append((origin, document)))
    telling.one.on_flood("beacon", lambda origin, document: own.append((origin, document)))
    document = write_beacon(replace(USUAL, site=telling.one_site, boot=1, counter=1))
    one.flood("beacon", document)
    telling.until(lambda: heard)
    assert heard == [(telling.one_site, document)]
    assert own == []
