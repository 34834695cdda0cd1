"""What several parts of the node ask of its journal."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from federation.records import Record


class Control(Protocol):
    """The part of the journal that writes to this site's control feed."""

    def control(self, record: Record, intake: bool = False) -> Deferred[None]:
        """Write a record; fires when it is durable. See `Journal.control`."""
