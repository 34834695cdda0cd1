"""A node above real Grid Engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.ground import Camp
from tests.clusters.hostile import Hostile
from tests.clusters.life import Lives, camp_above
from tests.clusters.sge.ground import SgeGround


@pytest.fixture(scope="module")
def camp() -> Iterator[Camp]:
    with camp_above(SgeGround("life")) as here:
        yield here


class TestGridEngine(Lives, Hostile):
    """All lives."""
