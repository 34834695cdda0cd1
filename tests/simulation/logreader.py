"""Reads what nodes log: an error there is a failure of the run, but for those of a dying disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.simulation.process import Unreachable

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOWN_MAX = 4000
# What a node may log as an error while its disk or its life is taken away.
_OF_A_DYING_DISK = (
    "journal: {trouble}",
    "journal: site-local statements beside results failed",
    "journal: no word of that on disk yet: {why}",
    "the high-water file is not written: {why}",
    "lead: a grant failed",
    "lead: an accept failed",
    "work: {what} failed",
)
# ... or once a copy took the database's place: the store turned out to be an old one.
_AFTER_A_COPY = ("journal: {why}",)
# ... or runs beside it.
_OF_TWINS = (
    "two processes with the key of site {site} want links",
    "site {site} signed two entries for one place: {seq} of generation {generation}",
    *_AFTER_A_COPY,
)


class LogReader:
    """Hears everything that is logged from `start` to `stop`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._observer: Any = self._hear

    def start(self) -> None:
        globalLogPublisher.addObserver(self._observer)

    def stop(self) -> None:
        globalLogPublisher.removeObserver(self._observer)

    def _hear(self, event: dict[str, Any]) -> None:
        if event.get("log_level") not in (LogLevel.error, LogLevel.critical):
            return
        form, failure = event.get("log_format"), event.get("log_failure")
        # Python tells of coroutines that nobody will ever resume.
        if failure is not None and failure.check(GeneratorExit, Unreachable) is not None:
            return
        if form in _OF_A_DYING_DISK and self._some_disk_is_dying():
            return
        if form in _AFTER_A_COPY and self._world.witness.puts_back:
            return
        if form in _OF_TWINS and self._world.witness.twins:
            return
        if form in self._world.alarms:
            self._world.alarms[form] += 1
            return
        text = failure.getTraceback() if failure is not None else ""
        self._world.failed(f"logged as an error: {formatEvent(event)} {text}"[:SHOWN_MAX])

    def _some_disk_is_dying(self) -> bool:
        return any(
            host.node is None or host.disk.full or host.disk.lose_after is not None
            for host in self._world.hosts
        )
