"""Meshes for named lives."""

from __future__ import annotations

import pytest

from tests.simulation.scenes import a_mesh


@pytest.fixture
def three(tmp_path):
    yield from a_mesh(tmp_path, 3)


@pytest.fixture
def five(tmp_path):
    yield from a_mesh(tmp_path, 5)


@pytest.fixture
def two(tmp_path):
    yield from a_mesh(tmp_path, 2)
