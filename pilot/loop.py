"""What the pilot does next, from what it holds and the time. Pure: no files, clock or network.

Work comes as batches (one lease each); slots run chunks of a batch. Short units travel to a slot
many at a time and two chunks deep, long ones one by one, so that a slot never waits for the
pilot and the pilot never hoards work that another could run.
"""

from collections import OrderedDict, deque
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from pilot.messages import Row, expand_ranges

CHUNK_S = 0.1  # of work in one chunk
CHUNK_UNITS_MAX = 128
DEEP_S = 0.05  # units shorter than this are sent two chunks deep
QUEUE_S = 1.0  # of work that may wait here, for each slot
QUEUE_UNITS_MAX = 4000
HELD_UNITS_MAX = 5000  # also those that ended: an announcement that names them stays below 64 KiB
SPECS_MAX = 1000  # descriptions of tasks
LONG_S = 2.0  # no unit waits here behind units longer than this
WALL_WEIGHT = 0.2  # of the newest rows in the mean wall time

UNBOUND = -1  # a CPU that counts, but that units are not bound to

Needs = Mapping[str, Any]
Held = List[List[Any]]  # [[lease, [job, ...]], ...]


class Resources:
    """CPUs, GPUs (by name), memory and disk; what is left of them while slots run."""

    def __init__(
        self, cpus: Sequence[int], gpus: Sequence[str], memory_bytes: int, disk_bytes: int
    ) -> None:
        self.cpus = list(cpus)
        self.gpus = list(gpus)
        self.memory_bytes = memory_bytes
        self.disk_bytes = disk_bytes

    def fits(self, needs: Needs) -> bool:
        return bool(
            needs["cpu"] <= len(self.cpus)
            and needs["gpu"] <= len(self.gpus)
            and needs["memory_bytes"] <= self.memory_bytes
            and needs["disk_bytes"] <= self.disk_bytes
        )

    def take(self, needs: Needs) -> Tuple[List[int], List[str]]:
        """The CPUs and GPUs of a unit."""
        cpus, self.cpus = self.cpus[: needs["cpu"]], self.cpus[needs["cpu"] :]
        gpus, self.gpus = self.gpus[: needs["gpu"]], self.gpus[needs["gpu"] :]
        self.memory_bytes -= needs["memory_bytes"]
        self.disk_bytes -= needs["disk_bytes"]
        return cpus, gpus

    def give_back(self, needs: Needs, cpus: Sequence[int], gpus: Sequence[str]) -> None:
        self.cpus = sorted([*self.cpus, *cpus])
        self.gpus = [*self.gpus, *gpus]
        self.memory_bytes += needs["memory_bytes"]
        self.disk_bytes += needs["disk_bytes"]

    def shown(self, time_left_s: Optional[float]) -> Dict[str, Any]:
        """As the pilot API wants it."""
        return {
            "cpu": len(self.cpus),
            "gpu": len(self.gpus),
            "memory_bytes": max(0, self.memory_bytes),
            "disk_bytes": max(0, self.disk_bytes),
            "time_left_s": None if time_left_s is None else max(0, int(time_left_s)),
        }


class Batch:
    """Units of one lease that no slot has yet."""

    def __init__(self, message: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        self.lease = int(message["lease"])
        self.spec = str(message["spec"])
        self.jobs: Deque[int] = deque(expand_ranges(message["jobs"]))
        self.attempts = message.get("attempts") or {}
        self.inputs = message.get("inputs") or {}
        self.read = message.get("read") or {}
        self.rows = message.get("rows") or {}
        self.needs = {**DEFAULT_NEEDS, **(spec.get("needs") or {}), **(message.get("needs") or {})}
        self.files = [file["digest"] for file in spec.get("files") or []]

    def blobs(self, job: int) -> List[str]:
        """Digests of what a unit needs here before it can begin."""
        return self.files + [entry[1] for entry in self.inputs.get(str(job)) or []]


DEFAULT_NEEDS = {
    "cpu": 1, "gpu": 0, "memory_bytes": 10**9, "disk_bytes": 10**9, "time_s": 3600,
}  # fmt: skip

Chunk = NamedTuple("Chunk", [("number", int), ("batch", Batch), ("left", List[int])])
Start = NamedTuple("Start", [("slot", int), ("message", Dict[str, Any]), ("spec", str)])
Lost = NamedTuple("Lost", [("lease", int), ("spec", str), ("job", int), ("started_ms", int)])


class Slot:
    """What one runner has: chunks in order, all of the same needs."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.chunks: Dict[int, Chunk] = OrderedDict()
        self.needs: Needs = {}
        self.cpus: List[int] = []
        self.gpus: List[str] = []
        self.running: Optional[Tuple[int, int, int]] = None  # lease, job, started_ms


class Loop:
    """The pilot's state."""

    def __init__(self, resources: Resources, slots: int, ends_s: Optional[float] = None) -> None:
        """ends_s: when the batch system ends this pilot, on the clock of `now_s`; None: never."""
        self.whole = len(resources.cpus)
        self._free = resources
        self._slots = [Slot(number) for number in range(slots)]
        self._ends_s = ends_s
        self._batches: Deque[Batch] = deque()
        self._specs: Dict[str, Mapping[str, Any]] = {}
        self._walls_s: Dict[str, float] = {}  # mean wall time, by spec
        self._careful: Set[str] = set()  # specs that ended a runner: one at a time
        self._next_chunk = 1
        self.seen = 0  # the newest lease that arrived; the node repeats what came after it
        self.draining = False

    # --- what we hold -------------------------------------------------------------------------

    def add(
        self, work: Iterable[Mapping[str, Any]], specs: Mapping[str, Any]
    ) -> Tuple[List[str], Held]:
        """Take work from the node: digests of all blobs that it needs, each once; and units of
        tasks that were never described to us, which we cannot take."""
        self._specs.update(specs)
        wanted: Dict[str, None] = OrderedDict()
        unknown: Held = []
        for message in work:
            if message["lease"] <= self.seen:
                continue  # told twice
            self.seen = message["lease"]
            if message["spec"] not in self._specs:
                unknown.append([message["lease"], expand_ranges(message["jobs"])])
                continue
            batch = Batch(message, self._specs[message["spec"]])
            if not batch.jobs:
                continue
            self._batches.append(batch)
            for job in batch.jobs:
                for digest in batch.blobs(job):
                    wanted[digest] = None
                if not batch.inputs:
                    break
        return list(wanted), unknown

    def forget_specs(self) -> bool:
        """Once there are many: drop those that nothing here uses; True if any went.

        The node has to be told, by a new announcement, since it describes each task once.
        """
        if len(self._specs) <= SPECS_MAX:
            return False
        used = {batch.spec for batch in self._batches}
        for slot in self._slots:
            used.update(chunk.batch.spec for chunk in slot.chunks.values())
        self._specs = {name: spec for name, spec in self._specs.items() if name in used}
        self._walls_s = {name: wall for name, wall in self._walls_s.items() if name in used}
        return True

    def spec(self, spec: str) -> Mapping[str, Any]:
        return self._specs[spec]

    def holding(self) -> Held:
        """Every unit that is here, begun or not, by lease."""
        held: Dict[int, List[int]] = OrderedDict()
        for slot in self._slots:
            for chunk in slot.chunks.values():
                held.setdefault(chunk.batch.lease, []).extend(chunk.left)
        for batch in self._batches:
            held.setdefault(batch.lease, []).extend(batch.jobs)
        return [[lease, jobs] for lease, jobs in held.items() if jobs]

    def running(self) -> List[List[int]]:
        """[[lease, job, started_ms], ...] of units that run for longer than a moment."""
        return [list(slot.running) for slot in self._slots if slot.running]

    def where(self, lease: int, job: int) -> int:
        """The slot in which a unit runs; -1 if none is known."""
        for slot in self._slots:
            if slot.running and slot.running[:2] == (lease, job):
                return slot.number
        return -1

    def queued(self) -> int:
        """Units that no slot has begun."""
        waiting = sum(len(batch.jobs) for batch in self._batches)
        for slot in self._slots:
            waiting += max(0, sum(len(chunk.left) for chunk in slot.chunks.values()) - 1)
        return waiting

    def idle_slots(self) -> int:
        empty = sum(1 for slot in self._slots if not slot.chunks)
        return min(empty, len(self._free.cpus))

    def busy(self) -> bool:
        return bool(self._batches) or any(slot.chunks for slot in self._slots)

    def blobs_needed(self) -> Set[str]:
        """Digests that must stay in the cache."""
        needed: Set[str] = set()
        batches = list(self._batches)
        for slot in self._slots:
            batches.extend(chunk.batch for chunk in slot.chunks.values())
        for batch in batches:
            needed.update(batch.files)
            for entries in batch.inputs.values():
                needed.update(entry[1] for entry in entries)
        return needed

    # --- what to ask for ----------------------------------------------------------------------

    def time_left_s(self, now_s: float) -> Optional[float]:
        return None if self._ends_s is None else self._ends_s - now_s

    def free(self, now_s: float) -> Dict[str, Any]:
        """What is unused now."""
        return self._free.shown(self.time_left_s(now_s))

    def units_max(self, unreported: int = 0) -> int:
        """How many more units to ask for; 0 when there is enough here.

        unreported: units that ended and that the node does not know of yet.
        """
        if self.draining:
            return 0
        idle = self.idle_slots()
        wall_s = self._slowest_s()
        if wall_s is None:
            target = 2 * len(self._slots)
        elif wall_s > LONG_S:
            target = 0
        else:
            target = min(QUEUE_UNITS_MAX, len(self._slots) * max(1, int(QUEUE_S / wall_s)))
        queued = self.queued()
        if queued * 2 > target and not (idle and queued < idle):
            return 0  # ask again when half of it is gone
        return max(0, min(target + idle - queued, HELD_UNITS_MAX - queued - unreported))

    def _slowest_s(self) -> Optional[float]:
        """Mean wall time of the slowest task here; None while nothing is known."""
        walls_s = [
            self._walls_s[batch.spec] for batch in self._batches if batch.spec in self._walls_s
        ]
        for slot in self._slots:
            for chunk in slot.chunks.values():
                if chunk.batch.spec in self._walls_s:
                    walls_s.append(self._walls_s[chunk.batch.spec])
                elif slot.running:
                    walls_s.append(LONG_S + 1)  # the first of its kind, and no short one
        if walls_s:
            return max(walls_s)
        if self.busy() or not self._walls_s:
            return None
        return max(self._walls_s.values())

    # --- what to start ------------------------------------------------------------------------

    def plan(self, now_s: float, have: Callable[[str], bool]) -> List[Start]:
        """Chunks to send to slots now. have(digest): is this blob in the cache."""
        starts: List[Start] = []
        for slot in self._slots:
            if not self._batches:
                break
            depth = len(slot.chunks)
            if depth >= 2:
                continue
            batch = self._pick(slot, have)
            if batch is not None:
                starts.append(self._send(slot, batch, have))
        return starts

    def _pick(self, slot: Slot, have: Callable[[str], bool]) -> Optional[Batch]:
        for batch in self._batches:
            if slot.chunks:
                last = next(reversed(list(slot.chunks.values()))).batch
                short = self._walls_s.get(batch.spec, 1.0) < DEEP_S
                if not short or batch.spec != last.spec or batch.needs != slot.needs:
                    continue
                if batch.spec in self._careful:
                    continue
            elif not self._free.fits(batch.needs):
                continue
            if all(have(digest) for digest in batch.blobs(batch.jobs[0])):
                return batch
        return None

    def _send(self, slot: Slot, batch: Batch, have: Callable[[str], bool]) -> Start:
        jobs: List[int] = []
        for _ in range(self._chunk_units(batch)):
            if batch.inputs and jobs and not all(have(d) for d in batch.blobs(batch.jobs[0])):
                break
            jobs.append(batch.jobs.popleft())
        if not batch.jobs:
            self._batches.remove(batch)
        if not slot.chunks:
            slot.needs = batch.needs
            slot.cpus, slot.gpus = self._free.take(batch.needs)
        number = self._next_chunk
        self._next_chunk += 1
        slot.chunks[number] = Chunk(number, batch, list(jobs))
        message: Dict[str, Any] = {
            "op": "run",
            "chunk": number,
            "lease": batch.lease,
            "spec": batch.spec,
            "jobs": jobs,
            "needs": batch.needs,
            "cpus": [cpu for cpu in slot.cpus if cpu != UNBOUND],
        }
        if slot.gpus:
            message["gpus"] = slot.gpus
        for name, table in (
            ("attempts", batch.attempts), ("inputs", batch.inputs), ("read", batch.read),
            ("rows", batch.rows),
        ):  # fmt: skip
            if table:
                mine = {str(job): table[str(job)] for job in jobs if str(job) in table}
                if mine:
                    message[name] = mine
        return Start(slot.number, message, batch.spec)

    def _chunk_units(self, batch: Batch) -> int:
        wall_s = self._walls_s.get(batch.spec)
        if wall_s is None or batch.spec in self._careful:
            return 1
        fair = -(-len(batch.jobs) // len(self._slots))
        by_time = int(CHUNK_S / max(wall_s, 1e-4))
        return max(1, min(by_time, CHUNK_UNITS_MAX, fair, len(batch.jobs)))

    # --- what came back -----------------------------------------------------------------------

    def told_running(self, slot_number: int, lease: int, job: int, started_ms: int) -> None:
        self._slots[slot_number].running = (lease, job, started_ms)

    def came_back(
        self, slot_number: int, rows: Sequence[Tuple[int, str, Row]], done: Sequence[int]
    ) -> None:
        """Results of a slot, and the chunks that it is through with."""
        slot = self._slots[slot_number]
        walls_ms: Dict[str, List[int]] = {}
        finished: Dict[int, Set[int]] = {}
        for lease, spec, row in rows:
            finished.setdefault(lease, set()).add(row[0])
            walls_ms.setdefault(spec, []).append(row[3])
            slot.running = None
        for chunk in slot.chunks.values():
            gone = finished.get(chunk.batch.lease)
            if gone:
                chunk.left[:] = [job for job in chunk.left if job not in gone]
        for spec, walls in walls_ms.items():
            self._learn(spec, sum(walls) / len(walls) / 1000)
        for number in done:
            slot.chunks.pop(number, None)
        if not slot.chunks:
            self._release(slot)

    def _learn(self, spec: str, wall_s: float) -> None:
        wall_s = max(wall_s, 1e-3)
        known_s = self._walls_s.get(spec)
        if known_s is not None:
            wall_s = known_s + WALL_WEIGHT * (wall_s - known_s)
        self._walls_s[spec] = wall_s

    def _release(self, slot: Slot) -> None:
        if slot.needs:
            self._free.give_back(slot.needs, slot.cpus, slot.gpus)
        slot.needs, slot.cpus, slot.gpus, slot.running = {}, [], [], None

    def gave_up(self, slot_number: int, returned: Held) -> None:
        """A slot handed back units that it had not begun."""
        slot = self._slots[slot_number]
        for lease, jobs in returned:
            gone = set(jobs)
            for chunk in slot.chunks.values():
                if chunk.batch.lease == lease:
                    chunk.left[:] = [job for job in chunk.left if job not in gone]

    def slot_lost(self, slot_number: int) -> List[Lost]:
        """A runner died. Units that must count as lost; the others wait again.

        Which of several units ended the runner is known only if it was told to run, or alone;
        otherwise all run again, one at a time.
        """
        slot = self._slots[slot_number]
        lost: List[Lost] = []
        chunks = [chunk for chunk in slot.chunks.values() if chunk.left]
        alone = sum(len(chunk.left) for chunk in chunks) == 1
        for chunk in reversed(chunks):
            self._careful.add(chunk.batch.spec)
            for job in list(chunk.left):
                told = slot.running and slot.running[:2] == (chunk.batch.lease, job)
                if told or alone:
                    started_ms = slot.running[2] if slot.running else 0
                    lost.append(Lost(chunk.batch.lease, chunk.batch.spec, job, started_ms))
                    chunk.left.remove(job)
            self._requeue(chunk)
        slot.chunks.clear()
        self._release(slot)
        return lost

    def _requeue(self, chunk: Chunk) -> None:
        if not chunk.left:
            return
        if chunk.batch not in self._batches:
            self._batches.appendleft(chunk.batch)
        chunk.batch.jobs.extendleft(reversed(chunk.left))

    # --- orders -------------------------------------------------------------------------------

    def stop(self, lease: Optional[int], jobs: Optional[Sequence[int]]) -> Tuple[List[int], Held]:
        """Stop units: slots that must be told, and the units dropped here before they began."""
        chosen = None if jobs is None else set(jobs)
        dropped: Held = []
        for batch in list(self._batches):
            if lease is not None and batch.lease != lease:
                continue
            gone = [job for job in batch.jobs if chosen is None or job in chosen]
            batch.jobs = deque(
                job for job in batch.jobs if chosen is not None and job not in chosen
            )
            if not batch.jobs:
                self._batches.remove(batch)
            if gone:
                dropped.append([batch.lease, gone])
        slots = [
            slot.number
            for slot in self._slots
            if any(lease is None or chunk.batch.lease == lease for chunk in slot.chunks.values())
        ]
        return slots, dropped

    def hand_back(self) -> Held:
        """Give up everything that no slot has."""
        returned = [[batch.lease, list(batch.jobs)] for batch in self._batches if batch.jobs]
        self._batches.clear()
        return returned

    def too_long(self, now_s: float) -> Held:
        """Units that no longer fit into the time left: given up."""
        left_s = self.time_left_s(now_s)
        if left_s is None:
            return []
        returned: Held = []
        for batch in list(self._batches):
            if batch.needs["time_s"] > left_s:
                self._batches.remove(batch)
                returned.append([batch.lease, list(batch.jobs)])
        return returned

    def without_blob(self, digest: str) -> List[Tuple[int, str, int]]:
        """Units that can never begin as a blob is not to be had: (lease, spec, job), removed."""
        failed: List[Tuple[int, str, int]] = []
        for batch in list(self._batches):
            gone = [job for job in batch.jobs if digest in batch.blobs(job)]
            if not gone:
                continue
            failed.extend((batch.lease, batch.spec, job) for job in gone)
            bad = set(gone)
            batch.jobs = deque(job for job in batch.jobs if job not in bad)
            if not batch.jobs:
                self._batches.remove(batch)
        return failed
