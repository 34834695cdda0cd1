"""Real nodes, real pilots, real commands: every test gets a site of its own, or one a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.site import Site
from bench.site import site as running_site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site with two slots that the tests of one module share."""
    with running_site() as here:
        yield here


@pytest.fixture
def own_site() -> Iterator[Site]:
    """A site that one test may kill, cut off or fill."""
    with running_site() as here:
        yield here
