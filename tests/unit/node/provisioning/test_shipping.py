"""What is put on the submit host, and how often."""

from __future__ import annotations

from dataclasses import replace

from node.provisioning.settings import SystemConfig
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.provisioning.test_changing import change
from tests.unit.node.work.house import Described

PROGRAM = "/pilots/maui/pilot.pyz"


def camp_with_much_to_do() -> Camp:
    """Many submissions follow each other."""
    camp = Camp(Described(1, 5000), systems=(replace(SETTINGS, queued_max=1, pilots_min=6),))
    camp.batch.slots = 100
    return camp


def puts(camp: Camp) -> list[str]:
    """What the node has written there from now on, as it goes on."""
    found: list[str] = []
    runner = camp.runners["maui"]
    known = dict(camp.batch.files)

    def note(verb: str, moment: str) -> None:
        if (verb, moment) == ("put", "after"):
            new = [path for path in camp.batch.files if known.get(path) is None]
            found.extend(new or [PROGRAM])
            known.update(camp.batch.files)

    runner.on_verb = note
    return found


def test_the_program_is_put_there_once_and_before_the_first_settings() -> None:
    camp = camp_with_much_to_do()
    written = puts(camp)
    camp.run(150)
    assert len(camp.verbs("submit")) > 2
    assert written[0] == PROGRAM
    assert written.count(PROGRAM) == 1
    assert camp.batch.files[PROGRAM] == b"pilot"


def test_after_a_failure_it_is_put_there_again() -> None:
    camp = camp_with_much_to_do()
    camp.run(20)
    assert camp.batch.files.pop(PROGRAM)
    camp.batch.faults.unwritable = True
    camp.run(60)
    camp.batch.faults.unwritable = False
    camp.run(300)
    assert camp.batch.files[PROGRAM] == b"pilot"


def test_it_goes_where_the_folder_is_now() -> None:
    camp = camp_with_much_to_do()
    camp.run(20)
    mine: SystemConfig = camp.system.settings
    change(camp, replace(mine, folder="/scratch/ana"))
    camp.run(60)
    assert camp.batch.files["/scratch/ana/pilot.pyz"] == b"pilot"
