"""A node above real HTCondor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.condor.ground import CondorGround
from tests.clusters.ground import Camp
from tests.clusters.life import Lives, camp_above


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(CondorGround()) as here:
        yield here


class TestHTCondor(Lives):
    """All lives."""
