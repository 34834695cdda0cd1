"""Wait for something, or for a while."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.simulation.clock import VirtualClock


class Bell:
    """Those who wait go on when it rings, or when their time is over."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._waiting: list[Deferred[None]] = []

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def wait(self, seconds: float) -> Deferred[None]:
        waits: Deferred[None] = Deferred()
        timer = self._clock.callLater(max(0.0, seconds), self._late, waits)

        def over(result: None) -> None:
            if timer.active():
                timer.cancel()

        self._waiting.append(waits)
        return waits.addCallback(over)

    def _late(self, waits: Deferred[None]) -> None:
        self._waiting.remove(waits)
        waits.callback(None)
