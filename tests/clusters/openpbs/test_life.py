"""A node above programs that imitate OpenPBS and run its jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import Lives, camp_above
from tests.clusters.openpbs.ground import PbsGround


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(PbsGround()) as here:
        yield here


class TestOpenPbs(Lives, Hostile):
    """All lives."""
