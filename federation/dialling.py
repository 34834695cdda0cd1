"""Dials whom `Peering` says, when it says so, and tells it what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from federation.ids import SiteID
from federation.peering import Dial, Peering

DialRecords = Callable[[SiteID, str], Deferred[None]]
"""Dial a site at an address: fires when it proved its key, fails with the reason."""


class Dialling:
    """See the module."""

    def __init__(self, reactor: Any, peering: Peering, dial: DialRecords) -> None:
        self.peering = peering
        self._reactor = reactor
        self._dial = dial
        self._call: IDelayedCall | None = None
        self._stopped = False

    def members(self, members: Mapping[SiteID, Sequence[str]]) -> None:
        """The members and their addresses, this site's too."""
        self.peering.members(members, self._reactor.seconds())
        self.go_on()

    def linked(self, site: SiteID) -> None:
        """There is a link, whoever dialled."""
        self.peering.linked(site, self._reactor.seconds())
        self.go_on()

    def ended(self, site: SiteID, why: str, *, was_up: bool) -> None:
        """A link, or what was to become one, is gone."""
        now_s = self._reactor.seconds()
        if was_up:
            self.peering.lost(site, now_s)
        self.peering.failed(site, why, now_s)
        self.go_on()

    def go_on(self) -> None:
        """Make the attempts that are due, and come back when the next is."""
        if self._stopped:
            return
        now_s = self._reactor.seconds()
        for dial in self.peering.due(now_s):
            self._one(dial)
        if self._call is not None and self._call.active():
            self._call.cancel()
        due_s = self.peering.deadline_s
        if due_s != float("inf"):
            self._call = self._reactor.callLater(max(0.0, due_s - now_s), self.go_on)

    def stop(self) -> None:
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _one(self, dial: Dial) -> None:
        def failed(failure: Failure) -> None:
            self.ended(dial.site, str(failure.value), was_up=False)

        self._dial(dial.site, dial.address).addErrback(failed)
