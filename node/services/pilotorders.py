"""What becomes of this site's pilots when its node is to go down: they finish, or end now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from node.services.facts import SiteFacts
from node.services.people import Person
from node.services.questions import Value
from node.services.refusal import Refusal
from node.work.sessions import Session

log = Logger()

WAYS: Final = ("drain", "cancel")
Body = Mapping[str, Any]


class Work(Protocol):
    """The part of the work service that gives out units."""

    def drain(self, on: bool = True) -> None: ...

    def send_away(self) -> list[Session]: ...


class Local(Protocol):
    """Pilots on the node's own machine."""

    def end_all(self) -> None: ...

    @property
    def living(self) -> int: ...


class Batch(Protocol):
    """Pilots in batch systems."""

    async def end(self, *, running: bool) -> None: ...

    def staying(self) -> int: ...

    def hindrances(self) -> list[str]: ...


class PilotOrders:
    """Orders of an admin about all pilots. They last until the next start of the node."""

    def __init__(
        self, facts: SiteFacts, work: Work, local: Local, batch: Batch | None = None
    ) -> None:
        self._facts = facts
        self._work = work
        self._local = local
        self._batch = batch
        self._way = ""
        self._ending: Deferred[None] | None = None

    async def order(self, body: Body, asking: Person) -> Value:
        """{"how": "drain"}: take nothing new, leave when done. {"how": "cancel"}: end now.

        The same again tells how far it is: what is left, and what hinders.
        """
        way = body.get("how")
        if way not in WAYS:
            raise Refusal("bad-request", '"how" is neither "drain" nor "cancel"')
        if way != self._way:
            self._way = way
            self._facts.draining = f"by {asking.name}: its pilots are to leave"
            self._work.drain(True)
            log.info("{way} all pilots, by {name}", way=way, name=asking.name)
            if way == "cancel":
                self._local.end_all()
            self._end(running=way == "cancel")
        staying = self._work.send_away()
        return {
            "local": self._local.living,
            "pilots": len(staying),
            "jobs": self._batch.staying() if self._batch is not None else 0,
            "asking": self._ending is not None,
            "hindrances": self._batch.hindrances() if self._batch is not None else [],
        }

    def _end(self, *, running: bool) -> None:
        """Have the batch systems end jobs, without making anybody wait for them."""
        if self._batch is None:
            return
        mine = self._ending = Deferred.fromCoroutine(self._batch.end(running=running))
        mine.addErrback(lambda failure: log.failure("ending pilots failed", failure))

        def done(_: object) -> None:
            if self._ending is mine:
                self._ending = None

        mine.addCallback(done)
