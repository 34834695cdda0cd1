"""What every implementation of the Strangers port does. Each gives two ends that can be dialled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation import limits
from federation.errors import LocalError, RemoteRefused, Unreachable, WrongSite
from federation.ids import SiteID
from federation.ports import Strangers
from tests.fakes.loop import Loop
from tests.fakes.meshed import MeshedSite, Registry
from tests.fakes.strangers import Exchange, FakeStrangers

A, B, C = (SiteID(letter * 32) for letter in (b"a", b"b", b"c"))


@dataclass
class Ends:
    """Two sites that are no members of each other; `until` lets things happen until it is so."""

    one: Strangers
    one_site: SiteID
    other: Strangers
    other_site: SiteID
    address: str  # of the other
    until: Callable[[Callable[[], Any]], None]
    close: Callable[[], None] = lambda: None


def fakes() -> Ends:
    exchange = Exchange()
    one, other = FakeStrangers(exchange, A, ["a:1"]), FakeStrangers(exchange, B, ["b:1"])
    return Ends(one, A, other, B, "b:1", lambda true: None)


def links() -> Ends:
    loop = Loop()
    one, other = (MeshedSite(loop, Registry(), number).join() for number in (1, 2))

    def close() -> None:
        for site in (one, other):
            loop.result(site.mesh.stop())
        loop.close()

    return Ends(one.mesh, one.id, other.mesh, other.id, other.address, loop.until, close)


@pytest.fixture(params=[fakes, links])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
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


def test_the_one_who_asks_is_known_by_the_key(ends: Ends) -> None:
    async def handler(site: SiteID, body: bytes) -> bytes:
        return site + body

    ends.other.serve_strangers(handler)
    answer = result(ends, ends.one.join(ends.other_site, [ends.address], b"let me in"))
    assert answer == ends.one_site + b"let me in"


def test_addresses_are_tried_in_turn(ends: Ends) -> None:
    async def handler(site: SiteID, body: bytes) -> bytes:
        return b"yes"

    ends.other.serve_strangers(handler)
    addresses = ["127.0.0.1:1", ends.address]
    assert result(ends, ends.one.join(ends.other_site, addresses, b"")) == b"yes"


def test_a_site_that_nobody_can_dial_is_unreachable(ends: Ends) -> None:
    assert isinstance(result(ends, ends.one.join(ends.other_site, [], b"")), Unreachable)
    waiting = ends.one.join(ends.other_site, ["127.0.0.1:1"], b"")
    assert isinstance(result(ends, waiting), Unreachable)


def test_another_site_at_the_address_is_named(ends: Ends) -> None:
    error = result(ends, ends.one.join(C, [ends.address], b""))
    assert isinstance(error, WrongSite)
    assert error.found == ends.other_site


def test_a_refusal_comes_with_its_words(ends: Ends) -> None:
    async def handler(site: SiteID, body: bytes) -> bytes:
        raise RemoteRefused("not today")

    ends.other.serve_strangers(handler)
    error = result(ends, ends.one.join(ends.other_site, [ends.address], b""))
    assert isinstance(error, RemoteRefused)
    assert "not today" in error.reason


def test_who_serves_no_strangers_refuses(ends: Ends) -> None:
    error = result(ends, ends.one.join(ends.other_site, [ends.address], b""))
    assert isinstance(error, RemoteRefused)


def test_a_request_that_is_too_large_is_our_mistake(ends: Ends) -> None:
    large = bytes(limits.JOIN_BYTES_MAX + 1)
    waiting = ends.one.join(ends.other_site, [ends.address], large)
    assert isinstance(result(ends, waiting), LocalError)
