"""What the world was told or could see: it must be so for ever, whatever happens to the node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from federation.ids import EntryRef
from pilot.messages import ROW
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.people import Submitted

Unit = tuple[bytes, int, int]  # dataset id, task index, job
_LOG = ROW.index("log")


@dataclass(frozen=True, slots=True)
class Kept:
    """What had been promised when a copy was made: no more can come back with it."""

    datasets: dict[bytes, Submitted]
    orders: set[bytes]
    attempts: dict[str, Unit]
    settled: dict[Unit, bytes]
    cancelled: set[Unit]


class Witness:
    """Remembers every acknowledgement, and what readers saw."""

    def __init__(self) -> None:
        self.datasets: dict[bytes, Submitted] = {}
        self.orders: set[bytes] = set()
        self.attempts: dict[str, Unit] = {}  # acknowledged: id (hex) of the attempt
        self.generation = 0
        self.puts_back = 0  # how often a copy took the database's place
        self._settled: dict[Unit, bytes] = {}  # entry that settled it
        self._cancelled: set[Unit] = set()
        self._branches: dict[tuple[int, int, int], bytes] = {}  # place: entry id; for ever
        self._stored: dict[tuple[int, int, int], bytes] = {}  # the same, of this database
        self._was_put_back = False

    # What people and pilots are told

    def submitted(self, made: Submitted) -> None:
        self.datasets[made.id] = made

    def ordered(self, id: bytes) -> None:
        self.orders.add(id)

    def acked(self, rows: Iterable[tuple[int, str, list[Any]]]) -> None:
        """The node said that it has these results."""
        for _lease, spec, row in rows:
            dataset, task = spec.split("/")[:2]
            self.attempts[row[_LOG]] = (bytes.fromhex(dataset), int(task), row[0])

    # What everybody can see

    def saw(self, refs: Iterable[EntryRef]) -> None:
        """Entries that the node speaks of: nothing leaves it before it is on disk."""
        for ref in refs:
            place = (ref.feed.generation, int(ref.feed.lane), ref.seq)
            if self._stored.get(place) != ref.id:
                known = self._branches.setdefault(place, ref.id)
                assert known == ref.id, f"FORK at generation, lane, seq {place}"
                self._stored[place] = ref.id

    def restarted(self, node: Node) -> list[str]:
        """A new process is up: what was seen before must be there; what is there is seen."""
        problems = []
        held: dict[tuple[int, int, int], bytes] = {
            (ref.feed.generation, int(ref.feed.lane), ref.seq): ref.id for ref, _ in node.entries()
        }
        for place, id in self._stored.items():
            if held.get(place) != id:
                problems.append(f"entry {place} was seen and is gone, or another one")
        for place, id in held.items():
            if self._branches.setdefault(place, id) != id:
                problems.append(f"FORK at generation, lane, seq {place}")
        self._stored = held
        if node.generation != self.generation and self.generation and not self._was_put_back:
            problems.append(
                f"a crash moved the site from generation {self.generation} to {node.generation}"
            )
        self.generation, self._was_put_back = node.generation, False
        return problems + self.look(node)

    def look(self, node: Node) -> list[str]:
        """Settled units stay as they are; so do cancelled ones."""
        settled, cancelled = read_settled(node), read_cancelled(node)
        problems = [
            f"{shown(unit)} was settled by {entry.hex()[:8]}, now by "
            f"{settled[unit].hex()[:8] if unit in settled else 'nothing'}"
            for unit, entry in self._settled.items()
            if settled.get(unit) != entry
        ]
        gone, both = self._cancelled - cancelled, cancelled & set(settled)
        problems += [f"{shown(unit)} is no longer cancelled" for unit in sorted(gone)]
        problems += [f"{shown(unit)} is settled and cancelled" for unit in sorted(both)]
        self._settled, self._cancelled = settled, cancelled
        return problems

    # Copies

    def kept(self) -> Kept:
        """What a copy made now must hold."""
        return Kept(
            dict(self.datasets), set(self.orders), dict(self.attempts), dict(self._settled),
            set(self._cancelled),
        )  # fmt: skip

    def put_back(self, kept: Kept) -> None:
        """A copy took the database's place: later promises are lost with the one that was there."""
        self.datasets, self.orders = dict(kept.datasets), set(kept.orders)
        self.attempts = dict(kept.attempts)
        self._settled, self._cancelled = dict(kept.settled), set(kept.cancelled)
        self._stored = {}
        self._was_put_back = True
        self.puts_back += 1


def read_settled(node: Node) -> dict[Unit, bytes]:
    """Every settled unit and the entry that holds its result."""
    rows = node.conn.execute(
        "SELECT d.id, t.idx, s.job, e.id FROM settled s JOIN task t ON t.no = s.task"
        " JOIN dataset d ON d.no = t.dataset JOIN entry e ON e.no = s.entry"
    )
    return {(dataset, task, job): entry for dataset, task, job, entry in rows}


def read_cancelled(node: Node) -> set[Unit]:
    rows = node.conn.execute(
        "SELECT d.id, t.idx, c.lo, c.hi FROM cancelled c JOIN task t ON t.no = c.task"
        " JOIN dataset d ON d.no = t.dataset"
    )
    return {(dataset, task, job) for dataset, task, lo, hi in rows for job in range(lo, hi)}


def shown(unit: Unit) -> str:
    return f"{unit[0].hex()[:8]}/{unit[2]}/t{unit[1]}"
