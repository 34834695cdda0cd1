"""Links are cut, one-way, slow, silent, lost all at once: in the end all sites hold the same."""

from __future__ import annotations

from functools import partial

import pytest

from federation.events import LinkDown, LinkUp, Reason
from federation.records import Site
from tests.simulation.logs.measures import one_record
from tests.simulation.logs.world import LogWorld
from tests.simulation.ways import Way

HEAL_S = 700.0  # redialling waits up to five minutes, and links need a while to be given up


def names(sites):
    return [site.name for site in sites]


def write_everywhere(world, sites=None):
    for site in sites or world.sites:
        if site.up:
            site.write(partial(one_record, site, world.clock.seconds()))


@pytest.fixture
def world():
    with LogWorld(1, 7, dial_only=2) as found:
        write_everywhere(found)
        found.pass_s(20)
        assert found.equal()
        yield found


def test_a_partition_longer_than_every_timer_heals_without_a_restart(world):
    left, right = world.sites[:4], world.sites[4:]
    world.network.ways.split(names(left), names(right))
    for _ in range(10):
        write_everywhere(world)
        world.pass_s(360)
    assert not world.equal()
    assert world.equal(left)
    world.network.ways.mend_all()
    world.pass_s(HEAL_S)
    assert world.equal()


def test_two_and_two_and_one_that_do_not_reach_each_other_are_equal_again_after_it(world):
    groups = world.sites[2:4], world.sites[4:6], world.sites[6:]
    world.network.ways.split(*(names(group) for group in groups))
    write_everywhere(world)
    world.pass_s(600)
    world.network.ways.mend_all()
    world.pass_s(HEAL_S)
    assert world.equal()


def test_a_one_way_cut_between_two_sites_keeps_nothing_from_anybody(world):
    world.network.ways.cut("s3", "s4")
    world.pass_s(200)
    write_everywhere(world)
    world.pass_s(20)
    assert world.equal()


def test_sites_that_do_not_all_reach_each_other_hear_through_those_in_between(world):
    """A chain: each reaches only its neighbours."""
    chain = world.sites[2:]
    for at, one in enumerate(chain):
        for other in chain[at + 2 :]:
            world.network.ways.cut_both(one.name, other.name)
    for site in world.sites[:2]:
        world.network.ways.split([site.name], names(chain[1:]))
    world.network.ways.cut_both("s0", "s1")
    world.pass_s(1000)  # by now the links that were cut are given up
    assert not chain[0].linking.linked(chain[-1].site)
    write_everywhere(world)
    world.pass_s(20)
    assert world.equal()


def test_all_sites_restarted_at_once_find_each_other_again(world):
    for site in world.sites:
        site.die()
    for site in world.sites:
        site.start()
        site.write(partial(one_record, site, "again"))
    world.pass_s(30)
    assert world.equal()
    assert all(len(site.exchange.hub.sessions) >= 4 for site in world.sites)


def test_machines_without_power_lose_nothing_that_was_committed(world):
    for site in world.sites[::2]:
        site.die(quietly=True)
    write_everywhere(world)
    world.pass_s(300)
    for site in world.sites[::2]:
        site.start()
    world.pass_s(HEAL_S)
    assert world.equal()


def test_a_hub_that_comes_back_is_not_stormed_by_those_that_lost_it():
    dialled = []
    with LogWorld(5, 60, dial_only=59) as world:
        hub = world.sites[-1]
        world.pass_s(60)
        assert len(hub.exchange.hub.sessions) == 59
        hub.die()
        write_everywhere(world)
        world.pass_s(1200)
        world.listeners.append(
            lambda site, event: isinstance(event, LinkUp) and site is hub
            and dialled.append(round(world.clock.seconds()))
        )  # fmt: skip
        hub.start()
        world.pass_s(HEAL_S)
        assert world.equal()
    assert len(dialled) == 59
    assert max(dialled.count(second) for second in dialled) < 20


def test_a_peer_that_takes_1_kib_a_second_delays_nobody_else(world):
    slow = world.sites[-1]
    for other in world.sites[:-1]:
        world.network.ways.set(other.name, slow.name, Way(bytes_per_s=1024))
    world.network.reset(slow.machine)
    world.pass_s(20)
    sixty_kib = [Site("n" * 100, "v" * 60) for _ in range(350)]
    for _ in range(10):
        world.sites[0].write(lambda: sixty_kib)
        world.pass_s(2)
    assert world.equal(world.sites[:-1])
    assert not world.equal()
    world.pass_s(1500)
    assert world.equal()


def test_a_peer_that_stops_reading_loses_its_links_and_delays_nobody_else(world):
    stuck = world.sites[-1]
    why = []
    world.listeners.append(
        lambda site, event: isinstance(event, LinkDown) and event.session.peer == stuck.site
        and why.append(event.reason)
    )  # fmt: skip
    stuck.pause()
    write_everywhere(world, world.sites[:-1])
    world.pass_s(5)
    assert world.equal(world.sites[:-1])
    world.pass_s(300)
    assert set(why) == {Reason.SILENT}
    stuck.resume()
    world.pass_s(HEAL_S)
    assert world.equal()


def test_relays_that_withhold_a_feed_delay_it_until_somebody_else_is_asked():
    """Two sites that only dial out reach each other through three others, two of them mean."""
    with LogWorld(3, 5, dial_only=2) as world:
        world.pass_s(20)
        author, reader, *relays = world.sites
        for mean in relays[:2]:
            mean.withholds = author.site
        author.write(partial(one_record, author, "for all"))
        world.pass_s(130)  # two comparisons
        assert world.held(reader)[author.control] == world.held(author)[author.control]
        for mean in relays[:2]:
            assert author.control not in world.held(mean)
