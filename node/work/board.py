"""What the parts of the work service share: who is there, what is out, what is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from node.dispatch import Dispatch
from node.work.leases import Leases
from node.work.ports import Journal, Known, Resolver, Tables
from node.work.sessions import Sessions

_log = Logger()

TASKS_A_DATASET = 64  # local task number = dataset x 64 + index


@dataclass(slots=True, eq=False)
class Board:
    reactor: IReactorTime
    journal: Journal
    tables: Tables
    dispatch: Dispatch
    resolver: Resolver
    sessions: Sessions
    leases: Leases
    site: bytes
    site_name: str
    factors: Sequence[int]  # [cpu, gpu] normalisation in thousandths
    wall_ms: Callable[[], int]
    _known: dict[int, Known] = field(default_factory=dict)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def now_s(self) -> float:
        """Monotonic."""
        return self.reactor.seconds()

    def known(self, dataset: int) -> Known:
        """What pilots are told of a dataset; kept while it is open here."""
        found = self._known.get(dataset)
        if found is None:
            found = self.tables.known(dataset)
            if dataset in self.dispatch.ready.datasets:
                self._known[dataset] = found
                self._numbers[found.spec.id] = dataset
        return found

    def number(self, dataset_id: bytes) -> int | None:
        found = self._numbers.get(dataset_id)
        return found if found is not None else self.tables.number(dataset_id)

    def forget(self, dataset: int) -> None:
        """Read it again when it is asked for."""
        known = self._known.pop(dataset, None)
        if known is not None:
            self._numbers.pop(known.spec.id, None)

    def load(self, dataset: int, *, with_done: bool) -> bool:
        """Take a dataset in from the tables; False if it is not for this site."""
        facts = self.tables.facts(dataset, with_done=with_done)
        if facts is not None:
            self.dispatch.ready.load(facts)
        return facts is not None


def failure_of(done: Deferred[None]) -> BaseException | None:
    """The error of a Deferred that failed at once; it counts as handled."""
    result = getattr(done, "result", None)
    if not done.called or not isinstance(result, Failure):
        return None
    done.addErrback(lambda _: None)
    return result.value


def watch(done: Deferred[None], what: str) -> None:
    """Log what fails with nobody waiting for it."""
    done.addErrback(lambda failure: _log.failure("work: {what} failed", failure, what=what))
