"""A submit host that cannot be reached: told, not knocked at again and again, and no refusal."""

from __future__ import annotations

from tests.fakes.batch import AGAIN_S, Batch, FakeJob, FakeRunner
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.provisioning.test_probing import TESTED, Desk
from tests.unit.node.work.house import Described

WHY = "login2: the account's password has expired"


def runner_of(camp: Camp) -> FakeRunner:
    return camp.runners["maui"]


def submissions(camp: Camp) -> int:
    """All that were ever written down."""
    return int(camp.house.disk.conn.execute("SELECT count(*) FROM submission").get)


def test_nothing_is_begun_while_the_host_is_away_and_all_goes_on_once_it_is_back() -> None:
    camp = Camp(Described(1, 40))
    runner = runner_of(camp)
    runner.unreachable = WHY
    camp.run(1000)
    assert submissions(camp) == 0
    assert runner.knocks == 4
    (shown,) = camp.node.shown()
    assert shown["state"] == "no answer"
    assert shown["away"]["why"] == WHY
    assert 0 < shown["away"]["again_s"] <= AGAIN_S
    assert camp.node.trouble.startswith(f"site.maui: {WHY}; next try in ")
    assert camp.node.troubles["maui"][1] == WHY
    runner.unreachable = ""
    assert camp.run(AGAIN_S + 60, lambda: bool(camp.batch.living()))
    assert camp.node.trouble == ""


def test_a_host_that_goes_away_before_a_submission_has_refused_nothing() -> None:
    camp = Camp(Described(1, 40))
    runner = runner_of(camp)

    def cut(verb: str, moment: str) -> None:
        if (verb, moment) == ("limits", "after"):  # the last question of the first round
            runner.unreachable = WHY

    runner.on_verb = cut
    assert camp.run(60, lambda: runner.knocks > 0)
    assert submissions(camp) == 1
    assert not camp.verbs("submit")
    assert WHY in camp.system.trouble
    assert camp.system.refusals == 0
    assert not any(breaker.opened for breaker in camp.system.breakers.values())
    assert camp.house.work.arrivals.expected == {}
    runner.on_verb, runner.unreachable = lambda verb, moment: None, ""
    assert camp.run(AGAIN_S, lambda: bool(camp.batch.living()))


def test_why_tells_of_the_host_as_it_is_now() -> None:
    camp = Camp(Described(1, 40))
    runner_of(camp).unreachable = WHY
    camp.run(SETTINGS.look_s)
    (needs,) = camp.node.why
    for passed_s in (0, 100, 100):
        camp.run(passed_s)
        (shown,) = camp.node.shown()
        again_s = shown["away"]["again_s"]
        after = f"{again_s / 60:.0f} min" if again_s >= 120 else f"{again_s} s"
        assert camp.node.explain(needs) == {"maui": f"{WHY}; next try in {after}"}


def test_an_admin_who_tests_it_need_not_wait_for_the_next_try() -> None:
    desk = Desk(TESTED)
    runner = runner_of(desk.camp)
    runner.unreachable = WHY
    desk.camp.run(SETTINGS.look_s + 10)
    assert runner.knocks == 1
    desk.begin()
    (only,) = desk.ask("look")["steps"]
    assert only["detail"] == WHY
    assert only["right"].endswith("floe config reload")
    assert runner.knocks == 2
    runner.unreachable = ""
    desk.begin()
    assert desk.until("spoke to this node", 60)["ok"]
    assert desk.camp.system.looked_s is not None


def test_limits_of_queues_that_were_not_heard_are_asked_for_again_soon() -> None:
    camp = Camp(Described(1, 40))
    camp.batch.queues = [{"name": "long", "time_s_max": 86_400}]
    runner = runner_of(camp)

    def cut(verb: str, moment: str) -> None:
        if (verb, moment) == ("listing", "after"):
            runner.unreachable = WHY

    runner.on_verb = cut
    assert camp.run(60, lambda: runner.knocks > 0)
    assert not camp.system.queues
    runner.on_verb, runner.unreachable = lambda verb, moment: None, ""
    assert camp.run(2 * AGAIN_S + 60, lambda: bool(camp.system.queues))


def test_a_program_that_was_swept_from_the_hosts_disk_is_put_there_again() -> None:
    camp = Camp(Described(1, 4000))

    def behave(batch: Batch, job: FakeJob) -> None:
        (camp.good if job.argv[0] in batch.files else camp.dies)(batch, job)

    camp.behave = behave
    assert camp.run(100, lambda: bool(camp.pilots))
    (program,) = {job.argv[0] for job in camp.batch.jobs.values()}
    del camp.batch.files[program]
    for job in camp.batch.running():
        camp.batch.end(job)
    came = len(camp.pilots)
    assert camp.run(600, lambda: len(camp.pilots) > came)
