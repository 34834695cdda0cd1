"""Real nodes in network namespaces; skipped where these cannot be made, but never in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.netns.internet import missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    if not mine or "CI" in os.environ or not (why := missing()):
        return
    for item in mine:
        item.add_marker(pytest.mark.skip(reason=why))
