"""Nothing is granted whose files no reachable site holds: the leader brings them here first.

They are what came with a dataset: the user's files and the table of its rows. Outputs that units
read of others are another matter; see "Lost outputs" in docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from node.leading.granting import Tables
from node.leading.ledger import DatasetFacts

_log = Logger()

AGAIN_S: Final = 30.0  # between two looks for files that no reachable site had
LOOKING: Final = "they are being looked for"

HaveFiles = Callable[[int], Awaitable[str]]
"""Has what came with a dataset (local number) here; why that cannot be, or ""."""


async def nothing_missing(dataset: int) -> str:
    """Of a site where nobody brings files."""
    return ""


class Supplies:
    """What is known of the files of the datasets that are led here."""

    def __init__(
        self, reactor: IReactorTime, have: HaveFiles, arrived: Callable[[int], None]
    ) -> None:
        """arrived: told of a dataset whose files are here now and were not before."""
        self._reactor = reactor
        self._have = have
        self._arrived = arrived
        self._missing: dict[int, str] = {}  # why; "" for datasets whose files are here
        self._calls: dict[int, IDelayedCall] = {}
        self._asked: int | None = None  # by a caller that is answered at once
        self._stopped = False

    def missing(self, dataset: int) -> str:
        """Why nothing of a dataset is granted, as far as its files are to blame; "" if not."""
        return self._missing.get(dataset, "")

    def at_hand(self, dataset: int) -> bool:
        """Whether its files are here. If not, they are brought, and `arrived` is told."""
        if dataset not in self._missing:
            self._asked = dataset
            self._look(dataset)
            self._asked = None
        return not self._missing[dataset]

    def forget(self, dataset: int) -> None:
        """It is not led here any more, or over."""
        self._missing.pop(dataset, None)
        call = self._calls.pop(dataset, None)
        if call is not None:
            call.cancel()

    def stop(self) -> None:
        self._stopped = True
        for dataset in list(self._calls):
            self.forget(dataset)

    def _look(self, dataset: int) -> None:
        self._calls.pop(dataset, None)
        self._missing.setdefault(dataset, LOOKING)
        found = Deferred.fromCoroutine(self._looked(dataset))
        found.addErrback(self._failed, dataset)

    async def _looked(self, dataset: int) -> None:
        self._note(dataset, await self._have(dataset))

    def _failed(self, failure: object, dataset: int) -> None:
        _log.error("lead: files of a dataset: {failure}", failure=failure)
        self._note(dataset, "they could not be looked for: the node's log says why")

    def _note(self, dataset: int, why: str) -> None:
        before = self._missing.get(dataset)
        if before is None or self._stopped:
            return
        self._missing[dataset] = why
        if not why:
            if dataset != self._asked:
                self._arrived(dataset)
            return
        if before == LOOKING:
            _log.warn("lead: nothing of dataset {no} is granted: {why}", no=dataset, why=why)
        self._calls[dataset] = self._reactor.callLater(AGAIN_S, self._look, dataset)


class Supplied:
    """The leader's tables, in which datasets without their files stand still."""

    def __init__(self, tables: Tables, supplies: Supplies) -> None:
        self._tables = tables
        self._supplies = supplies

    def open_datasets(self) -> Iterable[int]:
        return self._tables.open_datasets()

    def ledger(self, dataset: int, *, with_done: bool) -> DatasetFacts | None:
        facts = self._tables.ledger(dataset, with_done=with_done)
        if facts is None:
            self._supplies.forget(dataset)
            return None
        return facts if self._supplies.at_hand(dataset) else replace(facts, paused=True)

    def unit_times(self, dataset: int) -> Iterable[tuple[int, float]]:
        return self._tables.unit_times(dataset)
