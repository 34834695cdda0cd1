"""Sites of very different speeds share one dataset out and end together; virtual time."""

import pytest

from federation.election import Pace
from tests.simulation.shareout import BEACON_S, LOOK_S, TASK, ShareOut

SPEEDS = [1, 0.2, 0.5, 1.5, 2, 3, 5, 8, 12, 20]
UNIT_S = 120
JOBS = 9000  # five hours and a half of all sites together
FOUR_HOURS_S = 4 * 3600.0
ROUND_TRIPS = 4  # a claim, the recall that it causes, the release, the grant


def sites(unit_s: float = UNIT_S) -> list[tuple[int, float]]:
    """One slot and more for each; a slot of the slowest takes five times as long."""
    slots = [max(1, round(speed)) for speed in SPEEDS]
    return [(n, unit_s * n / speed) for n, speed in zip(slots, SPEEDS, strict=True)]


@pytest.mark.parametrize("seed", [1, 2])
def test_ten_sites_end_within_five_percent_of_work_over_speed(seed: int) -> None:
    bench = ShareOut(JOBS, sites(), seed=seed)
    assert bench.run() <= 1.05 * bench.ideal_s
    assert max(owner.claims for owner in bench.owners) <= 40
    assert bench.twice == 0


@pytest.mark.parametrize("rtt_s", [0.2, 1.0, 10.0])
def test_no_site_is_idle_for_longer_than_a_claim_takes_while_there_is_work(rtt_s: float) -> None:
    bench = ShareOut(JOBS // 3, sites(), rtt_s=rtt_s)
    bench.run()
    looks_s = BEACON_S + 2 * LOOK_S  # a beacon says that there is work; owner and leader look
    assert max(owner.idle_s for owner in bench.owners) <= looks_s + ROUND_TRIPS * rtt_s


@pytest.mark.parametrize("lost", [3, 9])
def test_a_site_lost_midway_costs_the_time_to_notice_it_and_little_more(lost: int) -> None:
    noticed_s = 1200.0
    bench = ShareOut(JOBS, sites(), lost_s=noticed_s)
    bench.lose(bench.ideal_s / 2, lost)
    rest = sum(owner.speed for i, owner in enumerate(bench.owners) if i != lost)
    half_s = bench.ideal_s / 2
    ideal_s = half_s + half_s * sum(owner.speed for owner in bench.owners) / rest
    assert bench.run() <= 1.10 * ideal_s + noticed_s


def test_others_have_work_until_a_lost_leader_is_followed_by_another() -> None:
    bench, pace = ShareOut(JOBS, sites()), Pace()
    bench.lose_leader(bench.ideal_s - FOUR_HOURS_S)
    assert bench.run_until_idle() > pace.patience_s + pace.spread_s + pace.round_s


def test_units_of_a_second_end_together_too() -> None:
    bench = ShareOut(JOBS, sites(unit_s=1.0))
    assert bench.run() <= 1.05 * bench.ideal_s


def test_sites_that_join_a_leader_which_owns_everything_get_their_part() -> None:
    bench = ShareOut(JOBS, sites())
    alone = bench.owners[0]
    bench.book.granted([TASK], [0, JOBS], alone.id)
    alone.held.add(0, JOBS)
    assert bench.run() <= 1.05 * bench.ideal_s
