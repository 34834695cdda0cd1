"""Named lives in which outputs are lost with the only sites that had them, and are made again."""

from __future__ import annotations

from random import Random

import pytest

from federation.records import Holds, Reproduce
from tests.simulation.parts import Rhythm
from tests.simulation.people import describe
from tests.simulation.scenes import leaders, order, some_settled, task_counts, written
from tests.simulation.test_tending import tended

JOBS = 60


@pytest.fixture
def five(tmp_path):
    for world in tended(tmp_path, 5):
        world.farm.fates.put_out = True
        yield world


def submit_chain(world, host, readers=1, jobs=JOBS):
    """A dataset whose other tasks read what the first one puts out, and are the slower to end."""
    told = describe("chain", ((), *[("t0",)] * readers), jobs)
    first, *others = told["task"]
    first["outputs"] = ["x"]
    for each in others:
        each["inputs"] = {"x": "t0/x"}
    world.people.submit_to(host, told, Random("chain"))
    world.until(lambda: bool(world.witness.datasets))
    return next(iter(world.witness.datasets.values()))


def kept_by(world, host, jobs=range(JOBS)):
    """Of how many jobs a site says that it keeps the first outputs for others."""
    return sum(
        len(set(record.jobs) & set(jobs))
        for feed, entries in world.witness.archive.items()
        for entry in entries
        for record in entry.records()
        if feed.site == host.site and isinstance(record, Holds) and record.task == 0
    )


def test_outputs_lost_with_the_leader_that_made_them_and_the_only_copy_are_made_again(five):
    maker, last = five.hosts[0], five.hosts[-1]
    five.farm.closed.update(five.hosts[1:])
    made = submit_chain(five, maker)
    some_settled(five, last, JOBS // 2)
    assert task_counts(last, "settled") < 2 * JOBS
    keeper = max(five.hosts[1:], key=lambda host: kept_by(five, host))
    five.farm.closed.clear()
    maker.lose()
    keeper.lose()
    five.finish()
    assert len(leaders(five, made)) > 1
    assert written(five, Reproduce)


def test_outputs_of_which_one_keeper_is_gone_for_good_outlive_the_other_one_too(five):
    maker, last = five.hosts[0], five.hosts[-1]
    five.farm.closed.update(five.hosts[1:])
    made = submit_chain(five, maker)
    some_settled(five, last, JOBS // 2)
    order(five, made, "pause", {}, maker)
    five.pass_s(30)
    assert task_counts(last, "settled") < 2 * JOBS
    keeper = max(five.hosts[1:], key=lambda host: kept_by(five, host))
    held, alone = kept_by(five, keeper), sum(kept_by(five, host) for host in five.hosts)
    keeper.lose()
    five.pass_s(Rhythm().lost_after_s + 60)
    assert sum(kept_by(five, host) for host in five.hosts) >= alone + held > alone
    five.farm.closed.clear()
    maker.lose()
    five.finish()
    assert len(leaders(five, made)) > 1
    assert not written(five, Reproduce)


def half_read(host):
    """Jobs whose outputs one reader has read, and the other has not."""
    sql = (
        "SELECT job FROM settled WHERE task % 64 IN (1, 2) GROUP BY task / 64, job"
        " HAVING count(*) = 1"
    )
    return [job for (job,) in host.node.conn.execute(sql)]


def differing(host):
    """Jobs that were made again, after somebody had read the first outputs, which are others."""
    sql = "SELECT DISTINCT job FROM surplus WHERE why = 'differs'"
    return [job for (job,) in host.node.conn.execute(sql)]


def test_units_that_wait_for_outputs_which_came_out_otherwise_go_on_when_a_person_says_so(five):
    five.farm.fates.by_host = True
    maker, last = five.hosts[0], five.hosts[-1]
    five.farm.closed.update(five.hosts[1:])
    made = submit_chain(five, maker, readers=2, jobs=12)
    five.until(lambda: bool(half_read(last)))
    stuck = half_read(last)
    keeper = max(five.hosts[1:-1], key=lambda host: kept_by(five, host, stuck))
    five.farm.closed.clear()
    maker.lose()
    keeper.lose()
    five.until(lambda: bool(differing(last)))
    five.raise_if_broken()
    assert set(differing(last)) <= set(stuck)
    order(five, made, "renew", {"select": {"tasks": ["t0"]}}, last)
    five.finish()
