"""Logs of units that run: asked of their pilots only while somebody reads. Nothing is kept."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from node.work.leases import Leases
from node.work.sessions import TAILS_MAX, Session, Tail

ANSWER_S_MAX = 5.0  # a pilot answers in its next report; until then the reader waits
READERS_MAX = 64  # of one part


@dataclass(slots=True, eq=False)
class Tails:
    """Readers that wait for a part of a running log."""

    reactor: IReactorTime
    leases: Leases

    async def read(self, session: Session, tail: Tail) -> bytes | None:
        """The part; None when it does not come: the unit has ended, or its pilot is silent."""
        readers = session.tails.get(tail)
        if readers is None:
            if len(session.tails) >= TAILS_MAX:
                return None
            readers = session.tails[tail] = []
            self.leases.order_tail(session, tail)
        elif len(readers) >= READERS_MAX:
            return None
        told: Deferred[bytes | None] = Deferred()
        readers.append(told)
        late = self.reactor.callLater(ANSWER_S_MAX, self._answer, session, tail, None)
        try:
            return await told
        finally:
            if late.active():
                late.cancel()

    def take(self, session: Session, logs: Any) -> None:
        """The `logs` of a report; what nobody waits for is dropped."""
        if not isinstance(logs, list):
            return
        for item in logs[:TAILS_MAX]:
            try:
                lease, job, offset, text = item
                part = base64.b64decode(text, validate=True)
                self._answer(session, Tail(lease, job, offset), part)
            except (TypeError, ValueError):
                continue

    def _answer(self, session: Session, tail: Tail, part: bytes | None) -> None:
        for told in session.tails.pop(tail, ()):
            told.callback(part)
