"""Whether a copy is the newest: who has to say so, what is done then, and what people read."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from federation.ids import FeedID, Lane, SiteID
from node.council.witnesses import Witnesses, witnesses
from node.meshing.inquiry import LOOK_S, TOLD_S, Inquiry
from node.store.highwater import Standing
from tests.fakes.mesh import key_of
from tests.fakes.store import KEY, Store, a_site

SITES = [SiteID(key_of(number).site) for number in range(1, 8)]
NAMES = {site: f"s{number}" for number, site in enumerate(SITES, 1)}
ME = FeedID(SiteID(KEY.site), 1, Lane.CONTROL)


class Doubted:
    """A store whose high-water file is gone, and what its site asks."""

    def __init__(self, home, *groups):
        store = Store(home)
        store.journal.control(a_site())
        store.turn()
        store.close()
        (home / "floe.highwater").unlink()
        self.home, self.store = home, Store(home, clock=Clock())
        self.journal = self.store.journal
        self.abreast, self.twin, self.again = set(), False, []
        self.journal.on_outlived(self.again.append)
        self.inquiry = Inquiry(
            self.store.clock, self.journal, self.store.highwater, ME, "it is missing",
            lambda: self.abreast, lambda: groups, lambda: self.twin, NAMES.__getitem__,
            self.again.append,
        )  # fmt: skip
        self.inquiry.start()

    def answer(self, *sites):
        self.abreast = set(sites)
        self.store.turn(LOOK_S)
        self.abreast = set()

    def next_life(self):
        self.store.turn(TOLD_S)
        assert len(self.again) == 1
        self.close()
        return Store(self.home)

    def close(self):
        self.inquiry.stop()
        self.store.close()


@pytest.fixture
def doubted(tmp_path):
    return Doubted(
        tmp_path / "home",
        Witnesses(frozenset(SITES[:2]), 1),
        Witnesses(frozenset(SITES[1:5]), 3),
    )


def test_enough_answers_of_each_group_over_time_let_the_site_go_on_as_before(doubted):
    doubted.answer(SITES[1], SITES[6])
    doubted.answer(SITES[2])
    assert doubted.inquiry.pending
    assert "3 answered, 1 more is needed (of s4, s5)" in doubted.inquiry.words()
    doubted.answer(SITES[4])
    assert not doubted.inquiry.pending
    again = doubted.next_life()
    assert (again.found.standing, again.found.generation) == (Standing.FINE, 1)
    again.close()


def test_a_peer_that_shows_more_ends_the_generation_whoever_answered_before(doubted):
    doubted.answer(SITES[1], SITES[2])
    doubted.journal.outlive(ME, 9)
    assert not doubted.inquiry.pending
    assert doubted.inquiry.words() == ""
    doubted.answer(*SITES)
    again = doubted.next_life()
    assert again.found.generation > 1
    again.close()


def test_another_process_with_the_key_ends_the_generation(doubted):
    doubted.twin = True
    doubted.answer(*SITES)
    again = doubted.next_life()
    assert again.found.generation > 1
    again.close()


@pytest.mark.parametrize("newest", [True, False])
def test_an_admins_word_needs_no_answers(doubted, newest):
    if newest:
        assert doubted.inquiry.go_on("ana says")
    else:
        doubted.inquiry.leave("ana says")
    again = doubted.next_life()
    assert (again.found.generation == 1) is newest
    assert not again.found.doubt
    again.close()


class FullDisk:
    """A high-water file on a disk that takes nothing for the first few tries."""

    def __init__(self, refusals):
        self.tries, self._refusals = 0, refusals

    def begin(self, heads):
        self.tries += 1
        if self.tries <= self._refusals:
            raise OSError(28, "No space left on device")


def test_a_full_disk_is_tried_again_and_not_every_second(doubted):
    disk, again = FullDisk(2), []
    clock = doubted.store.clock
    inquiry = Inquiry(
        clock, doubted.journal, disk, ME, "it is missing",
        lambda: set(SITES), lambda: [Witnesses(frozenset(SITES[:1]), 1)], lambda: False,
        NAMES.__getitem__, again.append,
    )  # fmt: skip
    inquiry.start()
    clock.pump([LOOK_S] * 20)
    assert (disk.tries, inquiry.pending) == (1, True)
    clock.pump([LOOK_S] * 60)
    assert (disk.tries, inquiry.pending) == (3, False)
    assert len(again) == 1
    doubted.close()


def test_a_site_that_nobody_can_answer_names_the_admins_words_alone(tmp_path):
    alone = Doubted(tmp_path / "home", Witnesses(frozenset(), 1))
    words = alone.inquiry.words()
    assert "The other sites alone cannot tell" in words
    assert "floe mesh recover --newest" in words
    alone.answer()
    assert alone.inquiry.pending
    alone.close()


class Mesh:
    """Members, of which some can be dialled; no councils."""

    def __init__(self, others, dialled, revoked=()):
        self._others, self._dialled, self._revoked = others, dialled, revoked

    def members(self):
        return [ME.site, *self._others]

    def addresses(self, site):
        return ["h:1"] if site in self._dialled else []

    def revoked(self, site):
        return site in self._revoked

    def councils(self):
        return []


@pytest.mark.parametrize(
    ("others", "dialled", "asked", "wanted"),
    [
        (0, [ME.site], 0, 1),
        (1, [ME.site], 1, 1),
        (2, [ME.site], 2, 2),
        (4, [ME.site], 4, 3),
        (6, SITES[:2], 2, 2),  # it only dials out, to these
        (6, [], 0, 1),
    ],
)
def test_of_the_mesh_those_are_asked_with_whom_there_can_be_a_link(others, dialled, asked, wanted):
    mesh = Mesh(SITES[:others], dialled)
    (found,) = witnesses(ME, mesh, mesh, lambda shard: None, lambda shard: True)
    assert (len(found.sites), found.wanted) == (asked, wanted)


def test_a_revoked_site_is_not_asked():
    mesh = Mesh(SITES[:3], [ME.site], revoked=SITES[:1])
    (found,) = witnesses(ME, mesh, mesh, lambda shard: None, lambda shard: True)
    assert found == Witnesses(frozenset(SITES[1:3]), 2)
