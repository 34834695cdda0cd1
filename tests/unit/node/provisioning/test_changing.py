"""Settings that change while the node runs: of a batch system, or which batch systems there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from node.config import ApiConfig, Config, ConfigError, LocalConfig
from node.provisioning import ordering
from node.provisioning.changes import CannotChange
from node.provisioning.jobs import Cancel
from node.provisioning.settings import TIMES_S, SystemConfig
from node.provisioning.system import STOP_S_MAX
from node.services.refusal import Refusal
from node.services.sitesettings import SiteSettings
from schedulers.base import JobState
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

LOOK_S = SETTINGS.look_s
OTHER = replace(SETTINGS, name="wawel")


def change(camp: Camp, *systems: SystemConfig, anyway: bool = False) -> Any:
    """The words, or the error."""
    told: list[Any] = []
    Deferred.fromCoroutine(camp.node.change(systems, anyway=anyway)).addBoth(told.append)
    camp.settle()
    if not told:
        camp.run(3 * STOP_S_MAX)  # a command hangs
    (answer,) = told
    return answer.value if isinstance(answer, Failure) else answer


def test_limits_and_shapes_count_with_the_next_submission() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.slots, camp.unit_s = 100, 10_000
    camp.run(300)
    assert len(camp.batch.living()) == SETTINGS.running_max
    new = replace(
        SETTINGS, running_max=9, factories=(replace(SETTINGS.factories[0], times_s=(36_000,)),)
    )
    assert change(camp, new) == ["site.maui: kinds of pilots, running_max"]
    assert camp.run(300, lambda: len(camp.batch.living()) == 9)
    assert {job.time_s for job in camp.batch.jobs.values()} == {TIMES_S[0], 36_000}


def test_a_refused_shape_is_tried_at_once_after_somebody_has_acted() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.faults.refuses = "invalid account"
    camp.run(100)
    assert camp.verbs("submit")
    assert not list(camp.system.book)  # nothing is in doubt
    assert "invalid account" in camp.node.trouble
    camp.batch.faults.refuses = ""
    account = replace(SETTINGS, factories=(replace(SETTINGS.factories[0], account="ice"),))
    change(camp, account)
    camp.behave = camp.silent
    assert camp.run(60, lambda: bool(camp.batch.living()))
    assert camp.node.trouble == ""


def test_a_batch_system_that_did_not_answer_is_asked_at_once() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.faults.fails = True
    camp.run(3000)
    camp.batch.faults.fails = False
    change(camp, SETTINGS)
    assert camp.run(60, lambda: bool(camp.batch.living()))


def test_a_new_batch_system_is_used_and_one_left_out_is_not() -> None:
    camp = Camp(Described(1, 4000))
    camp.add(OTHER)
    assert change(camp, SETTINGS, OTHER) == ["site.wawel is used from now on"]
    assert camp.run(300, lambda: bool(camp.batches["wawel"].living()))
    refused = change(camp, SETTINGS)
    assert isinstance(refused, CannotChange)
    assert "floe site limits wawel --pilots 0" in str(refused)
    assert camp.node.limit("wawel", 0, 0)
    assert camp.run(1200, lambda: not camp.batches["wawel"].living())
    camp.run(300)
    assert change(camp, SETTINGS) == ["site.wawel is not used any more"]
    before = len(camp.batches["wawel"].ran)
    camp.run(300)
    assert len(camp.batches["wawel"].ran) == before


def test_one_with_pilots_cannot_become_another_one() -> None:
    camp = Camp(Described(1, 4000))
    camp.run(100)
    for new in (replace(SETTINGS, kind="sge"), replace(SETTINGS, host="login2")):
        refused = change(camp, new)
        assert isinstance(refused, CannotChange)
    assert camp.system.settings == SETTINGS
    assert change(camp, replace(SETTINGS, python="/opt/python")) == ["site.maui: python"]
    living = {job.name for job in camp.batch.living()}
    camp.run(120)
    assert {job.name for job in camp.batch.living() if job.name in living} == living


MOVED = replace(SETTINGS, folder="/scratch/ana")


@pytest.mark.parametrize("restarts", [False, True])
def test_what_pilots_printed_is_read_where_they_print_it_though_the_folder_is_another_now(
    restarts: bool,
) -> None:
    camp = Camp(Described(1, 4000))
    camp.behave, camp.batch.wait_s = camp.dies, 100
    camp.run(60)
    assert {job.log.startswith("/pilots/maui/") for job in camp.batch.living()} == {True}
    if restarts:
        camp.settings = (MOVED,)
        camp.restart()
    else:
        assert change(camp, MOVED) == ["site.maui: folder"]
    camp.run(120)
    assert "it said: Traceback / no route to node" in camp.node.trouble
    camp.behave = camp.good
    assert camp.run(600, lambda: bool(camp.pilots))
    assert camp.pilots[0].job.log.startswith("/scratch/ana/")


def test_files_of_pilots_are_removed_in_the_end_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordering, "FOLDERS_KEPT", 1)
    camp = Camp(Described(1, 4000))
    camp.batch.slots = 0
    for settings in (SETTINGS, MOVED, MOVED, MOVED):
        change(camp, settings)
        assert camp.run(90, lambda: bool(camp.batch.living()))
        camp.run(LOOK_S)
        for job in camp.batch.living():
            camp.batch.end(job, JobState.CANCELLED, words="by root")
        camp.run(2 * LOOK_S)
    tags = {path.split("/")[-2] for path in camp.batch.files if path.endswith(".json")}
    first = next(iter(camp.batch.jobs.values())).tag
    assert first not in tags
    assert len(tags) <= 3


def test_lower_limits_cancel_what_waits_and_let_what_runs_finish() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.slots = 3
    camp.run(200)
    assert not camp.node.limit("nobody", 1, 1)
    assert camp.node.limit("maui", 2, 0)
    assert camp.run(300, lambda: len(camp.batch.living()) == 2)
    ends = {job.state for job in camp.batch.jobs.values() if job.state.over}
    assert ends == {JobState.CANCELLED, JobState.DONE}


def test_a_batch_system_that_may_have_no_pilots_lets_go_of_those_that_wait_at_once() -> None:
    camp = Camp(Described(1, 4000))
    camp.batch.slots = 2
    camp.unit_s = 600.0
    camp.run(100)
    assert len(camp.batch.living()) > len(camp.batch.running()) == 2
    assert camp.node.limit("maui", 0, None)
    camp.run(2)
    assert len(camp.batch.living()) == len(camp.batch.running()) == 2
    why = {job.cancelled for each in camp.system.book for job in each.jobs.values()}
    assert why == {None, Cancel.LIMIT}
    assert camp.run(900, lambda: not camp.batch.living())


# What an admin is told.


class Facts:
    def __init__(self, config: Config) -> None:
        self.config = config


class Local:
    def __init__(self) -> None:
        self.settings = LocalConfig(pilots_min=1, pilots_max=2)
        self.looked = 0

    def wanted(self) -> None:
        self.looked += 1


class Ana:
    name = "ana"


class Desk:
    """An admin of a camp. file: what config.toml says now."""

    def __init__(self) -> None:
        self.camp = Camp(Described(1, 40))
        self.local = Local()
        self.file: Config | ConfigError = Config(local=self.local.settings, systems=(SETTINGS,))
        self.facts = Facts(self.file)
        facts: Any = self.facts
        self.settings = SiteSettings(self._load, facts, self.local, self.camp.node)

    def _load(self) -> Config:
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file

    def ask(self, verb: str, **body: Any) -> Any:
        asking: Any = Ana()
        told: list[Any] = []
        made = getattr(self.settings, verb)(body, asking)
        Deferred.fromCoroutine(made).addBoth(told.append)
        self.camp.settle()
        return told[0].value if isinstance(told[0], Failure) else told[0]


def test_what_counts_at_once_is_told_from_what_counts_from_the_next_start() -> None:
    desk = Desk()
    assert isinstance(desk.file, Config)
    desk.file = replace(
        desk.file,
        name="krakow",
        api=ApiConfig(metrics=True),
        local=replace(desk.file.local, pilots_max=5),
        systems=(replace(SETTINGS, queued_max=1, submit_s=60),),
    )
    answer = desk.ask("reload")
    assert answer["changed"] == ["site.local: pilots_max", "site.maui: queued_max, submit_every"]
    assert answer["later"] == ["name", "api.metrics"]
    assert (desk.local.settings.pilots_max, desk.local.looked) == (5, 1)
    assert desk.camp.system.settings.queued_max == 1
    assert desk.facts.config.local.pilots_max == 5
    assert desk.facts.config.name == Config().name
    assert desk.ask("reload") == {"changed": [], "later": ["name", "api.metrics"]}


@pytest.mark.parametrize("error", ["1 problem\n  site.maui.queue  is no such name"])
def test_a_file_that_is_wrong_changes_nothing(error: str) -> None:
    desk = Desk()
    desk.file = ConfigError(error)
    refused = desk.ask("reload")
    assert isinstance(refused, Refusal)
    assert "nothing was changed" in str(refused)
    assert "site.maui.queue" in str(refused)


def test_limits_are_shown_and_changed_until_the_next_start() -> None:
    desk = Desk()
    desk.camp.run(60)
    assert desk.ask("limits")["limits"]["pilots_max"] == 2
    (maui,) = desk.ask("limits", system="maui", pilots_max=3)["batch"]
    assert (maui["running_max"], maui["queued_max"]) == (3, SETTINGS.queued_max)
    assert desk.ask("limits", pilots_max=0)["limits"]["pilots_min"] == 0
    assert "maui" in str(desk.ask("limits", system="muai", pilots_max=3).right)
    for body in ({"pilots_max": -1}, {"pilots_max": "3"}, {"queued_max": 3}):
        assert isinstance(desk.ask("limits", **body), Refusal)
    desk.ask("reload")
    assert desk.camp.system.settings == SETTINGS


def test_pilots_are_given_up_by_an_order_that_says_so() -> None:
    desk = Desk()
    assert isinstance(desk.file, Config)
    desk.camp.run(60)
    desk.file = replace(desk.file, systems=())
    refused = desk.ask("reload")
    assert isinstance(refused, Refusal)
    assert "nothing was changed: site.maui cannot be left out: " in str(refused)
    (said,) = desk.ask("reload", anyway=True)["changed"]
    assert "site.maui is not used any more" in said
    assert desk.camp.node.systems == []
