"""A node above real Slurm with accounting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import Lives, camp_above
from tests.clusters.slurm.ground import SlurmGround


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(SlurmGround()) as here:
        yield here


class TestSlurm(Lives, Hostile):
    """All lives."""
