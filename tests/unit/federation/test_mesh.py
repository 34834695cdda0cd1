"""Links over real sockets and real TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.errors import RemoteRefused, Unreachable
from federation.ids import Lane, SiteID
from tests.fakes.loop import Loop
from tests.fakes.meshed import MeshedSite, Registry


class World:
    """The sites of one test."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.members = Registry()
        self.sites: list[MeshedSite] = []

    def site(self, number: int, members: Registry | None = None, **settings: object) -> MeshedSite:
        site = MeshedSite(self.loop, members or self.members, number, **settings)  # type: ignore[arg-type]
        self.sites.append(site)
        return site

    def close(self) -> None:
        try:
            for site in self.sites:
                self.loop.result(site.mesh.stop())
        finally:
            self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_members_link_and_come_to_hold_the_same(world: World) -> None:
    sites = [world.site(number) for number in range(1, 4)]
    for site in sites:
        site.write(5)
        site.write(3, Lane.RESULTS, rows=1000)
        site.join()
    everybody = {site.id for site in sites}
    world.loop.until(lambda: all(site.linked() == everybody - {site.id} for site in sites))
    world.loop.until(lambda: all(site.held() == sites[0].held() for site in sites))
    sites[0].write()
    world.loop.until(lambda: all(site.held() == sites[0].held() for site in sites), 5)


def test_sites_that_only_dial_out_reach_each_other_through_a_relay(world: World) -> None:
    relay = world.site(1).join()
    one, other = world.site(2, dial_only=True).join(), world.site(3, dial_only=True).join()
    world.loop.until(lambda: relay.linked() == {one.id, other.id})
    one.write(2)
    world.loop.until(lambda: other.held() == one.held())

    async def echo(site: SiteID, body: bytes) -> bytes:
        return site + body

    other.mesh.serve("echo", echo)

    def asked() -> bytes:
        return world.loop.result(one.mesh.request(other.id, "echo", b"x" * 100_000))

    world.loop.until(lambda: other.id in _told(one))
    assert asked() == one.id + b"x" * 100_000
    [fact] = [fact for fact in one.mesh.links() if fact.kind == "relayed"]
    assert (fact.peer, fact.path, fact.up) == (other.id, relay.id.hex(), True)


def _told(site: MeshedSite) -> set[SiteID]:
    """The sites to which a site knows a relay."""
    neighbourhood = site.mesh.exchange.gossip.neighbourhood
    return {member for member in site.members.members() if neighbourhood.between(member)}


def test_requests_are_answered_and_refused(world: World) -> None:
    one, other = world.site(1).join(), world.site(2).join()

    async def echo(site: SiteID, body: bytes) -> bytes:
        if body == b"no":
            raise RemoteRefused("not that")
        if body == b"bug":
            raise ValueError("a bug")
        return body

    other.mesh.serve("echo", echo)
    world.loop.until(lambda: one.linked() and other.linked())
    assert world.loop.result(one.mesh.request(other.id, "echo", b"hello")) == b"hello"
    for body, said in ((b"no", "not that"), (b"bug", "its log says why")):
        with pytest.raises(RemoteRefused, match=said):
            world.loop.result(one.mesh.request(other.id, "echo", body))
    with pytest.raises(RemoteRefused, match="no such request"):
        world.loop.result(one.mesh.request(other.id, "other", b""))
    with pytest.raises(Unreachable):
        world.loop.result(one.mesh.request(SiteID(b"n" * 32), "echo", b""))
