"""Which units a pilot gets: readiness, fit, fair share, order."""

from dataclasses import replace

from federation.records import Outcome
from node.dispatch import Dispatch, Offer, Room
from node.model.dataset import Needs
from node.model.share import Shares
from node.ranges import jobs_of
from node.unitstate import DatasetFacts, TaskFacts, TaskState, Tries, Wait

ANA, BEN = b"a" * 32, b"b" * 32
ROOM = Room(8, 0, 10**11, 10**12)
NEEDS = Needs()


def task(no: int, *waits: Wait, jobs: int = 100, needs: Needs = NEEDS, **more: object) -> TaskFacts:
    facts = TaskFacts(no, no % 64, needs, waits, owned=[0, jobs])
    return replace(facts, **more)  # type: ignore[arg-type]


def dataset(no: int, *tasks: TaskFacts, jobs: int = 100, **more: object) -> DatasetFacts:
    facts = DatasetFacts(no, ANA, "physics", 50, no, jobs, False, tasks)
    return replace(facts, **more)  # type: ignore[arg-type]


def dispatch(*datasets: DatasetFacts) -> Dispatch:
    made = Dispatch(Shares())
    for facts in datasets:
        made.ready.load(facts)
    return made


def offer(units: int, room: Room = ROOM) -> Offer:
    return Offer(room, room, units)


def taken(made: Dispatch, units: int, room: Room = ROOM) -> list[tuple[int, int]]:
    """(task, job) of everything that a pilot with this room gets."""
    return [
        (pick.task.no, job) for pick in made.take(offer(units, room)) for job in jobs_of(pick.flat)
    ]


def state(made: Dispatch, no: int) -> TaskState:
    return made.ready.tasks[no]


def test_units_go_out_once_in_order_of_their_jobs() -> None:
    made = dispatch(dataset(1, task(64)))
    assert taken(made, 3) == [(64, 0), (64, 1), (64, 2)]
    assert taken(made, 2) == [(64, 3), (64, 4)]
    assert state(made, 64).leased.count == 5


def test_nothing_goes_out_that_was_not_granted_here() -> None:
    made = dispatch(dataset(1, task(64, owned=[5, 7])))
    assert taken(made, 9) == [(64, 5), (64, 6)]
    made.ready.grant([64], [0, 1])
    assert taken(made, 9) == [(64, 0)]


def test_a_child_is_ready_as_soon_as_its_parent_is_reported() -> None:
    made = dispatch(dataset(1, task(64, jobs=2), task(65, Wait(64), jobs=2), jobs=2))
    assert taken(made, 9) == [(64, 0), (64, 1)]
    made.ready.succeed(state(made, 64), [1, 2])
    assert taken(made, 9) == [(65, 1)]


def test_a_child_of_two_waits_for_both() -> None:
    both = task(66, Wait(64), Wait(65), jobs=1)
    made = dispatch(dataset(1, task(64, jobs=1), task(65, jobs=1), both, jobs=1))
    assert taken(made, 9) == [(65, 0), (64, 0)]
    made.ready.succeed(state(made, 64), [0, 1])
    assert taken(made, 9) == []
    made.ready.succeed(state(made, 65), [0, 1])
    assert taken(made, 9) == [(66, 0)]


def test_a_gate_opens_when_the_last_job_of_the_other_dataset_is_done() -> None:
    made = dispatch(
        dataset(1, task(64, jobs=3), jobs=3),
        dataset(2, task(128, Wait(64, whole=3), jobs=1), jobs=1),
    )
    assert len(taken(made, 9)) == 3
    made.ready.succeed(state(made, 64), [1, 3])
    assert taken(made, 9) == []
    made.ready.succeed(state(made, 64), [0, 1])
    assert taken(made, 9) == [(128, 0)]


def test_a_dataset_may_wait_for_one_that_ended_before() -> None:
    facts = dataset(2, task(128, Wait(64), jobs=4), jobs=4, sources={64: [0, 2]})
    assert taken(dispatch(facts), 9) == [(128, 0), (128, 1)]


def test_what_is_done_no_longer_of_a_dataset_that_others_wait_for_holds_them_up() -> None:
    sources = {64: [0, 100]}
    made = dispatch(dataset(2, task(128, Wait(64)), sources=sources))
    assert taken(made, 1) == [(128, 0)]
    made.ready.withhold(1)
    assert taken(made, 1) == []
    made.ready.settle(state(made, 64), [5, 7])
    assert taken(made, 9) == [(128, 5), (128, 6)]


def test_an_ended_dataset_is_forgotten_but_what_others_wait_for_stays() -> None:
    made = dispatch(
        dataset(1, task(64, jobs=2), jobs=2), dataset(2, task(128, Wait(64), jobs=2), jobs=2)
    )
    assert not made.ready.forget(1)
    assert len(taken(made, 9)) == 2
    made.ready.succeed(state(made, 64), [0, 2])
    assert made.ready.forget(1)
    assert taken(made, 9) == [(128, 0), (128, 1)]
    made.ready.succeed(state(made, 128), [0, 2])
    assert made.ready.forget(2)
    assert not made.ready.tasks
    assert not made.ready.datasets


def test_a_failed_unit_waits_for_the_verdict_and_then_runs_again_as_a_later_attempt() -> None:
    made = dispatch(dataset(1, task(64, jobs=1), jobs=1))
    taken(made, 1)
    made.ready.fail(state(made, 64), [(0, Outcome.PAYLOAD, "exit")])
    assert taken(made, 1) == []
    made.ready.judge(state(made, 64), [0])
    assert state(made, 64).tries[0] == Tries(attempts=1)
    assert taken(made, 1) == [(64, 0)]


def test_a_unit_that_failed_for_good_runs_no_more_until_it_is_retried() -> None:
    made = dispatch(dataset(1, task(64, jobs=1), jobs=1))
    taken(made, 1)
    made.ready.fail(state(made, 64), [(0, Outcome.PAYLOAD, "exit")])
    made.ready.judge(state(made, 64), [0])
    made.ready.close(state(made, 64), [0])
    assert taken(made, 1) == []
    made.ready.load(dataset(1, task(64, jobs=1, done=None, shut=()), jobs=1))
    assert taken(made, 1) == [(64, 0)]


def test_a_unit_that_ran_out_of_memory_asks_for_half_as_much_again() -> None:
    made = dispatch(dataset(1, task(64, jobs=2), jobs=2))
    taken(made, 2)
    made.ready.fail(state(made, 64), [(0, Outcome.RESOURCES, "memory")])
    made.ready.judge(state(made, 64), [0])
    made.ready.unlease(state(made, 64), [1, 2])
    picks = {pick.needs.memory_bytes: jobs_of(pick.flat) for pick in made.take(offer(9))}
    assert picks == {NEEDS.memory_bytes: [1], NEEDS.memory_bytes * 3 // 2: [0]}


def test_a_boost_goes_no_further_than_the_largest_pilot() -> None:
    made = dispatch(dataset(1, task(64, jobs=1, tries={0: Tries(3, memory=3)}), jobs=1))
    small = replace(ROOM, memory_bytes=2 * 10**9)
    assert taken(made, 1, small) == []
    made.ready.offered(2 * 10**9, 10**12, None)
    assert taken(made, 1, small) == [(64, 0)]
    tight = dispatch(dataset(1, task(64, jobs=1, tries={0: Tries(1, memory=1)}), jobs=1))
    tight.ready.offered(10**8, 10**12, None)
    assert tight.ready.tasks[64].needs_of(0, tight.ready.most).memory_bytes == NEEDS.memory_bytes


def test_units_beyond_the_free_room_stay_behind() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(cpu=3))))
    assert len(taken(made, 9)) == 2
    gpu = dispatch(dataset(1, task(64, needs=Needs(gpu=1))))
    assert taken(gpu, 9) == []
    assert taken(gpu, 9, replace(ROOM, gpu=1)) == [(64, 0)]


def test_a_pilot_that_ends_soon_gets_no_long_units() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(time_s=3600))))
    assert taken(made, 1, replace(ROOM, time_left_s=3599.0)) == []
    assert taken(made, 1, replace(ROOM, time_left_s=3600.0)) == [(64, 0)]


def test_a_unit_that_does_not_fit_does_not_hide_those_behind_it() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(cpu=99))), dataset(2, task(128)))
    assert taken(made, 1) == [(128, 0)]


def test_only_short_units_are_queued_at_a_pilot() -> None:
    full = replace(ROOM, cpu=0)
    made = dispatch(dataset(1, task(64)))
    assert made.take(Offer(full, ROOM, 50)) == []
    made.learn_wall(state(made, 64), 0.001)
    assert sum(pick.units for pick in made.take(Offer(full, ROOM, 50))) == 50
    made.learn_wall(state(made, 64), 10_000)
    assert made.take(Offer(full, ROOM, 50)) == []


def test_a_few_units_of_an_unknown_task_may_wait_behind_short_ones() -> None:
    full = replace(ROOM, cpu=0)
    made = dispatch(dataset(1, task(64)))
    brisk = Offer(full, ROOM, 50, brisk=True)
    assert sum(pick.units for pick in made.take(brisk)) == ROOM.cpu
    assert made.take(replace(brisk, brisk=False)) == []


def test_a_long_unit_may_wait_behind_short_ones_but_not_two_kinds_of_them() -> None:
    full = replace(ROOM, cpu=0)
    made = dispatch(dataset(1, task(64)), dataset(2, task(128)))
    for no in (64, 128):
        made.learn_wall(state(made, no), 1000)
    picks = made.take(Offer(full, ROOM, 50, brisk=True))
    assert [(pick.task.no, pick.units) for pick in picks] == [(64, 8)]


def test_a_pilot_is_kept_for_a_unit_that_was_passed_over_for_long() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(cpu=8))), dataset(2, task(128)))
    seven = replace(ROOM, cpu=7)

    def ask(pilot: int, now_s: float, free: Room = seven) -> list[int]:
        return [pick.task.no for pick in made.take(Offer(free, ROOM, 1, pilot=pilot, now_s=now_s))]

    assert ask(1, 0.0) == [128]
    assert ask(1, 299.0) == [128]
    assert ask(1, 300.0) == []
    assert made.keeps(1)
    assert ask(2, 310.0) == [128]  # one pilot is enough
    assert ask(1, 320.0) == []
    assert ask(1, 330.0, ROOM) == [64]
    assert ask(1, 331.0) == [128]
    assert not made.keeps(1)


def test_a_pilot_that_went_away_is_not_kept() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(cpu=8))), dataset(2, task(128)))
    seven = replace(ROOM, cpu=7)
    for pilot, now_s in ((1, 0.0), (1, 300.0)):
        made.take(Offer(seven, ROOM, 1, pilot=pilot, now_s=now_s))
    assert made.take(Offer(seven, ROOM, 1, pilot=2, now_s=400.0)) == []
    assert made.keeps(2)


def test_a_unit_that_fits_no_pilot_keeps_none() -> None:
    made = dispatch(dataset(1, task(64, needs=Needs(cpu=99))), dataset(2, task(128)))
    for now_s in (0.0, 1000.0, 2000.0):
        assert len(made.take(Offer(ROOM, ROOM, 1, pilot=1, now_s=now_s))) == 1


def test_paused_units_stay_and_go_on_when_resumed() -> None:
    made = dispatch(dataset(1, task(64), paused=True))
    assert taken(made, 1) == []
    made.ready.load(dataset(1, task(64, done=None)))
    assert taken(made, 1) == [(64, 0)]
    made.ready.load(dataset(1, task(64, done=None), paused=True))
    made.ready.unlease(state(made, 64), [0, 1])
    assert taken(made, 1) == []


def test_priority_then_age_order_one_persons_datasets() -> None:
    made = dispatch(
        dataset(1, task(64, jobs=1), jobs=1),
        dataset(2, task(128, jobs=1), jobs=1),
        dataset(3, task(192, jobs=1), jobs=1, priority=60),
    )
    assert [no for no, _ in (taken(made, 1) + taken(made, 1) + taken(made, 1))] == [192, 64, 128]


def test_later_tasks_of_started_jobs_go_first() -> None:
    made = dispatch(dataset(1, task(64), task(65, Wait(64))))
    taken(made, 2)
    made.ready.succeed(state(made, 64), [0, 2])
    assert taken(made, 2) == [(65, 0), (65, 1)]


def test_a_second_person_gets_every_other_unit_at_once() -> None:
    made = dispatch(dataset(1, task(64, jobs=10**6), jobs=10**6))
    for _ in range(100):
        taken(made, 8)
    made.ready.load(dataset(2, task(128), person=BEN))
    got = [no for _ in range(10) for no, _ in taken(made, 8)]
    assert got.count(128) == 80  # the first one holds 800 units: the second catches up
    made.ready.load(dataset(3, task(192, jobs=10**6), jobs=10**6, person=BEN))
    got = [no for _ in range(400) for no, _ in taken(made, 8)]
    assert abs(got.count(192) - (got.count(64) + 720)) < 100


def test_usage_decides_between_people_and_shares_weigh_it() -> None:
    made = dispatch(dataset(1, task(64)), dataset(2, task(128), person=BEN))
    made.shares.refresh({(ANA, "physics"): 1000.0, (BEN, "physics"): 10.0})
    assert taken(made, 1) == [(128, 0)]
    made.shares.people = {ANA: 1000.0}
    assert taken(made, 1) == [(64, 0)]


def test_what_is_charged_at_the_start_is_taken_back_at_the_end() -> None:
    made = dispatch(dataset(1, task(64)))
    account = made.shares.account(ANA, "physics")
    pick = made.take(offer(4))[0]
    assert account.running_s == pick.cost_s * 4
    made.settle_cost(pick.task, 3, pick.cost_s, 2.5)
    made.give_back(pick.task, [3, 4], pick.cost_s)
    assert account.running_s == 0
    assert made.shares.group_s["physics"] == account.pending_s == 2.5


def test_hundred_large_datasets_cost_little_memory() -> None:
    import tracemalloc

    def chain(no: int) -> DatasetFacts:
        first = no * 64
        tasks = [
            task(first + i, *([Wait(first + i - 1)] if i else []), jobs=10**6) for i in range(4)
        ]
        return dataset(no, *tasks, jobs=10**6)

    tracemalloc.start()
    made = dispatch(*[chain(no) for no in range(1, 101)])
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(each.ready for each in made.ready.datasets.values()) == 10**8
    assert used < 2_000_000
