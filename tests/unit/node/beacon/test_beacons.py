"""Beacons kept with their age, made of what there is, and sent no oftener than they must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from federation import limits
from federation.beacon import Ban, Beacon, Want, read_beacon, write_beacon
from federation.claims import label
from federation.ids import SiteID
from federation.pulse import UNREACHABLE_S, Health
from federation.shapes import Shape, Workers
from node.beacon.keeper import Beacons
from node.beacon.making import (
    IDLE_S,
    NEWS_S,
    NEWS_S_MIN,
    SEND_S,
    BeaconMaker,
    OwnBeacon,
    Self,
)
from node.beacon.sites import KnownSites
from node.dispatch import Room
from node.model.dataset import Needs
from node.model.share import Account, Shares
from node.ready import Ready
from node.store.highwater import Head, Heads
from node.unitstate import DatasetState, TaskState
from node.work.hosts import Host
from node.work.sessions import Lease, Session
from tests.unit.federation.test_beacon import USUAL

SHAPE = Shape(1, 0, 1024, 0, 3600)

ME, A, B = SiteID(b"m" * 32), SiteID(b"a" * 32), SiteID(b"b" * 32)


def said(site: SiteID, counter: int = 1, **more: object) -> bytes:
    return write_beacon(replace(USUAL, site=site, counter=counter, **more))  # type: ignore[arg-type]


class TestKeeper:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.beacons = Beacons(self.clock)

    def test_the_newest_is_kept_with_its_age(self) -> None:
        self.beacons.hear(A, said(A, 2, load=10))
        self.clock.advance(7)
        self.beacons.hear(A, said(A, 1, load=99))
        newest = self.beacons.newest(A)
        assert newest is not None
        assert newest.load == 10
        assert self.beacons.age_s(A) == 7

    def test_nothing_is_known_of_a_site_that_was_not_heard(self) -> None:
        assert self.beacons.newest(A) is None
        assert self.beacons.age_s(A) is None

    def test_a_beacon_in_the_name_of_another_counts_for_nobody(self) -> None:
        self.beacons.hear(A, said(B))
        assert self.beacons.newest(A) is None
        assert self.beacons.newest(B) is None

    def test_what_is_no_beacon_is_counted(self) -> None:
        self.beacons.hear(A, b"?")
        assert self.beacons.refused == 1

    def test_old_ones_are_not_fresh_but_stay_known(self) -> None:
        self.beacons.hear(A, said(A))
        self.clock.advance(UNREACHABLE_S)
        assert self.beacons.fresh() == []
        assert self.beacons.newest(A) is not None
        assert self.beacons.health(A) is Health.UNREACHABLE

    def test_subscribers_hear_of_new_ones_only_and_one_failure_stops_nobody(self) -> None:
        heard: list[Beacon] = []

        def broken(beacon: Beacon) -> None:
            raise ValueError

        self.beacons.subscribe(broken)
        self.beacons.subscribe(heard.append)
        self.beacons.hear(A, said(A, 1))
        self.beacons.hear(A, said(A, 1))
        assert len(heard) == 1

    def test_beacons_of_sites_that_are_no_members_are_forgotten(self) -> None:
        self.beacons.hear(A, said(A))
        self.beacons.hear(B, said(B))
        self.beacons.keep([B])
        assert self.beacons.newest(A) is None
        assert self.beacons.newest(B) is not None

    def test_the_clock_of_a_site_is_told_by_its_quickest_beacon(self) -> None:
        """Two seconds ahead; beacons take 40, 0.3 and 5 seconds."""
        for counter, way_s in enumerate((40, 0.3, 5), 1):
            self.clock.advance(60)
            made_ms = int((self.clock.seconds() + 1000 + 2 - way_s) * 1000)
            self.beacons.hear(A, said(A, counter, clock_ms=made_ms))
        self.clock.advance(17)
        wall_s = self.clock.seconds() + 1000
        assert self.beacons.clock_s(A, wall_s) == pytest.approx(1.7)
        assert self.beacons.clock_s(A, wall_s, way_s=0.25) == pytest.approx(1.95)
        assert self.beacons.clock_s(A, wall_s + 3600) == pytest.approx(1.7 - 3600)
        assert self.beacons.clock_s(B, wall_s) is None


class Members:
    def __init__(self, *sites: SiteID) -> None:
        self.sites = list(sites)

    def members(self) -> Sequence[SiteID]:
        return self.sites

    def is_member(self, site: SiteID) -> bool:
        return site in self.sites

    def revoked(self, site: SiteID) -> bool:
        return False

    def addresses(self, site: SiteID) -> Sequence[str]:
        return []

    def subscribe(self, fn: Callable[[], None]) -> None:
        pass


class TestSites:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.beacons = Beacons(self.clock)
        self.members = Members(ME, A, B)
        self.drained = False
        self.sites = KnownSites(
            self.clock, ME, self.members, self.beacons, lambda site: site.hex()[:2],
            lambda: [Workers(4, 0, 1, 1, 0, 1, 4)], lambda: self.drained,
        )  # fmt: skip

    def able(self) -> list[SiteID]:
        return [peer.site for peer in self.sites.able()]

    def test_able_are_this_site_and_those_heard_of_lately(self) -> None:
        self.beacons.hear(A, said(A))
        assert self.able() == [ME, A]
        self.clock.advance(UNREACHABLE_S + 1)
        assert self.able() == [ME]

    def test_a_drained_site_is_not_able_and_not_served(self) -> None:
        self.beacons.hear(A, said(A, drained=True))
        self.drained = True
        assert self.able() == []
        assert self.sites.peer(A, []) is None
        assert self.sites.peer(ME, []) is None

    def test_a_claiming_member_is_served_before_its_first_beacon_and_a_stranger_never(self) -> None:
        assert self.sites.peer(A, []) is not None
        assert self.sites.peer(SiteID(b"x" * 32), []) is None

    def test_silence_counts_from_the_start_and_every_word_ends_it(self) -> None:
        self.clock.advance(50)
        assert self.sites.silent_s(A) == 50
        self.sites.heard(A)
        self.clock.advance(5)
        assert self.sites.silent_s(A) == 5
        self.beacons.hear(A, said(A))
        assert self.sites.silent_s(A) == 0

    def test_a_site_that_is_no_member_any_more_is_silent_for_ever(self) -> None:
        self.sites.heard(A)
        self.members.sites.remove(A)
        assert self.sites.silent_s(A) == float("inf")

    def test_a_site_is_alone_while_it_is_the_only_member(self) -> None:
        assert not self.sites.alone()
        self.members.sites = [ME]
        assert self.sites.alone()


class Capacity:
    def __init__(self) -> None:
        self.busy = 2

    def workers(self) -> Sequence[Workers]:
        return [Workers(4, 0, 1, 1, 0, 1, 4 - self.busy)]

    def cores(self) -> tuple[int, int]:
        return 4, self.busy


class TestMaking:
    def setup_method(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.capacity = Capacity()
        self.sessions: list[Session] = []
        self.sent: list[Beacon] = []
        self.wants: list[Want] = []
        self.banned: list[Host] = []
        self.heads = Heads(3, Head(7, b"c" * 32), Head(9, b"r" * 32))
        maker = BeaconMaker(
            Self(ME, "desy", "1.0", lambda: 5), lambda: self.heads, lambda: False,
            lambda: int(self.clock.seconds() * 1000), self.capacity, self.sessions,
            Ready(Shares()), lambda: self.wants, lambda no: bytes([no]) * 32,
            lambda: ["slurm", "htcondor", "slurm"], lambda: self.banned,
        )  # fmt: skip
        self.own = OwnBeacon(self.clock, maker, self)
        self.hasty = OwnBeacon(self.clock, maker, self, unreachable_s=12.0)

    def flood(self, kind: str, document: bytes) -> None:
        assert kind == "beacon"
        self.sent.append(read_beacon(document))

    def on_flood(self, kind: str, fn: Callable[[SiteID, bytes], None]) -> None:
        pass

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / SEND_S)):
            self.own.tick()
            self.clock.advance(SEND_S)

    def test_it_says_what_there_is(self) -> None:
        dataset = DatasetState(2, Account(b"p", "g"), 50, 1, 10, False)
        task = TaskState(128, 0, Needs(cpu=1, memory_bytes=0, disk_bytes=0), dataset)
        session = Session(1, "p", b"", 0.0, whole=Room(4, 0, 1, 1))
        session.leases[1] = Lease(1, 1, task, {1, 2, 3}, task.needs, 1.0)
        self.sessions.append(session)
        self.own.tick()
        (beacon,) = self.sent
        assert (beacon.site, beacon.generation, beacon.boot, beacon.counter) == (ME, 3, 5, 1)
        assert (beacon.heads.control, beacon.heads.results_id) == (7, label(b"r" * 32))
        assert (beacon.load, beacon.pilots, beacon.active) == (500, 1, 3)
        assert [(each.dataset, each.units) for each in beacon.running] == [(bytes([2]) * 8, 3)]
        assert beacon.clock_ms == 1_000_000
        assert (beacon.batch, beacon.barred, beacon.bans) == (("htcondor", "slurm"), 0, ())

    def test_a_worker_that_is_banned_is_told_of_once(self) -> None:
        self.run(SEND_S)
        self.banned = [Host("c17", until_s=4600.0, until_ms=4_600_000, why="it swallows units")]
        self.run(IDLE_S)
        assert [beacon.bans for beacon in self.sent] == [
            (), (Ban("c17", 4_600_000, "it swallows units"),)
        ]  # fmt: skip

    def test_of_many_banned_workers_some_are_named_and_all_counted(self) -> None:
        self.banned = [Host(f"c{number}{'ü' * 99}", why="w€" * 99) for number in range(30)]
        self.own.tick()
        (beacon,) = self.sent
        assert (beacon.barred, len(beacon.bans)) == (30, limits.BANS_MAX)
        assert all(ban.host.endswith("ü…") and ban.why.endswith("…") for ban in beacon.bans)

    def test_nothing_new_is_said_once_a_minute(self) -> None:
        self.run(2 * IDLE_S)
        assert len(self.sent) == 2

    def test_where_others_wait_less_it_is_said_more_often(self) -> None:
        for _ in range(round(12 / self.hasty.send_s)):
            self.hasty.tick()
            self.clock.advance(self.hasty.send_s)
        assert len(self.sent) == 3

    def test_news_are_said_at_the_next_tick(self) -> None:
        self.run(SEND_S)
        self.capacity.busy = 3
        self.run(SEND_S)
        assert [beacon.load for beacon in self.sent] == [500, 750]
        assert [beacon.counter for beacon in self.sent] == [1, 2]

    def test_new_work_is_told_of_at_once(self) -> None:
        self.run(SEND_S)
        self.wants = [Want(b"d" * 8, SHAPE, 100, 0)]
        self.own.soon()
        self.clock.advance(NEWS_S)
        assert [beacon.wants for beacon in self.sent[1:]] == [tuple(self.wants)]

    def test_however_much_work_comes_it_is_told_of_once_a_second(self) -> None:
        self.run(SEND_S)
        for number in range(50):
            self.wants = [Want(bytes([number]) * 8, SHAPE, 100, 0)]
            self.own.soon()
            self.clock.advance(NEWS_S)
        assert len(self.sent) == 1 + 50 * NEWS_S / NEWS_S_MIN

    def test_what_was_told_before_waits_for_the_next_tick(self) -> None:
        self.wants = [Want(b"d" * 8, SHAPE, 100, 0)]
        self.run(SEND_S)
        self.wants = [Want(b"d" * 8, SHAPE, 70, 30), Want(b"e" * 8, SHAPE, 0, 7)]
        self.own.soon()
        self.clock.advance(NEWS_S_MIN)
        assert len(self.sent) == 1
        self.run(SEND_S)
        assert len(self.sent) == 2

    def test_nothing_is_told_once_it_is_stopped(self) -> None:
        self.own.soon()
        self.own.stop()
        self.clock.advance(NEWS_S_MIN)
        assert self.sent == []
