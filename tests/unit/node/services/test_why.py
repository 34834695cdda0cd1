"""What people are told when they ask why."""

import pytest

from node.model.dataset import Needs
from node.services.submit import Shape
from node.services.why import why_unit
from node.services.whyfacts import Dependency, Trouble, Try, UnitFacts, Workers
from node.services.whyset import DatasetFacts, TaskFacts, why_dataset

SHAPE = Shape("desy", 4, 0, 8_000_000_000, None)
WORKERS = Workers([SHAPE], pilots=1, slots=4, busy=4)


def unit(state="ready", **facts):
    return UnitFacts("nugen", 417, "reco", state, **({"workers": WORKERS} | facts))


def text(why):
    lines = [f"{line['mark']} {line['text']}" for line in why.lines]
    return "\n".join([f"{why.state}: {why.summary}", *lines, *(f"-> {step}" for step in why.next)])


def test_a_ready_unit_waits_for_a_slot_and_says_how_many_are_ahead():
    shown = text(why_unit(unit(ready_units=1000, units_per_s=10.0)))
    assert "4 of 4 slots are busy" in shown
    assert "1,000 units are ready, all of them done in about 100 s" in shown.replace(
        "2 min", "100 s"
    )


def test_a_unit_that_no_worker_could_run_says_what_would_fit():
    shown = text(why_unit(unit(needs=Needs(gpu=1, memory_bytes=16_000_000_000))))
    assert "no worker here could ever run it" in shown
    assert "it needs 1 CPU, 1 GPU, 16 GB memory" in shown
    assert "-> floe set edit nugen --task reco --gpu 0 --memory 8000MB" in shown


def test_a_waiting_unit_names_what_it_waits_for_and_where_to_look_next():
    dependencies = [
        Dependency("sim", "nugen/417/sim", "running"),
        Dependency("gen/make:*", "", "waiting", 3, 10),
        Dependency("cal", "nugen/417/cal", "settled", where="desy, 09:14"),
    ]
    shown = text(why_unit(unit("waiting", dependencies=dependencies)))
    assert shown.startswith("waiting: sim and gen/make:* are not settled yet")
    assert "ok cal settled (desy, 09:14)" in shown
    assert "wait gen/make:*: 3 of 10 settled" in shown
    assert "-> floe why nugen/417/sim" in shown


def test_a_blocked_unit_leads_to_the_guilty_one():
    dependencies = [Dependency("sim", "nugen/417/sim", "failed")]
    shown = text(why_unit(unit("blocked", dependencies=dependencies)))
    assert "sim cannot settle as things are" in shown
    assert "block sim is failed" in shown
    assert "-> floe why nugen/417/sim" in shown


def test_a_failed_unit_shows_its_attempts_and_how_to_go_on():
    tries = [
        Try(1, "infrastructure", "pilot-lost", host="a17"),
        Try(2, "payload", "exit", 3, "a18", "boo\nGCD file not found\n"),
        Try(3, "payload", "exit", 3, "a18"),
    ]
    shown = text(why_unit(unit("failed", tries=tries, retry_max=1)))
    assert "failed: exit 3 after 2 attempts; retry.max = 1 is spent" in shown
    assert "attempt #1 on a17: pilot lost, cost no retry" in shown
    assert 'attempt #2 on a18: exit 3, spent a retry: "GCD file not found"' in shown
    assert "-> floe logs nugen/417/reco#3" in shown
    assert "-> floe set retry nugen --task reco --jobs 417" in shown


@pytest.mark.parametrize(
    ("error", "option"),
    [("memory", "--memory 2000MB"), ("disk", "--disk 2000MB"), ("time", "--time 2h")],
)
def test_a_unit_that_ran_out_of_something_is_offered_more(error, option):
    shown = text(why_unit(unit("failed", tries=[Try(1, "resources", error)])))
    assert f"-> floe set edit nugen --task reco {option}" in shown


def test_a_running_unit_says_where_and_since_when():
    live = {"host": "a17", "started_ms": 1000, "heard_s_ago": 4.2}
    shown = text(why_unit(unit("ready", live=live, now_ms=61_000)))
    assert shown.startswith("running: on a17 for 60 s")
    assert "heard of 4 s ago" in shown


def test_a_leased_unit_is_next_in_line():
    live = {"host": "a17", "started_ms": None, "heard_s_ago": 1}
    assert "next in line" in text(why_unit(unit(live=live)))


def test_a_silent_pilot_is_said():
    live = {"host": "a17", "started_ms": 0, "heard_s_ago": 100, "lost": True}
    assert "silent" in text(why_unit(unit(live=live)))


@pytest.mark.parametrize("state", ["ready", "waiting"])
def test_a_paused_dataset_explains_its_units(state):
    dependency = [Dependency("sim", "nugen/417/sim", "ready")] if state == "waiting" else []
    shown = text(why_unit(unit(state, paused=True, dependencies=dependency)))
    assert "paused" in shown
    assert "-> floe set resume nugen" in shown


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (Workers([SHAPE], trouble="3 pilots ended without a word"), "ended without a word"),
        (Workers([SHAPE], draining="by ana"), "drained"),
        (Workers([SHAPE], starting=2), "no pilot is up; 2 on the way"),
    ],
)
def test_missing_workers_are_explained(workers, words):
    assert words in text(why_unit(unit(workers=workers)))


def test_a_unit_that_asks_for_too_much_is_told_what_others_needed():
    shown = text(why_unit(unit(finished=3204, memory_seen_bytes=100_000_000)))
    assert "3,204 finished ones needed at most 100 MB" in shown


def test_a_settled_unit_says_which_attempt_counted():
    shown = text(why_unit(unit("settled", tries=[Try(1, "success", host="a17", wall_s=12)])))
    assert "attempt #1 on a17 took 12 s" in shown


def counts(**given):
    names = ("units", "settled", "running", "ready", "waiting", "failed", "blocked", "cancelled")
    return dict.fromkeys(names, 0) | given


def dataset(total, **facts):
    task = TaskFacts("sim", total, Needs())
    return text(why_dataset(DatasetFacts("nugen", total, [task], workers=WORKERS, **facts)))


def test_a_finished_dataset_says_so():
    assert "all 5 units are settled" in dataset(counts(units=5, settled=5))


def test_a_running_dataset_says_how_long():
    shown = dataset(counts(units=9, settled=5, running=2, ready=2), eta_s=600)
    assert "2 units are running, 4 left, about 10 min to go" in shown


def test_a_dataset_in_which_nothing_can_move_leads_to_its_errors():
    shown = dataset(counts(units=5, settled=2, failed=1, blocked=2))
    assert shown.startswith("failed: 1 failed, 2 blocked")
    assert "-> floe errors nugen" in shown


def test_a_dataset_that_failed_does_not_speak_of_blocked_units_where_there_are_none():
    assert dataset(counts(units=5, settled=4, failed=1)).startswith("failed: 1 failed\n")


def test_a_dataset_behind_a_failed_one_leads_there():
    total = counts(units=1, blocked=1)
    task = TaskFacts("add", total, Needs(), [Dependency("gen/make:*", "", "waiting", 3, 4)])
    shown = text(why_dataset(DatasetFacts("sum", total, [task], workers=WORKERS)))
    assert shown.startswith("blocked: 1 unit is blocked")
    assert "-> floe why gen" in shown


def test_a_cancelled_dataset_is_not_called_settled():
    assert dataset(counts(units=5, settled=2, cancelled=3)) == "cancelled: 2 settled, 3 cancelled"


def test_a_paused_dataset_that_was_cancelled_is_not_sent_to_resume():
    assert "resume" not in dataset(counts(units=5, cancelled=5), paused=True)


def test_a_cancelled_unit_is_not_sent_to_a_retry_that_does_nothing():
    shown = text(why_unit(unit("cancelled")))
    assert "stays so" in shown
    assert "retry" not in shown


def test_a_unit_behind_many_jobs_leads_to_their_dataset():
    behind = [Dependency("ana@desy:gen/make:*", "", "waiting", 3, 4)]
    shown = text(why_unit(unit("blocked", dependencies=behind)))
    assert "block ana@desy:gen/make:*: 3 of 4 settled" in shown
    assert "-> floe why ana@desy:gen" in shown


def test_a_unit_that_got_more_thrice_is_offered_more_than_it_had():
    tries = [Try(number, "resources", "time") for number in (1, 2, 3)]
    tries.append(Try(4, "payload", "time"))
    assert "--time 4h" in text(why_unit(unit("failed", tries=tries)))


def test_a_paused_dataset_leads_to_resume():
    assert "-> floe set resume nugen" in dataset(counts(units=5, ready=5), paused=True)


def test_a_task_that_no_worker_fits_is_named():
    total = counts(units=5, ready=5)
    task = TaskFacts("sim", total, Needs(gpu=8))
    shown = text(why_dataset(DatasetFacts("nugen", total, [task], workers=WORKERS)))
    assert "sim needs 1 CPU, 8 GPU" in shown


def test_a_unit_says_what_keeps_settled_ones_from_serving():
    lost = Dependency("sim", "nugen/417/sim", "settled", holdup="its outputs were lost")
    shown = text(why_unit(unit(dependencies=[lost, Dependency("cal", "x/417/cal", "settled")])))
    assert shown.startswith("waiting: sim is not to be had yet")
    assert "wait sim: its outputs were lost" in shown
    assert "ok cal settled" in shown
    assert "-> floe why nugen/417/sim" in shown


def test_a_settled_unit_that_runs_again_says_so():
    shown = text(why_unit(unit("settled", again=True)))
    assert "wait its outputs were lost, and others need them: it runs again" in shown
    live = {"host": "w1", "started_ms": 0, "heard_s_ago": 1}
    shown = text(why_unit(unit("settled", again=True, live=live)))
    assert shown.startswith("running: on w1")


def test_what_came_out_otherwise_names_the_order_that_lets_it_count():
    order = "floe set renew nugen --task sim --jobs 417"
    lost = Dependency("sim", "nugen/417/sim", "settled", holdup="it differs", remedy=order)
    shown = text(why_unit(unit(dependencies=[lost])))
    assert "block sim: it differs" in shown
    assert f"-> {order}" in shown
    total = counts(units=5, ready=5)
    task = TaskFacts("reco", total, Needs(), [lost, lost])
    shown = text(why_dataset(DatasetFacts("nugen", total, [task], workers=WORKERS)))
    assert "block sim: it differs" in shown
    assert shown.count(f"-> {order}") == 1
    shown = text(why_unit(unit("settled", differs=True)))
    assert "block its outputs were lost; it was made again and came out otherwise" in shown
    assert "-> floe set renew nugen --task reco --jobs 417" in shown


def test_a_dataset_between_two_logs_says_where_it_goes():
    assert "a shard that desy leads" in text(why_unit(unit(moving_to="desy")))
    total = counts(units=5, ready=5)
    dataset = DatasetFacts("d", total, [TaskFacts("sim", total, Needs())], moving_to="desy")
    assert "it moves to a shard that desy leads" in text(why_dataset(dataset))


def test_an_order_without_effect_is_told_with_the_reason() -> None:
    orders = [("cancel", "the order was taken before"), ("pause", "")]
    shown = text(why_dataset(DatasetFacts("nugen", counts(ready=5), [], orders=orders)))
    assert "the order cancel was refused: the order was taken before" in shown
    assert "the order pause is kept here" in shown


def test_missing_files_are_told() -> None:
    facts = DatasetFacts("nugen", counts(ready=5), [], files="no site that is reachable has it")
    assert "files that came with it: no site that is reachable" in text(why_dataset(facts))


def test_the_batch_systems_part_of_the_answer_is_told_once():
    held, no = "job 4711 is held: JobHeldAdmin", "sbatch: error: invalid partition: lomg"
    due = f"the next submission is due in 30 s. nothing was submitted: {no}"
    troubles = {
        "gpu": Trouble(f"submissions are refused; one is tried in 58 s. {no}", no),
        "maui": Trouble("3 pilots in a row ended", "exit status 127"),  # of another shape
        "hilo": Trouble("submissions are refused. no such queue", "no such queue"),
    }
    workers = Workers([SHAPE], troubles=troubles, barred=2)
    batch = {"maui": held, "gpu": due}
    shown = text(why_unit(unit(workers=workers, batch=batch)))
    total = counts(units=5, ready=5)
    task = TaskFacts("reco", total, Needs(), batch=batch)
    also = text(why_dataset(DatasetFacts("nugen", total, [task], workers=workers)))
    for each in (shown, also):
        assert f"wait maui: {held}" in each
        assert f"block gpu: {due}" in each
        assert each.count(no) == 1
        assert "block hilo: submissions are refused. no such queue" in each
        assert "127" not in each
    assert "2 workers get no units, as everything failed there at once" in shown
    assert "-> floe site show" in shown


def test_a_unit_that_fits_nowhere_quotes_each_batch_system():
    batch = {"maui": "needs 2 GPUs, its pilots have 0"}
    shown = text(why_unit(unit(needs=Needs(gpu=2), batch=batch)))
    assert "block maui: needs 2 GPUs, its pilots have 0" in shown


def test_a_dataset_tells_what_its_tasks_wait_for_in_batch_systems():
    counts = {"units": 20, "settled": 0, "ready": 20, "running": 0, "failed": 0, "blocked": 0,
              "cancelled": 0, "waiting": 0}  # fmt: skip
    full = "20 of 20 queued pilots, as many as are allowed"
    tasks = [
        TaskFacts("sim", counts, Needs(), batch={"maui": full}),
        TaskFacts("reco", counts, Needs(), batch={"maui": full}),
        TaskFacts("late", counts | {"ready": 0}, Needs(), batch={"maui": "nobody asked"}),
    ]
    shown = text(why_dataset(DatasetFacts("nugen", counts, tasks, workers=WORKERS)))
    assert f"wait sim, reco: maui: {full}" in shown
    assert "nobody asked" not in shown


def test_what_keeps_pilots_is_looked_for_where_it_is_shown():
    troubled = Workers([SHAPE], trouble="site.maui: submissions are refused")
    assert why_unit(unit(workers=troubled)).next == ["floe site show"]
