"""How many pilots are kept, and what happens when they die."""

import json
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import LocalConfig
from node.provision import BREAK_S_MIN, STRANDED_S, PilotHome, Provision
from node.store import pilots as store
from schedulers.base import JobName, JobState, PilotSpec, SchedulerError
from tests.unit.node.work.house import Described, House, PilotSide

SETTINGS = LocalConfig(pilots_min=0, pilots_max=1, slots=4)


class Launcher:
    """Processes that exist as long as the test says so."""

    name = "local"

    def __init__(self) -> None:
        self.started: list[PilotSpec] = []
        self.dead: set[JobName] = set()
        self.cancelled: list[JobName] = []
        self.broken = ""

    def submit(self, spec: PilotSpec) -> list[JobName]:
        if self.broken:
            raise SchedulerError(self.broken)
        self.started.append(spec)
        return [JobName(str(len(self.started)))]

    def states(self, jobs: Sequence[JobName]) -> dict[JobName, JobState]:
        return {job: JobState.ENDED if job in self.dead else JobState.RUNNING for job in jobs}

    def find(self, word: str) -> JobName | None:
        for number, spec in enumerate(self.started, 1):
            if word in spec.argv and JobName(str(number)) not in self.dead:
                return JobName(str(number))
        return None

    def cancel(self, jobs: Sequence[JobName]) -> None:
        self.cancelled += jobs


class Machine:
    """A site with its own pilots."""

    def __init__(self, folder: Path, house: House, settings: LocalConfig = SETTINGS) -> None:
        self.house = house
        self.launcher = Launcher()
        self.where = PilotHome(folder, ["python3", "pilot.pyz"], ["https://x"], "ab", ["/home"])
        self.begin(settings)

    def begin(self, settings: LocalConfig = SETTINGS) -> None:
        work = self.house.work
        self.provision = Provision(self.house.clock, work, self.launcher, settings, self.where)
        self.provision.start(store.live(self.house.disk.conn))

    def pass_s(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.house.clock.advance(1)
            self.house.settle()

    def settings_of(self, number: int) -> dict[str, object]:
        found: dict[str, object] = json.loads(
            Path(self.launcher.started[number].argv[-1]).read_text()
        )
        return found

    def up(self, number: int = 0) -> PilotSide:
        """The pilot that was started comes up."""
        pilot = PilotSide(self.house, str(self.settings_of(number)["token"]))
        pilot.announce()
        return pilot

    def die(self, number: int = 0) -> None:
        self.launcher.dead.add(JobName(str(number + 1)))
        self.pass_s(3)


def machine(tmp_path: Path, *datasets: Described, settings: LocalConfig = SETTINGS) -> Machine:
    made = Machine(tmp_path, House(*datasets), settings)
    made.pass_s(3)
    return made


def test_a_pilot_is_started_when_there_is_work_and_only_then(tmp_path: Path) -> None:
    assert machine(tmp_path / "a").launcher.started == []
    assert len(machine(tmp_path / "b", Described(1, 5)).launcher.started) == 1


def test_the_token_is_in_a_private_file_and_not_on_the_command_line(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    spec = made.launcher.started[0]
    token = str(made.settings_of(0)["token"])
    assert not any(token in word for word in spec.argv)
    assert stat.S_IMODE(Path(spec.argv[-1]).stat().st_mode) == 0o600
    assert made.settings_of(0)["slots"] == 4


def test_no_second_pilot_is_started_while_the_first_one_starts_or_has_room(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 50), settings=replace(SETTINGS, pilots_max=3))
    made.pass_s(20)
    assert len(made.launcher.started) == 1
    pilot = made.up()
    pilot.poll(3)
    made.pass_s(20)
    assert len(made.launcher.started) == 1
    pilot.poll(1)
    made.pass_s(5)
    assert len(made.launcher.started) == 2


def test_a_minimum_of_pilots_is_kept_without_work(tmp_path: Path) -> None:
    made = machine(tmp_path, settings=replace(SETTINGS, pilots_min=2, pilots_max=2))
    made.pass_s(5)
    assert len(made.launcher.started) == 2


def test_a_drained_site_starts_no_pilots_in_place_of_those_that_it_sends_away(
    tmp_path: Path,
) -> None:
    made = machine(tmp_path, settings=replace(SETTINGS, pilots_min=2, pilots_max=2))
    made.pass_s(5)
    made.house.work.drain(True)
    made.die()
    made.pass_s(30)
    assert len(made.launcher.started) == 2
    made.house.work.drain(False)
    made.pass_s(30)
    assert len(made.launcher.started) == 3


def test_units_of_a_dead_process_run_again_at_once(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    made.up().poll(4)
    made.die()
    assert made.house.work.running(64) == 0
    assert len(made.launcher.started) == 2
    assert {error for _, _, _, error in made.house.disk.attempts} == {"pilot-lost"}


def test_pilots_that_die_young_stop_the_starting_of_more_for_a_while(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    for number in range(3):
        log = Path(made.launcher.started[number].log)
        log.write_text("no space on this worker\n")
        made.die(number)
    assert len(made.launcher.started) == 3
    assert "3 pilots in a row" in made.provision.trouble
    assert "no space on this worker" in made.provision.trouble
    made.pass_s(BREAK_S_MIN + 3)
    assert len(made.launcher.started) == 4
    pilot = made.up(3)
    pilot.poll(2)
    pilot.finish()
    made.die(3)
    assert made.provision.trouble == ""
    assert len(made.launcher.started) == 5


def test_a_pilot_that_took_its_leave_is_no_failure(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    for number in range(4):
        pilot = made.up(number)
        pilot.report({**pilot.results(), "leaving": True})
        made.die(number)
    assert made.provision.trouble == ""
    assert len(made.launcher.started) == 5


def test_a_scheduler_that_refuses_is_told_to_people(tmp_path: Path) -> None:
    made = Machine(tmp_path, House(Described(1, 5)))
    made.launcher.broken = "python3: no such file"
    made.pass_s(10)
    assert "no such file" in made.provision.trouble
    assert made.house.work.arrivals.expected == {}


def test_pilots_are_found_again_after_a_restart(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    pilot = made.up()
    pilot.poll(4)
    made.provision.stop()
    made.house.kill()
    made.house.start()
    made.begin()
    made.pass_s(5)
    assert len(made.launcher.started) == 1
    assert made.house.work.running(64) == 4
    made.die()
    assert made.house.work.running(64) == 0
    assert len(made.launcher.started) == 2


@pytest.mark.parametrize("alive", [True, False])
def test_a_pilot_whose_name_was_not_written_down_is_looked_for(tmp_path: Path, alive: bool) -> None:
    made = machine(tmp_path, Described(1, 5))
    made.up().poll(4)
    made.house.disk.conn.execute("UPDATE pilot SET job = ''")
    made.provision.stop()
    made.house.kill()
    made.house.start()
    if not alive:
        made.launcher.dead.add(JobName("1"))
    made.begin()
    made.pass_s(5)
    assert made.house.work.running(64) == (4 if alive else 0)
    assert len(made.launcher.started) == (1 if alive else 2)
    if alive:
        made.die()
        assert len(made.launcher.started) == 2


def test_a_pilot_that_does_not_find_back_is_ended(tmp_path: Path) -> None:
    made = machine(tmp_path, Described(1, 5))
    made.up().poll(4)
    made.provision.stop()
    made.house.kill()
    made.house.start()
    made.begin()
    made.pass_s(STRANDED_S - 3)
    assert made.launcher.cancelled == []
    made.pass_s(6)
    assert made.launcher.cancelled == ["1"]


def test_stopping_ends_idle_pilots_and_leaves_busy_ones(tmp_path: Path) -> None:
    made = machine(
        tmp_path, Described(1, 5), settings=replace(SETTINGS, pilots_min=2, pilots_max=2)
    )
    made.pass_s(3)
    made.up(0).poll(4)
    made.up(1)
    made.provision.stop()
    assert made.launcher.cancelled == ["2"]
    made.pass_s(100)
    assert len(made.launcher.started) == 2


@pytest.mark.parametrize("count", [2, 3])
def test_pilots_share_the_machine(tmp_path: Path, count: int) -> None:
    settings = replace(SETTINGS, pilots_min=count, pilots_max=count)
    made = machine(tmp_path, settings=settings)
    made.pass_s(5)
    alone = machine(tmp_path / "alone", Described(1, 1))
    assert "memory_bytes" not in alone.settings_of(0)
    assert int(str(made.settings_of(0)["memory_bytes"])) > 0
