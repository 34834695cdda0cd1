"""Which councils have no majority now, whether that can pass, and where a force would cut."""

from __future__ import annotations

import pytest

from federation.ids import FeedID, Lane, SiteID
from federation.records import Grant, Site, Vote
from node.council.standstills import Standstill, Standstills
from node.council.views import Views
from tests.fakes.councils import CouncilNet, CouncilSite
from tests.unit.federation.builders import DATASET


class Seen:
    """A council of so many, as the site of number 1 sees it; site 0 leads."""

    def __init__(self, count: int = 3) -> None:
        self.net = CouncilNet(count)
        self.net.found()
        self.site = self.net.sites[1]
        self.silent: set[SiteID] = set()

    @property
    def standstills(self) -> Standstills:
        views = Views(self.site.me, self.site.facts, self.net)
        return Standstills(
            views,
            self.site.facts,
            lambda site: site not in self.silent,
            lambda site: site.hex()[:4],
        )

    def silence(self, *numbers: int) -> None:
        self.silent |= {self.net.sites[number].id for number in numbers}

    def restore(self, number: int) -> CouncilSite:
        """A site goes on under the next generation."""
        site = self.net.sites[number]
        site.me = FeedID(site.id, site.me.generation + 1, Lane.CONTROL)
        site.write([Site("restored", "1")])
        self.net.run(1)
        return site

    def found(self) -> Standstill | None:
        return self.standstills.of(self.net.shard)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_a_council_with_a_majority_that_is_reached_goes_on(seen: Seen) -> None:
    assert seen.found() is None
    seen.silence(0)
    assert seen.found() is None
    assert seen.standstills.ours() == []


def test_silent_voters_may_come_back(seen: Seen) -> None:
    seen.silence(0, 2)
    found = seen.found()
    assert found is not None
    assert set(found.silent) == seen.silent
    assert (found.lost, found.for_good, found.voters) == ([], False, 3)
    assert "no majority" in seen.standstills.words(found)
    assert seen.standstills.ours() == [found]


def test_voters_that_went_on_under_another_generation_are_lost(seen: Seen) -> None:
    seen.restore(0)
    seen.silence(2)
    found = seen.found()
    assert found is not None
    assert not found.for_good  # one is lost, and two are a majority
    seen.restore(2)
    found = seen.found()
    assert found is not None
    assert found.for_good
    assert set(found.lost) == {seen.net.sites[number].id for number in (0, 2)}
    assert "for good" in seen.standstills.words(found)


def test_revoked_voters_are_lost(seen: Seen) -> None:
    for number in (0, 2):
        seen.net.revoke(seen.net.sites[number])
    found = seen.found()
    assert found is not None
    assert found.for_good


def test_of_its_own_seat_only_the_present_generation_acts(seen: Seen) -> None:
    seen.restore(1)
    seen.silence(2)
    found = seen.found()
    assert found is not None
    assert list(found.lost) == [seen.site.id]


def test_five_voters_stand_still_when_three_are_away() -> None:
    seen = Seen(5)
    seen.silence(2, 3)
    assert seen.found() is None
    seen.silence(4)
    assert seen.found() is not None


def test_the_cut_is_the_last_entry_of_the_leaders_log_that_is_here(seen: Seen) -> None:
    leader = seen.net.sites[0]
    entry = leader.write([Grant(seen.net.shard, DATASET, [0], [0, 9], seen.site.id)])
    leader.write([Site("no record of the log", "1")])
    seen.net.run(1)
    seen.silence(0, 2)
    found = seen.found()
    assert found is not None
    assert found.cut == entry.ref
    assert found.highest == found.term == 0


def test_a_force_has_to_be_above_terms_that_were_voted_for(seen: Seen) -> None:
    founding = seen.site.facts.shard(seen.net.shard).terms[0].began  # type: ignore[union-attr]
    seen.silence(0, 2)
    seen.site.write([Vote(seen.net.shard, 6, seen.site.id, 0, founding.seq, founding.id)])
    found = seen.found()
    assert found is not None
    assert (found.term, found.highest) == (0, 6)


def test_votes_that_name_two_branches_of_the_leaders_log_are_for_an_admin(seen: Seen) -> None:
    founding = seen.site.facts.shard(seen.net.shard).terms[0].began  # type: ignore[union-attr]
    for site in seen.net.sites:
        site.council.stop()
    for voter, head in ((1, founding.id), (2, b"x" * 32)):
        site = seen.net.sites[voter]
        site.write([Vote(seen.net.shard, 3, seen.site.id, 0, founding.seq, head)])
    seen.net.run(1)
    found = seen.found()
    assert found is not None
    assert found.for_good
    assert "two branches" in seen.standstills.words(found)
