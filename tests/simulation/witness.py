"""What the world was told or could see: it must be so for ever, whatever happens to the node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from federation.entry import Entry
from federation.ids import EntryRef, FeedID, SiteID
from federation.records import Command, Dataset, Results, digest_cells
from keys.signing import Purpose, digest
from node.model.validate import unpack_document
from pilot.messages import ROW
from tests.simulation.naive import Reading
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.people import Submitted

Unit = tuple[bytes, int, int]  # dataset id, task index, job
Place = tuple[bytes, int, int, int]  # site, generation, lane, seq
_LOG = ROW.index("log")


@dataclass(slots=True)
class Shown:
    """What one site has shown, as far as its present database must still show it."""

    generation: int = 0
    stored: dict[Place, bytes] = field(default_factory=dict)  # entry ids
    settled: dict[Unit, bytes] = field(default_factory=dict)  # the entry that settled it
    cancelled: set[Unit] = field(default_factory=set)
    was_put_back: bool = False  # a copy was, and the site has not gone on since


class Witness:
    """Remembers every acknowledgement, and what readers saw."""

    def __init__(self) -> None:
        self.datasets: dict[bytes, Submitted] = {}
        self.stored_on: dict[bytes, list[str]] = {}
        self.orders: dict[bytes, str] = {}  # acknowledged, and the site that did
        self.attempts: dict[str, tuple[Unit, str]] = {}  # the same, by id (hex) of the attempt
        self.twins: set[SiteID] = set()  # that may sign two entries for one place
        self.puts_back = 0  # how often a copy took a database's place
        self._shown: dict[SiteID, Shown] = {}
        self.archive: dict[FeedID, list[Entry]] = {}  # everything that was ever durable
        self._settled: dict[Unit, bytes] = {}  # by councils: for ever
        # The same, but an ack that this takes went with its voter's disk: others have to ack it.
        self._acks_lost: dict[Unit, bytes] = {}
        self._written = 0  # entries in the archive at the last look
        self._branches: dict[Place, bytes] = {}  # entry ids, for ever

    # What people and pilots are told

    def submitted(self, made: Submitted, stored_on: Sequence[str]) -> None:
        """stored_on: the names of the sites that hold it, as it was told."""
        self.datasets[made.id] = made
        self.stored_on[made.id] = list(stored_on)

    def submissions(self) -> list[tuple[Submitted, list[str]]]:
        """Every acknowledged dataset, and the sites that hold it, as it was told."""
        return [(made, self.stored_on[id]) for id, made in self.datasets.items()]

    def ordered(self, id: bytes, site: str) -> None:
        self.orders[id] = site

    def ordered_at(self, sites: Collection[str]) -> list[bytes]:
        """The orders that one of the sites has acknowledged."""
        return [id for id, site in self.orders.items() if site in sites]

    def acked(self, site: str, rows: Iterable[tuple[int, str, list[Any]]]) -> None:
        """The node of a site said that it has these results."""
        for _lease, spec, row in rows:
            dataset, task = spec.split("/")[:2]
            self.attempts[row[_LOG]] = (bytes.fromhex(dataset), int(task), row[0]), site

    # What everybody can see

    def saw(self, site: SiteID, entries: Iterable[Entry]) -> None:
        """Entries that a node says are durable: from here on they may leave it."""
        stored = self.shown(site).stored
        for entry in entries:
            ref, place = entry.ref, place_of(entry.ref)
            self._keep(entry)
            if stored.get(place) != ref.id and ref.feed.site not in self.twins:
                known = self._branches.setdefault(place, ref.id)
                assert known == ref.id, f"FORK at {shown_place(place)}"
                stored[place] = ref.id

    def _keep(self, entry: Entry) -> None:
        feed = self.archive.setdefault(entry.header.feed, [])
        if entry.header.seq == len(feed) + 1 and entry.header.prev == (
            feed[-1].id if feed else b""
        ):
            feed.append(entry)

    def restarted(self, node: Node) -> list[str]:
        """A new process is up: what was seen before must be there; what is there is seen."""
        if node.site in self.twins:
            return []
        problems = []
        seen = self.shown(node.site)
        entries = node.entries()
        held: dict[Place, bytes] = {place_of(entry.ref): entry.id for entry in entries}
        for entry in entries:  # some were stored when the last process ended, and nobody heard
            self._keep(entry)
        for place, id in seen.stored.items():
            if held.get(place) != id:
                problems.append(f"entry {shown_place(place)} was seen and is gone, or another one")
        for place, id in held.items():
            if self._branches.setdefault(place, id) != id:
                problems.append(f"FORK at {shown_place(place)}")
        seen.stored = held
        if node.generation != seen.generation and seen.generation and not seen.was_put_back:
            problems.append(
                f"a crash moved the site from generation {seen.generation} to {node.generation}"
            )
        undecided = seen.was_put_back and node.parts.inquiry is not None
        seen.generation, seen.was_put_back = node.generation, undecided
        return problems

    def shown(self, site: SiteID) -> Shown:
        return self._shown.setdefault(site, Shown())

    def look(self, node: Node) -> list[str]:
        """Settled units stay as they are; so do cancelled ones."""
        seen = self.shown(node.site)
        settled, cancelled = read_settled(node), read_cancelled(node)
        replaced = read_superseded(node)
        problems = [
            f"{shown(unit)} was settled by {entry.hex()[:8]}, now by "
            f"{settled[unit].hex()[:8] if unit in settled else 'nothing'}"
            for unit, entry in seen.settled.items()
            if settled.get(unit) != entry and (unit, entry) not in replaced
        ]
        gone, both = seen.cancelled - cancelled, cancelled & set(settled)
        problems += [f"{shown(unit)} is no longer cancelled" for unit in sorted(gone)]
        problems += [f"{shown(unit)} is settled and cancelled" for unit in sorted(both)]
        seen.settled, seen.cancelled = settled, cancelled
        return problems

    def look_at_all(self) -> list[str]:
        """What is settled in any log stays as it is (I3), whoever leads."""
        written = sum(len(feed) for feed in self.archive.values())
        if written == self._written:
            return []
        self._written = written
        reading = self._reading()
        settled = reading.settled_units()
        changed = {
            unit: entry
            for unit, entry in (self._settled | self._acks_lost).items()
            if settled.get(unit) != entry
        }
        self._acks_lost = {unit: changed[unit] for unit in self._acks_lost if unit in changed}
        problems = [
            f"I3: {shown(unit)} was settled by {entry.hex()[:8]}, now by {now(settled, unit)}"
            for unit, entry in changed.items()
            if not (entry in reading.superseded if unit in settled else unit in self._acks_lost)
        ]
        self._settled = settled
        return problems

    def _settled_now(self) -> dict[Unit, bytes]:
        return self._reading().settled_units()

    def _reading(self) -> Reading:
        """What is settled."""
        entries = (entry for feed in self.archive.values() for entry in feed)
        return Reading(entries, settled=True)

    # Copies

    def lost(self, entries: Iterable[Entry]) -> None:
        """A machine is gone for good, and with it entries that nobody else holds.

        An ack may be among them. What it settled is on the disks of others, who have to ack it in
        its place; nothing else may settle those units.
        """
        before = self._settled | self._settled_now()
        self._forget(entries)
        after = self._settled_now()
        self._acks_lost |= {unit: entry for unit, entry in before.items() if unit not in after}
        self._written = 0

    def _forget(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            feed = self.archive.get(entry.header.feed, [])
            del feed[entry.header.seq - 1 :]

    def put_back(self, site: SiteID, lost: Sequence[Entry]) -> None:
        """A copy took a database's place. lost: entries of the site that nobody holds any more.

        What was promised by these is gone with them; nobody else has ever seen them.
        """
        self.puts_back += 1
        self._shown[site] = Shown(self.shown(site).generation, was_put_back=True)
        for entry in lost:
            for id, _ in attempts_in(entry):
                self.attempts.pop(id, None)
            for id in documents_in(entry):
                self.datasets.pop(id, None)
                self.orders.pop(id, None)
        self._forget(lost)
        self._settled = self._settled_now()
        self._acks_lost.clear()
        self._written = 0


def attempts_in(entry: Entry) -> list[tuple[str, Unit]]:
    """The attempts of a results entry: id (hex), unit."""
    return [
        (id.hex(), (record.dataset, record.task, job))
        for record in entry.records()
        if isinstance(record, Results)
        for job, id in zip(record.jobs, digest_cells(record.log, len(record.jobs)), strict=True)
        if id
    ]


def documents_in(entry: Entry) -> list[bytes]:
    """Ids of the submissions and orders in a control entry."""
    found = []
    for record in entry.records():
        if isinstance(record, Dataset):
            found.append(digest(Purpose.DATASET, unpack_document(record.doc)))
        elif isinstance(record, Command):
            found.append(digest(Purpose.COMMAND, record.doc))
    return found


def place_of(ref: EntryRef) -> Place:
    return ref.feed.site, ref.feed.generation, int(ref.feed.lane), ref.seq


def shown_place(place: Place) -> str:
    return f"{place[0].hex()[:8]}, generation {place[1]}, lane {place[2]}, seq {place[3]}"


def read_settled(node: Node) -> dict[Unit, bytes]:
    """Every settled unit and the entry that holds its result."""
    rows = node.conn.execute(
        "SELECT d.id, t.idx, s.job, e.id FROM settled s JOIN task t ON t.no = s.task"
        " JOIN dataset d ON d.no = t.dataset JOIN entry e ON e.no = s.entry"
    )
    return {(dataset, task, job): entry for dataset, task, job, entry in rows}


def read_superseded(node: Node) -> set[tuple[Unit, bytes]]:
    """Units and entries that settled them, before outputs that were made again took the place."""
    rows = node.conn.execute(
        "SELECT d.id, t.idx, x.job, e.id FROM surplus x JOIN task t ON t.no = x.task"
        " JOIN dataset d ON d.no = t.dataset JOIN entry e ON e.no = x.entry"
        " WHERE x.why = 'superseded'"
    )
    return {((dataset, task, job), entry) for dataset, task, job, entry in rows}


def read_cancelled(node: Node) -> set[Unit]:
    rows = node.conn.execute(
        "SELECT d.id, t.idx, c.lo, c.hi FROM cancelled c JOIN task t ON t.no = c.task"
        " JOIN dataset d ON d.no = t.dataset"
    )
    return {(dataset, task, job) for dataset, task, lo, hi in rows for job in range(lo, hi)}


def now(settled: Mapping[Unit, bytes], unit: Unit) -> str:
    return settled[unit].hex()[:8] or "a cancel" if unit in settled else "nothing"


def shown(unit: Unit) -> str:
    return f"{unit[0].hex()[:8]}/{unit[2]}/t{unit[1]}"
