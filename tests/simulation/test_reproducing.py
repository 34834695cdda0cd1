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


def submit_chain(world, host):
    """A dataset whose second task reads what the first one puts out, and is the slower to end."""
    told = describe("chain", ((), ("t0",)), JOBS)
    first, second = told["task"]
    first["outputs"] = ["x"]
    second["inputs"] = {"x": "t0/x"}
    world.people.submit_to(host, told, Random("chain"))
    world.until(lambda: bool(world.witness.datasets))
    return next(iter(world.witness.datasets.values()))


def kept_by(world, host):
    """How many units' first outputs a site says that it keeps for others."""
    return sum(
        len(record.jobs)
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
