"""Batch systems that config.toml leaves out, or whose name has another one, while jobs live."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.provisioning.changes import CannotChange, elsewhere, where
from node.provisioning.leaving import dump, load
from node.provisioning.settings import SystemConfig, read_systems
from node.store import submissions as store
from schedulers.base import JobState
from tests.fakes.batch import Batch, Faults
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.provisioning.test_any_life import EXAMPLES
from tests.unit.node.provisioning.test_changing import OTHER, change
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s
ELSEWHERE = replace(SETTINGS, host="login2")


def two_systems() -> tuple[Camp, Batch]:
    """Both run pilots, and more wait; the second one is not in config.toml any more."""
    camp = Camp(Described(1, 400), systems=(SETTINGS, OTHER))
    wawel = camp.batches["wawel"]
    wawel.slots = 2
    assert camp.run(300, lambda: len(wawel.running()) == 2 and len(wawel.living()) > 2)
    camp.settings = (SETTINGS,)
    return camp, wawel


def names(camp: Camp) -> list[str]:
    return [each.settings.name for each in camp.node.systems]


def test_one_that_is_left_out_is_followed_to_the_end_of_its_last_job() -> None:
    camp, wawel = two_systems()
    waiting = [job for job in wawel.living() if job.state is JobState.QUEUED]
    running = wawel.running()
    camp.restart()
    camp.run(1)
    shown = next(each for each in camp.node.shown() if each["name"] == "wawel")
    assert (shown["state"], shown["queued_max"]) == ("leaving", 0)
    assert "config.toml does not name it any more" in camp.node.trouble
    assert "wawel" not in [each.settings.name for each in camp.node.used]
    submissions = wawel.next_no
    assert camp.run(6 * LOOK_S, lambda: not wawel.living())
    assert {job.state for job in waiting} == {JobState.CANCELLED}
    assert {job.state for job in running} == {JobState.DONE}, "what they held is finished"
    assert camp.run(4 * LOOK_S, lambda: names(camp) == ["maui"])
    assert wawel.next_no == submissions
    assert [name for name, _ in store.living(camp.house.disk.conn)] in ([], ["maui"])
    assert camp.node.trouble == ""
    asked = len(wawel.ran)
    assert camp.run(6000, lambda: len(camp.house.disk.settled(64)) == 400)
    assert not camp.house.disk.failed(64)
    assert len(wawel.ran) == asked


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_being_submitted_when_the_node_was_killed_is_found_there(moment: str) -> None:
    camp = Camp(Described(1, 40))
    camp.batch.wait_s = 10_000

    def kill(verb: str, when: str) -> None:
        if (verb, when) == ("submit", moment) and camp.up:
            camp.kill()

    camp.runners["maui"].on_verb = kill
    camp.run(60)
    assert not camp.up
    assert bool(camp.batch.living()) is (moment == "after")
    camp.settings = ()
    camp.restart()
    camp.run(60)
    assert camp.run(2000, lambda: names(camp) == [])
    assert not camp.batch.living()
    assert store.living(camp.house.disk.conn) == []
    assert camp.house.work.arrivals.expected == {}


def test_its_name_is_that_of_another_one_once_its_last_job_is_over() -> None:
    camp = Camp(Described(1, 400))
    camp.batch.slots = 2
    assert camp.run(300, lambda: len(camp.batch.living()) > 2)
    old = camp.batch
    camp.settings = (ELSEWHERE,)
    camp.add(ELSEWHERE)
    new = camp.batches["maui@login2"]
    new.next_no = old.next_no - 1  # jobs have the same numbers there
    camp.restart()
    assert "its name is that of slurm at login2 now" in camp.node.trouble
    assert not camp.run(LOOK_S, lambda: bool(new.ran))
    assert camp.run(6 * LOOK_S, lambda: not old.living())
    assert camp.run(4 * LOOK_S, lambda: bool(new.living()))
    assert camp.run(6000, lambda: len(camp.house.disk.settled(64)) == 400)
    assert not camp.house.disk.failed(64)
    ended = {job.state for job in new.jobs.values() if job.state.over}
    assert ended <= {JobState.DONE}, "none was taken for an old one"


def test_one_that_is_put_back_is_used_again() -> None:
    camp, wawel = two_systems()
    wawel.faults.fails = True
    camp.restart()
    camp.run(LOOK_S)
    assert change(camp, SETTINGS) == []  # it goes on to leave
    wawel.faults.fails = False
    assert change(camp, SETTINGS, OTHER) == ["site.wawel is used again"]
    assert "wawel" not in camp.node.trouble
    submissions = wawel.next_no
    assert camp.run(1200, lambda: wawel.next_no > submissions)


NAMED = ((SETTINGS,), (ELSEWHERE,), (OTHER,), (SETTINGS, OTHER), ())
MOVES = st.tuples(
    st.sampled_from(NAMED),
    st.sampled_from(["restart", "reload"]),
    st.sampled_from(["", "fails", "hangs", "forgets", "denies"]),
    st.integers(1, 400),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MOVES, min_size=1, max_size=6))
def test_whatever_config_names_in_turn_limits_hold_and_no_job_is_left(
    moves: list[tuple[tuple[SystemConfig, ...], str, str, int]],
) -> None:
    camp = Camp(Described(1, 120))
    for each in (ELSEWHERE, OTHER):
        camp.add(each)
    for named, how, fault, seconds in [*moves, ((), "restart", "", 1)]:
        camp.settings = named
        if how == "restart":
            camp.restart()
        else:
            change(camp, *named)
        for batch in camp.batches.values():
            batch.faults = Faults(**({fault: True} if fault else {}))
        for _ in range(seconds):
            camp.run(1)
            assert len(names(camp)) == len(set(names(camp)))
            assert all(len(each.living()) <= 2 * SETTINGS.running_max for each in known(camp))
    for each in known(camp):
        each.slots = 0  # nothing that waits goes by itself
    assert camp.run(6000, lambda: not any(each.living() for each in known(camp)))
    assert camp.run(6000, lambda: not store.living(camp.house.disk.conn))
    assert camp.node.systems == []
    assert camp.house.work.arrivals.expected == {}
    camp.batch.slots = 4
    change(camp, SETTINGS)
    assert camp.run(20_000, lambda: len(camp.house.disk.settled(64)) == 120)


def known(camp: Camp) -> list[Batch]:
    return list(camp.batches.values())


def test_its_limits_cannot_be_raised() -> None:
    camp, _ = two_systems()
    camp.restart()
    with pytest.raises(CannotChange, match=r"site\.wawel gets no more pilots: config\.toml"):
        camp.node.limit("wawel", 5, 5)


def test_pilots_of_one_that_never_answers_again_are_given_up_by_an_admins_word() -> None:
    camp, wawel = two_systems()
    wawel.faults.hangs, wawel.slots = True, 0
    camp.restart()
    camp.run(10 * LOOK_S)
    assert names(camp) == ["maui", "wawel"]
    waiting = wawel.living()
    assert {job.state for job in waiting} == {JobState.QUEUED}
    (said,) = change(camp, SETTINGS, anyway=True)
    assert said == "site.wawel is not used any more; given up: 4 pilots"  # as far as it knows
    assert names(camp) == ["maui"]
    assert "wawel" not in camp.node.trouble
    assert {row.scheduler for row in camp.house.work.arrivals.expected.values()} <= {"maui"}
    wawel.faults.hangs = False
    change(camp, SETTINGS, OTHER)  # there it is again
    assert camp.run(4 * LOOK_S, lambda: all(job.state.over for job in waiting))
    assert camp.run(6000, lambda: len(camp.house.disk.settled(64)) == 400)


def test_one_that_cannot_be_followed_is_told() -> None:
    camp, _ = two_systems()
    useless = partial(store.remember, system="wawel", memory=[], settings='{"kind": "lsf"}')
    camp.house.disk.conn.execute("BEGIN")
    useless(camp.house.disk.conn)
    camp.house.disk.conn.execute("COMMIT")
    camp.restart()
    assert "site.wawel is not in config.toml any more, but 1 of its" in camp.node.trouble
    change(camp, SETTINGS, OTHER)
    assert "wawel" not in camp.node.trouble


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "slurm", "commands": {"sbatch": "/opt/bin/sbatch-site"}, "look": "1m"},
        {"kind": "htcondor", "schedd": "s@login2", "pool": "cm:9618", "python": "python3.11"},
        {"kind": "sge", "pe": "smp", "memory_name": "h_vmem", "per_job": ["h_vmem"]},
        {"kind": "torque", "arrays": False},
        {"kind": "pbs", "host": "ana@login2", "port": 2222, "key": "/k", "tunnel": 18443},
    ],
)
def test_how_a_batch_system_is_spoken_to_is_remembered(table: dict[str, object]) -> None:
    problems: list[str] = []
    (told,) = read_systems({"maui": table}, problems)
    assert not problems
    found = load("maui", dump(told))
    assert found is not None
    assert where(found) == where(told)
    found = replace(found, more={key: told.more[key] for key in found.more})
    assert not elsewhere(found, told)
    assert found.look_s == told.look_s
    assert load("maui", "") is None
