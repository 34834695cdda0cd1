"""The leader's book: whose units go to whom, what stays together, what is taken from whom."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import limits
from federation.claims import label
from federation.ids import SiteID
from node.leading.book import Book, Give
from node.model.dataset import Needs
from node.ranges import JobRanges, ranges_of, size
from node.unitstate import Wait
from tests.unit.node.leading.books import (
    CPU_SHAPE,
    GPU,
    GPU_SHAPE,
    A,
    B,
    C,
    book,
    claim,
    dataset,
    dataset_id,
    peer,
    task,
)

ALL = [peer(A), peer(B)]


def given_to(gives: list[Give]) -> list[tuple[int, list[int], list[int]]]:
    return [(give.dataset, list(give.tasks), list(give.ranges)) for give in gives]


def test_a_claim_gets_its_share_of_the_lowest_jobs() -> None:
    gives = book(dataset(1, jobs=10_000)).serve(peer(A), claim(), ALL)
    assert given_to(gives) == [(1, [0], [0, 2500])]
    assert gives[0].units == 2500


def test_what_was_given_is_not_given_again() -> None:
    owned = book(dataset(1, jobs=1000))
    first = owned.serve(peer(A), claim(), ALL)
    second = owned.serve(peer(B), claim(), ALL)
    assert given_to(first) == [(1, [0], [0, 300])]
    assert given_to(second) == [(1, [0], [300, 600])]


def test_what_is_held_counts_against_what_is_wanted() -> None:
    owned = book(dataset(1, jobs=10_000))
    gives = owned.serve(peer(A), claim(1000, held={1: 900}), ALL)
    assert given_to(gives) == [(1, [0], [0, 100])]


def test_units_that_are_over_or_owned_are_not_given() -> None:
    facts = task(1, owners={B: [0, 40]}, settled=[50, 60], shut=[70, 80])
    gives = book(dataset(1, facts, jobs=100)).serve(peer(A), claim(), ALL)
    assert given_to(gives) == [(1, [0], [40, 50, 60, 70, 80, 100])]


def test_units_that_run_again_are_given_and_what_waits_for_them_is_not() -> None:
    chain = [task(1, settled=[0, 100], owners={B: [0, 100]}), task(1, 1, after=[0])]
    follower = task(2, after=[0])
    waits = replace(follower, waits=(Wait(64),))
    made = book(dataset(1, *chain, jobs=100), dataset(2, waits, jobs=100))
    made.set_lost([B])
    made.drop(1)  # the follower still waits for what it knew of it
    made.load(dataset(1, replace(chain[0], settled=[0, 90]), chain[1], jobs=100))
    found = [give for _ in range(9) for give in made.serve(peer(A), claim(1000), ALL)]
    given = JobRanges()
    for give in found:
        if give.dataset == 1 and 0 in give.tasks:
            given.add_all(give.ranges)
    assert given.flat == [90, 100]
    assert all(give.ranges[-1] <= 90 for give in found if give.dataset == 2)


def test_what_is_done_of_other_datasets_stays_known_when_a_dataset_is_changed() -> None:
    follower = replace(task(2), waits=(Wait(64),))
    made = book(replace(dataset(2, follower, jobs=100), sources={64: [0, 40]}))
    made.settled(64, [40, 50])
    made.load(dataset(2, replace(follower, settled=None), jobs=100, priority=60))
    made.settled(64, [50, 60])
    given = given_to(made.serve(peer(A), claim(), [peer(A)]))
    assert given == [(2, [0], [0, 60])]


def test_a_paused_dataset_is_not_given_and_not_wanted() -> None:
    owned = book(dataset(1, paused=True))
    assert owned.serve(peer(A), claim(), ALL) == []
    assert owned.wants() == []


def test_another_shape_gets_nothing() -> None:
    assert book(dataset(1)).serve(peer(A, gpus=1), claim(shape=GPU_SHAPE, gpus=1), ALL) == []


@pytest.mark.parametrize(
    ("rule", "name", "gets"),
    [
        ({"only": ["desy-*"]}, "desy-hpc", True),
        ({"only": ["desy-*"]}, "nikhef", False),
        ({"avoid": ["nikhef"]}, "nikhef", False),
        ({"avoid": ["nikhef"]}, "desy-hpc", True),
    ],
)
def test_a_rule_about_sites_is_kept(rule: dict[str, list[str]], name: str, gets: bool) -> None:
    owned = book(dataset(1, task(1, sites=rule)))
    assert bool(owned.serve(peer(A, name), claim(), ALL)) is gets


def test_a_preferred_site_with_room_goes_first_and_others_follow_once_it_is_busy() -> None:
    rule = {"prefer": ["desy"]}
    owned = book(dataset(1, task(1, sites=rule)))
    gent = peer(A, "gent")
    assert owned.serve(gent, claim(), [gent, peer(B, "desy", idle=4)]) == []
    assert owned.serve(peer(B, "desy", idle=4), claim(), [gent]) != []
    assert owned.serve(gent, claim(), [gent, peer(B, "desy")]) != []


class TestDependencies:
    """Two tasks: the first on any core, the second on a GPU or not."""

    def chain(self, second: Needs = GPU, settled: tuple[int, ...] = ()) -> Book:
        return book(dataset(1, task(1, settled=settled), task(1, 1, second, after=[0]), jobs=1000))

    def test_a_jobs_tasks_go_together_to_a_site_that_runs_them_all(self) -> None:
        gives = self.chain().serve(peer(A, gpus=1), claim(gpus=1), ALL)
        assert given_to(gives) == [(1, [0, 1], [0, 300])]

    def test_a_site_that_cannot_run_them_all_gets_what_is_ready(self) -> None:
        gives = self.chain().serve(peer(A), claim(), ALL)
        assert given_to(gives) == [(1, [0], [0, 300])]

    def test_what_waits_for_others_is_given_once_those_are_done(self) -> None:
        owned = self.chain()
        asking = claim(shape=GPU_SHAPE, gpus=1)
        assert owned.serve(peer(A, cores=0, gpus=1), asking, ALL) == []
        owned.settled(64, [10, 20])
        gives = owned.serve(peer(A, cores=1, gpus=1), asking, ALL)
        assert given_to(gives) == [(1, [1], [10, 20])]

    def test_tasks_of_one_shape_count_each(self) -> None:
        owned = book(dataset(1, task(1), task(1, 1, after=[0]), jobs=10_000))
        gives = owned.serve(peer(A), claim(1000), ALL)
        assert given_to(gives) == [(1, [0, 1], [0, 500])]
        assert gives[0].units == 1000

    def test_tasks_whose_free_jobs_differ_come_as_grants_of_their_own(self) -> None:
        owned = book(
            dataset(1, task(1), task(1, 1, after=[0], owners={B: [0, 10]}), jobs=100),
        )
        gives = owned.serve(peer(A), claim(100), ALL)
        assert given_to(gives) == [(1, [0], [0, 50]), (1, [1], [10, 50])]

    def test_results_of_another_dataset_open_what_waits_for_them(self) -> None:
        waiting = task(2, after=[-64])  # task 0 of dataset 1
        owned = book(dataset(1, jobs=50), dataset(2, waiting, jobs=50))
        owned.settled(64, [0, 50])
        assert 1 not in owned.datasets
        assert given_to(owned.serve(peer(A), claim(), ALL)) == [(2, [0], [0, 50])]


class TestFairness:
    def test_the_person_who_used_least_is_served_first(self) -> None:
        owned = book(dataset(1, person=b"a"), dataset(2, person=b"b"))
        owned.set_used({(b"a" * 32, "g"): 1e6})
        assert owned.serve(peer(A), claim(300), ALL)[0].dataset == 2
        owned.set_used({(b"b" * 32, "g"): 1e6})
        assert owned.serve(peer(A), claim(300), ALL)[0].dataset == 1

    def test_what_is_out_counts_as_used(self) -> None:
        owned = book(dataset(1, person=b"a"), dataset(2, person=b"b"))
        order = [owned.serve(peer(A), claim(300), ALL)[0].dataset for _ in range(4)]
        assert sorted(order) == [1, 1, 2, 2]
        assert order[0] != order[1]

    def test_a_person_of_whose_units_enough_is_held_stands_back(self) -> None:
        owned = book(dataset(1, person=b"a"), dataset(2, person=b"b"))
        gives = owned.serve(peer(A), claim(300, held={1: 300}), ALL)
        assert [give.dataset for give in gives] == [2]

    def test_of_one_persons_datasets_the_more_urgent_goes_first(self) -> None:
        owned = book(dataset(1, priority=50), dataset(2, priority=90))
        assert owned.serve(peer(A), claim(300), ALL)[0].dataset == 2


class TestLostOwners:
    def test_units_of_a_lost_site_are_given_to_others(self) -> None:
        owned = book(dataset(1, task(1, owners={B: [0, 100]}), jobs=100))
        assert owned.serve(peer(A), claim(), ALL) == []
        assert owned.set_lost([B])
        assert given_to(owned.serve(peer(A), claim(), ALL)) == [(1, [0], [0, 100])]

    def test_a_site_that_comes_back_keeps_what_nobody_else_got(self) -> None:
        owned = book(dataset(1, task(1, owners={B: [0, 1000]})))
        owned.set_lost([B])
        owned.serve(peer(A), claim(300), ALL)
        owned.set_lost([])
        assert owned.serve(peer(C), claim(), ALL) == []
        assert owned.datasets[1].tasks[0].left(B) == [300, 1000]

    def test_a_dataset_that_is_loaded_later_knows_who_is_lost(self) -> None:
        owned = book()
        owned.set_lost([B])
        owned.load(dataset(1, task(1, owners={B: [0, 100]}), jobs=100))
        assert owned.serve(peer(A), claim(), ALL) != []


class TestReleases:
    def test_released_units_are_given_again(self) -> None:
        owned = book(dataset(1, task(1, owners={B: [0, 1000]})))
        owned.released([64], [900, 1000], B)
        assert given_to(owned.serve(peer(A), claim(), ALL)) == [(1, [0], [900, 1000])]

    def test_nobody_releases_what_is_not_his(self) -> None:
        owned = book(dataset(1, task(1, owners={B: [0, 1000]})))
        owned.released([64], [0, 1000], C)
        assert owned.serve(peer(A), claim(), ALL) == []


class TestRecalls:
    def owned_by_b(self) -> Book:
        return book(dataset(1, task(1, owners={B: [0, 1010]}), jobs=1010))

    def test_an_idle_site_takes_half_of_what_waits_at_another_as_quick(self) -> None:
        asks = self.owned_by_b().recalls(peer(A), claim(idle=10), ALL)
        assert [(ask.owner, ask.task, ask.beside, ask.units) for ask in asks] == [
            (B, 0, [0], 500)  # of a thousand: ten are begun
        ]

    def test_a_site_with_work_takes_nothing_from_others(self) -> None:
        assert self.owned_by_b().recalls(peer(A), claim(held={1: 200}), ALL) == []

    def test_nothing_is_asked_of_sites_that_are_not_there_or_count_as_lost(self) -> None:
        owned = self.owned_by_b()
        assert owned.recalls(peer(A), claim(idle=10), [peer(A)]) == []
        owned.set_lost([B])
        assert owned.recalls(peer(A), claim(idle=10), ALL) == []

    def test_the_owner_that_would_end_last_is_asked_first(self) -> None:
        owned = book(dataset(1, task(1, owners={B: [0, 300], C: [300, 1000]})))
        asks = owned.recalls(peer(A), claim(idle=10), [*ALL, peer(C)])
        assert [ask.owner for ask in asks] == [C, B]

    def test_units_that_wait_for_others_stay_where_they_are(self) -> None:
        owned = book(
            dataset(1, task(1, owners={B: [0, 10]}), task(1, 1, after=[0], owners={B: [0, 1000]}))
        )
        assert owned.recalls(peer(A), claim(idle=10), ALL) == []


def test_wants_name_what_is_free_and_what_could_move() -> None:
    owned = book(dataset(1, task(1, owners={B: [0, 400]}, settled=[0, 100]), jobs=1000))
    (want,) = owned.wants()
    assert want.dataset == label(dataset_id(1))
    assert (want.shape, want.free, want.movable) == (CPU_SHAPE, 600, 300)


def test_wants_fit_a_beacon_and_begin_with_the_neediest() -> None:
    owned = book(*(dataset(no, person=bytes([no])) for no in range(1, 20)))
    owned.set_used({(bytes([no]) * 32, "g"): 1e6 for no in range(1, 19)})
    wants = owned.wants()
    assert len(wants) == limits.WANTS_MAX
    assert wants[0].dataset == label(dataset_id(19))


def test_who_wants_many_things_leaves_room_in_the_beacon_to_others() -> None:
    """What nobody has stays wanted for ever, by somebody who stays the neediest."""
    many = [task(1, at, needs=Needs(cpu=50 + at)) for at in range(12)]
    owned = book(
        dataset(1, *many, person=b"\1"),
        dataset(2, person=b"\2"),
        dataset(3, person=b"\3"),
    )
    owned.set_used({(b"\2" * 32, "g"): 1e6, (b"\3" * 32, "g"): 2e6})
    wants = owned.wants()
    assert len(wants) == limits.WANTS_MAX
    assert [want.dataset for want in wants[:3]] == [label(dataset_id(no)) for no in (1, 2, 3)]


def test_a_finished_dataset_is_forgotten() -> None:
    owned = book(dataset(1, jobs=10))
    owned.settled(64, [0, 10])
    assert owned.datasets == {}
    assert owned.wants() == []


# Any sequence of claims, results, releases and losses

SITES = [A, B, C]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.sampled_from(SITES), st.integers(1, 40)),
        st.tuples(st.just("settle"), st.integers(0, 1), st.sets(st.integers(0, 59), max_size=8)),
        st.tuples(st.just("shut"), st.integers(0, 1), st.sets(st.integers(0, 59), max_size=3)),
        st.tuples(st.just("release"), st.sampled_from(SITES), st.sets(st.integers(0, 59))),
        st.tuples(st.just("lost"), st.sets(st.sampled_from(SITES)), st.none()),
    ),
    max_size=40,
)


class Checked:
    """A book beside the plainest possible account of the same."""

    def __init__(self) -> None:
        self.book = book(dataset(1, task(1), task(1, 1, after=[0]), jobs=60))
        self.owner: dict[tuple[int, int], SiteID] = {}
        self.free_again: set[tuple[int, int]] = set()
        self.over: set[tuple[int, int]] = set()
        self.lost: set[SiteID] = set()

    def claim(self, which: SiteID, units: int) -> None:
        for give in self.book.serve(peer(which), claim(units), [peer(each) for each in SITES]):
            assert JobRanges(give.ranges).flat == list(give.ranges)
            assert give.ranges[0] >= 0
            assert give.ranges[-1] <= 60
            assert give.units == size(give.ranges) * len(give.tasks)
            for unit in (
                (index, job) for index in give.tasks for job in JobRanges(give.ranges).jobs()
            ):
                assert unit not in self.over
                owner = self.owner.get(unit)
                assert owner is None or owner in self.lost or unit in self.free_again
                self.owner[unit] = which
                self.free_again.discard(unit)

    def settle(self, index: int, jobs: set[int]) -> None:
        self.over |= {(index, job) for job in jobs}
        self.book.settled(64 + index, ranges_of(jobs))

    def shut(self, index: int, jobs: set[int]) -> None:
        self.over |= {(index, job) for job in jobs}
        self.book.ended(64 + index, ranges_of(jobs))

    def release(self, which: SiteID, jobs: set[int]) -> None:
        units = {(index, job) for index in (0, 1) for job in jobs}
        self.free_again |= {unit for unit in units if self.owner.get(unit) == which}
        self.book.released([64, 65], ranges_of(jobs), which)

    def set_lost(self, sites: set[SiteID], _: None) -> None:
        self.lost = sites
        self.book.set_lost(sites)


@given(STEPS)
def test_no_unit_of_a_live_owner_is_granted_unless_released(
    steps: list[tuple[str, object, object]],
) -> None:
    checked = Checked()
    acts: dict[str, Callable[..., None]] = {
        "claim": checked.claim,
        "settle": checked.settle,
        "shut": checked.shut,
        "release": checked.release,
        "lost": checked.set_lost,
    }
    for name, first, second in steps:
        acts[name](first, second)
