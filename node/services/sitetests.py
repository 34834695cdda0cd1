"""Tests of batch systems that admins ask for: one at a time for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from node.provisioning.probing import Probe
from node.provisioning.system import BatchSystem
from node.services.people import Person
from node.services.questions import Value
from node.services.refusal import Refusal
from node.work import Work

log = Logger()

FORGOTTEN_S: Final = 120.0  # a test that nobody has asked about for so long is ended
Body = Mapping[str, Any]


class SiteTests:
    """Begins them, tells how far they are, ends them."""

    def __init__(
        self,
        reactor: IReactorTime,
        work: Work,
        systems: Callable[[], Sequence[BatchSystem]],
    ) -> None:
        self._reactor = reactor
        self._work = work
        self._systems = systems
        self._running: dict[str, Probe] = {}
        self._asked_s: dict[str, float] = {}

    async def order(self, body: Body, asking: Person) -> Value:
        """{"system", "do": "begin" with "dataset", "look" or "end"}: the steps so far."""
        system, what = self._named(body.get("system")), body.get("do")
        name = system.settings.name
        if what == "begin":
            self._begin(system, body.get("dataset"), asking)
        probe = self._running.get(name)
        if probe is None:
            raise Refusal("not-found", f"no test of {name} is running", f"floe site test {name}")
        if what == "end":
            self._work.unreserve(probe.dataset)
            system.send(probe.end)
        elif what not in ("begin", "look"):
            raise Refusal("bad-request", '"do" is none of "begin", "look" and "end"')
        self._asked_s[name] = self._reactor.seconds()
        steps = probe.steps()
        if probe.due:
            system.send(probe.look_after)
        if probe.over:
            self._forget(name)
        return {"steps": [asdict(each) for each in steps], "over": probe.over}

    def _named(self, name: object) -> BatchSystem:
        systems = {each.settings.name: each for each in self._systems()}
        if not isinstance(name, str) or name not in systems:
            known = ", ".join(systems) or "none but this machine"
            raise Refusal("not-found", f"this site has no batch system {name!r}", f"it has {known}")
        return systems[name]

    def _begin(self, system: BatchSystem, dataset: object, asking: Person) -> None:
        name = system.settings.name
        if name in self._running:
            raise Refusal("conflict", f"a test of {name} is running", "wait until it is over")
        try:
            digest = bytes.fromhex(str(dataset))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise Refusal("bad-request", '"dataset" is no id of a dataset')
        probe = self._running[name] = Probe(system, self._work, digest, self._reactor.seconds())
        log.info("{who} tests {name}", who=asking.name, name=name)
        system.send(probe.begin)
        self._reactor.callLater(FORGOTTEN_S, self._watch, name, probe)

    def _watch(self, name: str, probe: Probe) -> None:
        """Whoever asked may have been interrupted."""
        if self._running.get(name) is not probe:
            return
        left_s = self._asked_s[name] + FORGOTTEN_S - self._reactor.seconds()
        if left_s > 0:
            self._reactor.callLater(left_s, self._watch, name, probe)
            return
        log.info("nobody asks about the test of {name} any more: ending it", name=name)
        self._work.unreserve(probe.dataset)
        probe.system.send(probe.end)
        self._forget(name)

    def _forget(self, name: str) -> None:
        probe = self._running.pop(name)
        self._work.unreserve(probe.dataset)
