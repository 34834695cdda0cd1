"""A node above real HTCondor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.condor.ground import CondorGround
from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import DONE_S, LONG_THE_FIRST_TIME, Lives, camp_above, ends
from tests.clusters.place import wait_until


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(CondorGround()) as here:
        yield here


class TestHTCondor(Lives, Hostile):
    """All lives, and those that other batch systems do not have."""

    def test_a_unit_whose_pilot_is_evicted_runs_again_and_the_pilot_does_not(
        self, camp: Camp
    ) -> None:
        camp.submit("evicted", "cancelled", LONG_THE_FIRST_TIME)
        camp.wait_running("evicted")
        job = camp.only_job("cancelled")
        camp.ground.rig.place.run("condor_vacate_job", job)
        camp.site.wait("evicted", DONE_S)
        assert ends(camp, "evicted") == ["infrastructure", "success"]
        wait_until("the end of the pilot", lambda: job not in camp.jobs("cancelled"))
        assert job not in camp.listed()

    def test_a_pilot_that_is_held_after_it_ran_is_removed_and_the_reason_shown(
        self, camp: Camp
    ) -> None:
        camp.submit("stopped", "cancelled", LONG_THE_FIRST_TIME)
        camp.wait_running("stopped")
        job = camp.only_job("cancelled")
        camp.ground.rig.place.run("condor_hold", "-reason", "over its memory", job)
        camp.site.wait("stopped", DONE_S)
        assert ends(camp, "stopped") == ["infrastructure", "success"]
        camp.wait_said(f"job {job}: it was held after its pilot had left: over its memory")
        wait_until("the end of the pilot", lambda: job not in camp.listed())
