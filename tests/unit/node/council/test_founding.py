"""In which shard a new dataset goes."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from federation import pulse
from federation.beacon import Beacon, Heads
from federation.ids import FeedID, Lane, ShardID, SiteID
from federation.records import Found, FoundCouncil, Record
from node.council.founding import Founding, Peers
from node.council.views import Views
from tests.fakes.councils import CouncilNet, CouncilSite

SITES = [SiteID(bytes([number + 1]) * 32) for number in range(6)]


class Mesh:
    """Who is a member, and who can be dialled."""

    def __init__(self) -> None:
        self.sites = SITES[:1]
        self.dial_only: set[SiteID] = set()

    def members(self) -> list[SiteID]:
        return self.sites

    def addresses(self, site: SiteID) -> list[str]:
        return [] if site in self.dial_only else ["host:1"]


def beacon(site: SiteID, generation: int = 1, *, drained: bool = False) -> Beacon:
    heads = Heads(0, b"", 0, b"")
    return Beacon(
        site, generation, 1, 1, "name", "1", drained, heads, 0, 0, 0, 0, 0, (), (), ()
    )  # fmt: skip


class TestPeers:
    @pytest.fixture(autouse=True)
    def _peers(self) -> None:
        self.clock, self.mesh = Clock(), Mesh()
        self.mesh.sites = SITES
        self.peers = Peers(SITES[0], self.mesh, self.clock.seconds)

    def heard(self, *sites: SiteID) -> None:
        for site in sites:
            self.peers.heard(beacon(site))

    def test_members_that_are_heard_are_candidates_and_this_site_is_none(self) -> None:
        self.heard(*SITES[:3], SiteID(b"stranger".ljust(32)))
        assert [each.seat.site for each in self.peers.candidates()] == SITES[1:3]

    def test_a_site_that_falls_silent_is_none_and_begins_anew(self) -> None:
        self.heard(SITES[1])
        for _ in range(10):
            self.clock.advance(60)
            self.heard(SITES[1])
        assert self.peers.candidates()[0].up_s == 600
        self.clock.advance(pulse.UNREACHABLE_S + 1)
        assert self.peers.candidates() == []
        self.heard(SITES[1])
        self.clock.advance(60)
        assert self.peers.candidates()[0].up_s < 60

    def test_a_candidate_is_as_its_beacon_says(self) -> None:
        self.mesh.dial_only = {SITES[2]}
        self.peers.heard(beacon(SITES[1], 4, drained=True))
        self.heard(SITES[2])
        one, two = self.peers.candidates()
        assert (one.seat.generation, one.drained, one.dialled) == (4, True, True)
        assert (two.seat.generation, two.drained, two.dialled) == (1, False, False)


class Home:
    """A site that founds, and the sites that it hears."""

    def __init__(self) -> None:
        self.net = CouncilNet(6)
        self.site: CouncilSite = self.net.sites[0]
        self.mesh = Mesh()
        self.written: list[Record] = []
        self.held: Deferred[None] | None = None
        self.full = False
        self.peers = Peers(self.site.id, self.mesh, self.net.clock.seconds)
        self.founding = Founding(
            self.site.me,
            Views(self.site.me, self.site.facts, self.net),
            lambda: self.led,
            self.peers,
            self,
            lambda count: bytes([len(self.written)]) * count,
        )
        self.led: list[ShardID] = []

    def control(self, record: Record) -> Deferred[None]:
        if self.full:
            return fail(OSError("full"))
        self.written.append(record)
        if self.held is not None:
            return self.held.addCallback(lambda _: self.store(record))
        self.store(record)
        return succeed(None)

    def store(self, record: Record) -> None:
        self.site.write([record])
        self.led.append(record.shard)  # type: ignore[union-attr]

    def grow(self, count: int) -> None:
        self.mesh.sites = [each.id for each in self.net.sites[:count]]
        for site in self.mesh.sites:
            self.peers.heard(beacon(site))

    def shard(self) -> ShardID:
        found: list[ShardID] = []
        Deferred.fromCoroutine(self.founding.shard()).addCallback(found.append)
        return found[0]


def test_a_site_alone_founds_a_shard_alone_and_keeps_it() -> None:
    home = Home()
    first = home.shard()
    assert home.shard() == first
    assert [type(each) for each in home.written] == [Found]


@pytest.mark.parametrize(("sites", "voters"), [(2, 1), (3, 3), (4, 3), (5, 5), (6, 5)])
def test_a_new_shard_has_the_council_that_its_mesh_allows(sites: int, voters: int) -> None:
    home = Home()
    home.grow(sites)
    home.shard()
    [record] = home.written
    assert isinstance(record, Found | FoundCouncil)
    assert len(record.council) == voters
    assert home.site.id in record.council


def test_sites_that_sit_in_few_councils_get_the_seats_of_the_next() -> None:
    home = Home()
    home.grow(6)
    home.shard()
    home.led.clear()
    home.shard()
    one, two = (record.council for record in home.written if isinstance(record, FoundCouncil))
    [spared] = {each.id for each in home.net.sites} - set(one)
    assert spared in two


def test_the_next_dataset_of_a_mesh_that_has_grown_goes_to_a_larger_council() -> None:
    home = Home()
    alone = home.shard()
    home.grow(3)
    three = home.shard()
    assert three != alone
    assert home.shard() == three
    home.grow(5)
    assert home.shard() not in (alone, three)


def test_a_seat_lost_for_good_is_replaced_if_others_are_there() -> None:
    home = Home()
    home.grow(3)
    before = home.shard()
    lost = home.net.sites[2]
    home.net.gone = {lost.id}
    home.mesh.sites.remove(lost.id)
    assert home.shard() == before  # nobody else is there
    home.mesh.sites.append(home.net.sites[3].id)
    home.peers.heard(beacon(home.net.sites[3].id))
    assert home.shard() != before


def test_seats_have_the_generations_of_beacons() -> None:
    home = Home()
    home.grow(3)
    home.peers.heard(beacon(home.net.sites[1].id, 7))
    shard = home.site.facts.shard(home.shard())
    assert shard is not None
    assert FeedID(home.net.sites[1].id, 7, Lane.CONTROL) in shard.seats


def test_two_datasets_at_once_found_one_shard() -> None:
    home = Home()
    home.held = Deferred()
    found: list[ShardID] = []
    for _ in range(2):
        Deferred.fromCoroutine(home.founding.shard()).addCallback(found.append)
    assert found == []
    home.held.callback(None)
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(home.written) == 1


def test_a_disk_that_refuses_is_told_and_asked_again() -> None:
    home = Home()
    home.full = True
    failed: list[object] = []
    Deferred.fromCoroutine(home.founding.shard()).addErrback(failed.append)
    assert len(failed) == 1
    home.full = False
    assert home.shard()
