"""Two minutes without the daemons of a batch system, with the settings of every day.

Three batch systems are down at once, as all that takes long here is to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.clusters.condor.ground import CondorGround
from tests.clusters.ground import Camp, Ground, Kind
from tests.clusters.life import DONE_S, ends, live_through_an_outage
from tests.clusters.place import wait_until
from tests.clusters.sge.ground import SgeGround
from tests.clusters.slurm.ground import SlurmGround

OUTAGE_S = 120
EVERY_DAY = {"look": "30s", "submit_every": "30s"}  # not idle: it comes after all that counts
GROUNDS: tuple[Callable[[], Ground], ...] = (
    lambda: SlurmGround("outage"),
    CondorGround,
    lambda: SgeGround("outage"),
)
KINDS = [Kind(name, {}) for name in ("outage", "after", "meanwhile")]


@pytest.fixture
def camps() -> Iterator[list[Camp]]:
    with ExitStack() as stack:
        made = []
        for make in GROUNDS:
            ground = make()
            stack.callback(ground.close)
            made.append(Camp(ground, KINDS, settings=EVERY_DAY))
            stack.callback(made[-1].close)
        yield made


def test_while_daemons_are_down_for_two_minutes_nothing_is_lost_and_nothing_submitted_again(
    camps: list[Camp],
) -> None:
    def two_minutes() -> None:
        end = time.monotonic() + OUTAGE_S
        for camp in camps:
            camp.submit("meanwhile", "meanwhile", "true")
        wait_until("two minutes", lambda: time.monotonic() > end, OUTAGE_S + 10)

    try:
        live_through_an_outage(camps, two_minutes)
        for camp in camps:
            camp.site.wait("meanwhile", 4 * DONE_S)
            assert ends(camp, "meanwhile") == ["success"]
    except BaseException as error:
        for camp in camps:
            error.add_note(camp.told())
        raise
