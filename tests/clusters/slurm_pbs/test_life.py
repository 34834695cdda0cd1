"""A node above Torque's commands in front of a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import Lives, camp_above
from tests.clusters.slurm_pbs.ground import SlurmPbsGround


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(SlurmPbsGround()) as here:
        yield here


class TestTorqueCommands(Lives, Hostile):
    """All lives but one."""

    def test_a_held_pilot_is_explained(self, camp: Camp) -> None:
        pytest.skip("this qstat shows held jobs as waiting ones")
