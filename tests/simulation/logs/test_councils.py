"""Named lives of councils: who leads when sites pause, part, come back old, or are thrown out."""

from __future__ import annotations

import pytest

from tests.simulation.logs.storm import PACE, Storm
from tests.simulation.terms import read_shards

TAKE_OVER_S = 2 * PACE.patience_s  # two vote timeouts
LONG_S = 900.0


class Council(Storm):
    """One shard, whose founder is the first site; the seats are all sites."""

    def __init__(self, sites=3, outside=0):
        super().__init__(1, sites=sites + outside, council=sites, schedule=())
        self.seats = self.world.sites[:sites]
        self.count = 0

    def begin(self):
        self.world.pass_s(30)
        self.random.sample = lambda others, count: others[:count]
        self.shard = self.found(self.seats[0], len(self.seats))
        self.world.pass_s(10)

    @property
    def reading(self):
        return read_shards(self.world.archive)[self.shard]

    @property
    def terms(self):
        """(number, name of the leader) of every term that holds."""
        names = {site.site: site.name for site in self.seats}
        return [(term.number, names[term.feed.site]) for term in self.reading.terms]

    def submit(self, site, wait_s=3.0):
        """The site writes a record if it takes itself for the leader; whether it is settled."""
        self.count += 1
        site.submit(self.shard, self.count)
        self.world.pass_s(wait_s)
        ref = site.tip(site.control)
        return self.reading.settled[self.reading.newest] >= ref.seq


@pytest.fixture
def council():
    found = Council()
    with found.world:
        found.begin()
        yield found
        found.finish()


@pytest.fixture
def five():
    found = Council(5)
    with found.world:
        found.begin()
        yield found
        found.finish()


def test_a_leader_settles_what_it_writes_within_seconds(council):
    assert council.submit(council.seats[0])
    assert council.terms == [(0, "s0")]


def test_an_idle_council_writes_nothing(council):
    council.submit(council.seats[0])
    before = {feed: len(entries) for feed, entries in council.world.archive.items()}
    council.world.pass_s(LONG_S)
    assert {feed: len(entries) for feed, entries in council.world.archive.items()} == before


def test_a_lost_leader_is_replaced_within_two_timeouts_and_nothing_settled_is_lost(council):
    assert council.submit(council.seats[0])
    council.seats[0].die(quietly=True)
    council.world.pass_s(TAKE_OVER_S)
    _, (_, name) = council.terms
    assert name != "s0"
    leader = next(site for site in council.seats if site.name == name)
    assert council.submit(leader)
    council.check()


def test_a_paused_leader_that_wakes_after_a_take_over_leads_no_more(council):
    old = council.seats[0]
    assert council.submit(old)
    old.pause()
    old.submit(council.shard, 99)  # it wakes with this in its hands
    council.world.pass_s(TAKE_OVER_S)
    assert len(council.terms) == 2
    old.resume()
    council.world.pass_s(30)
    assert not old.facts.leads(council.shard)
    log = council.reading.log(council.reading.newest)
    assert all(getattr(act.record, "doc", b"") != (99).to_bytes(8, "big") for act in log)


def test_a_voter_that_is_away_does_not_keep_a_majority_from_settling(council):
    council.seats[2].die(quietly=True)
    assert council.submit(council.seats[0])
    council.world.pass_s(LONG_S)
    assert council.terms == [(0, "s0")]


def test_a_leader_without_a_majority_settles_nothing_and_goes_on_when_one_is_back(council):
    for site in council.seats[1:]:
        site.die(quietly=True)
    assert not council.submit(council.seats[0])
    for site in council.seats[1:]:
        site.start()
    council.world.pass_s(30)
    assert council.submit(council.seats[0])
    assert council.terms == [(0, "s0")]


def test_two_and_two_and_one_elect_nobody_and_go_on_when_they_meet_again(five):
    assert five.submit(five.seats[0])
    names = [site.name for site in five.seats]
    five.world.network.ways.split(names[:2], names[2:4], names[4:])
    five.world.pass_s(LONG_S)
    assert not five.submit(five.seats[0])
    assert five.terms == [(0, "s0")]
    five.world.network.ways.mend_all()


def test_the_larger_part_of_a_council_goes_on_and_the_smaller_joins_it(five):
    assert five.submit(five.seats[0])
    names = [site.name for site in five.seats]
    five.world.network.ways.split(names[:2], names[2:])
    assert not five.submit(five.seats[0])
    five.world.pass_s(TAKE_OVER_S)
    leader = next(site for site in five.seats if site.name == five.terms[-1][1])
    assert leader in five.seats[2:]
    assert five.submit(leader)
    five.world.network.ways.mend_all()
    five.world.pass_s(LONG_S)
    assert not five.seats[0].facts.leads(five.shard)


def test_five_candidates_at_once_end_with_one_leader(five):
    """Nobody heard anything for long; then all can stand, at one moment."""
    names = [site.name for site in five.seats]
    five.seats[0].die(quietly=True)
    five.world.network.ways.split(*([name] for name in names))
    five.world.pass_s(LONG_S)
    five.world.network.ways.mend_all()
    five.seats[0].start()
    five.world.pass_s(LONG_S)
    _, name = five.terms[-1]
    leader = next(site for site in five.seats if site.name == name)
    assert five.submit(leader)


def test_a_term_that_nobody_learns_of_is_passed_by(council):
    """Its leader is cut off when it has the votes, and dies with its open."""
    old, one, two = council.seats
    assert council.submit(old)
    old.die(quietly=True)
    opened = []

    def cut(entry):
        if entry.header.site in (one.site, two.site) and len(council.terms) > 1 and not opened:
            opened.append(council.terms[-1])
            for a, b in (("s1", "s2"), ("s2", "s1")):
                council.world.network.ways.cut(a, b)
            council.world.network.reset(one.machine)

    council.world.authors.append(cut)
    council.world.pass_s(TAKE_OVER_S)
    assert len(opened) == 1
    (number, name) = opened[0]
    leader, other = (one, two) if name == "s1" else (two, one)
    assert other.facts.shard(council.shard).newest.number == 0
    leader.die(quietly=True)
    council.world.network.ways.mend_all()
    old.start()
    council.world.pass_s(LONG_S)
    assert council.terms[-1][0] > number
    assert council.reading.newest.base.number == 0
    council.check()


def test_a_leader_whose_disk_was_put_back_is_replaced_and_keeps_no_seat(council):
    old = council.seats[0]
    old.keep_copy()
    assert council.submit(old)
    council.restores += 1
    old.restore()
    old.start()
    council.world.pass_s(60)
    number, name = council.terms[-1]
    assert (number, name != "s0") == (1, True)
    leader = next(site for site in council.seats if site.name == name)
    assert council.submit(leader)
    council.check()


def test_a_revoked_leader_is_replaced_at_once_and_its_seat_closed(council):
    old = council.seats[0]
    assert council.submit(old)
    council.world.revoke(old)
    council.world.pass_s(30)
    _, name = council.terms[-1]
    assert name != "s0"
    leader = next(site for site in council.seats if site.name == name)
    assert council.submit(leader)
    council.world.out.clear()  # so that all meet again for the last checks


def test_terms_do_not_pile_up_while_a_site_hears_nothing_and_is_heard(five):
    deaf = five.seats[4]
    for site in five.seats[:4]:
        five.world.network.ways.cut(site.name, deaf.name)
    five.world.pass_s(2 * LONG_S)
    five.world.network.ways.mend_all()
    five.world.pass_s(LONG_S)
    assert five.terms == [(0, "s0")]
