"""A node's part in the mesh: its journal and its feeds behind the real exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Any

from twisted.python.failure import Failure

from federation.entry import Entry
from federation.events import Damaged, Event, LinkDown, OwnAhead, TakeIn
from federation.exchange import Exchange
from federation.ids import SiteID
from federation.ports import FeedStore
from keys.identity import SiteKey
from node.store.writer import Journal
from tests.simulation.dialler import Dialler
from tests.simulation.linking import Linking
from tests.simulation.network import Network, Wire
from tests.simulation.process import Process
from tests.simulation.ways import Machine


class Meshing:
    """From a node's start to its end."""

    def __init__(
        self,
        process: Process,
        network: Network,
        machine: Machine,
        key: SiteKey,
        journal: Journal,
        feeds: FeedStore,
        random: Random,
        *,
        boot: int,
        is_member: Callable[[SiteID], bool],
        addresses: Callable[[], Sequence[tuple[SiteID, str]]],
        note: Callable[[str], None],
    ) -> None:
        """boot: greater at each start. addresses: of other members, as far as they have any."""
        self._process = process
        self._network = network
        self._machine = machine
        self._journal = journal
        self._note = note
        self.exchange = Exchange(key, feeds, is_member, lambda site: False, random, boot=boot)
        self.exchange.sync.writing = journal.heads.generation
        self.linking = Linking(process, self.exchange, is_member, self._act)
        self._dialler = Dialler(process, network, machine, self.linking, addresses, random)
        self._is_member = is_member
        journal.subscribe_durable(self._durable)

    def start(self, address: str) -> None:
        """address: where others reach this node; none for one that only dials out."""
        if address:
            self._network.listen(self._machine, address, self._accepted)
        self._dialler.start()

    def _accepted(self, wire: Wire) -> None:
        self.linking.opened(wire, dialled=False)

    def _durable(self, entries: Sequence[Entry]) -> None:
        self.linking.told(self.exchange.durable(entries, self._process.seconds()))

    def _act(self, events: Iterable[Event]) -> None:
        for event in events:
            self._dialler.heard(event)
            if isinstance(event, TakeIn):
                done = self._journal.ingest(event.entries)
                done.addCallbacks(partial(self._taken, event), partial(self._refused, event))
            elif isinstance(event, LinkDown | OwnAhead | Damaged):
                self._note(f"{event}")

    def _taken(self, event: TakeIn, _: Any) -> None:
        self.exchange.sync.taken(event, self._process.seconds())
        self.linking.pump()

    def _refused(self, event: TakeIn, failure: Failure) -> None:
        self._note(f"entries are not taken in: {failure.value!r}")
        self.exchange.sync.refused(event, self._process.seconds())
        self.linking.pump()
