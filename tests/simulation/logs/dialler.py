"""Keeps one process linked to everybody who can be dialled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from federation.events import Event, LinkDown
from federation.ids import SiteID
from tests.simulation.logs.linking import Linking
from tests.simulation.network import Network, Wire
from tests.simulation.process import Process
from tests.simulation.ways import Machine

DIAL_AGAIN_S = (1.0, 300.0)  # at first, at most; doubled each time, with jitter
LOOK_S = 30.0  # how often somebody looks for members that nobody dialled


class Dialler:
    """Keeps links to all members that can be dialled."""

    def __init__(
        self,
        process: Process,
        network: Network,
        machine: Machine,
        linking: Linking,
        addresses: Callable[[], Sequence[tuple[SiteID, str]]],
        random: Random,
    ) -> None:
        """addresses: of the members, as far as they have any; without this site."""
        self._process = process
        self._network = network
        self._machine = machine
        self._linking = linking
        self._addresses = addresses
        self._random = random
        self._waits_s: dict[SiteID, float] = {}  # dialled, or about to be; the next wait

    def start(self) -> None:
        self._look()

    def heard(self, event: Event) -> None:
        """Dial whom this site has lost."""
        if isinstance(event, LinkDown):
            self._dial_later(event.session.peer)

    def _look(self) -> None:
        for site, _ in self._addresses():
            self._dial_later(site)
        self._process.callLater(LOOK_S, self._look)

    def _dial_later(self, site: SiteID, wait_s: float = DIAL_AGAIN_S[0]) -> None:
        if site in self._waits_s or self._linking.linked(site):
            return
        self._waits_s[site] = min(2 * wait_s, DIAL_AGAIN_S[1])
        self._process.callLater(wait_s * self._random.uniform(0.0, 1.0), self._dial, site)

    def _dial(self, site: SiteID) -> None:
        address = dict(self._addresses()).get(site)
        if address is None or self._linking.linked(site):
            self._waits_s.pop(site, None)
            return
        self._network.dial(self._machine, address, partial(self._dialled, site))

    def _dialled(self, site: SiteID, wire: Wire | None, why: str) -> None:
        wait_s = self._waits_s.pop(site)
        if wire is not None:
            self._linking.opened(wire, dialled=True)
        else:
            self._dial_later(site, wait_s)
