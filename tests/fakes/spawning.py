"""A reactor for tests that start real processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.process import reapAllProcesses

from tests.fakes.loop import PATIENCE_S, Loop


class Spawning(Loop):
    """A loop that asks for processes that ended: without signal handlers nobody tells it."""

    def until(self, true: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        def reaped() -> Any:
            reapAllProcesses()
            return true()

        super().until(reaped, patience_s)
