"""What the pilot decides next, from what it holds: no process, no network, no clock."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilot.loop import HELD_UNITS_MAX, SPECS_MAX, Loop, Resources
from pilot.messages import ROW, expand_ranges

NEEDS = {"cpu": 1, "gpu": 0, "memory_bytes": 10, "disk_bytes": 10, "time_s": 60}


def loop(slots: int = 2, *, memory: int = 1000, gpus: int = 0, ends_s: float | None = None) -> Loop:
    names = [str(number) for number in range(gpus)]
    return Loop(Resources(list(range(slots)), names, memory, 1000), slots, ends_s)


def item(lease: int, *flat: int, **more: Any) -> dict[str, Any]:
    return {"lease": lease, "spec": more.pop("spec", "d/0/1"), "jobs": list(flat), **more}


def specs(**needs: Any) -> dict[str, Any]:
    return {"d/0/1": {"needs": {**NEEDS, **needs}, "files": []}}


def have_all(digest: str) -> bool:
    return True


def row(job: int, wall_ms: int = 1) -> list[Any]:
    cells: list[Any] = [0] * len(ROW)
    cells[0], cells[3] = job, wall_ms
    return cells


def finish(of: Loop, message: dict[str, Any], slot: int, wall_ms: int = 1) -> None:
    rows = [(message["lease"], message["spec"], row(job, wall_ms)) for job in message["jobs"]]
    of.came_back(slot, rows, [message["chunk"]])


def taught(of: Loop, wall_ms: int) -> None:
    """Let the loop know how long units of the task take."""
    of.add([item(1, 0, 1)], specs())
    (start,) = of.plan(0, have_all)
    finish(of, start.message, start.slot, wall_ms)


def test_the_first_units_of_a_task_go_out_one_by_one() -> None:
    core = loop()
    core.add([item(1, 0, 100)], specs())
    starts = core.plan(0, have_all)
    assert [(start.slot, start.message["jobs"]) for start in starts] == [(0, [0]), (1, [1])]
    assert core.plan(0, have_all) == []


def test_short_units_go_out_many_at_a_time_and_two_chunks_deep() -> None:
    core = loop()
    taught(core, 1)
    core.add([item(2, 0, 1000)], {})
    sizes = [len(start.message["jobs"]) for start in core.plan(0, have_all)]
    sizes += [len(start.message["jobs"]) for start in core.plan(0, have_all)]
    assert sizes == [100, 100, 100, 100]
    assert core.plan(0, have_all) == []


def test_few_short_units_are_shared_between_slots() -> None:
    core = loop()
    taught(core, 1)
    core.add([item(2, 0, 10)], {})
    assert [len(start.message["jobs"]) for start in core.plan(0, have_all)] == [5, 3]


def test_long_units_never_wait_behind_one_another() -> None:
    core = loop()
    taught(core, 60_000)
    core.add([item(2, 0, 5)], {})
    assert [start.message["jobs"] for start in core.plan(0, have_all)] == [[0], [1]]
    assert core.units_max() == 0


def test_units_run_side_by_side_only_if_they_fit() -> None:
    core = loop(memory=1000)
    core.add([item(1, 0, 2)], specs(memory_bytes=600))
    (start,) = core.plan(0, have_all)
    assert core.free(0)["memory_bytes"] == 400
    finish(core, start.message, start.slot)
    assert [start.message["jobs"] for start in core.plan(0, have_all)] == [[1]]


def test_cpus_and_gpus_are_given_to_one_unit_at_a_time() -> None:
    core = loop(4, gpus=2)
    core.add([item(1, 0, 3)], specs(cpu=2, gpu=1))
    starts = core.plan(0, have_all)
    assert [start.message["cpus"] for start in starts] == [[0, 1], [2, 3]]
    assert [start.message["gpus"] for start in starts] == [["0"], ["1"]]
    assert core.idle_slots() == 0


def test_needs_of_a_lease_go_before_those_of_its_task() -> None:
    core = loop()
    core.add([item(1, 0, 1, needs={"memory_bytes": 700})], specs())
    (start,) = core.plan(0, have_all)
    assert start.message["needs"] == {**NEEDS, "memory_bytes": 700}


def test_a_unit_waits_for_its_blobs_and_lets_others_pass() -> None:
    core = loop(1)
    wanted = core.add(
        [item(1, 0, 1, inputs={"0": [["x", "aa", 1, 0o644]]}), item(2, 7, 8)], specs()
    )
    assert wanted == (["aa"], [])
    (start,) = core.plan(0, lambda digest: False)
    assert start.message["jobs"] == [7]
    finish(core, start.message, start.slot)
    (start,) = core.plan(0, have_all)
    assert (start.message["jobs"], list(start.message["inputs"])) == ([0], ["0"])


def test_units_whose_blob_is_not_to_be_had_are_named_and_dropped() -> None:
    core = loop(1)
    inputs = {"1": [["x", "aa", 1, 0o644]]}
    core.add([item(1, 0, 3, inputs=inputs)], specs())
    assert core.without_blob("aa") == [(1, "d/0/1", 1)]
    assert core.holding() == [[1, [0, 2]]]


def test_a_lease_that_is_told_twice_counts_once() -> None:
    core = loop()
    core.add([item(3, 0, 2)], specs())
    core.add([item(3, 0, 2)], {})
    assert core.holding() == [[3, [0, 1]]]
    assert core.seen == 3


def test_units_of_a_task_that_was_never_described_are_not_taken() -> None:
    core = loop()
    assert core.add([item(1, 0, 2), item(2, 5, 6, spec="e/0/1")], specs()) == ([], [[2, [5]]])
    assert core.holding() == [[1, [0, 1]]]


def test_descriptions_that_nobody_uses_go_once_there_are_many() -> None:
    core = loop()
    core.add([item(1, 0, 1)], {f"x/{number}/1": {} for number in range(SPECS_MAX)})
    assert core.add([item(2, 0, 1)], specs()) == ([], [])
    assert core.forget_specs()
    assert not core.forget_specs()
    assert core.spec("d/0/1")


def test_what_to_ask_for_follows_the_length_of_units() -> None:
    core = loop()
    assert core.units_max() == 6  # unknown: two a slot to wait, and one each to run
    taught(core, 10)
    assert core.units_max() == 202
    taught_long = loop()
    taught(taught_long, 60_000)
    assert taught_long.units_max() == 2


def test_asks_again_only_when_half_of_what_waits_is_gone() -> None:
    core = loop()
    taught(core, 10)
    core.add([item(2, 0, 202)], {})
    core.plan(0, have_all)
    assert core.units_max() == 0


def test_results_that_the_node_does_not_know_yet_bound_what_is_asked_for() -> None:
    core = loop()
    taught(core, 1)
    assert core.units_max(HELD_UNITS_MAX - 10) == 10
    assert core.units_max(HELD_UNITS_MAX + 10) == 0


def test_units_longer_than_the_time_left_are_given_up() -> None:
    core = loop(ends_s=100.0)
    core.add([item(1, 0, 2)], specs(time_s=60))
    assert core.too_long(30.0) == []
    assert core.too_long(41.0) == [[1, [0, 1]]]
    assert core.holding() == []


def test_stopping_drops_what_waits_and_names_the_slots_that_have_the_rest() -> None:
    core = loop()
    core.add([item(1, 0, 4), item(2, 0, 1)], specs())
    core.plan(0, have_all)
    assert core.stop(1, [0, 2]) == ([0, 1], [[1, [2]]])
    assert core.stop(2, None) == ([], [[2, [0]]])
    assert core.holding() == [[1, [0, 1, 3]]]


def test_a_lost_runner_costs_the_unit_that_was_alone_or_told() -> None:
    core = loop(1)
    core.add([item(1, 0, 3)], specs())
    core.plan(0, have_all)
    assert [lost.job for lost in core.slot_lost(0)] == [0]
    assert core.holding() == [[1, [1, 2]]]


def test_a_lost_runner_with_several_units_runs_them_again_one_by_one() -> None:
    core = loop(1)
    taught(core, 1)
    core.add([item(2, 0, 50)], {})
    core.plan(0, have_all)
    assert core.slot_lost(0) == []
    assert core.holding() == [[2, list(range(50))]]
    (start,) = core.plan(0, have_all)
    assert start.message["jobs"] == [0]


def test_draining_asks_for_nothing_and_hands_back_what_waits() -> None:
    core = loop(1)
    core.add([item(1, 0, 3)], specs())
    core.plan(0, have_all)
    core.draining = True
    assert core.hand_back() == [[1, [1, 2]]]
    assert core.units_max() == 0
    assert core.holding() == [[1, [0]]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "plan", "finish", "lose", "stop", "give"]),
            st.integers(0, 7),
            st.integers(1, 3000),
        ),
        max_size=60,
    )
)
def test_no_unit_is_lost_or_doubled_and_no_resource_leaks(
    steps: list[tuple[str, int, int]],
) -> None:
    core = loop(3, memory=25)  # two at once by memory
    lease = 0
    mine: set[tuple[int, int]] = set()
    out: dict[int, list[dict[str, Any]]] = {}
    for step, pick, wall_ms in steps:
        if step == "add":
            lease += 1
            core.add([item(lease, 0, pick + 1)], specs())
            mine |= {(lease, job) for job in range(pick + 1)}
        elif step == "plan":
            for start in core.plan(0, have_all):
                out.setdefault(start.slot, []).append(start.message)
        elif step == "finish" and out.get(pick):
            message = out[pick].pop(0)
            finish(core, message, pick, wall_ms)
            mine -= {(message["lease"], job) for job in message["jobs"]}
        elif step == "lose" and out.get(pick):
            out[pick] = []
            mine -= {(lost.lease, lost.job) for lost in core.slot_lost(pick)}
        elif step == "stop":
            _, dropped = core.stop(pick, None)
            mine -= {(number, job) for number, jobs in dropped for job in jobs}
        elif step == "give":
            dropped = core.hand_back()
            mine -= {(number, job) for number, jobs in dropped for job in jobs}
        held = [(number, job) for number, jobs in core.holding() for job in jobs]
        assert sorted(held) == sorted(mine)
        assert 0 <= core.free(0)["memory_bytes"] <= 25
    for slot, messages in out.items():
        for message in messages:
            finish(core, message, slot)
    assert core.free(0) == loop(3, memory=25).free(0)


def test_ranges_are_half_open() -> None:
    assert expand_ranges([0, 2, 5, 6]) == [0, 1, 5]


def test_work_without_units_is_no_work() -> None:
    pilot = loop()
    pilot.add([item(1), item(2, 0, 1)], specs())
    assert [start.message["lease"] for start in pilot.plan(0, have_all)] == [2]
    assert pilot.seen == 2
